"""`charrnn train --check`: what a text is like, and the training, or counting, it would get.

Writes and learns nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from charrnn.config import Settings, TextSettings
from charrnn.layout import expected_shapes
from charrnn.machine import backends, runtime
from charrnn.scoring.held_out import MOST_OF_LINES, MOST_OF_STREAM
from charrnn.scoring.validation import FEWEST_CHARS, FEWEST_LINES
from charrnn.text import building, doctor
from charrnn.text.counting import most_orders
from charrnn.text.shares import divided as divided_shares
from charrnn.text.sources import Source
from charrnn.text.splits import SPLITS, divided
from charrnn.training import finetune, memory, recipe
from charrnn.training.card import card_for
from charrnn.training.counting_flags import check_flags, order_asked
from charrnn.training.idle_flags import check_idle
from charrnn.training.naming import fresh_run

NETWORK = (
    "network",
    "fine_tuning",
    "hidden_size",
    "num_layers",
    "dropout",
    "batch_size",
    "seq_length",
    "parameters",
    "expected_memory_bytes",
)
COUNTING = ("order", "longest_order", "smoothing")


def check(
    corpus: str | Source | None, layers: tuple[tuple[str, Mapping[str, Any]], ...]
) -> dict[str, Any]:
    """Return findings on a text and what would be trained or counted, ready for JSON.

    What only a network has is None for counting, and the other way round.
    Raises what a start of that training would: CorpusError, SettingsError, CheckpointError.
    """
    # 1. What is wrong with the request is told before the text is examined.
    settings, origins, old = finetune.begin(layers)
    device = runtime.choose_device(settings.runtime.device)
    survey = building.survey(corpus, settings.text, settings.split_seed)
    check_idle(settings, origins, survey)
    vocabulary = survey.vocabulary
    is_counting = settings.model.cell == "ngram"
    if is_counting:
        check_flags(origins)
        planned = _counting(settings, len(vocabulary))
    else:
        filled = recipe.fill(
            settings,
            survey,
            lambda: backends.training_rate(settings, runtime.prepare(settings.runtime)),
            origins,
            card_for(settings, survey),
        )
        planned = {"network": f"{filled.network} ({filled.reason})"}
        if old is not None:
            # Into a run that is not there yet: --overwrite could remove the old one, and is not for
            # a check.
            path = fresh_run(survey.name, Path("runs"))
            source = finetune.prepare(old, filled.settings, survey, path)
            vocabulary = source.vocabulary
            planned["fine_tuning"] = source.note

    # 2. What the text is like
    findings = doctor.examine(survey, settings.text, settings.split_seed)
    learnt_chars = building.learnt_chars(survey, settings.text)
    train_chars = building.training_part(learnt_chars, survey, settings.text)
    if not is_counting:
        val_chars = learnt_chars - train_chars
        if "val" in survey.censuses:
            val_chars = survey.censuses["val"].chars
        line_chars = findings.longest_line + 1 if survey.mode == "lines" else None
        if survey.form == "records" and line_chars is not None:
            line_chars = min(line_chars, filled.settings.training.seq_length or line_chars)
        planned |= _training(filled.settings, len(vocabulary), line_chars, val_chars, device)
        if advice := _too_few(survey, settings, findings):
            findings = dataclasses.replace(findings, advice=(*findings.advice, advice))

    result = dataclasses.asdict(findings)
    result |= {
        "corpus": survey.name,
        "form": survey.form,
        "shown": survey.sources["train"].shown,
        "vocabulary": len(vocabulary),
        "train_chars": train_chars,
        "cell": settings.model.cell,
    }
    if survey.labels:
        counts = Counter(label for labels in survey.labels.values() for label in labels if label)
        result["labels"] = dict(counts.most_common())
    if survey.sources["train"].parts:
        result["texts"] = _texts(survey, settings.text)
    return result | dict.fromkeys((*NETWORK, *COUNTING)) | planned


def _texts(survey: building.Survey, settings: TextSettings) -> list[dict[str, Any]]:
    """Return what each of several texts is. share: of the training, where some have one."""
    parts = survey.sources["train"].parts
    censuses = survey.censuses["train"].parts
    is_lines = survey.mode == "lines"
    sizes = [census.lines if is_lines else census.chars for census in censuses]
    shares = divided_shares([part.share for part in parts], sizes) or [None] * len(parts)
    return [
        {
            "name": part.source.name,
            "shown": part.source.shown,
            "share": share,
            "chars": census.chars,
            "lines": census.lines,
            "encoding": "bytes" if settings.unit == "byte" else part.read(settings).encoding,
            "column": part.read(survey.as_read(settings)).column,
        }
        for part, census, share in zip(parts, censuses, shares, strict=True)
    ]


def _too_few(survey: building.Survey, settings: Settings, findings: doctor.Findings) -> str:
    """Return what to mind where the validation text is too short to go by; "" where it is not."""
    count = findings.chars
    fewest = FEWEST_CHARS
    noun = "characters"
    if survey.mode == "lines":
        count = findings.lines - findings.blank_lines
        if findings.used_once:
            count -= findings.repeated_lines
        fewest = FEWEST_LINES
        noun = survey.form
    held = max(1, divided(count, set(survey.censuses) - {"train"}, settings.text)["val"])
    if "val" in survey.censuses:
        val = survey.censuses["val"]
        held = val.lines if survey.mode == "lines" else val.chars
    is_trainable = survey.mode != "lines" or count >= len(SPLITS)
    if held >= fewest or settings.training.patience is not None or not is_trainable:
        return ""
    return (
        f"{count:,} {noun} leave {held:,} to validate on, which decides nothing: the last weights "
        "are kept, and copy much of the text; sample --novel leaves copies out, "
        "--cell ngram counts instead"
    )


def settings_of(
    corpus: str | Source | None, layers: tuple[tuple[str, Mapping[str, Any]], ...]
) -> tuple[Settings, dict[str, str]]:
    """Return the settings of a training with every size decided, and where each comes from.

    Raises what a start of that training would: CorpusError, SettingsError, CheckpointError.
    """
    settings, origins, _ = finetune.begin(layers)
    runtime.choose_device(settings.runtime.device)
    survey = building.survey(corpus, settings.text, settings.split_seed)
    filled = settings.with_values(
        "text",
        newlines=survey.newlines,
        mode=survey.form,
        separator=survey.separator,
        column=survey.column,
        strip=survey.strip,
    )
    if settings.model.cell != "ngram":
        filled = recipe.fill(
            filled,
            survey,
            lambda: backends.training_rate(settings, runtime.prepare(settings.runtime)),
            origins,
            card_for(settings, survey),
        ).settings
    before = settings.to_dict()
    chosen = dict(origins)
    for section, values in filled.to_dict().items():
        for key, value in values.items():
            if value != before[section][key]:
                chosen[key] = "chosen from the text"
    return filled, chosen


def _training(
    settings: Settings,
    vocabulary_size: int,
    line_chars: int | None,
    val_chars: int,
    device: torch.device,
) -> dict[str, Any]:
    """Return the sizes of a network's training.

    line_chars: of the longest line with its end, in lines mode.
    """
    model = settings.model
    training = settings.training
    assert training.batch_size is not None
    assert training.seq_length is not None
    val_chars = min(val_chars, MOST_OF_STREAM if line_chars is None else MOST_OF_LINES)
    shape = (training.batch_size, line_chars or training.seq_length)
    backend = backends.expected_backend(settings, device)
    expected = memory.expected_memory(settings, vocabulary_size, shape, backend, val_chars)
    shapes = expected_shapes(model, vocabulary_size)
    return {
        "hidden_size": model.hidden_size,
        "num_layers": model.num_layers,
        "dropout": model.dropout,
        "batch_size": training.batch_size,
        "seq_length": training.seq_length if line_chars is None else None,
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "expected_memory_bytes": expected.total,
    }


def _counting(settings: Settings, vocabulary_size: int) -> dict[str, Any]:
    """Return the sizes of a counting.

    Raises SettingsError for an order that CountingTrainer would refuse.
    """
    order_asked(settings, vocabulary_size)
    model = settings.model
    return {
        "order": model.order,
        "longest_order": most_orders(vocabulary_size),
        "smoothing": model.smoothing,
    }
