"""Print docs/results.md with its record tables made from benchmarks/results.jsonl.

    python benchmarks/page.py            # print the page
    python benchmarks/page.py --write    # write it

A table stands between `<!-- record: SUITE -->` and `<!-- end of record -->`. The text around the
tables is written by hand, and this script leaves it as it is.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "results.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "results.md"
BLOCK = re.compile(r"(<!-- record: (\S+) -->\n).*?(<!-- end of record -->)", re.DOTALL)
TABLES = ("names", "Shakespeare", "LaTeX", "C", "choose", "report")  # texts; halves of corpora.py

Run = dict[str, Any]  # a line of results.jsonl; its fields depend on its suite


def read(path: Path = RECORD) -> list[Run]:
    """Return the runs of the record, one for each line, in their order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# What each suite shows of a run: at most six cells.


def score_cells(run: Run) -> list[str]:
    """Return the cells of a run that quality.py trained and scored."""
    scored = [run["protocol"]]
    if run["eval"]:
        scored.append(f"`{run['eval']}`")
    if run["chars"]:
        scored.append(f"{run['chars']:,} characters")
    trained = [run["commit"], f"{run['parameters']:,} parameters", f"{run['seconds']:,} s"]
    nats = f"{run['nats_per_char']:.4f}"
    if run["interval"]:
        low, high = run["interval"]
        nats += f" ({low:.3f} to {high:.3f})"
    ngram = []
    if run["ngram_order"]:
        ngram.append(f"{run['ngram_order']}-gram {run['ngram_nats_per_char']:.4f}")
    if run["gain"] is not None:
        ngram.append(f"{run['gain']:.1%}")
    return [
        f"{run['row']}: `{run['train']}`",
        ", ".join(scored),
        ", ".join(trained),
        nats,
        ", ".join(ngram),
        joined(run["machine"], run["note"]),
    ]


def settings_cells(run: Run) -> list[str]:
    """Return the cells of a training with settings picked by hand or by the recipe."""
    return [
        f"`{run['settings']}`",
        f"{run['parameters']:,}",
        f"{run['updates']:,}",
        f"{run['seconds']:,}",
        f"{run['nats_per_char']:.4f}",
        joined(run["commit"], run["note"]),
    ]


def pair_cells(run: Run) -> list[str]:
    """Return the cells of a training of two layers beside its twin."""
    return [
        f"`{run['settings']}`",
        f"{run['updates']:,}",
        f"{run['seconds']:,}",
        f"{run['nats_per_char']:.4f}",
        f"{run['bits_per_char']:.3f}",
        joined(run["commit"], run["note"]),
    ]


def trial_cells(run: Run) -> list[str]:
    """Return the cells of a trial outside charrnn."""
    network = [f"{run['layers']} x {run['units']}"]
    if run["skip"]:
        network.append(run["skip"])
    amounts = ("dropout", "weight_drop", "weight_decay", "state_reset")
    windowed = run["note"]
    if run["windowed_nats_per_char"] is not None:
        windowed = f"{run['windowed_nats_per_char']:.4f}"
    stream = ""
    if run["stream_nats_per_char"] is not None:
        stream = f"{run['stream_nats_per_char']:.4f}"
    return [
        f"{run['cell']} {' '.join(network)}",
        f"{run['lanes']} x {run['seq_length']}, {run['lr']:g}",
        joined(", ".join(f"{run[amount]:g}" for amount in amounts), run["other"]),
        f"{run['updates']:,} ({run['chars_m']:.1f} M)",
        windowed,
        stream,
    ]


def corpus_cells(run: Run) -> list[str]:
    """Return the cells of a text of corpora.py after one budget."""
    by_hand = ""
    if run["hand_bits_per_char"] is not None:
        by_hand = f"{run['hand_bits_per_char']:.4f} `{run['hand']}`"
    counting = f"{run['ngram_order']}-gram {run['ngram_bits_per_char']:.4f}"
    ppmd = ""
    if run["ppmd_bits_per_char"] is not None:
        ppmd = f"PPMd {run['ppmd_bits_per_char']:.4f}"
    seeds = f"median of {run['seeds']} seeds" if run["seeds"] > 1 else ""
    return [
        f"{run['text']}, {run['train_chars']:,}",
        f"{run['budget']} ({run['clock']})",
        f"{run['bits_per_char']:.4f}",
        by_hand,
        joined(counting, ppmd),
        joined(run["commit"], run["machine"], seeds, run["note"]),
    ]


def joined(*parts: str | None) -> str:
    """Join the parts that say something by semicolons."""
    return "; ".join(part for part in parts if part)


Cells = Callable[[Run], list[str]]
SETTINGS = ("options", "parameters", "updates", "seconds", "nats/char", "commit; note")
TRIAL = (
    "network",
    "lanes x characters, learning rate",
    "dropout, weight-drop, weight decay, state reset; other",
    "updates (characters)",
    "windows",
    "stream",
)
SUITES: dict[str, tuple[tuple[str, ...], Cells]] = {
    "rows": (
        (
            "row: options of train",
            "score",
            "commit, size, time",
            "nats/char (95 %)",
            "best n-gram, bits saved",
            "machine; note",
        ),
        score_cells,
    ),
    "settings-1": (SETTINGS, settings_cells),
    "settings-2": (SETTINGS, settings_cells),
    "settings-3": (SETTINGS, settings_cells),
    "pairs": (
        ("options", "updates", "seconds", "nats/char", "bits/char", "commit; note"),
        pair_cells,
    ),
    "corpora": (
        (
            "text, characters",
            "budget",
            "no flags, bits/char",
            "best by hand",
            "counting",
            "commit; machine; note",
        ),
        corpus_cells,
    ),
    "trials": (TRIAL, trial_cells),
    "trials-20m": (TRIAL, trial_cells),
}


def tables(suite: str, runs: Iterable[Run]) -> str:
    """Return the tables of a suite in Markdown, one for each text or half."""
    titles, cells = SUITES[suite]
    parts = []
    own = [run for run in runs if run["suite"] == suite]
    for title in TABLES:
        rows = [cells(run) for run in own if run.get("half", run["text"]) == title]
        if not rows:
            continue
        lines = [titles, ["---"] * len(titles), *rows]
        parts.append(f"\n**{title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "".join(parts) + "\n"


def page(text: str, runs: Iterable[Run]) -> str:
    """Return the page with every record table made from the runs."""
    known = list(runs)
    return BLOCK.sub(lambda block: block[1] + tables(block[2], known) + block[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    options = parser.parse_args()
    printed = page(PAGE.read_text(encoding="utf-8"), read())
    if options.write:
        PAGE.write_text(printed, encoding="utf-8")
        print(f"wrote {PAGE}")
    else:
        print(printed, end="")


if __name__ == "__main__":
    main()
