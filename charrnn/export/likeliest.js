// What could stand behind a character of a text: the ten likeliest characters, each a button.
const MOST_LIKELY = 10;

// chosen(id): called when a person takes one. back(): when they go back to the text.
function likeliestPanel(chosen, back) {
  const heading = make("p", { class: "hint", id: "likeliest-title" });
  const list = make("ol", { class: "likeliest", "aria-labelledby": "likeliest-title" });
  const element = make("div", { class: "likeliest-panel", hidden: "" }, heading, list);
  element.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") back();
    else if (step) buttons[clamp(at + step, 0, buttons.length - 1)]?.focus();
    else return;
    event.preventDefault();
  });

  // story: the text. count: how many of its characters stand before the place.
  function show(story, count) {
    const { symbols, unit } = story.machine.model.text;
    const name = (id) => {
      const byte = unit === "byte" ? symbols[id] : symbols[id] - MAX_CODE;
      if (byte >= (unit === "byte" ? 0x80 : 0)) return `\\x${byte.toString(16).padStart(2, "0")}`;
      return named(String.fromCodePoint(symbols[id]));
    };
    const shares = plainShares(story.scoresAfter(count));
    const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
    const next = story.ids[count ? story.chars[count - 1].end : 1];
    const before = story.chars.slice(Math.max(0, count - 8), count).map((char) => char.text).join("");
    heading.textContent = `The ten likeliest after “${legible(before)}”. Choose one to go on from there.`;
    list.replaceChildren(...order.slice(0, MOST_LIKELY).map((id) => {
      const percent = (100 * shares[id]).toFixed(1);
      const bar = make("i", { "aria-hidden": "true" });
      bar.style.setProperty("--share", `${percent}%`);
      const stands = id === next ? ", stands there now" : "";
      const label = `${name(id)}, ${percent} percent${stands}`;
      const button = make("button", { type: "button", class: id === next ? "hit" : null, "aria-label": label },
        make("b", {}, name(id)), bar, make("span", {}, `${percent} %`));
      button.addEventListener("click", () => chosen(id));
      return make("li", {}, button);
    }));
    element.hidden = false;
  }
  const focus = () => list.querySelector("button")?.focus();
  const hide = () => { element.hidden = true; };
  return { element, show, focus, hide };
}
