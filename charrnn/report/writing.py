"""The sections of what the model writes: its samples while it learnt, and what is new in them.

It asks `insight` for a small look at samples. It draws nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

import numpy as np

from charrnn.errors import CheckpointError, CorpusError
from charrnn.insight.card import Comparison, Examination
from charrnn.insight.copies import Question, examine
from charrnn.insight.verdicts import before_warnings, verdict
from charrnn.modelfile import ModelFile
from charrnn.report import record
from charrnn.report.results import LARGE_TEXT, Say, parameters_of
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun

MOST_SAMPLES = 8
SAMPLE_CHARS = 1200
RUN_CHARS = 400  # of the longest run
# What a page has the time to look at.
NOVEL_LINES = 200
NOVEL_STREAMS = 20
NOVELTY_WORK = 2e11  # characters drawn times parameters: a few seconds
DRAWN_TEMPERATURES = 8  # that samples are drawn at, about
LINE_CHARS = 50  # of a sample, about
STREAM_CHARS = 500
NGRAMS = ("5", "10", "20", "50")
HOW = "charrnn eval RUN --samples 1000"


class KeptSample(TypedDict):
    """What the model wrote at a step. bits: per character or byte, on the validation text."""

    step: int
    bits: float
    noun: str
    text: str


class KeptSamples(TypedDict):
    """The samples that were kept while the model learnt; some of them are shown.

    why: none are shown of a file that is too large; otherwise empty.
    """

    why: str
    kept: int
    shown: list[KeptSample]


class LongestRun(TypedDict):
    """The longest run of the training text in a sample."""

    chars: int
    text: str


class Novelty(TypedDict):
    """What is new in samples. nearest: new line, nearest training line, edits.

    warnings: of texts learnt before those of the run.
    """

    verdict: str
    warnings: list[str]
    how: str
    held: str
    drawn: str
    rows: list[tuple[str, float | None, float | None]]
    longest: LongestRun | None
    nearest: list[tuple[str, str, int]]


class NoNovelty(TypedDict):
    """Why samples were not looked at, and how to do so."""

    why: str
    how: str


def samples_of(path: Path, scored_steps: Collection[int]) -> KeptSamples:
    """Return the first sample, the last and some between, each cut short.

    scored_steps: those with an evaluation. An older charrnn wrote the newest score, of whatever
    weights, above samples of other steps: it is left out.
    """
    why = ""
    if record.are_samples_too_large(path):
        most = record.MAX_SAMPLES_BYTES >> 20
        why = f"samples.txt is larger than {most} MiB, so no samples are shown."
    kept = record.count_samples(path)
    places = np.linspace(0, kept - 1, min(MOST_SAMPLES, kept)).astype(int)
    samples = record.read_samples(path, set(places.tolist()))
    return {
        "why": why,
        "kept": kept,
        "shown": [
            {
                "step": sample.step,
                "bits": sample.bits_per_char if sample.step in scored_steps else math.nan,
                "noun": sample.noun,
                "text": _cut(sample.text),
            }
            for sample in samples
        ],
    }


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else text[:SAMPLE_CHARS] + " …"


def novelty_of(run: OpenedRun, say: Say) -> Novelty | NoNovelty:
    """A small version of `charrnn eval --samples`, or why there is none."""
    model = run.model
    count = NOVEL_LINES if model.mode == "lines" else NOVEL_STREAMS
    try:
        train = text_of_split(run, "train").ids
        if len(train) > LARGE_TEXT or _work(model, count) > NOVELTY_WORK:
            why = "Looking for copies takes longer than a page should for this text or network."
            return {"why": why, "how": HOW}
        say(f"drawing {count} samples to see what they copy")
        card = examine(run, Question(count))
    except (CheckpointError, CorpusError) as error:
        return {"why": str(error), "how": HOW}
    return _novelty(card)


def _work(model: ModelFile, count: int) -> int:
    """Characters to draw times parameters, about. Counting takes no time that matters."""
    if model.counts:
        return 0
    chars = LINE_CHARS if model.mode == "lines" else STREAM_CHARS
    return DRAWN_TEMPERATURES * count * chars * parameters_of(model)


def _novelty(card: Examination) -> Novelty:
    longest: LongestRun | None = None
    if card.longest_run.samples is not None:
        run = card.longest_run.samples
        longest = {"chars": run.chars, "text": _visible(run.text[:RUN_CHARS])}
    examples = card.nearest.samples.examples if card.nearest else []
    return {
        "verdict": verdict(card),
        "warnings": [f"{text[:1].upper()}{text[1:]}." for text in before_warnings(card)],
        "how": HOW,
        "held": f"{card.held_out.split} text",
        "drawn": f"{card.samples:,} samples, {card.chars:,} characters, "
        f"temperature {card.temperature:g}, seed {card.seed}",
        "rows": _rows(card),
        "longest": longest,
        "nearest": [(line.text, line.nearest, line.edits) for line in examples],
    }


def _rows(card: Examination) -> list[tuple[str, float | None, float | None]]:
    """What is looked at, the share of the samples and that of held-out text."""
    lines = card.lines
    table = {}
    if lines.lines:
        known = Comparison(lines.in_train, lines.held_out_in_train)
        table["whole lines that stand in the training text"] = known
        table["whole lines that stand nowhere in the corpus"] = Comparison(lines.new, None)
    before = card.learnt_before
    if before is not None and before.share.samples is not None:
        kind = "whole lines that stand in none of these"
        if before.piece_chars is not None:
            kind = f"pieces of {before.piece_chars} characters"
        table[f"{kind}, but may be in a text learnt before"] = before.share
    for n in NGRAMS:
        shares = card.ngrams_in_training[n]
        if shares.samples is not None:
            table[f"runs of {n} characters that stand in the training text"] = shares
    return [(name, shares.samples, shares.held_out) for name, shares in table.items()]


def _visible(text: str) -> str:
    """A text whose line ends, tabs and runs of spaces can be seen."""
    text = re.sub(" {2,}", lambda spaces: "␣" * len(spaces[0]), text)
    return text.replace("\n", "↵").replace("\t", "⇥")
