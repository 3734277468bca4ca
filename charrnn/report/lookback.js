// Where a cache looked back: a table, and a picture with a line for each character to come and a
// column for each place that had been read.
const CELL = 9; // units of the picture

function lookbackPicture(look) {
  const left = 2 * CELL;
  const bottom = 2 * CELL;
  const width = left + CELL * look.columns.length;
  const height = CELL * look.lines.length + bottom;
  const letter = (x, y, text) =>
    draw("text", { x, y, "text-anchor": "middle", class: "letter" }, text);
  const cells = look.cells.map(([line, column, share, isRight]) => {
    const kind = isRight ? "right" : "wrong";
    const place = { x: left + CELL * column, y: CELL * line, width: CELL, height: CELL };
    // The square root shows small shares too.
    return draw("rect", { ...place, class: kind, "fill-opacity": Math.sqrt(share / 1000) });
  });
  const named = "Shares of the probability, by the character to come and the place looked back at";
  return draw("svg", {
    viewBox: `0 0 ${width} ${height}`, class: "lookback", role: "img", "aria-label": named,
  },
  draw("rect", { x: left, width: width - left, height: height - bottom, class: "frame" }),
  cells,
  look.lines.map((text, line) => letter(CELL, CELL * (line + 0.8), text)),
  look.columns.map((text, column) => letter(left + CELL * (column + 0.5), height - CELL, text)));
}

function lookbackSection(look) {
  if (!look) return null;
  const heads = ["character to come", "looked back at", "away", "share", "bits", "saved"];
  const key = "Each line is a character to come, each column a place that had been read. Darker: a "
    + "larger share of the probability. Orange: what followed there is what came.";
  return section("lookback", "Where it would look back",
    paragraph(look.said, "intro"),
    look.cells.length ? lookbackPicture(look) : null,
    look.cells.length ? paragraph(key, "hint") : null,
    look.rows.length ? make("div", WIDE,
      table(heads, look.rows, { caption: "The characters that gained most", words: 2 })) : null);
}
