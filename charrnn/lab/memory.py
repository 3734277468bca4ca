"""What a network's loss owes to its context, and how far back cells can learn to remember."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import ModelSettings, Settings
from charrnn.lab.context import Context, Means, context_of
from charrnn.lab.models import fresh, names_stream, read_run, train_briefly
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.model.charmodel import CharModel
from charrnn.scoring.network import load_model
from charrnn.scoring.score import Score
from charrnn.text.batches import IGNORED, Batch
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "gru": {"cell": "gru"},
    "lstm, bias 0": {"cell": "lstm", "forget_bias": 0.0},
    "lstm, bias 1": {"cell": "lstm", "forget_bias": 1.0},
    "lstm, bias 3": {"cell": "lstm", "forget_bias": 3.0},
}
# The networks that are trained briefly on names
SIZE = 64
EMBEDDING = 16
STEPS = 400

# The recall task: a symbol, distractors, a cue, and the symbol again
DELAYS = (2, 5, 10, 20, 40, 80)
SYMBOLS = 8
DISTRACTORS = 8
RECALL_SIZE = 32
RECALL_STEPS = 300
RECALL_BATCH = 32
RECALL_LR = 0.003
RECALL_TESTS = 512

CONTEXT = "characters of context"
RUN_COLUMNS = (
    CONTEXT,
    "state reset",
    "only these",
    "others shuffled",
    "shuffling costs",
    "± standard error",
)

Say = Callable[[str], None]


def memory(run: Path | None, seed: int, say: Say, device: str = "cpu") -> Result:
    """Measure what a network uses of its context.

    With a run, in its network, on its held-out text. Without one, in briefly trained cells, which
    also learn to recall a symbol after a delay. device: of a run's network. Raises CheckpointError,
    CorpusError; SettingsError for a device that is not there.
    """
    if run is not None:
        return _of_run(run, seed, device)
    return _of_cells(seed, say)


def _of_run(run: Path, seed: int, device: str) -> Result:
    # 1. Measure
    model_file, ids = read_run(run)
    model, _ = load_model(model_file, device)
    newline = model_file.vocabulary.newline if model_file.mode == "lines" else None
    context = context_of(model, ids, newline, seed)
    name = model_file.settings.model.cell

    # 2. The table
    whole = context.only.nats[-1]
    figures = zip(context.lengths, context.reset, context.only.nats, *context.shuffled, strict=True)
    rows = []
    for length, reset, only, shuffled, error in figures:
        nats = (reset, only, shuffled, shuffled - whole, error)
        rows.append((length, *map(_bits, nats)))

    # 3. The picture
    named = zip(_context_curves(name, context), RUN_COLUMNS[1:], strict=False)
    curves = tuple(dataclasses.replace(curve, name=column) for curve, column in named)
    panel = Panel(f"What {name} owes to its context", CONTEXT, "bits/char", curves, log_x=True)
    return Result(
        "Loss against usable context, bits/char",
        RUN_COLUMNS,
        tuple(rows),
        (panel,),
        about(name, context),
        {"seed": seed, "run": str(run), "characters": context.chars, "places": context.places},
    )


def about(name: str, context: Context) -> str:
    """Say what there is to see in a network."""
    first = context.only.nats[0]
    whole = context.only.nats[-1]
    if not (math.isfinite(first) and math.isfinite(whole)):
        return f"The weights of this {name} are so large that its loss is no number."
    if whole >= first:
        return (
            f"This {name} gains nothing from more than one character: "
            "it has learnt none of what they tell."
        )
    return (
        f"With {context.usable} characters this {name} has 95 % of what all its context gains over "
        f"a single one: {_bits(first):.3f} bits/char with 1, {_bits(whole):.3f} with "
        f"{context.lengths[-1]:,}. {_about_order(context)}"
    )


def _about_order(context: Context) -> str:
    """Say how far back the order of characters matters, by two standard errors."""
    whole = context.only.nats[-1]
    costs = zip(context.lengths[:-1], *context.shuffled, strict=False)
    far = [length for length, nats, error in costs if nats - whole > 2 * error]
    if not far:
        return (
            "The order of characters before the last one makes no difference "
            "that these places show."
        )
    return (
        f"It uses their order: with all farther back than {far[-1]} shuffled "
        "it is still measurably worse."
    )


def _of_cells(seed: int, say: Say) -> Result:
    # 1. Every cell, on names and on the recall task
    train_ids, held_out, vocabulary_size = names_stream(seed)
    contexts: dict[str, Context] = {}
    recalled: dict[str, list[float]] = {}
    for name, chosen in CELLS.items():
        settings = ModelSettings(hidden_size=SIZE, num_layers=1, embedding_size=EMBEDDING, **chosen)
        model = fresh(settings, vocabulary_size, seed)
        train_briefly(model, train_ids, STEPS)
        contexts[name] = context_of(model, held_out, None, seed)
        recalled[name] = [recall(ModelSettings(**chosen), delay, seed) for delay in DELAYS]
        by_delay = zip(DELAYS, recalled[name], strict=True)
        shares = ", ".join(f"{share:.0%} after {delay}" for delay, share in by_delay)
        say(f"{name}: {Score(contexts[name].reset[-1], 1)} on names; recalls {shares}")

    # 2. What there is to see
    return Result(
        "How far cells remember",
        ("", *CELLS),
        _cell_rows(contexts, recalled),
        _cell_panels(contexts, recalled),
        _about_cells(contexts, recalled),
        {
            "seed": seed,
            "names": f"{SIZE} units, {STEPS} steps",
            "recall": f"{RECALL_SIZE} units, {RECALL_STEPS} steps",
            "symbols": SYMBOLS,
            "distractors": DISTRACTORS,
            "lr": RECALL_LR,
            "batch": RECALL_BATCH,
        },
    )


def _cell_rows(
    contexts: dict[str, Context], recalled: dict[str, list[float]]
) -> tuple[tuple[Cell, ...], ...]:
    lengths = next(iter(contexts.values())).lengths
    rows: list[tuple[Cell, ...]] = []
    for i, delay in enumerate(DELAYS):
        rows.append((f"recall after {delay}", *(shares[i] for shares in recalled.values())))
    for i, length in enumerate(lengths):
        bits = (_bits(context.reset[i]) for context in contexts.values())
        rows.append((f"reset every {length}", *bits))
    rows.append(("95 % of the gain", *(context.usable for context in contexts.values())))
    return tuple(rows)


def _about_cells(contexts: dict[str, Context], recalled: dict[str, list[float]]) -> str:
    """Say what there is to see in the lab's own cells."""
    reached = (f"{reach(shares)} characters with {name}" for name, shares in recalled.items())
    usable = max(context.usable for context in contexts.values())
    return (
        f"Learnt in {RECALL_STEPS} steps for one delay alone, nine of ten symbols are recalled "
        f"after {'; '.join(reached)} (bias: of the forget gate; guessing: {1 / SYMBOLS:.1%}). A "
        "gate that begins open lets the gradient through, and what it does not reach is not "
        f"learnt. On names (bits/char with the state reset) {usable} characters have 95 % of what "
        "context gains with every cell: little memory is enough there."
    )


def _cell_panels(
    contexts: dict[str, Context], recalled: dict[str, list[float]]
) -> tuple[Panel, ...]:
    # 1. The recall task
    curves = [Series(name, DELAYS, tuple(shares)) for name, shares in recalled.items()]
    curves.append(Series("guessing", DELAYS, (1 / SYMBOLS,) * len(DELAYS)))
    title = "Recall of a symbol after a delay"
    panels = [Panel(title, "delay, characters", "share right", tuple(curves))]

    # 2. The names, with less and less context
    titles = (
        "State reset every so many characters",
        "Only so many characters read",
        "All farther back shuffled",
    )
    by_cell = [_context_curves(name, context) for name, context in contexts.items()]
    for title, of_title in zip(titles, zip(*by_cell, strict=True), strict=True):
        panels.append(Panel(title, CONTEXT, "bits/char", of_title, log_x=True))
    return tuple(panels)


def reach(shares: list[float]) -> int:
    """Return the longest delay after which nine of ten are right; 0: none."""
    by_delay = zip(DELAYS, shares, strict=True)
    return max((delay for delay, share in by_delay if share >= 0.9), default=0)


def _context_curves(name: str, context: Context) -> tuple[Series, Series, Series]:
    """Draw the loss with the state reset, with little context, and with the rest shuffled.

    The last two have a band of one standard error.
    """
    x = tuple(map(float, context.lengths))
    reset = Series(name, x, tuple(map(_bits, context.reset)))
    return reset, _banded(name, x, context.only), _banded(name, x, context.shuffled)


def _banded(name: str, x: tuple[float, ...], means: Means) -> Series:
    pairs = list(zip(means.nats, means.errors, strict=True))
    low = tuple(_bits(nats - error) for nats, error in pairs)
    high = tuple(_bits(nats + error) for nats, error in pairs)
    return Series(name, x, tuple(map(_bits, means.nats)), low, high)


def recall_batch(random: np.random.Generator, rows: int, delay: int) -> Batch:
    """Draw rows of a symbol, delay - 1 distractors and a cue; after the cue the symbol is wanted.

    Its ids and targets are (rows, delay + 1).
    """
    ids = random.integers(SYMBOLS, SYMBOLS + DISTRACTORS, (rows, delay + 1))
    ids[:, 0] = random.integers(0, SYMBOLS, rows)
    ids[:, -1] = SYMBOLS + DISTRACTORS
    targets = np.full_like(ids, IGNORED)
    targets[:, -1] = ids[:, 0]
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), fresh=True)


def recall(settings: ModelSettings, delay: int, seed: int, steps: int = RECALL_STEPS) -> float:
    """Return the share of symbols that a network recalls after training on this delay alone.

    The sizes of the network are the lab's.
    """
    sizes = {"hidden_size": RECALL_SIZE, "num_layers": 1, "embedding_size": EMBEDDING}
    chosen = Settings(model=settings).with_values("model", **sizes)
    chosen = chosen.with_values("training", weight_decay=0.0)
    model = fresh(chosen.model, SYMBOLS + DISTRACTORS + 1, seed)
    step = TrainStep(model, make_optimizer(model, chosen.training), chosen)
    random = np.random.default_rng(seed)
    model.train()
    for number in range(steps):
        batch = recall_batch(random, RECALL_BATCH, delay)
        step(batch, model.zero_state(RECALL_BATCH), RECALL_LR, number)
    model.eval()
    return share_recalled(model, recall_batch(random, RECALL_TESTS, delay))


def share_recalled(model: CharModel, batch: Batch) -> float:
    """Return the share of symbols recalled in a batch of recall_batch."""
    with torch.inference_mode():
        state = model.advance(batch.inputs[:, :-1], model.zero_state(len(batch.inputs)))
        logits, _ = model(batch.inputs[:, -1:], state)
    return float((logits[:, 0].argmax(1) == batch.targets[:, -1]).double().mean())


def _bits(nats: float) -> float:
    return nats / math.log(2)
