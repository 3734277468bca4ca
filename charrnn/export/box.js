// The box in which a person writes with the model: a beginning, how it writes, and what it wrote.
const LINE_LENGTH = 1000; // a line that has not ended by then is cut
const STREAM_LENGTH = 500;
const LINES = 10;
const MOST_SEED = 1_000_000;
// What was written stands in blocks: the browser lays out the one that grows, and of the others those
// in sight. In one block, 10,000 characters or 1,500 lines took 90 ms of every slice.
const BLOCK_CHARS = 300;
const BLOCK_LINES = 60;
const COLOURED = 50; // characters that are coloured in a turn

function field(id, label, attributes, hint) {
  const input = make("input", { id, ...attributes });
  return { input, label: make("label", { for: id }, `${label} `, input, hint ? make("small", {}, hint) : null) };
}

function writingBox(model) {
  const machine = machineOf(model);
  const { lines } = model;
  let stories = []; // each with the element and the spans of its characters
  let cursor = null; // {story, index}: the character that is read
  let stop = null; // ends the work that goes on
  let amount = 0; // of the newest press: lines, or characters

  // 1. The controls.
  const begin = make(lines ? "input" : "textarea", {
    id: "box-begin", rows: lines ? null : "2", spellcheck: "false", autocomplete: "off", type: lines ? "text" : null,
  });
  const button = (text, kind) => make("button", { type: "button", class: kind || null }, text);
  const write = button("Write", "primary");
  const halt = button("Stop");
  const on = button("Go on");
  const copy = button("Copy");
  const temperature = field("box-temperature", "temperature",
    { type: "range", min: "0", max: "2", step: "0.05", value: "0.8" });
  const shownTemperature = make("output", { for: "box-temperature" });
  temperature.label.append(shownTemperature);
  const count = field("box-count", lines ? "lines" : "characters",
    { type: "number", min: "1", max: "10000", value: String(lines ? LINES : STREAM_LENGTH) });
  const seed = field("box-seed", "seed", { type: "number", min: "0", max: "999999999", value: "1" });
  const fresh = field("box-fresh", "a new seed each time", { type: "checkbox" });
  fresh.input.checked = true;
  const topK = field("box-top-k", "top-k", { type: "number", min: "0", value: "0" }, "0: all");
  const topP = field("box-top-p", "top-p", { type: "number", min: "0.01", max: "1", step: "0.01", value: "1" }, "1: all");
  const label = make("select", { id: "box-label" },
    make("option", { value: "0" }, "any"),
    model.labels.names.map((name, k) => make("option", { value: String(k + 1) }, name)));
  const labelled = model.labels.names.length
    ? make("label", { for: "box-label" }, "label ", label) : null;
  const minP = field("box-min-p", "min-p", { type: "number", min: "0", max: "1", step: "0.01", value: "0" }, "0: all");

  // 2. The text.
  const said = make("p", { class: "hint", role: "status" });
  const out = make(lines ? "div" : "pre", {
    class: lines ? "written" : "written text", id: "box-out", tabindex: "0", role: "group",
    "aria-label": "What it wrote", "aria-describedby": "box-help",
  });
  const spoken = make("p", { class: "unseen", role: "status" });
  const likeliest = likeliestPanel(choose, () => out.focus());
  const inside = insideView(machine.network, model.shape.layers, reread);
  const places = new WeakMap(); // span -> its place

  const clean = (input, least, most, other) => {
    const value = input.valueAsNumber;
    return Number.isFinite(value) ? clamp(value, least, most) : other;
  };
  const how = () => ({
    temperature: clean(temperature.input, 0, 2, 0.8),
    topK: Math.floor(clean(topK.input, 0, 1e6, 0)),
    topP: clean(topP.input, 1e-6, 1, 1),
    minP: clean(minP.input, 0, 1, 0),
  });
  const showTemperature = () => { shownTemperature.textContent = Number(temperature.input.value).toFixed(2); };

  function busy(isBusy) {
    halt.disabled = !isBusy;
    on.disabled = isBusy || !stories.length;
    copy.disabled = !stories.length;
    out.setAttribute("aria-busy", String(isBusy));
  }

  // 3. Writing.
  function newStory(ids, stream) {
    const begun = Math.floor(clean(seed.input, 0, 999999999, 1));
    const story = new Story(machine, ids, begun, stream, Number(label.value));
    story.prompt = ids;
    story.spans = [];
    story.block = null;
    story.element = lines ? make("span", { class: "line" }) : out;
    story.mark = null;
    story.looks = inside.chosen();
    if (lines) {
      if (!(out.lastChild?.childElementCount < BLOCK_LINES)) out.append(make("ol", { class: "block" }));
      out.lastChild.append(make("li", {}, story.element));
    }
    stories.push(story);
    return story;
  }

  function press() {
    stop?.();
    likeliest.hide();
    cursor = null;
    if (fresh.input.checked) seed.input.value = String(Math.floor(Math.random() * MOST_SEED));
    const { ids, unknown } = machine.codec.encode(begin.value);
    stories = [];
    out.replaceChildren();
    amount = Math.floor(clean(count.input, 1, 10000, lines ? LINES : STREAM_LENGTH));
    const left = unknown.map((char) => `“${legible(char)}”`).join(", ");
    const warning = unknown.length ? `This model does not know ${left}: left out. ` : "";
    if (!lines) newStory(ids, 0);
    run(ids, lines ? amount : 0, warning);
  }

  // Write `more` new lines that begin with ids; of a stream, `amount` more characters.
  function run(ids, more, warning) {
    const decoding = how();
    const from = stories.length;
    let story = lines ? null : stories[0];
    let most = lines ? LINE_LENGTH : story.drawn + amount;
    let number = 0;
    const turn = () => {
      if (story && story.advance(decoding, most)) return true;
      if (!lines) return false;
      if (story) finished(story);
      if (number === more) return false;
      story = newStory(ids, from + number);
      number += 1;
      return true;
    };
    go(turn, () => story, warning);
  }

  function go(turn, story, warning) {
    const begun = performance.now();
    const before = stories.reduce((sum, one) => sum + one.drawn, 0);
    busy(true);
    said.textContent = `${warning}Writing …`;
    stop = inSlices(turn, () => show(story()), (wasStopped) => {
      stop = null;
      stories.forEach(show);
      busy(false);
      const chars = stories.reduce((sum, one) => sum + one.drawn, 0) - before;
      const pace = chars / Math.max(1e-3, (performance.now() - begun) / 1000);
      said.textContent = `${warning}${wasStopped ? "Stopped. " : ""}${summary()} Seed ${stories[0]?.seed}; `
        + `${number(Math.round(pace))} characters a second.`;
    });
  }

  function summary() {
    if (!lines) return `${number(stories[0].drawn)} characters.`;
    const over = stories.filter((story) => story.isOver);
    const counted = `${number(over.length)} ${over.length === 1 ? "line" : "lines"}`;
    if (!machine.hasFilters) return `${counted}.`;
    return `${counted}, ${number(over.filter((story) => story.isNew).length)} of them new.`;
  }

  function finished(story) {
    show(story);
    if (!machine.hasFilters || !story.isOver) return;
    story.isNew = !machine.isKnown(story.text.replace(/\n$/, ""));
    story.mark?.remove();
    story.mark = make("small", { class: story.isNew ? "new" : "known" }, story.isNew ? "new" : "known");
    story.element.after(" ", story.mark);
  }

  function show(story) {
    if (!story) return;
    const first = story.spans.length;
    for (const char of story.chars.slice(first)) {
      const isEnd = lines && char.text === "\n";
      const span = make("span", { class: char.isDrawn ? "char" : "char given" }, isEnd ? "" : legible(char.text));
      places.set(span, { story, index: story.spans.length });
      blockOf(story).append(span);
      story.spans.push(span);
    }
    if (first === story.spans.length) return;
    inside.colour(story.chars, story.spans, first);
    inside.grid(story.state, "after the newest character");
  }

  // What the next character stands in. Blocks end where lines do.
  function blockOf(story) {
    if (lines) return story.element;
    const isFull = story.block?.childElementCount >= BLOCK_CHARS;
    if (!story.block || (isFull && story.chars[story.spans.length - 1].text === "\n")) {
      story.block = make("span", { class: "block" });
      story.element.append(story.block);
    }
    return story.block;
  }

  // Take away what stands behind some characters.
  function cutBehind(story, count) {
    story.spans.length = count;
    const last = story.spans[count - 1];
    if (!lines) {
      story.block = last.parentElement;
      while (story.element.lastChild !== story.block) story.element.lastChild.remove();
    }
    const holder = last.parentElement;
    while (holder.lastChild !== last) holder.lastChild.remove();
  }

  // 4. Reading: a place in the text, and what could follow it.
  function readAt(story, index, opens) {
    if (cursor) cursor.story.spans[cursor.index]?.classList.remove("read");
    cursor = { story, index };
    const span = story.spans[index];
    span.classList.add("read");
    span.scrollIntoView({ block: "nearest" });
    const { text, bits } = story.chars[index];
    spoken.textContent = `${named(text)}, ${number(bits)} bits`;
    if (!opens) return;
    stop?.();
    likeliest.show(story, index + 1);
    inside.grid(story.stateAt, `after “${named(text)}”`);
  }

  function choose(id) {
    const { story, index } = cursor;
    stop?.();
    likeliest.hide();
    cutBehind(story, index + 1);
    story.cut(index + 1, [id]);
    story.isOver = id === model.newline;
    const decoding = how();
    const most = lines ? LINE_LENGTH : story.drawn + amount;
    const turn = () => {
      if (story.waiting.length || !story.isOver) {
        if (story.advance(decoding, most)) return true;
      }
      if (lines) finished(story);
      return false;
    };
    out.focus();
    go(turn, () => story, "");
  }

  // Another unit colours the text: what it did at each character is computed again.
  function reread() {
    const looks = inside.chosen();
    if (!stories.length) return;
    stop?.();
    const work = rereading(looks);
    busy(true);
    stop = inSlices(() => !work.next().done, () => {}, () => {
      stop = null;
      busy(false);
      inside.grid(stories[stories.length - 1].state, "after the newest character");
    });
  }

  function* rereading(looks) {
    for (const story of stories) {
      if (looks) yield* story.reading(looks);
      else story.looks = null;
      const count = story.spans.length;
      for (let first = 0; first < count; first += COLOURED) {
        inside.colour(story.chars, story.spans, first, first + COLOURED);
        // The browser works out their colours here, so that a slice has an end in time for it.
        getComputedStyle(story.spans[first]).getPropertyValue("background-color");
        yield;
      }
    }
  }

  function moved(step) {
    const all = stories.flatMap((story) => story.spans);
    if (!all.length) return;
    const at = cursor ? all.indexOf(cursor.story.spans[cursor.index]) : -1;
    const { story, index } = places.get(all[clamp(at + step, 0, all.length - 1)]);
    readAt(story, index, false);
  }

  // 5. What a person does.
  write.addEventListener("click", press);
  halt.addEventListener("click", () => stop?.());
  on.addEventListener("click", () => {
    likeliest.hide();
    run(lines ? stories[0].prompt : [], lines ? amount : 0, "");
  });
  copy.addEventListener("click", async () => {
    const text = stories.map((story) => story.text).join("");
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(out);
      said.textContent = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C to copy.";
    }
  });
  begin.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    press();
  });
  temperature.input.addEventListener("input", showTemperature);
  out.addEventListener("click", (event) => {
    const place = places.get(event.target);
    if (place) readAt(place.story, place.index, true);
  });
  out.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (step) moved(step);
    else if (event.key === "Enter" && cursor) {
      readAt(cursor.story, cursor.index, true);
      likeliest.focus();
    } else return;
    event.preventDefault();
  });
  const element = make("div", { class: "box" },
    make("label", { class: "begin", for: "box-begin" }, "Begin with ", begin),
    make("div", { class: "buttons" }, write, halt, on, copy),
    make("div", { class: "controls" }, labelled, temperature.label, count.label, seed.label, fresh.label),
    make("details", {}, make("summary", {}, "Leave unlikely characters out"),
      make("div", { class: "controls" }, topK.label, topP.label, minP.label)),
    said, out,
    make("p", { class: "hint", id: "box-help" },
      "Click a character, or move with the arrow keys and press Enter: the ten likeliest characters "
      + "behind it appear, and you choose one."),
    spoken, likeliest.element,
    make("h3", {}, "Look inside"), inside.controls, inside.picture);
  element.addEventListener("keydown", (event) => { if (event.key === "Escape") stop?.(); });
  showTemperature();
  busy(false);
  return element;
}
