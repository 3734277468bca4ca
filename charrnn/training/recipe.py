"""What a person did not set: a network and a training from corpus, budget and speed, and the sentence that says so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from charrnn.config import ModelSettings, Settings, TrainingSettings
from charrnn.layout import GATES
from charrnn.terminal import one_line
from charrnn.text.building import Survey, training_chars
from charrnn.values import seconds

DEFAULT_BUDGET = "5m"
HIDDEN_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048)
# The figures below come from trials on tiny Shakespeare and C (README, Decisions).
WEIGHTS_PER_CHAR = (
    0.04  # recurrent weights for each character that a training will read, passes counted
)
MOST_WEIGHTS_PER_CHAR = 4.0  # for each character that the text has
WORN = 18  # weights for each character of the text, times how often it is read: from then on some are dropped
DEEP = 400_000  # recurrent weights from which on two layers with dense skips learn more than one
EMA = 0.99  # equal to the weights where the rate ends at zero, 0.01 to 0.07 nats better before
SHALLOW_SHAPE = (32, 64)  # lanes, characters
DEEP_SHAPE = (
    8,
    256,
)  # what was opened long before is closed by those only that learnt from long windows
STATE_RESET = 0.03  # a model that also meets empty states in training loses less where texts begin
START_S, TRAINING_SHARE = (
    6.0,
    0.93,
)  # of a budget: before the first step; of the rest, without evaluations and samples


class Recipe(NamedTuple):
    """What is filled in where a person said nothing."""

    hidden_size: int
    num_layers: int
    skip: str
    dropout: float
    weight_drop: float
    lr: float
    weight_decay: float
    ema: float
    state_reset: float
    batch_size: int
    seq_length: int
    reason: str


def fill(
    settings: Settings, found: Survey, rate: Callable[[], float], asked: Collection[str] = ()
) -> tuple[Settings, str]:
    """Settings with every None of the network and the training decided, and why in one line.

    rate: recurrent weights times characters that a second of training takes here; asked for only if it matters.
    asked: the settings that a person chose; of --skip its value does not say.
    """
    chars = training_chars(found, settings.text)
    model, training = settings.model, settings.training
    is_small = chars < _SMALL[-1][0]
    if training.epochs is None and training.steps is None and training.budget is None:
        training = dataclasses.replace(
            training, **({"epochs": 60.0} if is_small else {"budget": DEFAULT_BUDGET})
        )
    recipe = (
        _for_small(chars) if is_small else _for_work(chars, model, training, rate, "skip" in asked)
    )
    hidden = (
        model.hidden_size
        or (model.embedding_size if model.tie_weights else None)
        or recipe.hidden_size
    )
    sized: dict[str, Any] = {
        "hidden_size": hidden,
        "num_layers": model.num_layers or recipe.num_layers,
        "skip": recipe.skip if model.skip == "none" else model.skip,
        "embedding_size": model.embedding_size
        or (hidden if model.tie_weights else min(64, max(8, len(found.vocabulary)))),
    }
    seq_length, batch_size = (
        training.seq_length or recipe.seq_length,
        training.batch_size or recipe.batch_size,
    )
    if found.mode == "lines" and training.batch_size is None:
        batch_size = 64
    if found.mode == "stream" and training.seq_length is None:
        seq_length = max(1, min(seq_length, (chars - 1) // (training.batch_size or 1)))
    if found.mode == "stream" and training.batch_size is None:
        batch_size = max(1, min(batch_size, (chars - 1) // seq_length))
    decided: dict[str, Any] = {"seq_length": seq_length, "batch_size": batch_size}
    filled = Settings(
        settings.text,
        dataclasses.replace(_filled(model, recipe), **sized),
        dataclasses.replace(_filled(training, recipe), **decided),
        settings.runtime,
    )
    made = filled.model
    drops = f"dropout {made.dropout:g}" + (
        f", weight-drop {made.weight_drop:g}" if made.weight_drop else ""
    )
    reason = recipe.reason if model.hidden_size is None else "as asked"
    if training.init_from:
        reason = f"from {one_line(training.init_from)}"
    drops = f"{made.skip} skips, {drops}" if made.skip != "none" else drops
    return filled, f"{made.cell} {made.num_layers} x {made.hidden_size}, {drops} ({reason})"


# Texts of fewer characters get passes, not minutes: in five minutes a network reads five thousand names a thousand times.
# Hidden size, dropout, weight decay; from trials (README, Decisions).
_SMALL = ((20_000, 96, 0.6, 0.4), (200_000, 256, 0.6, 0.4))


def _for_small(chars: int) -> Recipe:
    hidden, dropout, decay = next(row[1:] for row in _SMALL if chars < row[0])
    return Recipe(
        hidden,
        1,
        "none",
        dropout,
        0.0,
        0.005,
        decay,
        EMA,
        0.0,
        32,
        64,
        f"sized for {chars:,} characters",
    )


def _for_work(
    chars: int,
    model: ModelSettings,
    training: TrainingSettings,
    rate: Callable[[], float],
    has_skip: bool,
) -> Recipe:
    """Weights and characters read grow together: twice the work, sqrt(2) of both. What is read often is dropped more."""
    gates = GATES[model.cell]
    work = 0.0
    if training.budget is not None:
        work = max(1.0, (seconds(training.budget, "--budget") - START_S) * TRAINING_SHARE) * rate()
        read = math.sqrt(work / WEIGHTS_PER_CHAR)
    elif training.epochs is not None:
        read = training.epochs * chars
    else:
        lanes, length = SHALLOW_SHAPE
        read = float(
            (training.steps or 0) * (training.batch_size or lanes) * (training.seq_length or length)
        )
    wanted = max(1.0, min(read * WEIGHTS_PER_CHAR, chars * MOST_WEIGHTS_PER_CHAR))
    is_open = (
        model.num_layers is None and model.skip == "none" and not has_skip and not model.tie_weights
    )
    fits = (
        model.hidden_size is None or 3 * gates * model.hidden_size**2 <= 2 * wanted
    )  # two layers of that width
    is_deep = is_open and wanted >= DEEP and fits
    layers = model.num_layers or 1 + is_deep
    squares = gates * (
        2 * layers - 1
    )  # of hidden x hidden: each layer's own, and what it reads of the one below
    hidden = model.hidden_size or min(
        HIDDEN_SIZES, key=lambda size: abs(math.log(squares * size * size / wanted))
    )
    weights = squares * hidden * hidden
    read = work / weights if work else read
    wear = (
        weights * read / chars**2
    )  # weights for each character of the text, times how often it is read
    dropout = min(0.4, max(0.0, round(1.2 * math.log2(1 + wear) - 0.5) / 20))
    weight_drop = 0.1 if wear > WORN else 0.0
    return Recipe(
        hidden,
        layers,
        "dense" if is_deep else model.skip,
        dropout,
        weight_drop,
        min(0.01, 2.8 / hidden),
        0.1,
        EMA,
        STATE_RESET,
        *(DEEP_SHAPE if is_deep else SHALLOW_SHAPE),
        f"for {read / chars:.2g} passes over {chars:,} characters",
    )


def _filled(part: Any, recipe: Recipe) -> Any:
    """A section of the settings with what is None taken from the recipe."""
    values = recipe._asdict()
    missing = {item.name for item in dataclasses.fields(part) if getattr(part, item.name) is None}
    return dataclasses.replace(
        part, **{key: value for key, value in values.items() if key in missing}
    )
