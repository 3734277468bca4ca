"""Draw the pictures of docs/lecture.md from the labs: one idea a picture.

    python docs/pictures.py                 # all of them, in two minutes
    python docs/pictures.py vanish lstm     # these alone
    python docs/pictures.py --list          # their names

Needs matplotlib: pip install -c constraints.txt -e '.[plot]'. The figures are those of the labs
with seed 1. A chaotic training (explode) may differ between processors.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from charrnn.lab.depth import depth
from charrnn.lab.explode import explode
from charrnn.lab.gradients import vanish
from charrnn.lab.memory import memory
from charrnn.lab.result import Panel, Result, Series
from charrnn.picture import COLOURS, GREY, curves

FOLDER = Path(__file__).resolve().parent / "pictures"
SEED = 1
LAGS = 64
ORDERS = range(1, 9)  # of the counted n-grams


def progress(text: str) -> None:
    print(text, file=sys.stderr)


LABS: dict[str, Callable[[], Result]] = {
    "vanish": lambda: vanish(None, LAGS, SEED, progress),
    "explode": lambda: explode(SEED, progress),
    "depth": lambda: depth("rnn", SEED, progress),
    "memory": lambda: memory(None, SEED, progress),
}


@cache
def result_of(lab: str) -> Result:
    """Run a lab, once."""
    return LABS[lab]()


@dataclass(frozen=True)
class Chosen:
    """A picture of some curves of a lab."""

    title: str
    lab: str
    curves: dict[tuple[str, str], str]  # (panel, curve) of the lab -> its name in the picture
    x_label: str = ""  # "": the lab's
    y_label: str = ""

    def draw(self) -> bytes:
        """Return the picture as SVG."""
        by_title = {panel.title: panel for panel in result_of(self.lab).panels}
        first = by_title[next(iter(self.curves))[0]]
        panel = replace(
            first,
            title="",
            x_label=self.x_label or first.x_label,
            y_label=self.y_label or first.y_label,
            series=tuple(self._series(by_title)),
        )
        return drawn(self.title, panel)

    def _series(self, by_title: dict[str, Panel]) -> Iterator[Series]:
        for (panel, name), new_name in self.curves.items():
            by_name = {series.name: series for series in by_title[panel].series}
            yield replace(by_name[name], name=new_name, low=None, high=None)


def drawn(title: str, panel: Panel) -> bytes:
    """Draw one panel under a title."""
    return curves(Result(title, (), (), (panel,), ""), "svg")


UNTRAINED = "norm, untrained"
TRAINED = "norm, after 400 updates"
LOSSES = "The same network, the same seed"
DESCENT = "Descent on the cliff, from w = 6 with rate 0.3"
RECALL = "Recall of a symbol after a delay"
ONLY = "Only so many characters read"

CHOSEN = {
    "vanish": Chosen(
        "In an RNN, the gradient fades exponentially with distance",
        "vanish",
        {
            (UNTRAINED, "rnn"): "RNN",
            (UNTRAINED, "linear rnn"): "RNN without tanh",
        },
        x_label="characters back",
    ),
    "cliff": Chosen(
        "One recurrent unit: its loss has a cliff",
        "explode",
        {("The cliff of one unit: its loss", "loss at b = -2.5"): "loss"},
        x_label="recurrent weight w",
    ),
    "descent": Chosen(
        "At the cliff, an unclipped step throws the weight far away",
        "explode",
        {(DESCENT, "no clipping"): "no clipping", (DESCENT, "clipped"): "clipped"},
        x_label="step of gradient descent",
        y_label="recurrent weight w",
    ),
    "explode": Chosen(
        "The same network with and without clipping",
        "explode",
        {(LOSSES, "no clipping"): "no clipping", (LOSSES, "clip_grad_norm_"): "clipped at 1"},
    ),
    "lstm": Chosen(
        "An open forget gate carries the gradient farther",
        "vanish",
        {
            (UNTRAINED, "rnn"): "RNN",
            (UNTRAINED, "lstm, bias 0, c"): "LSTM, bias 0",
            (UNTRAINED, "lstm, c"): "LSTM, bias 1",
        },
        x_label="characters back",
    ),
    "gru": Chosen(
        "After 400 updates, both GRUs reach farthest back",
        "vanish",
        {
            (TRAINED, "rnn"): "RNN",
            (TRAINED, "lstm, c"): "LSTM",
            (TRAINED, "gru"): "GRU, reset after",
            (TRAINED, "gru-before"): "GRU, reset before",
        },
        x_label="characters back",
    ),
    "depth": Chosen(
        "Eight untrained layers: with skips, the first layer keeps its gradient",
        "depth",
        {
            ("untrained, skip none", "8 layers"): "plain",
            ("untrained, skip residual", "8 layers"): "residual skips",
            ("untrained, skip dense", "8 layers"): "dense skips",
        },
    ),
    "skips": Chosen(
        "Eight trained layers, one left out: only the plain stack falls apart",
        "depth",
        {
            ("8 layers, trained", "skip none"): "plain",
            ("8 layers, trained", "skip residual"): "residual skips",
            ("8 layers, trained", "skip dense"): "dense skips",
        },
    ),
    "recall": Chosen(
        "How far back a cell learns to remember one symbol",
        "memory",
        {
            (RECALL, "rnn"): "RNN",
            (RECALL, "gru"): "GRU",
            (RECALL, "lstm, bias 0"): "LSTM, bias 0",
            (RECALL, "lstm, bias 1"): "LSTM, bias 1",
            (RECALL, "lstm, bias 3"): "LSTM, bias 3",
        },
        x_label="characters between symbol and cue",
    ),
    "context": Chosen(
        "In names, little context is enough",
        "memory",
        {
            (ONLY, "rnn"): "RNN",
            (ONLY, "lstm, bias 1"): "LSTM",
            (ONLY, "gru"): "GRU",
        },
        x_label="characters read before the one that is predicted",
    ),
}


def counting() -> bytes:
    """Draw the score of n-grams of growing order, on the names counted and on new ones."""
    bits: dict[str, list[float]] = {"train": [], "test": []}
    with tempfile.TemporaryDirectory(prefix="charrnn-pictures-") as folder:
        for order in ORDERS:
            run = f"{folder}/{order}"
            charrnn("train", "names", "--cell", "ngram", "--order", str(order), "--run", run, "-q")
            for split in bits:
                card = charrnn("eval", run, "--split", split, "--no-baselines", "--json")
                bits[split].append(json.loads(card)["bits_per_char"])
    orders = tuple(ORDERS)
    series = (
        Series("names counted", orders, tuple(bits["train"])),
        Series("new names", orders, tuple(bits["test"])),
    )
    panel = Panel("", "order n (n - 1 characters of context)", "bits per character", series)
    return drawn("Longer n-grams fit what was counted, not what is new", panel)


def charrnn(*words: str) -> str:
    """Run a command and return what it prints."""
    command = [sys.executable, "-m", "charrnn", *words]
    process = subprocess.run(  # noqa: S603 (our own commands)
        command, check=True, text=True, stdout=subprocess.PIPE
    )
    return process.stdout


def unrolled() -> bytes:
    """Draw an RNN that reads a name: characters in, states from left to right, predictions out."""
    step = 150
    parts = []
    for place, (read, target) in enumerate(zip("⏎Mar", "Mari", strict=True)):
        x = 130 + place * step
        parts += [
            _box(x, 150, f"h{'₁₂₃₄'[place]}", COLOURS[0]),
            _text(x, 232, read, GREY, 20),
            _arrow(x, 210, x, 176, GREY),
            _arrow(x, 124, x, 90, COLOURS[2]),
            _text(x, 74, f"P({target})", COLOURS[2], 18),
        ]
        start = x - step + 40 if place else 32
        parts.append(_arrow(start, 150, x - 42, 150, COLOURS[0]))
        parts.append(_text((start + x - 40) / 2, 137, "W", COLOURS[0], 15))
    parts += [
        _text(20, 150, "0", COLOURS[0], 20),
        _text(760, 74, "what comes next", COLOURS[2], 15, "end"),
        _text(760, 150, "state", COLOURS[0], 15, "end"),
        _text(760, 232, "what is read", GREY, 15, "end"),
        _text(390, 26, "One network, used again at every character", GREY, 17),
    ]
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 260" '
        'font-family="system-ui, sans-serif">'
    )
    return "\n".join([head, *parts, "</svg>\n"]).encode()


def _box(x: float, y: float, text: str, colour: str) -> str:
    frame = (
        f'<rect x="{x - 40}" y="{y - 26}" width="80" height="52" rx="8" fill="none" '
        f'stroke="{colour}" stroke-width="2"/>'
    )
    return frame + _text(x, y, text, colour, 20)


def _text(x: float, y: float, text: str, colour: str, size: int, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{text}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    """Draw an arrow to the right or upwards."""
    if y == to_y:
        tip = f"{to_x},{to_y} {to_x - 8},{to_y - 5} {to_x - 8},{to_y + 5}"
    else:
        tip = f"{to_x},{to_y} {to_x - 5},{to_y + 8} {to_x + 5},{to_y + 8}"
    return (
        f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{colour}" stroke-width="1.6"/>'
        f'<polygon points="{tip}" fill="{colour}"/>'
    )


PICTURES: dict[str, Callable[[], bytes]] = {
    "counting": counting,
    "unrolled": unrolled,
    **{name: chosen.draw for name, chosen in CHOSEN.items()},
}


def main(words: list[str]) -> None:
    """Draw the pictures that are named, or all."""
    if words == ["--list"]:
        print("\n".join(PICTURES))
        return
    unknown = set(words) - PICTURES.keys()
    if unknown:
        sys.exit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    for name in words or PICTURES:
        svg = PICTURES[name]()
        (FOLDER / f"{name}.svg").write_bytes(svg)
        print(f"docs/pictures/{name}.svg: {len(svg):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
