"use strict";
// Elements with text in them, and nothing else: whatever a model or a corpus wrote becomes a text
// node.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}
function make(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) {
    const [digits, power] = value.toExponential(1).split("e");
    const raised = [...power].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    return `${digits} × 10${raised.join("")}`;
  }
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: size < 100 ? 4 : 6 });
}

// words: how many columns at the left hold words. The others hold numbers.
function table(columns, rows, { caption, words = 1 } = {}) {
  const kind = (index) => (index < words ? null : "number");
  const head = (name, index) => make("th", { scope: "col", class: kind(index) }, name);
  const cell = (value, index) => {
    if (index === 0) return make("th", { scope: "row" }, value);
    return make("td", { class: kind(index) }, value);
  };
  return make("table", {},
    caption ? make("caption", {}, caption) : null,
    make("thead", {}, make("tr", {}, columns.map(head))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell)))));
}

function facts(pairs, kind) {
  return make("dl", { class: kind || "facts" }, pairs.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

// A position from 0 to last that pointers and keys move. moved(position, isHeld): draws it, and
// returns what to say of it. A click or a key holds the position; a pointer that only passes by
// gives it back as it leaves.
function reader(element, last, start, moved, places) {
  let held = start;
  const show = (position, isHeld) => {
    const at = clamp(position, 0, last());
    if (isHeld) held = at;
    const said = moved(at, isHeld);
    if (element.getAttribute("role") === "slider") {
      element.setAttribute("aria-valuemax", last());
      element.setAttribute("aria-valuenow", at);
      element.setAttribute("aria-valuetext", said);
    }
  };
  element.setAttribute("tabindex", "0");
  if (element.getAttribute("role") === "slider") element.setAttribute("aria-valuemin", "0");
  element.addEventListener("pointermove", (event) => {
    const at = places(event);
    if (at !== null) show(at, event.buttons > 0);
  });
  element.addEventListener("pointerdown", (event) => {
    const at = places(event);
    if (at !== null) show(at, true);
  });
  element.addEventListener("pointerleave", () => show(held, false));
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(held + steps[event.key], true);
  });
  show(start, true);
  return { show, held: () => held };
}
