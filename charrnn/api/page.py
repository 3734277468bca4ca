"""A run in a notebook: its loss curve, its score and some samples, as a piece of HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from charrnn.api.history import Column, History
from charrnn.scoring.score import Score
from charrnn.terminal import visible

WIDTH = 480
HEIGHT = 120
MARGIN = 8
# Of the curve of every step: more points than it has pixels show nothing more.
MOST_POINTS = 400


def run_page(about: str, score: Score, history: History, samples: Sequence[str]) -> str:
    """Return the HTML. about: one line on the network. Nothing in it is taken as markup."""
    lines = "\n".join(html.escape(visible(text)) for text in samples)
    figures = f"{score.bits_per_char:.3f} bits ({score.nats_per_char:.3f} nats) per character"
    return (
        "<div>"
        f"<p><b>{html.escape(visible(about))}</b><br>validation: {figures}</p>"
        f"{_curve(history)}"
        f"<pre>{lines}</pre>"
        "</div>"
    )


def _curve(history: History) -> str:
    """Return training and validation over steps as an SVG; empty where nothing was evaluated."""
    learnt = _points(history.steps["step"], history.steps["train_nats_per_char"])
    judged = _points(history.evaluations["step"], history.evaluations["val_nats_per_char"])
    judged = [point for point in judged if point[0] > 0] or judged
    everything = learnt + judged
    if len(judged) < 2:
        return ""
    last = max(step for step, _ in everything) or 1.0
    low = min(nats for _, nats in everything)
    high = max(nats for _, nats in everything)
    span = (high - low) or 1.0

    def path(points: list[tuple[float, float]]) -> str:
        places = []
        for step, nats in points:
            x = MARGIN + (WIDTH - 2 * MARGIN) * step / last
            y = MARGIN + (HEIGHT - 2 * MARGIN) * (high - nats) / span
            places.append(f"{x:.1f},{y:.1f}")
        return " ".join(places)

    line = '<polyline fill="none" stroke="{}" stroke-width="{}" points="{}"/>'
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="nats per character, '
        f'from {high:.2f} down to {low:.2f}, over {last:,.0f} steps">'
        + line.format("#9aa5b1", 1, path(learnt))
        + line.format("#c2410c", 2, path(judged))
        + "</svg><br><small>nats per character over steps: training grey, validation red</small>"
    )


def _points(steps: Column, values: Column) -> list[tuple[float, float]]:
    pairs = zip(steps, values, strict=True)
    points = [(step, value) for step, value in pairs if step is not None and value is not None]
    return points[:: max(1, len(points) // MOST_POINTS)]
