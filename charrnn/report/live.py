"""A page about a training that goes on: its curve, newest samples, pace and the time left.

It has no script and refreshes itself, so that it works from the disk. What it shows it is told.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from dataclasses import dataclass, field

from charrnn.export.shell import legible

REFRESH_S = 3
MOST_POINTS = 600  # of the training curve: then every second one goes
MOST_SAMPLES = 3
SAMPLE_CHARS = 1200
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 34
Points = list[tuple[int, float]]

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfbf8; --ink: #1f1e1b; --muted: #5f5d56;
  --hair: #e0ddd4; --train: #b0500c; --val: #1a5f9e; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181b; --ink: #e8e5de; --muted: #a8a59c;
  --hair: #34363b; --train: #eda05c; --val: #7db6ec; } }
body { max-width: 46rem; margin: 0 auto; padding: 2rem 1.25rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.8rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; }
p.now { color: var(--muted); font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; } text { font-size: 12px; fill: var(--muted); }
line { stroke: var(--hair); } polyline { fill: none; stroke-width: 1.5; }
.train { stroke: var(--train); color: var(--train); }
.val { stroke: var(--val); color: var(--val); }
circle.val { fill: var(--val); } span.train, span.val { font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 2px solid var(--hair);
  padding-left: 0.8rem; font: 0.9rem/1.5 ui-monospace, monospace; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{hash}'">
{refresh}<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="now">{now}</p>
<p><span class="train">training</span> and <span class="val">validation</span>, bits per \
{noun}; fewer are better</p>
{curve}
{samples}
</main>
</body>
</html>
"""


@dataclass
class Live:
    """What is known of a training. learnt, scored: bits per character by step."""

    title: str
    noun: str = "character"
    step: int = 0
    total_steps: int | None = None
    chars_per_s: float | None = None
    seconds_left: float | None = None
    end: str = ""
    learnt: Points = field(default_factory=list)
    scored: Points = field(default_factory=list)
    samples: list[tuple[int, str]] = field(default_factory=list)

    def learn(self, step: int, bits: float) -> None:
        """Take in a point of the training curve."""
        if not math.isfinite(bits):
            return
        self.learnt.append((step, bits))
        if len(self.learnt) > MOST_POINTS:
            del self.learnt[::2]

    def write(self, step: int, text: str) -> None:
        """Take in what the network wrote."""
        self.samples = [(step, text[:SAMPLE_CHARS]), *self.samples[: MOST_SAMPLES - 1]]


def live_page(live: Live) -> bytes:
    """Return the page in UTF-8."""
    shown = [
        f"<h2>At step {step:,}</h2>\n<pre>{_escaped(text)}</pre>" for step, text in live.samples
    ]
    return _PAGE.format(
        hash=base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode(),
        refresh="" if live.end else f'<meta http-equiv="refresh" content="{REFRESH_S}">\n',
        title=_escaped(live.title),
        style=_STYLE,
        now=_escaped(_now(live)),
        noun=live.noun,
        curve=_curve(live),
        samples="\n".join(shown),
    ).encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return html.escape(legible(text))


def _now(live: Live) -> str:
    parts = [f"step {live.step:,}"]
    if live.total_steps:
        parts[0] += f" of {live.total_steps:,}"
    if live.scored:
        best = min(bits for _, bits in live.scored)
        parts.append(f"best {best:.3f} bits per {live.noun}")
    if live.end:
        return ", ".join([*parts, live.end])
    if live.chars_per_s:
        parts.append(f"{live.chars_per_s:,.0f} {live.noun}s a second")
    if live.seconds_left is not None:
        minutes, seconds = divmod(round(live.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02} left")
    return ", ".join(parts)


def _curve(live: Live) -> str:
    """Return both curves as SVG, with a scale."""
    values = [bits for _, bits in (*live.learnt, *live.scored)]
    if not values:
        return ""
    low = math.floor(min(values) * 2) / 2
    high = max(low + 0.5, math.ceil(max(values) * 2) / 2)
    last = max(1, live.total_steps or 0, *(step for step, _ in (*live.learnt, *live.scored)))

    def place(step: int, bits: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - bits) / (high - low)
        return round(x, 1), round(y, 1)

    parts = []
    for k in range(5):
        bits = low + (high - low) * k / 4
        _, y = place(0, bits)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{bits:.2f}</text>')
    label = f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">step {last:,}</text>'
    parts.append(label)
    for kind, points in (("train", live.learnt), ("val", live.scored)):
        line = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline class="{kind}" points="{line}"/>')
    for point in live.scored:
        x, y = place(*point)
        parts.append(f'<circle class="val" cx="{x}" cy="{y}" r="2.6"/>')
    said = f"Bits per {live.noun} by step; newest {values[-1]:.3f}"
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">\n{body}\n</svg>'
