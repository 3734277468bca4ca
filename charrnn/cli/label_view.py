"""charrnn eval --by-label and --classify: scores and confusions of labels as tables or pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.json_lines import write_json
from charrnn.terminal import many, one_line

if TYPE_CHECKING:
    from charrnn.scoring.evaluation import How
    from charrnn.scoring.labels import Classified, LabelScore
    from charrnn.scoring.text import Text
    from charrnn.texts import OpenedRun

SHOWN = 20  # labels in a table for people
DRAWN = 100  # in a picture
OTHERS = "others"


def show_scores(run: OpenedRun, text: Text, how: How, *, json: bool) -> None:
    """Print the score of each label. Raises SettingsError."""
    from charrnn.scoring.labels import scores_by_label
    from charrnn.tables import print_facts, print_table
    from charrnn.text.labels import check_labels

    check_labels("--by-label", run.model.vocabulary)
    scores = scores_by_label(run.model, text, how)
    if json:
        return write_json(dataclasses.asdict(score) for score in scores)
    columns = ["label", "lines", "chars", "bits/char", "nats/char", "95 %", "n-gram"]
    rows = [_row(score) for score in scores[: SHOWN + 1]]
    print_table(f"{one_line(str(run.model.path))} by label, on {_name(text)}", columns, rows)
    facts = []
    if scores[0].ngram is not None:
        facts.append(("n-gram", "bits/char of counting by label, backed off to all lines"))
        gain = scores[0].gain
        if gain is not None and gain.interval is not None:
            low, high = gain.interval.bits_per_char
            facts.append(
                (
                    "counting",
                    f"the model is {gain.bits_per_char:+.4f} bits/char better "
                    f"(95 %: {low:+.4f} to {high:+.4f})",
                )
            )
    if len(scores) > SHOWN + 1:
        facts.append(("labels", f"{len(scores) - SHOWN - 1:,} more; --json has all"))
    print_facts(facts)


def _row(score: LabelScore) -> list[str]:
    interval = "-"
    if score.interval is not None:
        interval = f"{score.interval[0]:.3f} to {score.interval[1]:.3f}"
    return [
        score.label,
        f"{score.lines:,}",
        f"{score.chars:,}",
        f"{score.bits_per_char:.4f}",
        f"{score.nats_per_char:.4f}",
        interval,
        "-" if score.ngram is None else f"{score.ngram:.4f}",
    ]


def show_classes(
    run: OpenedRun, text: Text, how: How, prior: str, plot: Path | None, *, json: bool
) -> None:
    """Print and draw which labels were found. Raises SettingsError, StorageError."""
    from charrnn.scoring.labels import classified
    from charrnn.text.labels import check_labels

    check_labels("--classify", run.model.vocabulary)
    result = classified(run.model, text, how, prior)
    if plot is not None:
        _draw(plot, result, _name(text))
    if json:
        return write_json([dataclasses.asdict(result)])
    _print(f"{one_line(str(run.model.path))}: labels found, on {_name(text)}", result)


def _print(title: str, result: Classified) -> None:
    from charrnn.tables import print_facts, print_matrix, print_table

    rows = [["this run", f"{result.accuracy:.1%}"]]
    if result.ngram is not None:
        rows.append([f"{result.ngram_order}-gram by label", f"{result.ngram:.1%}"])
    rows.append(["the most frequent label", f"{result.most:.1%}"])
    print_table(title, ["classified by", "right"], rows)
    labels, counts = _largest(result, SHOWN)
    print_matrix("lines by their label (row), and by the one found (column)", labels, counts)
    facts = [("lines", f"{result.lines:,}")]
    if result.interval is not None:
        facts.append(("95 %", f"{result.interval[0]:.1%} to {result.interval[1]:.1%}"))
    if result.left_out:
        facts.append(("left out", f"{many(result.left_out, 'line')} with several labels, or none"))
    facts.append(("prior", "labels by their training lines" if result.prior == "count" else "flat"))
    print_facts(facts)


def _draw(plot: Path, result: Classified, name: str) -> None:
    from charrnn.picture import confusion
    from charrnn.storage import write_atomically

    labels, counts = _largest(result, DRAWN)
    title = (
        f"the right label for {result.accuracy:.1%} of {result.lines:,} lines of {name}; "
        "rows: their labels, columns: those found"
    )
    write_atomically(plot, confusion(title, labels, counts, plot.suffix.lower()[1:]), "--plot")


def _largest(result: Classified, most: int) -> tuple[list[str], list[list[int]]]:
    """Return the most frequent labels in their order, and the counts of all others together."""
    import numpy as np

    counts = np.array(result.confusion)
    sizes = counts.sum(1) + counts.sum(0)
    order = np.sort(np.argsort(-sizes, kind="stable")[:most])
    labels = [result.labels[place] for place in order]
    group = np.full(len(sizes), len(order))
    group[order] = np.arange(len(order))
    groups = len(order) + int(len(sizes) > most)
    table = np.zeros((groups, groups), np.int64)
    np.add.at(table, (group[:, None], group[None, :]), counts)
    return labels + [OTHERS] * (groups - len(order)), table.tolist()


def _name(text: Text) -> str:
    """Return how a scored text is named."""
    return f"{text.split} text" if text.split else one_line(text.file or "--text")
