"""What is known of a trained model: its scores, what its samples copy, and what nobody can tell.

Counted, read from the run's record, or drawn and scored here by the sampler. No torch.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.errors import CharrnnError, CheckpointError
from charrnn.insight.card import Examination
from charrnn.insight.copies import Question, examine
from charrnn.modelfile import ModelFile
from charrnn.sampling.engine import Sampler
from charrnn.scoring.figures import split_rule, text_sha256
from charrnn.scoring.score import Score
from charrnn.texts import OpenedRun
from charrnn.training.metrics import figure, metrics_lines

MOST_SCORED = 50_000  # characters of the test text: some seconds
LINES = 500  # samples that are looked at for copies
STREAMS = 20


@dataclass(frozen=True)
class ScoreRow:
    """A figure, what it is of, and who computed it. chars: None where the record does not say."""

    text: str
    scorer: str
    bits_per_char: float
    chars: int | None


@dataclass(frozen=True)
class Facts:
    """What a card says beside what the model file itself says.

    sizes: characters of each split. sha256: of the text's files by split. rule: how the splits were
    cut. copies: None, with the reason in gap, where they cannot be told.
    """

    model: ModelFile
    scores: list[ScoreRow]
    copies: Examination | None
    gap: str
    sizes: dict[str, int]
    sha256: dict[str, str]
    rule: str


def gathered(run: OpenedRun) -> Facts:
    """Return what is known of a run, or of a lone model file. This takes some seconds."""
    model = run.model
    scores = _recorded(model)
    sizes: dict[str, int] = {}
    sha256: dict[str, str] = {}
    copies = None
    gap = ""
    try:
        corpus = run.own_corpus("its text is not the model's")
        sizes = {split: len(corpus.split(split)) for split in ("train", "val", "test")}
        sha256 = text_sha256(corpus)
        scores += _scored(model, corpus.split("test"))
        count = LINES if model.mode == "lines" else STREAMS
        copies = examine(run, Question(count))
    except CharrnnError as error:
        gap = str(error)
    rule = split_rule(model.settings, model.mode, "test")
    return Facts(model, scores, copies, gap, sizes, sha256, rule)


def _recorded(model: ModelFile) -> list[ScoreRow]:
    """Return what the training wrote down about the validation text."""
    if model.val_nats_per_char is None:
        return []
    rows = [_row("validation", "this model", model.val_nats_per_char, None)]
    if model.run is None:
        return rows
    network, ngram = _at_step(model.run / "metrics.jsonl", model.step)
    if network is not None and model.ally is not None:
        rows.append(_row("validation", "the network alone", network, None))
    if ngram is not None:
        rows.append(_row("validation", "the best n-gram", ngram, None))
    return rows


def _at_step(metrics: Path, step: int | None) -> tuple[float | None, float | None]:
    """Return what network and n-gram reached at a step, in nats per character, by the record."""
    network = ngram = None
    try:
        for line in metrics_lines(metrics):
            if line is not None and line.event == "eval" and line.step == step:
                network = figure(line.fields.get("network_nats_per_char"))
                ngram = figure(line.fields.get("ngram_nats_per_char"))
    except CheckpointError:  # a run may have lost its record
        return None, None
    return network, ngram


def _scored(model: ModelFile, ids: np.ndarray) -> list[ScoreRow]:
    """Return the scores of the beginning of the test text (N,)."""
    ids = ids[:MOST_SCORED]
    if len(ids) < 2:
        return []
    score = _score(model, ids)
    rows = [_row("test", "this model", score.nats_per_char, score.chars)]
    if model.ally is not None:
        alone = _score(dataclasses.replace(model, ally=None), ids)
        rows.append(_row("test", "the network alone", alone.nats_per_char, alone.chars))
    return rows


def _score(model: ModelFile, ids: np.ndarray) -> Score:
    """Score ids as one stream, or each whole line from the empty state."""
    sampler = Sampler(model, weights="float32")
    if model.mode == "stream":
        return Score(sampler.feed(ids)[2], len(ids) - 1)
    ends = np.flatnonzero(ids == model.vocabulary.newline) + 1
    score = Score(0.0, 0)
    for line in np.split(ids, ends)[:-1]:
        nats = sampler.feed(np.concatenate([[model.start], line]))[2]
        score += Score(nats, len(line))
    return score


def _row(text: str, scorer: str, nats_per_char: float, chars: int | None) -> ScoreRow:
    return ScoreRow(text, scorer, nats_per_char / math.log(2), chars)
