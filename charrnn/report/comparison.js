// The page of a comparison: what comparison.py gathered, section by section.
const contents = JSON.parse(document.getElementById("contents").textContent);
const unit = `bits per ${contents.noun}`;
const swatch = (colour) => make("i", { class: `swatch series-${colour}`, "aria-hidden": "true" });

function differences() {
  const isOne = contents.gaps.every((gap) => gap.low === null);
  const how = isOne
    ? "One seed gives no interval; two or more do."
    : "A dot is the mean of the differences between runs of one seed, a bar its 95 % interval (Student's t), a ring one "
      + "seed. Where the bar crosses zero, the seeds do not tell the settings apart.";
  return [
    contents.gaps.length ? intervals(contents.gaps, contents.reference, unit) : null,
    contents.gaps.length ? paragraph(how, "said") : null,
    paragraph(`Best ${unit} on validation; fewer are better. Differences to ${contents.reference}.`, "said scores"),
    make("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Scores and differences" },
      table(contents.columns, contents.rows)),
  ];
}

function curves() {
  if (!contents.charts.length) return null;
  return [
    make("div", { class: "charts" }, contents.charts.map(chart)),
    paragraph("Point at a chart, click it, or focus it and use the arrow keys.", "hint"),
  ];
}

function samples() {
  if (!contents.written.length) return null;
  const figures = contents.written.map((one) => make("figure", {},
    make("figcaption", {}, swatch(one.colour), one.name, make("span", {}, one.run)),
    contents.lines
      ? make("ul", { class: "names" }, one.texts.map((text) => make("li", {}, text || "(an empty line)")))
      : make("pre", {}, one.texts[0])));
  const more = contents.unwritten ? ` ${contents.unwritten} more are not shown.` : "";
  return [
    make("div", { class: contents.lines ? "samples narrow" : "samples" }, figures),
    paragraph(`The run with the best validation of each setting, at temperature 0.8, with one seed.${more}`, "hint"),
  ];
}

function making() {
  const heads = ["run", "score", "steps", "seconds"];
  return [
    facts(contents.settings),
    make("details", {}, make("summary", {}, "The runs"),
      make("div", WIDE, table(heads, contents.runs))),
  ];
}

compose(contents, [
  section("differences", "How they differ", differences()),
  section("learning", "How they learnt", curves()),
  section("written", "What they write", samples()),
  section("settings", "What they share", making()),
].filter(Boolean), [
  paragraph(contents.summary, "lead"),
  make("ul", { class: "verdicts" }, contents.verdicts.map((text) => make("li", {}, text))),
  contents.remarks.map((text) => paragraph(text, "status")),
  facts(contents.key, "key"),
]);
