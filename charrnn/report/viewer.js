// Held-out text, coloured by what one unit did at each character. Below it stand the model's guesses
// before it saw the character that is read.
const SURPRISE_FULL = 8; // bits at which the colour is full
const PRINTED = 240; // characters that go on paper, and those up to the end of a line

function cellViewer(cells) {
  const inText = (id) => (id === cells.newline ? "↵" : cells.symbols[id]);
  const symbol = (id) => ({ "\t": "⇥", " ": "␣" })[inText(id)] ?? inText(id);
  const spans = cells.ids.map((id) => make("span", { class: "char" }, inText(id)));
  const shownEnd = cells.lines ? cells.ids.indexOf(cells.newline, PRINTED) + 1 : PRINTED;
  const onPaper = shownEnd || cells.ids.length;
  const placed = (from, to) => spans.slice(from, to).map((span, k) =>
    (cells.ids[from + k] === cells.newline ? [span, "\n"] : [span]));
  const text = make("pre", {
    class: cells.lines ? "text lines" : "text",
    id: "viewer-text",
    role: "group",
    "aria-label": "Held-out text",
    "aria-describedby": "viewer-help",
  }, placed(0, onPaper), make("span", { class: "beyond" }, placed(onPaper, spans.length)));
  const panel = make("div", { class: "panel", id: "viewer-panel", role: "status" });
  const what = make("select", { id: "viewer-array" },
    make("option", { value: "" }, "surprise, in bits"),
    cells.arrays.map((array) => make("option", { value: array.name }, array.label)));
  const unit = make("input",
    { id: "viewer-unit", type: "number", min: "0", step: "1", inputmode: "numeric" });
  const unitLabel = make("label", { for: "viewer-unit" }, "unit ", unit);
  const said = make("span", { class: "hint", role: "status" });
  const position = make("input",
    { id: "viewer-position", type: "range", min: "0", max: String(cells.ids.length - 1) });
  const legend = make("p", { class: "scale", "aria-hidden": "true" });
  const found = cells.found.map((cell) =>
    ({ cell, button: make("button", { type: "button" }, cell.title) }));
  const controls = make("div", { class: "controls" },
    make("label", { for: "viewer-array" }, "colour by ", what),
    unitLabel,
    said,
    make("label", { for: "viewer-position" }, "position ", position),
    legend);
  let shown = null; // the unit that colours the text
  let levels = null; // its levels, one a character; null where the surprise colours it
  let at = 0; // the place that is read

  const array = () => cells.arrays.find((each) => each.name === what.value);
  const decoded = (data) => Int8Array.from(atob(data), (char) => char.charCodeAt(0));
  const units = (each) => (each.bytes = each.bytes || decoded(each.data));
  const values = () => {
    const each = array();
    const index = each.units.indexOf(shown);
    const start = index * cells.ids.length;
    return { index, levels: units(each).subarray(start, start + cells.ids.length) };
  };

  function colour() {
    const each = array();
    unitLabel.hidden = !each;
    if (!each) {
      levels = null;
      // The first character of a stream has no surprise.
      spans.forEach((span, k) => tint(span, Math.min(1, (cells.bits[k] ?? 0) / SURPRISE_FULL)));
      showScale(["0", `${SURPRISE_FULL} bits or more`], true);
    } else {
      unit.max = String(each.of - 1);
      const { index, levels: here } = values();
      levels = here;
      spans.forEach((span, k) => tint(span, here[k] / 127));
      const size = each.scales[index];
      const ends = each.gate ? ["0, closed", "1, open"] : [`−${number(size)}`, `+${number(size)}`];
      showScale(ends, false);
      unit.value = String(shown);
    }
    for (const { cell, button } of found) {
      const isShown = Boolean(each) && cell.array === each.name && cell.unit === shown;
      button.setAttribute("aria-pressed", String(isShown));
    }
    show(at);
  }

  function tint(span, value) {
    span.className = "char";
    span.classList.toggle("warm", value > 0);
    span.classList.toggle("cold", value < 0);
    span.classList.toggle("read", span === spans[at]);
    span.style.setProperty("--a", Math.abs(value).toFixed(3));
  }

  function showScale(ends, isOneSided) {
    legend.replaceChildren(
      make("span", {}, ends[0]),
      make("i", { class: isOneSided ? "one" : "two" }),
      make("span", {}, ends[1]));
  }

  // A unit that is not in the page: the next one that is, in the direction asked.
  function choose(wanted) {
    const each = array();
    if (!each) return colour();
    const goal = clamp(Math.round(Number.isFinite(wanted) ? wanted : each.units[0]), 0, each.of - 1);
    const later = each.units.find((one) => one >= goal); // the goal itself, where it is there
    const earlier = [...each.units].reverse().find((one) => one <= goal);
    const isBackwards = shown !== null && goal < shown;
    shown = (isBackwards ? earlier : later) ?? earlier ?? later;
    if (shown !== goal) {
      said.textContent = `Unit ${goal} is not in this page; this is ${shown}.`;
    } else if (each.units.length < each.of) {
      said.textContent = `${each.units.length} of ${each.of} units are in this page.`;
    } else {
      said.textContent = `${each.of} units`;
    }
    colour();
  }

  function show(place) {
    spans[at].classList.remove("read");
    at = place;
    spans[at].classList.add("read");
    const bits = cells.bits[at];
    const rows = [];
    for (let k = 0; k < cells.most && bits !== null; k += 1) {
      const id = cells.guesses[at * cells.most + k];
      const percent = (cells.shares[at * cells.most + k] / 10).toFixed(1);
      const bar = make("i", { "aria-hidden": "true" });
      bar.style.setProperty("--share", `${percent}%`);
      rows.push(make("li", { class: id === cells.ids[at] ? "hit" : null },
        make("b", {}, symbol(id)), bar, make("span", {}, `${percent} %`)));
    }
    const cost = bits === null
      ? "the first character is not predicted"
      : `${number(bits)} bits of surprise`;
    const heading = "The model’s likeliest guesses before it saw this character";
    panel.replaceChildren(
      make("p", {},
        make("b", { class: "this" }, symbol(cells.ids[at])), make("span", {}, cost), activation()),
      make("ol", { "aria-label": heading }, rows));
    position.value = String(at);
    const spoken = `${symbol(cells.ids[at])}, ${cost}`;
    position.setAttribute("aria-valuetext", spoken);
    return spoken;
  }

  // What the unit did at the place that is read; null where the surprise colours the text.
  function activation() {
    const each = array();
    if (!each || !levels) return null;
    const centre = each.gate ? 0.5 : 0;
    const value = each.scales[each.units.indexOf(shown)] * (levels[at] / 127) + centre;
    const sign = value < 0 ? "−" : "";
    return make("span", {}, `activation ${sign}${Math.abs(value).toFixed(3)}`);
  }

  const reading = reader(text, () => spans.length - 1, Math.min(1, spans.length - 1), show, (event) => {
    const place = spans.indexOf(event.target);
    return place < 0 ? null : place;
  });
  const hold = (place) => {
    reading.show(place, true);
    spans[at].scrollIntoView({ block: "nearest" });
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      hold(beside(spans, at, event.key === "ArrowUp" ? -1 : 1));
    } else if (event.key.startsWith("Arrow")) {
      spans[at].scrollIntoView({ block: "nearest" });
    }
  });
  position.addEventListener("input", () => hold(Number(position.value)));
  what.addEventListener("change", () => choose(shown ?? NaN));
  unit.addEventListener("change", () => choose(unit.valueAsNumber));
  unit.addEventListener("input", () => { if (unit.value !== "") choose(unit.valueAsNumber); });
  for (const { cell, button } of found) {
    button.addEventListener("click", () => {
      what.value = cell.array;
      shown = null;
      choose(cell.unit);
      controls.scrollIntoView({ block: "start" });
    });
  }
  const states = cells.arrays.filter((array) => !array.gate).map((array) => array.name);
  const first = cells.found.find((cell) => states.includes(cell.array))
    || cells.found[0]
    || cells.arrays.map((array) => ({ array: array.name, unit: array.units[0] }))[0];
  what.value = first ? first.array : "";
  choose(first ? first.unit : NaN);

  return make("div", { class: "viewer" },
    found.length ? followed(found, cells.missed) : null,
    controls,
    make("p", { class: "hint", id: "viewer-help" },
      "Point at a character, click it, or move with the arrow keys: "
      + "below stand the model’s guesses before it saw that character."),
    make("div", {}, text, panel));
}

// The table of cells that follow something, and how to read it.
function followed(found, missed) {
  const heads = ["what it follows", "cell", "correlation", "by luck", "accuracy"];
  const rows = found.map(({ cell, button }) =>
    [button, cell.place, cell.score, cell.luck, cell.accuracy]);
  return [
    make("div", WIDE, table(heads, rows, { words: 2 })),
    make("p", { class: "hint" },
      "By luck: the best correlation of any unit when the feature is shifted along the text, where "
      + "it belongs to nothing. Accuracy: how often one threshold on that unit is right; guessing "
      + "gives 50 %. ", missed),
  ];
}

// The character on the next line of the screen that stands nearest below, or above.
function beside(spans, at, step) {
  const here = spans[at].getBoundingClientRect();
  let best = at;
  let line = null;
  let nearest = Infinity;
  for (let k = at + step; k >= 0 && k < spans.length; k += step) {
    const box = spans[k].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 2) continue;
    if (line !== null && Math.abs(box.top - line) > 2) break;
    line = box.top;
    const away = Math.abs(box.left - here.left);
    if (away < nearest) {
      nearest = away;
      best = k;
    }
  }
  return best;
}
