// Differences to a reference, one row each: a dot for the mean, a bar for its interval, a ring for
// each seed. What lies left of zero is better.
const ROW = 46;
const LETTER = 7; // about as wide as one of a name
const INTERVALS = { top: 8, right: 16, bottom: 40, left: 16 };

function intervals(gaps, reference, unit) {
  const holder = make("div", { class: "plot" });
  const shown = gaps.map((gap) => {
    const bounds = gap.low === null ? "" : `, 95 % ${signed(gap.low)} to ${signed(gap.high)}`;
    return `${gap.name} ${signed(gap.mean)}${bounds}`;
  });
  const values = gaps.flatMap((gap) => [gap.mean, gap.low, gap.high, ...gap.seeds])
    .filter((value) => value !== null).concat([0]);
  const room = (Math.max(...values) - Math.min(...values) || 1) * 0.06;
  const low = Math.min(...values) - room;
  const high = Math.max(...values) + room;

  function redraw(isPaper) {
    const width = isPaper ? PAPER : Math.max(260, holder.clientWidth || 640);
    const height = INTERVALS.top + ROW * gaps.length + INTERVALS.bottom;
    const base = height - INTERVALS.bottom;
    const inner = width - INTERVALS.left - INTERVALS.right;
    const at = (value) => INTERVALS.left + ((value - low) / (high - low)) * inner;
    const label = (x, y, anchor, text) => draw("text", { x, y, "text-anchor": anchor }, text);
    const marks = ticks(low, high, width / 110);
    holder.replaceChildren(draw("svg", {
      role: "img", viewBox: `0 0 ${width} ${height}`,
      "aria-label": `Differences to ${reference}, ${unit}: ${shown.join("; ")}`,
    },
    draw("g", { class: "axes" },
      marks.map((value) => draw("line", { x1: at(value), x2: at(value), y1: INTERVALS.top, y2: base })),
      marks.map((value) => label(at(value), base + 17, "middle", signed(value, 6))),
      label(INTERVALS.left, base + 33, "start", "← better"),
      label(width - INTERVALS.right, base + 33, "end", "worse →")),
    draw("line", { class: "zero", x1: at(0), x2: at(0), y1: INTERVALS.top, y2: base }),
    gaps.map((gap, place) => row(gap, INTERVALS.top + ROW * place, at, width))));
  }

  // Above its dot, and inside the frame.
  function named(words, x, y, width) {
    const half = LETTER * words.length / 2;
    if (x - half < INTERVALS.left) return { x: INTERVALS.left, y, "text-anchor": "start" };
    if (x + half > width - INTERVALS.right) return { x: width - INTERVALS.right, y, "text-anchor": "end" };
    return { x, y, "text-anchor": "middle" };
  }

  function row(gap, top, at, width) {
    const y = top + 30;
    const words = `${gap.name}  ${signed(gap.mean)}`;
    return draw("g", { class: `gap series-${gap.colour}` },
      draw("text", named(words, at(gap.mean), top + 14, width), words),
      gap.low === null ? null : [
        draw("line", { class: "reach", x1: at(gap.low), x2: at(gap.high), y1: y, y2: y }),
        [gap.low, gap.high].map((end) => draw("line", { class: "reach", x1: at(end), x2: at(end), y1: y - 5, y2: y + 5 })),
      ],
      gap.seeds.length > 1 ? gap.seeds.map((value) => draw("circle", { class: "seed", cx: at(value), cy: y, r: 3 })) : null,
      draw("circle", { class: "mean", cx: at(gap.mean), cy: y, r: 5 }));
  }

  redraw(false);
  REDRAWN.push(redraw);
  let drawn = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth && Math.abs(holder.clientWidth - drawn) > 1) {
      drawn = holder.clientWidth;
      redraw(false);
    }
  }).observe(holder);
  return make("figure", { class: "intervals" },
    make("figcaption", {}, make("h3", {}, `Difference to ${reference}`, make("small", {}, ` ${unit}`))),
    holder);
}

function signed(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value) < 0.0005 ? Math.abs(value).toPrecision(1) : String(+Math.abs(value).toFixed(digits));
  return `${value < 0 ? "−" : "+"}${size}`;
}
