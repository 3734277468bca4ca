// Held-out text, coloured by what one unit did at each character, with the model's guesses under the one that is read.
const SURPRISE_FULL = 8; // bits at which the colour is full

function cellViewer(cells) {
  const symbol = (id) => (id === cells.newline ? "↵" : cells.symbols[id] === "\t" ? "⇥" : cells.symbols[id] === " " ? "␣" : cells.symbols[id]);
  const spans = cells.ids.map((id) => make("span", { class: "char" }, id === cells.newline ? "↵" : cells.symbols[id]));
  const text = make("pre", { class: cells.lines ? "text lines" : "text", id: "viewer-text", role: "group", "aria-label": "Held-out text", "aria-describedby": "viewer-help" },
    spans.map((span, k) => (cells.ids[k] === cells.newline ? [span, "\n"] : [span])));
  const panel = make("div", { class: "panel", id: "viewer-panel", role: "status" });
  const what = make("select", { id: "viewer-array" }, make("option", { value: "" }, "surprise, in bits"), cells.arrays.map((array) => make("option", { value: array.name }, array.label)));
  const unit = make("input", { id: "viewer-unit", type: "number", min: "0", step: "1", inputmode: "numeric" });
  const unitLabel = make("label", { for: "viewer-unit" }, "unit ", unit);
  const said = make("span", { class: "hint", role: "status" });
  const position = make("input", { id: "viewer-position", type: "range", min: "0", max: String(cells.ids.length - 1) });
  const legend = make("p", { class: "scale", "aria-hidden": "true" });
  const found = cells.found.map((cell) => ({ cell, button: make("button", { type: "button" }, cell.title) }));
  const controls = make("div", { class: "controls" }, make("label", { for: "viewer-array" }, "colour by ", what), unitLabel, said,
    make("label", { for: "viewer-position" }, "position ", position), legend);
  let shown = null, levels = null, at = 0;

  const array = () => cells.arrays.find((each) => each.name === what.value);
  const units = (each) => (each.bytes = each.bytes || Int8Array.from(atob(each.data), (char) => char.charCodeAt(0)));
  const values = () => {
    const each = array(), index = each.units.indexOf(shown);
    return { each, index, levels: units(each).subarray(index * cells.ids.length, (index + 1) * cells.ids.length) };
  };

  function colour() {
    const each = array();
    unitLabel.hidden = !each;
    if (!each) {
      levels = null;
      spans.forEach((span, k) => tint(span, cells.bits[k] === null ? 0 : Math.min(1, cells.bits[k] / SURPRISE_FULL)));
      showScale(["0", `${SURPRISE_FULL} bits or more`], true);
    } else {
      unit.max = String(each.of - 1);
      const { index, levels: here } = values();
      levels = here;
      spans.forEach((span, k) => tint(span, here[k] / 127));
      const size = each.scales[index];
      showScale(each.gate ? ["0, closed", "1, open"] : [`−${number(size)}`, `+${number(size)}`], false);
      unit.value = String(shown);
    }
    for (const { cell, button } of found) {
      button.setAttribute("aria-pressed", String(Boolean(each) && cell.array === each.name && cell.unit === shown));
    }
    show(at);
  }

  function tint(span, value) {
    span.className = `char${value > 0 ? " warm" : value < 0 ? " cold" : ""}${span === spans[at] ? " read" : ""}`;
    span.style.setProperty("--a", Math.abs(value).toFixed(3));
  }

  function showScale(ends, isOneSided) {
    legend.replaceChildren(make("span", {}, ends[0]), make("i", { class: isOneSided ? "one" : "two" }), make("span", {}, ends[1]));
  }

  // A unit that is not in the page: the next one that is, in the direction asked.
  function choose(wanted) {
    const each = array();
    if (!each) return colour();
    const goal = clamp(Math.round(Number.isFinite(wanted) ? wanted : each.units[0]), 0, each.of - 1);
    const later = each.units.find((one) => one >= goal), earlier = [...each.units].reverse().find((one) => one <= goal);
    shown = each.units.includes(goal) ? goal : ((shown !== null && goal < shown ? earlier : later) ?? earlier ?? later);
    said.textContent = shown !== goal ? `Unit ${goal} is not in this page; this is ${shown}.` : each.units.length < each.of ? `${each.units.length} of ${each.of} units are in this page.` : `${each.of} units`;
    colour();
  }

  function show(place) {
    spans[at].classList.remove("read");
    at = place;
    spans[at].classList.add("read");
    const bits = cells.bits[at], rows = [];
    for (let k = 0; k < cells.most && bits !== null; k += 1) {
      const id = cells.guesses[at * cells.most + k], share = cells.shares[at * cells.most + k] / 1000;
      const bar = make("i", { "aria-hidden": "true" });
      bar.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
      rows.push(make("li", { class: id === cells.ids[at] ? "hit" : null }, make("b", {}, symbol(id)), bar, make("span", {}, `${(100 * share).toFixed(1)} %`)));
    }
    const each = array();
    const value = each && levels ? each.scales[each.units.indexOf(shown)] * (levels[at] / 127) + (each.gate ? 0.5 : 0) : null;
    const cost = bits === null ? "the first character is not predicted" : `${number(bits)} bits of surprise`;
    const lines = [make("b", { class: "this" }, symbol(cells.ids[at])), make("span", {}, cost), value === null ? null : make("span", {}, `activation ${value < 0 ? "−" : ""}${Math.abs(value).toFixed(3)}`)];
    panel.replaceChildren(make("p", {}, lines), make("ol", { "aria-label": "The model’s likeliest guesses before it saw this character" }, rows));
    position.value = String(at);
    const spoken = `${symbol(cells.ids[at])}, ${cost}`;
    position.setAttribute("aria-valuetext", spoken);
    return spoken;
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
  const first = cells.found.find((cell) => states.includes(cell.array)) || cells.found[0] || (cells.arrays[0] && { array: cells.arrays[0].name, unit: cells.arrays[0].units[0] });
  what.value = first ? first.array : "";
  choose(first ? first.unit : NaN);

  return make("div", { class: "viewer" },
    found.length ? make("div", { class: "wide" }, table(["what it follows", "cell", "correlation", "by luck", "accuracy"], found.map(({ cell, button }) => [button, cell.place, cell.score, cell.luck, cell.accuracy]), { words: 2 })) : null,
    found.length ? make("p", { class: "hint" }, "By luck: the best that any unit reaches while the feature is displaced in the text. Accuracy: of one threshold on that unit, balanced, so that guessing gives 50 %. ", cells.missed) : null,
    controls,
    make("p", { class: "hint", id: "viewer-help" }, "Point at a character, click it, or move with the arrow keys: beneath stand the model’s guesses before it saw that character."),
    text, panel);
}

// The character on the next line of the screen that stands nearest beneath, or above.
function beside(spans, at, step) {
  const here = spans[at].getBoundingClientRect();
  let best = at, line = null, nearest = Infinity;
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
