// What colours a text: nothing, its surprise, or one unit of a state or gate; and all units of that
// state or gate at one place, as a grid.
const FULL_BITS = 8; // of surprise, at which the colour is full
const GRID_CELL = 12; // pixels

const PARTS = {
  cell: "cell state",
  hidden: "hidden state",
  forget: "forget gate",
  input: "input gate",
  output: "output gate",
  reset: "reset gate",
  update: "update gate",
  candidate: "candidate",
};

// A value between -1 and 1 for a colour. scale: of a cell state, which has no bounds.
function coloured(name, value, scale) {
  const kind = name.split(".")[1];
  if (BETWEEN_0_AND_1.has(kind)) return 2 * value - 1;
  return kind === "cell" ? value / scale : value;
}

function tint(span, value) {
  span.classList.toggle("warm", value > 0);
  span.classList.toggle("cold", value < 0);
  span.style.setProperty("--a", Math.min(1, Math.abs(value)).toFixed(3));
}

// changed(): called when another unit, or the surprise, shall colour the text.
function insideView(network, layers, changed) {
  const label = (name) => {
    const [layer, kind] = name.split(".");
    return layers === 1 ? PARTS[kind] : `layer ${layer.slice(5)}, ${PARTS[kind]}`;
  };
  const what = make("select", { id: "inside-what" },
    make("option", { value: "" }, "nothing"),
    make("option", { value: "surprise" }, "surprise"),
    network.names.map((name) => make("option", { value: name }, label(name))));
  const unit = make("input", {
    id: "inside-unit", type: "number", min: "0", max: String(network.size - 1), value: "0",
    inputmode: "numeric",
  });
  const unitLabel = make("label", { for: "inside-unit", hidden: "" }, "unit ", unit);
  const legend = make("p", { class: "scale", hidden: "" });
  const canvas = make("canvas", { role: "img", hidden: "" });
  const caption = make("p", { class: "hint", hidden: "" });
  let scale = 1;

  const chosen = () => {
    if (!what.value || what.value === "surprise") return null;
    const number = clamp(Math.round(unit.valueAsNumber) || 0, 0, network.size - 1);
    return { name: what.value, unit: number };
  };

  function showScale() {
    legend.hidden = !what.value;
    unitLabel.hidden = canvas.hidden = caption.hidden = !chosen();
    if (!what.value) return;
    const one = chosen();
    const isGate = one && BETWEEN_0_AND_1.has(one.name.split(".")[1]);
    const size = one && one.name.endsWith(".cell") ? number(scale) : "1";
    let ends = ["0 bits", `${FULL_BITS} bits or more`];
    if (one) ends = isGate ? ["0, closed", "1, open"] : [`−${size}`, `+${size}`];
    legend.replaceChildren(make("span", {}, ends[0]),
      make("i", { class: one ? "two" : "one", "aria-hidden": "true" }), make("span", {}, ends[1]));
  }

  // Colour the characters from `begin` on, up to `end`.
  function colour(chars, spans, begin, end = spans.length) {
    const one = chosen();
    if (one && one.name.endsWith(".cell")) {
      for (const char of chars) scale = Math.max(scale, Math.abs(char.value ?? 0));
      showScale();
    }
    for (let i = begin; i < Math.min(end, spans.length); i += 1) {
      const { bits, value } = chars[i];
      if (one) tint(spans[i], coloured(one.name, value ?? 0, scale));
      else tint(spans[i], what.value ? bits / FULL_BITS : 0);
    }
  }

  // All units, as the network left them at its newest step. where: in words.
  function grid(state, where) {
    const one = chosen();
    if (!one) return;
    const columns = Math.ceil(Math.sqrt(network.size * 2));
    const rows = Math.ceil(network.size / columns);
    canvas.width = columns * GRID_CELL;
    canvas.height = rows * GRID_CELL;
    const style = getComputedStyle(document.documentElement);
    const colours = ["--warm", "--cold"].map((name) => style.getPropertyValue(name).trim());
    const context = canvas.getContext("2d");
    const strongest = [];
    for (let i = 0; i < network.size; i += 1) {
      const value = network.value(one.name, i, state);
      const level = clamp(coloured(one.name, value, scale), -1, 1);
      context.fillStyle = `rgb(${colours[level > 0 ? 0 : 1]} / ${Math.abs(level).toFixed(3)})`;
      const x = (i % columns) * GRID_CELL;
      const y = Math.floor(i / columns) * GRID_CELL;
      context.fillRect(x, y, GRID_CELL - 1, GRID_CELL - 1);
      if (i === one.unit) {
        context.strokeStyle = style.getPropertyValue("--ink").trim();
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, GRID_CELL - 3, GRID_CELL - 3);
      }
      strongest.push([Math.abs(level), i, value]);
    }
    strongest.sort((a, b) => b[0] - a[0]);
    const said = strongest.slice(0, 3).map(([, i, value]) => `unit ${i}: ${value.toFixed(2)}`).join("; ");
    const own = network.value(one.name, one.unit, state).toFixed(2);
    canvas.setAttribute("aria-label", `${label(one.name)}, ${network.size} units. Strongest: ${said}`);
    caption.textContent = `All ${network.size} units of the ${label(one.name)} ${where}; unit ${one.unit} is ${own}.`;
  }

  const announce = () => {
    scale = 1;
    showScale();
    changed();
  };
  what.addEventListener("change", announce);
  unit.addEventListener("input", () => { if (unit.value !== "") announce(); });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const size = (GRID_CELL * box.width) / canvas.width;
    const columns = canvas.width / GRID_CELL;
    const at = Math.floor((event.clientY - box.top) / size) * columns
      + Math.floor((event.clientX - box.left) / size);
    if (at >= network.size) return;
    unit.value = String(at);
    announce();
  });
  return {
    chosen, colour, grid,
    controls: make("div", { class: "controls" },
      make("label", { for: "inside-what" }, "colour by ", what), unitLabel, legend),
    picture: make("div", { class: "grid" }, canvas, caption),
  };
}
