// What the pages of a run and of a comparison share: sections, and the page around them.

// Around a wide table, which scrolls under the keyboard too.
const WIDE = { class: "wide", tabindex: "0", role: "group", "aria-label": "A table" };
function section(id, title, ...children) {
  if (!children.flat().some(Boolean)) return null;
  return make("section", { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title` }, title), children);
}
const paragraph = (text, kind) => (text ? make("p", { class: kind || null }, text) : null);
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

// Puts the page together. about: what stands below the title.
function compose(contents, parts, about) {
  const glossary = explained(parts);
  const all = glossary ? [...parts, glossary] : parts;
  document.title = `${contents.title} · charrnn report`;
  const links = all.map((part) =>
    make("li", {}, make("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)));
  document.body.append(
    make("header", {},
      make("h1", {}, contents.title),
      about,
      make("nav", { "aria-label": "Sections" }, make("ul", {}, links))),
    make("main", {}, all),
    make("footer", {}, make("p", {},
      `Made by charrnn ${contents.version}. Nothing in this page is loaded from elsewhere.`)),
  );
}

// On paper nothing can be opened, and charts are drawn to the width of the paper.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.printed")) details.open = true;
  for (const redraw of REDRAWN) redraw(true);
});
addEventListener("afterprint", () => {
  for (const redraw of REDRAWN) redraw(false);
});
