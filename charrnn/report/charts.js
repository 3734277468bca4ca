// Line charts: SVG drawn to the width there is, a legend that reads the values out, and the same
// numbers as a table.

// Charts that are read together, by group: what puts their reading position at an x.
const GROUPS = {};
// What draws each chart again: for paper, or for the screen.
const REDRAWN = [];
const PAPER = 690; // pixels between the margins of A4
const MARGIN = { top: 14, right: 14, bottom: 34, left: 54 };

function ticks(low, high, about) {
  const raw = (high - low) / Math.max(1, about) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
  const values = [];
  const start = Math.ceil(low / step - 1e-9);
  for (let k = 0; k < 30 && (start + k) * step <= high + step * 1e-9; k += 1) {
    values.push(+((start + k) * step).toPrecision(12));
  }
  return values;
}

function logTicks(low, high) {
  const values = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1; power += 1) {
    for (const digit of [1, 2, 5]) values.push(+(digit * 10 ** power).toPrecision(3));
  }
  const within = values.filter((at) => at > 0 && at >= low * 0.999 && at <= high * 1.001);
  const decades = within.filter((at) => Math.abs(Math.log10(at) % 1) < 1e-9);
  if (within.length <= 6 || decades.length <= 1) return within;
  return decades.filter((_, k) => k % Math.ceil(decades.length / 6) === 0);
}

function valueAt(series, x) {
  let low = 0;
  let high = series.x.length - 1;
  if (high < 0) return null;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (series.x[middle] < x) low = middle + 1; else high = middle;
  }
  return low > 0 && x - series.x[low - 1] < series.x[low] - x ? low - 1 : low;
}

const written = (spec, value) =>
  (spec.digits && value !== null ? value.toFixed(spec.digits) : number(value));

function chart(spec) {
  const across = spec.across;
  const xs = [...new Set(spec.series.flatMap((series) => series.x))].sort((a, b) => a - b);
  const keys = spec.series.map((series, index) => {
    const value = make("span", { class: "value" });
    const element = make("span", { class: `key ${kindOf(series, index)}` },
      make("i", { "aria-hidden": "true" }), series.name, " ", value);
    return { element, value };
  });
  const rules = spec.rules.filter((rule) => spec.tall && rule.side !== "right").map((rule) =>
    make("span", { class: "key ruled" }, make("i", { "aria-hidden": "true" }), rule.name, " ",
      make("span", { class: "value" }, written(spec, rule.y))));
  const where = make("span", { class: "where" });
  const holder = make("div", { class: "plot" });
  const overlay = make("div",
    { class: "overlay", role: "slider", "aria-label": `Reading position: ${spec.title}` });
  const figure = make("figure", { id: `chart-${spec.id}`, class: spec.tall ? "chart tall" : "chart" },
    make("figcaption", {},
      make("h3", {}, spec.title, spec.unit ? make("small", {}, ` ${spec.unit}`) : null),
      make("p", { class: "legend" }, keys.map((key) => key.element), rules, where)),
    holder,
    make("p", { class: "said" }, [spec.said, spec.note].filter(Boolean).join(" ")),
    make("details", {}, make("summary", {}, `${spec.title} in numbers`), numbers(spec, xs)));
  const named = [spec.title, spec.unit].filter(Boolean).join(", ");
  // What redraw() makes: the scale, the mark of the reading position, a dot on each line.
  let scale = null;
  let mark = null;
  let dots = [];

  function redraw(isPaper) {
    const onPaper = spec.tall ? PAPER : PAPER / 3 - 12;
    const width = isPaper ? Math.round(onPaper) : Math.max(260, holder.clientWidth || 640);
    const tall = width < 500 || isPaper ? 210 : 340;
    const low = isPaper ? 130 : 180;
    const height = spec.tall ? tall : low;
    scale = scales(spec, xs, width, height);
    mark = draw("line", { class: "mark", y1: MARGIN.top, y2: height - MARGIN.bottom });
    dots = spec.series.map(() => draw("circle", { class: "dot", r: 4 }));
    const svg = draw("svg", {
      role: "img",
      viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${named}, against ${across}. ${spec.said}`,
    },
    axes(scale, across),
    inside(scale, spec.series.map((series, index) => line(series, index, scale))),
    spec.rules.map((rule) => ruled(rule, scale, written(spec, rule.y), spec)),
    mark, dots);
    holder.replaceChildren(svg, overlay);
  }

  function place(x) {
    const at = scale.x(x);
    mark.setAttribute("x1", at);
    mark.setAttribute("x2", at);
    const said = spec.series.map((series, index) => {
      const nearest = valueAt(series, x);
      const value = nearest === null ? null : series.y[nearest];
      const shown = written(spec, value) + (spec.unit === "%" ? " %" : "");
      keys[index].value.textContent = shown;
      dots[index].setAttribute("visibility", value === null ? "hidden" : "visible");
      if (value !== null) {
        dots[index].setAttribute("cx", scale.x(series.x[nearest]));
        dots[index].setAttribute("cy", Math.max(MARGIN.top, scale.y(value)));
      }
      return `${series.name} ${shown}`;
    });
    where.textContent = across === "step" ? `at step ${number(x)}` : `at ${number(x)} ${across}`;
    return `${where.textContent}: ${said.join(", ")}`;
  }

  redraw(false);
  const together = (GROUPS[spec.group] = GROUPS[spec.group] || []);
  const nearest = (x) => xs.reduce((best, other, index) =>
    (Math.abs(other - x) < Math.abs(xs[best] - x) ? index : best), 0);
  let isCalled = false;
  const reading = reader(overlay, () => xs.length - 1, xs.length - 1, (position, isHeld) => {
    const said = place(xs[position]);
    if (!isCalled) {
      for (const other of together) {
        if (other.figure !== figure) other.follow(xs[position], isHeld);
      }
    }
    return said;
  }, (event) => {
    const box = overlay.getBoundingClientRect();
    return nearest(scale.back((event.clientX - box.left) / box.width));
  });
  together.push({
    figure,
    follow(x, isHeld) {
      isCalled = true;
      reading.show(nearest(x), isHeld);
      isCalled = false;
    },
  });
  REDRAWN.push((isPaper) => {
    redraw(isPaper);
    reading.show(reading.held(), false);
  });
  let drawn = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth && Math.abs(holder.clientWidth - drawn) > 1) {
      drawn = holder.clientWidth;
      redraw(false);
      reading.show(reading.held(), false);
    }
  }).observe(holder);
  return figure;
}

function scales(spec, xs, width, height) {
  const values = spec.series
    .flatMap((series) => [...series.y, ...(series.low || []), ...(series.high || []),
      ...(series.strands || []).flatMap((strand) => strand.y)])
    .concat(spec.rules.map((rule) => rule.y))
    .filter((value) => value !== null && (!spec.log || value > 0));
  let low = Math.min(...values);
  let high = spec.high ?? Math.max(...values, spec.least || -Infinity);
  if (!spec.log) {
    const room = (high - low || Math.abs(high) || 1) * 0.05;
    low = low >= 0 && low - room < (high - low) * 0.12 ? 0 : low - room;
    high += spec.high ? 0 : room;
  } else if (high / low < 1.2) {
    low /= 1.2;
    high *= 1.2;
  }
  // One point alone stands in the middle. Steps begin at 0.
  let first = xs[0] - 1;
  let right = xs[0] + 1;
  if (xs.length > 1) {
    first = spec.across === "step" ? Math.min(0, xs[0]) : xs[0];
    const ends = spec.series.flatMap((series) => (series.strands || []).flatMap((strand) => strand.x.slice(-1)));
    right = Math.max(xs[xs.length - 1], ...ends);
  }
  const inner = { x: width - MARGIN.left - MARGIN.right, y: height - MARGIN.top - MARGIN.bottom };
  const up = (value) => {
    if (!spec.log) return (value - low) / (high - low);
    return (Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low));
  };
  return {
    width, height, first, right, low, high, log: spec.log,
    x: (value) => MARGIN.left + ((value - first) / (right - first)) * inner.x,
    y: (value) => height - MARGIN.bottom - up(value) * inner.y,
    back: (share) => first + ((share * width - MARGIN.left) / inner.x) * (right - first),
  };
}

function axes(scale, across) {
  const isLong = (value) => Math.abs(value) >= 10000 && value % 1000 === 0;
  const short = (value) => (isLong(value) ? `${value / 1000}k` : number(value));
  const rows = scale.log
    ? logTicks(scale.low, scale.high)
    : ticks(scale.low, scale.high, scale.height / 52);
  const columns = ticks(scale.first, scale.right, scale.width / 110)
    .filter((value) => across === "seconds" || Number.isInteger(value));
  const base = scale.height - MARGIN.bottom;
  const end = scale.width - MARGIN.right;
  const label = (x, y, anchor, text) => draw("text", { x, y, "text-anchor": anchor }, text);
  return draw("g", { class: "axes" },
    rows.map((value) => level(scale.y(value), scale)),
    rows.map((value) => label(MARGIN.left - 8, scale.y(value) + 4, "end", short(value))),
    columns.map((value) => label(scale.x(value), base + 17, "middle", short(value))),
    label(end, base + 31, "end", across));
}

// A line across, from one end of the chart to the other.
function level(y, scale) {
  return draw("line", { x1: MARGIN.left, x2: scale.width - MARGIN.right, y1: y, y2: y });
}

// A line across. In a large chart, where curves lie beside it, its name stands in the legend; else at
// its right end. Above the chart's end it is only named.
function ruled(rule, scale, value, spec) {
  const isAbove = rule.y > scale.high;
  const y = isAbove ? MARGIN.top - 8 : scale.y(rule.y);
  const place = {
    x: scale.width - MARGIN.right, y: y < MARGIN.top + 8 ? y + 14 : y - 5, "text-anchor": "end",
  };
  const isInLegend = spec.tall && rule.side !== "right";
  return draw("g", { class: "rule" },
    isAbove ? null : level(y, scale),
    isInLegend && !isAbove ? null
      : draw("text", place, `${isAbove ? "↑ " : ""}${rule.name} ${value}`));
}

// What would reach out of the chart is cut off there.
function inside(scale, parts) {
  const x = MARGIN.left - 4;
  const y = MARGIN.top - 4;
  const width = scale.width - x;
  const height = scale.height - MARGIN.bottom - y + 4;
  const viewBox = `${x} ${y} ${width} ${height}`;
  return draw("svg", { x, y, width, height, viewBox, overflow: "hidden" }, parts);
}

const kindOf = (series, index) => {
  const colour = `series-${series.colour ?? index}`;
  return `${colour} ${series.points ? "pointed" : "plain"}${series.strands ? " strong" : ""}`;
};

function line(series, index, scale) {
  const at = (x, y) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`;
  const points = series.x.map((x, k) => at(x, series.y[k]));
  const parts = (series.strands || []).map((strand) => draw("polyline",
    { class: "line strand", points: strand.x.map((x, k) => at(x, strand.y[k])).join(" ") }));
  if (series.low) {
    const up = series.x.map((x, k) => at(x, series.high[k]));
    const down = series.x.map((x, k) => at(x, series.low[k])).reverse();
    parts.push(draw("polygon", { class: "band", points: [...up, ...down].join(" ") }));
  }
  parts.push(draw("polyline", { class: "line", points: points.join(" ") }));
  if (series.points || series.x.length === 1) {
    const r = series.x.length > 40 ? 1.6 : 2.6;
    parts.push(series.x.map((x, k) =>
      draw("circle", { class: "point", cx: scale.x(x), cy: scale.y(series.y[k]), r })));
  }
  return draw("g", { class: kindOf(series, index) }, parts);
}

function numbers(spec, xs) {
  const pointed = spec.series.filter((series) => series.points).flatMap((series) => series.x);
  const wanted = pointed.length ? pointed : xs;
  const every = Math.max(1, Math.ceil(wanted.length / 40));
  const last = wanted.length - 1;
  const chosen = wanted.filter((_, index) => index % every === 0 || index === last);
  const rows = chosen.map((x) => [number(x), ...spec.series.map((series) => {
    const nearest = valueAt(series, x);
    return written(spec, nearest === null ? null : series.y[nearest]);
  })]);
  const rules = spec.rules.map((rule) => `${rule.name}: ${written(spec, rule.y)}`).join("; ");
  const heads = [spec.across, ...spec.series.map((series) => series.name)];
  const caption = [spec.title, spec.unit, rules].filter(Boolean).join("; ");
  return table(heads, rows, { caption });
}
