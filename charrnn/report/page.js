// The page itself: what contents.py gathered, section by section.
const contents = JSON.parse(document.getElementById("contents").textContent);

function section(id, title, ...children) {
  return children.flat().some(Boolean) ? make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), children) : null;
}
const paragraph = (text, kind) => (text ? make("p", { class: kind || null }, text) : null);
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

function standings(results) {
  if (!results.rows.length) return null;
  const most = Math.max(...results.rows.flatMap((row) => row.bits));
  const rows = results.rows.map((row) => {
    const bar = make("i", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${(100 * Math.max(0, row.bits[0] ?? row.bits[1]) / most).toFixed(2)}%`);
    return make("tr", { class: row.own ? "own" : null }, make("th", { scope: "row" }, row.name),
      row.bits.map((bits) => make("td", { class: "number" }, bits === null ? "–" : bits.toFixed(3))), make("td", { class: "length" }, bar));
  });
  const heads = results.splits.map((name) => make("th", { scope: "col", class: "number" }, name));
  return [
    results.said.map((text) => paragraph(text, "lead")),
    make("table", { class: "standings" }, make("caption", {}, "Bits per character; less is better"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "predicted by"), heads, make("td", {}))), make("tbody", {}, rows)),
    results.warnings.map((text) => paragraph(text, "remark")),
    make("details", { class: "printed" }, make("summary", {}, "To quote these figures"),
      make("div", { class: "results" }, results.facts.map((pairs, index) => make("div", {}, make("h3", {}, results.splits[index]), facts(pairs))))),
  ];
}

function samples(kept) {
  if (!kept.shown.length) return null;
  return [
    kept.kept > kept.shown.length ? paragraph(`${kept.shown.length} of the ${kept.kept} that are in samples.txt.`, "hint") : null,
    make("div", { class: "samples" }, kept.shown.map((one) => make("figure", {},
      make("figcaption", {}, `step ${number(one.step)}`, one.bits === null ? null : make("span", {}, `${one.bits.toFixed(3)} bits per character`)),
      make("pre", { tabindex: "0", "aria-label": `Sample at step ${one.step}` }, one.text)))),
  ];
}

function novelty(found) {
  const more = make("p", { class: "hint" }, found.why ? `${found.why} ` : "A small look; the whole one: ", make("code", {}, found.how));
  if (found.why) return [more];
  const rows = found.rows.map(([name, ours, theirs]) => [name, percent(ours), percent(theirs)]);
  return [
    paragraph(found.verdict.charAt(0).toUpperCase() + found.verdict.slice(1) + ".", "lead"),
    paragraph(found.drawn, "hint"),
    make("div", { class: "wide" }, table(["", "samples", found.held], rows)),
    found.longest ? make("p", {}, `The longest run of the training text in a sample has ${number(found.longest.chars)} characters: `, make("q", {}, found.longest.text)) : null,
    found.nearest.length ? make("div", { class: "wide" }, table(["new line", "nearest training line", "edits"], found.nearest.map(([ours, theirs, edits]) => [ours, theirs, number(edits)]), { words: 2 })) : null,
    more,
  ];
}

function settings(all, files) {
  const groups = all.groups.map((group) => make("details", { class: "printed" }, make("summary", {}, group.name), make("div", { class: "wide" }, table(["setting", "value", "from"], group.rows, { words: 3 }))));
  return [all.command ? make("pre", { class: "command", tabindex: "0", "aria-label": "The command" }, all.command) : null, facts(files), make("div", { class: "groups" }, groups)];
}

const parts = [
  section("learning", "How it learnt", contents.charts.length ? make("div", { class: "charts" }, contents.charts.map(chart)) : null,
    contents.remarks.map((text) => paragraph(text, "remark")),
    contents.charts.length ? paragraph("Point at a chart, click it, or focus it and use the arrow keys; charts of steps are read together.", "hint") : null),
  section("results", "What it reaches", standings(contents.results)),
  section("samples", "What it wrote while it learnt", samples(contents.samples)),
  section("novelty", "What is new in it", novelty(contents.novelty)),
  section("inside", contents.cells && contents.cells.arrays.length ? "What its cells follow" : "What surprises it", contents.cells ? [paragraph(contents.cells.said, "intro"), cellViewer(contents.cells), paragraph(contents.cells.note, "hint")] : null),
  section("settings", "What made it", settings(contents.settings, contents.files)),
].filter(Boolean);

document.title = `${contents.title} · charrnn report`;
document.body.append(
  make("header", {}, make("h1", {}, contents.title), paragraph(contents.summary, "lead"), paragraph(contents.status, "status"),
    facts(contents.key.map((one) => [one.name, one.value]), "key"),
    make("nav", { "aria-label": "Sections" }, make("ul", {}, parts.map((part) => make("li", {}, make("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)))))),
  make("main", {}, parts),
  make("footer", {}, make("p", {}, `Made by charrnn ${contents.version}. Nothing in this page is loaded from elsewhere.`)),
);

// On paper nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details.printed").forEach((each) => { each.open = true; }));
