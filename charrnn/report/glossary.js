// Words that a reader may not know: each is explained in a sentence at the end of the page, and the
// first places where it stands lead there.
const WORDS = {
  "bits per character": "How many yes-or-no questions the model needs, on average, to guess the next character: fewer is better, and 1 bit per character halves the choice.",
  "nats": "Bits in another unit, as natural logarithms give it: 1 nat is 1.443 bits.",
  "perplexity": "Among how many equally likely characters the model seems to choose: 2 to the power of its bits per character.",
  "clipped": "An update is clipped when its gradient is longer than a limit: it is shortened to that limit, so that no step goes too far.",
  "gate": "Numbers between 0 and 1 with which a cell decides what it lets in, keeps or shows.",
  "n-gram": "A model without a network: it counts which character follows the last few, and how often.",
  "temperature": "What scores are divided by before a character is drawn: below 1 the likely becomes likelier, above 1 the choice is wider.",
};
const PLACES = 2; // of each word that lead to its sentence

const idOf = (word) => `word-${word.replace(/[^a-z]+/g, "-")}`;

// The words that stand in the page, and the section that explains them.
function explained(parts) {
  const patterns = Object.keys(WORDS).map((word) => ({ word, left: PLACES, pattern: new RegExp(`\\b${word}s?\\b`, "i") }));
  const closed = "pre, svg, button, select, label, summary, a, code, h1, script, .legend, .panel, .box";
  for (const part of parts) {
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(closed)) nodes.push(walker.currentNode);
    for (const node of nodes) {
      for (const one of patterns) {
        const match = one.left && one.pattern.exec(node.data);
        if (!match) continue;
        one.left -= 1;
        const rest = node.splitText(match.index);
        rest.splitText(match[0].length);
        rest.replaceWith(make("a", { href: `#${idOf(one.word)}`, class: "word", title: WORDS[one.word] }, match[0]));
        break; // one word a text: the rest of it stays as it is
      }
    }
  }
  const used = patterns.filter((one) => one.left < PLACES).map((one) => one.word);
  if (!used.length) return null;
  return make("section", { id: "words", "aria-labelledby": "words-title" },
    make("h2", { id: "words-title" }, "Words"),
    make("dl", { class: "facts" }, used.map((word) =>
      make("div", { id: idOf(word) }, make("dt", {}, word), make("dd", {}, WORDS[word])))));
}
