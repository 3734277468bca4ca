"""charrnn eval --samples: what a look at samples found, as JSON or as tables for a person.

It never loads torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.chosen import read_chosen
from charrnn.cli.json_lines import write_json
from charrnn.terminal import many, one_line, print_line, say

if TYPE_CHECKING:
    from charrnn.insight.card import Comparison, Entropy, Examination

SHOWN = 70  # characters of a text in a table
STRUCTURES = {
    "crossed": "brackets that cross",
    "environments": "\\begin and \\end with a partner",
    "environments_closed": "environments that close",
    "functions": "functions that balance",
    "words": "words of the training text",
    '"': 'paragraphs with " paired',
    "$": "paragraphs with $ paired",
}


def examine_and_show(run: Path | None, options: dict[str, Any], *, json: bool) -> None:
    """Look at a model's samples. options: the fields of copies.Question, None where not given.

    Raises CharrnnError.
    """
    from charrnn.insight.copies import Question, examine
    from charrnn.modelfile import MISCOUNTED
    from charrnn.texts import OpenedRun

    question = Question(**{name: value for name, value in options.items() if value is not None})
    model = read_chosen(run)
    if model.is_miscounted:
        say(f"note: {MISCOUNTED}")
    card = examine(OpenedRun(model), question, say)
    if json:
        result = {
            "run": str(model.path),
            "step": model.step,
            "novelty": card.to_json(),
        }
        write_json([result])
    else:
        show(str(model.path), card)


def show(run: str, card: Examination) -> None:
    """Print tables and one line of verdict on stdout, and warnings on stderr."""
    from charrnn.insight.verdicts import verdict
    from charrnn.tables import print_table

    split = f"{card.held_out.split} text"
    title = (
        f"{run}: {many(card.samples, 'sample')}, {many(card.chars, 'character')}, "
        f"temperature {card.temperature:g}, seed {card.seed}; "
        f"beside {many(card.held_out.pieces, 'piece')} of the {split}, "
        f"{many(card.held_out.chars, 'character')}"
    )
    print_table(title, ["", "samples", split], _shares(card))
    for line in texts_of(card):
        print_line(line)
    temperatures, rows = _by_temperature(card)
    print_table(f"\nby temperature{_other_sets(card)}", ["", *temperatures, split], rows)
    print_line(_entropy(card.entropy))
    print_line(f"verdict: {verdict(card)}")
    for warning in card.warnings:
        say(f"warning: {warning}")


def _other_sets(card: Examination) -> str:
    """How much was drawn at the further temperatures, where that is less."""
    other = card.other_temperatures
    if (other.samples, other.length) == (card.samples, card.length):
        return ""
    samples = "1 sample" if other.samples == 1 else f"{other.samples:,} samples"
    size = f"{samples} of at most {other.length:,} characters"
    return f" (others than {card.temperature:g}: {size})"


def _shares(card: Examination) -> list[list[str]]:
    from charrnn.insight.verdicts import line_kind, percent

    lines = card.lines
    kind = line_kind(card)
    rows = [[f"{kind} looked at", f"{lines.lines:,}", f"{lines.held_out_lines:,}"]]
    if lines.lines:
        rows += [
            ["  in the training text", percent(lines.in_train), percent(lines.held_out_in_train)],
            ["  in the val text", percent(lines.in_val), ""],
            ["  in the test text", percent(lines.in_test), ""],
            [_new_label(card), percent(lines.new), ""],
            ["  repeats", percent(lines.repeated), ""],
        ]
    before = card.learnt_before
    if before is not None and before.share.samples is not None:
        label = "  not in the training text, but maybe in one before"
        if before.piece_chars is not None:
            label = f"pieces of {before.piece_chars} characters maybe in a text before"
        rows.append([label, *_percents(before.share)])
    runs = (card.longest_run.samples, card.longest_run.held_out)
    chars = [f"{run.chars:,}" if run else "0" for run in runs]
    rows.append(["longest run of the training text, characters", *chars])
    for n, shares in card.ngrams_in_training.items():
        if shares.samples is not None:
            rows.append([f"{n}-grams in the training text", *_percents(shares)])
    for name, shares in card.distinct.shares.items():
        if shares.samples is not None:
            grams = _grams(name)
            label = f"different {grams} of {card.distinct.chars:,} characters"
            rows.append([label, *_percents(shares)])
    nearest = card.nearest
    if nearest and nearest.samples.lines:
        both = (nearest.samples, nearest.held_out)
        label = f"new lines one edit from a training line (of {nearest.samples.lines})"
        rows.append([label, *(percent(lines.one_edit) for lines in both)])
        label = "edits to the nearest training line, median"
        rows.append([label, *(str(lines.median_edits) for lines in both)])
    return rows


def _new_label(card: Examination) -> str:
    """What lines are called that no text of the run has."""
    if card.learnt_before is None:
        return "  nowhere: new"
    return "  in no text of this run"


def _percents(shares: Comparison) -> tuple[str, str]:
    from charrnn.insight.verdicts import percent

    return percent(shares.samples), percent(shares.held_out)


def _grams(name: str) -> str:
    """What `chars_3` and the like count."""
    unit, n = name.split("_")
    if unit == "chars":
        return f"{n}-grams"
    return "words" if n == "1" else "pairs of words"


def texts_of(card: Examination) -> list[str]:
    """Where the longest run comes from, and new lines beside the nearest training lines."""
    lines = []
    run = card.longest_run.samples
    if run:
        place = ""
        if card.mode != "lines":
            place = f", line {run.line:,} of {one_line(run.text_name)}, column {run.column:,}"
        lines.append(f"longest run, in sample {run.sample + 1:,}{place}:")
        lines.append(f"  {_short(run.text)}")
        if run.source != run.text:
            lines.append(f"  of {_short(run.source)}")
    examples = card.nearest.samples.examples if card.nearest else []
    if examples:
        lines.append("new lines <- the nearest training line (edits):")
        for one in examples:
            lines.append(f"  {_short(one.text)} <- {_short(one.nearest)} ({one.edits})")
    return lines


def _by_temperature(card: Examination) -> tuple[list[str], list[list[str]]]:
    """The temperatures, and the rows below them with a last column for real text."""
    from charrnn.insight.verdicts import percent

    nats = card.entropy.nats_per_char
    val = card.entropy.val_nats_per_char
    real = "" if val is None else f"{val:.2f} (val)"
    rows = [["nats a character", *(f"{value:.2f}" for value in nats.values()), real]]
    for name, structure in card.structure.items():
        label = STRUCTURES.get(name, f"{name} with a partner")
        shares = [percent(part.share) for part in structure.by_temperature.values()]
        rows.append([label, *shares, percent(structure.held_out)])
    return list(nats), rows


def _entropy(entropy: Entropy) -> str:
    val = entropy.val_nats_per_char
    temperature = entropy.matching_temperature
    if val is None:
        return "this file does not say its validation loss, so no temperature can be matched to it"
    surprise = f"as surprising to the model as real text ({val:.2f} nats)"
    if temperature is None:
        return f"at none of these temperatures are samples {surprise}"
    return f"at temperature {temperature:.2f} samples are {surprise}"


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= SHOWN else line[: SHOWN - 4] + " ..."
