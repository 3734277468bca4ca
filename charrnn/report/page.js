// The page itself: what contents.py gathered, section by section.
const contents = JSON.parse(document.getElementById("contents").textContent);

function standings(results) {
  if (!results.rows.length) return null;
  const most = Math.max(...results.rows.flatMap((row) => row.bits));
  const rows = results.rows.map((row) => {
    const bar = make("i", { class: "bar", "aria-hidden": "true" });
    const length = 100 * Math.max(0, row.bits[0] ?? row.bits[1]) / most;
    bar.style.setProperty("--share", `${length.toFixed(2)}%`);
    const figures = row.bits.map((bits) => (bits === null ? "–" : bits.toFixed(3)));
    return make("tr", { class: row.own ? "own" : null },
      make("th", { scope: "row" }, row.name),
      figures.map((figure) => make("td", { class: "number" }, figure)),
      make("td", { class: "length" }, bar));
  });
  const heads = results.splits.map((name) => make("th", { scope: "col", class: "number" }, name));
  return [
    results.said.map((text) => paragraph(text, "lead")),
    make("table", { class: "standings" },
      make("caption", {}, "Bits per character; less is better"),
      make("thead", {},
        make("tr", {}, make("th", { scope: "col" }, "predicted by"), heads, make("td", {}))),
      make("tbody", {}, rows)),
    results.warnings.map((text) => paragraph(text, "remark")),
    make("details", { class: "printed" }, make("summary", {}, "To quote these figures"),
      make("div", { class: "results" }, results.facts.map((pairs, index) =>
        make("div", {}, make("h3", {}, results.splits[index]), facts(pairs))))),
  ];
}

// What the finished model writes: thirty lines, or three passages.
function finished(look) {
  const list = (texts) =>
    make("ul", { class: "names" }, texts.map((text) => make("li", {}, text || "(an empty line)")));
  const shown = look.written.map(({ temperature, texts }) => make("figure", {},
    make("figcaption", {}, `temperature ${temperature.toFixed(1)}`),
    look.lines ? list(texts) : make("pre", {}, texts[0])));
  const labelled = look.labelled.map(({ label, texts }) =>
    make("figure", {}, make("figcaption", {}, label), list(texts)));
  return [
    make("div", { class: "samples finished" }, shown), paragraph(look.said, "hint"),
    labelled.length ? make("h3", {}, "By label") : null,
    labelled.length ? make("div", { class: "samples finished" }, labelled) : null,
  ];
}

function samples(kept) {
  if (kept.why) return [paragraph(kept.why, "hint")];
  if (!kept.shown.length) return null;
  const count = `${kept.shown.length} of the ${kept.kept} that are in samples.txt.`;
  return [
    kept.kept > kept.shown.length ? paragraph(count, "hint") : null,
    make("div", { class: "samples" }, kept.shown.map((one) => make("figure", {},
      make("figcaption", {}, `step ${number(one.step)}`,
        one.bits === null ? null : make("span", {}, `${one.bits.toFixed(3)} bits per ${one.noun}`)),
      make("pre", {}, one.text)))),
  ];
}

function novelty(look) {
  const command = make("code", {}, look.how);
  if (look.why) return [make("p", { class: "hint" }, `${look.why} `, command)];
  const rows = look.rows.map(([name, ours, theirs]) => [name, percent(ours), percent(theirs)]);
  return [
    paragraph(look.verdict.charAt(0).toUpperCase() + look.verdict.slice(1) + ".", "lead"),
    look.warnings.map((text) => paragraph(text, "remark")),
    paragraph(look.drawn, "hint"),
    make("div", WIDE, table(["share", "samples", look.held], rows)),
    look.longest ? longestRun(look.longest) : null,
    look.nearest.length ? nearestLines(look.nearest) : null,
    make("p", { class: "hint" }, "A small look; the whole one: ", command),
  ];
}

function longestRun(run) {
  const chars = `${number(run.chars)} characters`;
  return make("p", {}, `The longest run of the training text in a sample has ${chars}: `,
    make("q", {}, run.text));
}

function nearestLines(lines) {
  const heads = ["new line", "nearest training line", "edits"];
  const rows = lines.map(([ours, theirs, edits]) => [ours, theirs, number(edits)]);
  return make("div", WIDE, table(heads, rows, { words: 2 }));
}

function settings(making, files) {
  const chosen = making.groups.flatMap((group) => group.rows).filter((row) => row[2]);
  const groups = making.groups.map((group) => make("details", {},
    make("summary", {}, group.name),
    make("div", WIDE,
      table(["setting", "value"], group.rows.map((row) => row.slice(0, 2)), { words: 2 }))));
  const command = { class: "command", tabindex: "0", role: "group", "aria-label": "The command" };
  return [
    making.command ? make("pre", command, making.command) : null,
    chosen.length
      ? make("div", WIDE, table(["chosen", "value", "from"], chosen, { words: 3 }))
      : null,
    facts(files),
    make("div", { class: "groups" }, groups),
  ];
}

function learning(charts, remarks) {
  const help = "Point at a chart, click it, or focus it and use the arrow keys; "
    + "charts of steps are read together.";
  return [
    charts.length ? make("div", { class: "charts" }, charts.map(chart)) : null,
    ...remarks.map((text) => paragraph(text, "remark")),
    charts.length ? paragraph(help, "hint") : null,
  ];
}

function cellSection(cells) {
  if (!cells) return null;
  const title = cells.arrays.length ? "What its cells follow" : "What surprises it";
  return section("inside", title,
    paragraph(cells.said, "intro"), cellViewer(cells), paragraph(cells.note, "hint"));
}

const parts = [
  section("finished", "What it writes", finished(contents.finished)),
  contents.model ? section("try", "Try it", writingBox(contents.model)) : null,
  section("learning", "How it learnt", learning(contents.charts, contents.remarks)),
  section("results", "What it reaches", standings(contents.results)),
  section("samples", "What it wrote while it learnt", samples(contents.samples)),
  section("novelty", "What is new in it", novelty(contents.novelty)),
  cellSection(contents.cells),
  lookbackSection(contents.lookback),
  section("settings", "What made it", settings(contents.settings, contents.files)),
].filter(Boolean);
compose(contents, parts, [
  paragraph(contents.summary, "lead"),
  paragraph(contents.status, "status"),
  facts(contents.key.map((one) => [one.name, one.value]), "key"),
]);
