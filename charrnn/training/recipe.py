"""What a person did not set: a network and a training from corpus, budget and speed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeVar

from charrnn.config import ModelSettings, Settings, TrainingSettings
from charrnn.layout import GATES
from charrnn.terminal import one_line
from charrnn.text.building import Survey, training_chars
from charrnn.training.sizing import LANES, WINDOWS, Card, Size, fitted, shortened_s
from charrnn.values import seconds

Section = TypeVar("Section", ModelSettings, TrainingSettings)

# The default budget of a text of so many characters and more; of a shorter one as much less,
# which ends early where a text has no more to give.
DEFAULT_BUDGET_S = 300
FULL_CHARS = 200_000
LEAST_BUDGET_S = 20
HIDDEN_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048)

# The figures below come from trials on tiny Shakespeare and C (docs/decisions.md).
# Recurrent weights for each character that a training will read, passes counted.
WEIGHTS_PER_CHAR = 0.04
# Recurrent weights for each character that the text has. A small text wants more, up to so many.
MOST_WEIGHTS_PER_CHAR = 4.0
SMALL_WEIGHTS_PER_CHAR = 16.0
SMALL_WEIGHTS = 200_000.0
# A small text that is read more often than this wants more weights than that, up to DEEP: on 8,000
# identifiers a GRU of 320 was ahead of 224. At SMALL_CHARS half as much more, far above none.
OFTEN = 12
SMALL_CHARS = 300_000
# Wear is weights for each character of the text, times how often it is read. The more, the more
# is dropped; dropout and weight decay have their most at some 400, recurrent weights above WORN.
MOST_DROPOUT = 0.5
WORN = 18
MOST_WEIGHT_DROP = 0.1
WEIGHT_DECAY = 0.1
MOST_WEIGHT_DECAY = 0.25
DECAYED = 64  # wear from which on weights decay more
TRIED_WEAR = 400  # at most, in trials
# Recurrent weights from which on two layers with dense skips learn more than one.
DEEP = 400_000
MOST_LR = 0.01
# Characters that occur less often than so many times, on average, are learnt at half the rate.
RARE = 10
# Equal to the weights where the rate ends at zero, 0.01 to 0.07 nats better before.
EMA = 0.99
# Lanes and characters of a batch. Only who learnt from long windows closes what was
# opened long before.
SHALLOW_SHAPE = (32, 64)
DEEP_SHAPE = (8, 256)
# A model that also meets empty states in training loses less where texts begin.
STATE_RESET = 0.03
# Of a budget: seconds before the first step, of which a GPU takes more; of the rest, the share
# without evaluations and samples.
START_S = 6.0
CARD_START_S = 12.0
TRAINING_SHARE = 0.93

LINES_BATCH = 64
EMBEDDING_SIZES = (8, 64)  # least and most, where nobody said


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
    wear: float


class Filled(NamedTuple):
    """Settings with every size decided.

    network: in words (gru 1 x 256, dropout 0.6); reason: why these.
    """

    settings: Settings
    network: str
    reason: str


def fill(
    settings: Settings,
    survey: Survey,
    rate: Callable[[], float],
    asked: Collection[str] = (),
    card: Card | None = None,
) -> Filled:
    """Decide every setting of the network and the training that is None.

    rate: recurrent weights times characters that a second of training takes here; asked for only if
    it matters.
    asked: the settings that a person chose; of --skip its value does not say.
    card: the GPU that a budget is spent on, instead of a rate.
    """
    # 1. How long, and which recipe. A GPU may wear out a small text long before five minutes.
    chars = max(1, training_chars(survey, settings.text))
    model = settings.model
    training = settings.training
    is_open = training.epochs is None and training.steps is None and training.budget is None
    if is_open:
        training = dataclasses.replace(training, budget=default_budget(chars))
    arguments = (chars, len(survey.vocabulary), model)
    has_skip = "skip" in asked
    recipe = _for_work(*arguments, training, rate, has_skip, card)
    if card is not None and is_open and recipe.wear > TRIED_WEAR:
        training_s = _training_s(training, card)
        enough_s = shortened_s(training_s, recipe.wear, TRIED_WEAR) / TRAINING_SHARE + CARD_START_S
        training = dataclasses.replace(training, budget=f"{math.ceil(enough_s)}s")
        recipe = _for_work(*arguments, training, rate, has_skip, card)

    # 2. The network: tied weights are one matrix, and so hidden and embedding size are one.
    hidden = model.hidden_size
    if not hidden and model.tie_weights:
        hidden = model.embedding_size
    hidden = hidden or recipe.hidden_size
    embedding = model.embedding_size
    if not embedding:
        least, most = EMBEDDING_SIZES
        embedding = min(most, max(least, len(survey.vocabulary)))
        if model.tie_weights:
            embedding = hidden
    filled_model = dataclasses.replace(
        _filled(model, recipe),
        hidden_size=hidden,
        num_layers=model.num_layers or recipe.num_layers,
        skip=recipe.skip if model.skip == "none" else model.skip,
        embedding_size=embedding,
    )

    # 3. The batches: lanes and windows of a stream must fit the text.
    seq_length = training.seq_length or recipe.seq_length
    batch_size = training.batch_size or recipe.batch_size
    if survey.mode == "lines" and training.batch_size is None:
        batch_size = LINES_BATCH
    if survey.mode == "stream" and training.seq_length is None:
        seq_length = max(1, min(seq_length, (chars - 1) // (training.batch_size or 1)))
    if survey.mode == "stream" and training.batch_size is None:
        batch_size = max(1, min(batch_size, (chars - 1) // seq_length))
    filled_training = dataclasses.replace(
        _filled(training, recipe), seq_length=seq_length, batch_size=batch_size
    )

    # 4. In words
    reason = recipe.reason if model.hidden_size is None else "as asked"
    if training.init_from:
        reason = f"from {one_line(training.init_from)}"
    filled = Settings(settings.text, filled_model, filled_training, settings.runtime)
    return Filled(filled, _in_words(filled_model), reason)


def _in_words(model: ModelSettings) -> str:
    """Return `gru 1 x 256, dropout 0.6`."""
    words = [f"{model.cell} {model.num_layers} x {model.hidden_size}"]
    if model.skip != "none":
        words.append(f"{model.skip} skips")
    words.append(f"dropout {model.dropout:g}")
    if model.weight_drop:
        words.append(f"weight-drop {model.weight_drop:g}")
    return ", ".join(words)


def default_budget(chars: int) -> str:
    """Return how long a text of so many characters is learnt where nobody said."""
    full_s = min(DEFAULT_BUDGET_S, DEFAULT_BUDGET_S * chars // FULL_CHARS)
    if full_s == DEFAULT_BUDGET_S:
        return "5m"
    return f"{max(LEAST_BUDGET_S, full_s)}s"


def _for_work(
    chars: int,
    symbols: int,
    model: ModelSettings,
    training: TrainingSettings,
    rate: Callable[[], float],
    has_skip: bool,
    card: Card | None = None,
) -> Recipe:
    """Size a network for what it will read.

    Weights and characters read grow together: twice the work, sqrt(2) of both.
    What is read often is dropped more.
    """
    if card is not None and training.budget is not None:
        return _for_card(chars, symbols, model, training, has_skip, card)

    # 1. How many characters will be read? With a budget: as many as balance the weights.
    gates = GATES[model.cell]
    work = 0.0  # weights times characters read
    if training.budget is not None:
        work = _training_s(training, card) * rate()
        read = math.sqrt(work / WEIGHTS_PER_CHAR)
    elif training.epochs is not None:
        read = training.epochs * chars
    else:
        lanes, length = SHALLOW_SHAPE
        batch_chars = (training.batch_size or lanes) * (training.seq_length or length)
        read = float((training.steps or 0) * batch_chars)

    # 2. One layer or two? Two only if nobody chose, and two layers of a width that was
    # asked for fit.
    wanted = _wanted(read, chars)
    is_deep = _is_deep(wanted, model, has_skip)
    layers = model.num_layers or 1 + is_deep

    # 3. How wide? Each layer has a hidden x hidden matrix of its own, and one for the
    # layer below it.
    squares = gates * (2 * layers - 1)
    hidden = model.hidden_size or min(
        HIDDEN_SIZES, key=lambda size: abs(math.log(squares * size * size / wanted))
    )

    # 4. How much is dropped?
    weights = squares * hidden * hidden
    read = work / weights if work else read
    lanes, length = DEEP_SHAPE if is_deep else SHALLOW_SHAPE
    size = Size(layers, hidden, lanes, length)
    is_full = wanted == _most_weights(chars)
    return _recipe(chars, symbols, model, size, weights, read, is_deep=is_deep, is_full=is_full)


def _for_card(
    chars: int,
    symbols: int,
    model: ModelSettings,
    training: TrainingSettings,
    has_skip: bool,
    card: Card,
) -> Recipe:
    """Size a network and its batches for what this GPU reads of it within the budget."""
    training_s = _training_s(training, card)
    gates = GATES[model.cell]

    def wanted(read: float) -> float:
        return _wanted(read, chars)

    # 1. Two layers where one that is as large as two would read enough for both
    lanes, length = SHALLOW_SHAPE
    is_lines = card.line_chars is not None
    if is_lines:
        lanes = LINES_BATCH
    width = min(HIDDEN_SIZES, key=lambda size: abs(gates * size * size - DEEP))
    shape = (training.batch_size or lanes, card.line_chars or training.seq_length or length)
    read = training_s * card.speed(Size(1, width, *shape))
    is_deep = _is_deep(wanted(read), model, has_skip)
    layers = model.num_layers or 1 + is_deep

    # 2. The width, the lanes and the window
    lengths: tuple[int, ...] = WINDOWS if is_deep else (length,)
    lane_counts: tuple[int, ...] = LANES
    if is_lines or training.batch_size is not None:
        lane_counts = (shape[0],)
    if is_lines or training.seq_length is not None:
        lengths = (shape[1],)
    most_lanes = max(1, (chars - 1) // lengths[-1])
    lane_counts = tuple(count for count in lane_counts if count <= most_lanes) or (most_lanes,)
    widths = HIDDEN_SIZES if model.hidden_size is None else (model.hidden_size,)
    found = fitted(card, training_s, chars, gates, layers, widths, wanted, lane_counts, lengths)

    # 3. How much is dropped?
    is_full = wanted(found.read) == _most_weights(chars)
    return _recipe(
        chars,
        symbols,
        model,
        found.size,
        found.weights,
        found.read,
        is_deep=is_deep,
        is_full=is_full,
    )


def _training_s(training: TrainingSettings, card: Card | None) -> float:
    """Return how long a budget trains, 1 second at least."""
    assert training.budget is not None
    start_s = START_S if card is None else CARD_START_S
    left_s: float = (seconds(training.budget, "--budget") - start_s) * TRAINING_SHARE
    return max(1.0, left_s)


def _wanted(read: float, chars: int) -> float:
    """Return the recurrent weights for so many characters read, of a text of so many."""
    wanted = read * WEIGHTS_PER_CHAR
    smallness = 1 / (1 + (chars / SMALL_CHARS) ** 3)
    more: float = wanted * max(1.0, read / chars / OFTEN) ** (0.75 * smallness)
    wanted = max(wanted, min(more, DEEP - 1))
    return max(1.0, min(wanted, _most_weights(chars)))


def _most_weights(chars: int) -> float:
    """Return the recurrent weights that a text of so many characters can teach."""
    return max(MOST_WEIGHTS_PER_CHAR * chars, min(SMALL_WEIGHTS_PER_CHAR * chars, SMALL_WEIGHTS))


def _is_deep(wanted: float, model: ModelSettings, has_skip: bool) -> bool:
    """Return whether there are two layers: nobody chose, and two of a width asked for fit."""
    is_open = (
        model.num_layers is None and model.skip == "none" and not has_skip and not model.tie_weights
    )
    gates = GATES[model.cell]
    fits = model.hidden_size is None or 3 * gates * model.hidden_size**2 <= 2 * wanted
    return is_open and wanted >= DEEP and fits


def _recipe(
    chars: int,
    symbols: int,
    model: ModelSettings,
    size: Size,
    weights: int,
    read: float,
    *,
    is_deep: bool,
    is_full: bool,
) -> Recipe:
    """Return the recipe for a network of so many recurrent weights that reads so much."""
    wear = weights * read / chars**2  # weights for each character, times how often it is read
    return Recipe(
        hidden_size=size.hidden_size,
        num_layers=size.num_layers,
        skip="dense" if is_deep else model.skip,
        dropout=_in_twentieths(0.06 * math.log2(1 + wear) - 0.025, MOST_DROPOUT),
        weight_drop=_in_twentieths(MOST_WEIGHT_DROP * wear / WORN - 0.05, MOST_WEIGHT_DROP),
        lr=min(MOST_LR, 2.8 / size.hidden_size) * chars / (chars + RARE * symbols),
        weight_decay=round(
            min(MOST_WEIGHT_DECAY, WEIGHT_DECAY * math.sqrt(max(1.0, wear / DECAYED))), 2
        ),
        ema=EMA,
        state_reset=STATE_RESET,
        batch_size=size.lanes,
        seq_length=size.length,
        reason=_reason(read / chars, chars, is_full=is_full),
        wear=wear,
    )


def _reason(passes: float, chars: int, *, is_full: bool) -> str:
    """Say what the sizes follow from. is_full: more weights would know the text by heart."""
    if is_full:
        return f"as much as {chars:,} characters can teach"
    digits = 0
    if 0 < passes < 10:
        digits = max(0, 1 - math.floor(math.log10(passes)))
    return f"{passes:,.{digits}f} passes over {chars:,} characters"


def _in_twentieths(share: float, most: float) -> float:
    """Return a share between 0 and most, rounded to one that a person would write."""
    return round(20 * min(most, max(0.0, share))) / 20


def _filled(part: Section, recipe: Recipe) -> Section:
    """Return a section of the settings with what is None taken from the recipe."""
    values = recipe._asdict()
    missing = {
        item.name: values[item.name]
        for item in dataclasses.fields(part)
        if getattr(part, item.name) is None and item.name in values
    }
    return dataclasses.replace(part, **missing)
