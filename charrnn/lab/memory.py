"""The memory lab: what a network's loss owes to its context, and how far cells can learn to remember at all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import ModelSettings, Settings
from charrnn.lab.context import Context, context_of
from charrnn.lab.models import fresh, names_stream, read_run, train_briefly
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.model.charmodel import CharModel
from charrnn.scoring.network import load_model
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
SIZE, EMBEDDING, STEPS = 64, 16, 400  # of the networks that are trained briefly on names
DELAYS = (2, 5, 10, 20, 40, 80)
SYMBOLS, DISTRACTORS = 8, 8  # what is to be recalled; what stands between
RECALL_SIZE, RECALL_STEPS, RECALL_BATCH, RECALL_LR, RECALL_TESTS = 32, 300, 32, 0.003, 512
CONTEXT = "characters of context"

Say = Callable[[str], None]


def memory(run: Path | None, seed: int, say: Say) -> Result:
    """Of a run's model, on the text held out from it; without one, of briefly trained cells, with the recall task.

    Raises CheckpointError, CorpusError.
    """
    return _of_run(run, seed) if run is not None else _of_cells(seed, say)


def _of_run(run: Path, seed: int) -> Result:
    model_file, ids = read_run(run)
    model, _ = load_model(model_file, "cpu")
    found = context_of(
        model, ids, model_file.vocabulary.newline if model_file.mode == "lines" else None, seed
    )
    whole, name = found.only.nats[-1], model_file.settings.model.cell
    figures = zip(found.lengths, found.reset, found.only.nats, *found.shuffled, strict=True)
    rows = tuple(
        (k, *map(_bits, (reset, only, nats, nats - whole, error)))
        for k, reset, only, nats, error in figures
    )
    columns = (
        CONTEXT,
        "state reset",
        "only these",
        "others shuffled",
        "shuffling costs",
        "± standard error",
    )
    settings = {"seed": seed, "run": str(run), "characters": found.chars, "places": found.places}
    curves = (
        dataclasses.replace(each, name=of)
        for each, of in zip(_context_curves(name, found), columns[1:], strict=False)
    )
    panels = (
        Panel(f"What {name} owes to its context", CONTEXT, "bits/char", tuple(curves), log_x=True),
    )
    return Result(
        "Loss against usable context, bits/char",
        columns,
        rows,
        panels,
        about(name, found),
        settings,
    )


def about(name: str, found: Context) -> str:
    """What to see, in words."""
    first, whole = found.only.nats[0], found.only.nats[-1]
    if not (math.isfinite(first) and math.isfinite(whole)):
        return f"The weights of this {name} are so large that its loss is no number."
    if whole >= first:
        return f"This {name} gains nothing from more than one character: it has learnt none of what they tell."
    return (
        f"With {found.usable} characters this {name} has 95 % of what all its context gains over a single one: "
        f"{_bits(first):.3f} bits/char with 1, {_bits(whole):.3f} with {found.lengths[-1]:,}. {_about_order(found)}"
    )


def _about_order(found: Context) -> str:
    """How far back the order of characters matters, by two standard errors."""
    costs = zip(found.lengths[:-1], *found.shuffled, strict=False)
    far = [k for k, nats, error in costs if nats - found.only.nats[-1] > 2 * error]
    if not far:
        return "The order of characters before the last one makes no difference that these places show."
    return f"It uses their order: with all farther back than {far[-1]} shuffled it is still measurably worse."


def _of_cells(seed: int, say: Say) -> Result:
    train_ids, held_out, vocabulary_size = names_stream(seed)
    contexts, recalled = {}, {}
    for name, chosen in CELLS.items():
        sized = ModelSettings(hidden_size=SIZE, num_layers=1, embedding_size=EMBEDDING, **chosen)
        model = fresh(sized, vocabulary_size, seed)
        train_briefly(model, train_ids, STEPS)
        contexts[name] = context_of(model, held_out, None, seed)
        recalled[name] = [recall(ModelSettings(**chosen), delay, seed) for delay in DELAYS]
        shares = ", ".join(
            f"{share:.0%} after {delay}"
            for delay, share in zip(DELAYS, recalled[name], strict=True)
        )
        say(f"{name}: {_bits(contexts[name].reset[-1]):.3f} bits/char on names; recalls {shares}")
    lengths = next(iter(contexts.values())).lengths
    rows: list[tuple[Cell, ...]] = [
        (f"recall after {delay}", *(shares[i] for shares in recalled.values()))
        for i, delay in enumerate(DELAYS)
    ]
    rows += [
        (f"reset every {k}", *(_bits(found.reset[i]) for found in contexts.values()))
        for i, k in enumerate(lengths)
    ]
    rows.append(("95 % of the gain", *(found.usable for found in contexts.values())))
    reached = "; ".join(
        f"{reach(shares)} characters with {name}" for name, shares in recalled.items()
    )
    usable = max(found.usable for found in contexts.values())
    sentence = (
        f"Learnt in {RECALL_STEPS} steps for one delay alone, nine of ten symbols are recalled after {reached} (bias: of the "
        f"forget gate; guessing: {1 / SYMBOLS:.1%}). A gate that begins open lets the gradient through, and what it does not "
        f"reach is not learnt. On names (bits/char with the state reset) {usable} characters have 95 % of what context gains "
        "with every cell: little memory is enough there."
    )
    settings = {
        "seed": seed,
        "names": f"{SIZE} units, {STEPS} steps",
        "recall": f"{RECALL_SIZE} units, {RECALL_STEPS} steps",
        "symbols": SYMBOLS,
        "distractors": DISTRACTORS,
        "lr": RECALL_LR,
        "batch": RECALL_BATCH,
    }
    curves = tuple(Series(name, DELAYS, tuple(shares)) for name, shares in recalled.items())
    chance = Series("guessing", DELAYS, (1 / SYMBOLS,) * len(DELAYS))
    task = Panel(
        "Recall of a symbol after a delay", "delay, characters", "share right", (*curves, chance)
    )
    titles = (
        "State reset every so many characters",
        "Only so many characters read",
        "All farther back shuffled",
    )
    kinds = zip(*(_context_curves(name, found) for name, found in contexts.items()), strict=True)
    context = (
        Panel(of, CONTEXT, "bits/char", each, log_x=True)
        for of, each in zip(titles, kinds, strict=True)
    )
    panels = (task, *context)
    return Result("How far cells remember", ("", *CELLS), tuple(rows), panels, sentence, settings)


def reach(shares: list[float]) -> int:
    """The longest delay after which nine of ten are right; 0: none."""
    return max(
        (delay for delay, share in zip(DELAYS, shares, strict=True) if share >= 0.9), default=0
    )


def _context_curves(name: str, found: Context) -> tuple[Series, Series, Series]:
    """State reset, only so many characters, the others shuffled; a band of one standard error around the last two."""
    x = tuple(map(float, found.lengths))
    curves = [Series(name, x, tuple(map(_bits, found.reset)))]
    for nats, errors in (found.only, found.shuffled):
        low = tuple(_bits(mean - error) for mean, error in zip(nats, errors, strict=True))
        high = tuple(_bits(mean + error) for mean, error in zip(nats, errors, strict=True))
        curves.append(Series(name, x, tuple(map(_bits, nats)), low, high))
    return curves[0], curves[1], curves[2]


def recall_batch(random: np.random.Generator, rows: int, delay: int) -> Batch:
    """A symbol, delay - 1 distractors, a cue; the symbol is to be said after the cue. ids (rows, delay + 1)."""
    ids = random.integers(SYMBOLS, SYMBOLS + DISTRACTORS, (rows, delay + 1))
    ids[:, 0] = random.integers(0, SYMBOLS, rows)
    ids[:, -1] = SYMBOLS + DISTRACTORS
    targets = np.full_like(ids, IGNORED)
    targets[:, -1] = ids[:, 0]
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), fresh=True)


def recall(settings: ModelSettings, delay: int, seed: int, steps: int = RECALL_STEPS) -> float:
    """The share of symbols recalled by a network that was trained on this delay alone. Sizes are the lab's."""
    sizes = {"hidden_size": RECALL_SIZE, "num_layers": 1, "embedding_size": EMBEDDING}
    chosen = (
        Settings(model=settings)
        .with_values("model", **sizes)
        .with_values("training", weight_decay=0.0)
    )
    model = fresh(chosen.model, SYMBOLS + DISTRACTORS + 1, seed)
    step, random = (
        TrainStep(model, make_optimizer(model, chosen.training), chosen),
        np.random.default_rng(seed),
    )
    model.train()
    for number in range(steps):
        step(
            recall_batch(random, RECALL_BATCH, delay),
            model.zero_state(RECALL_BATCH),
            RECALL_LR,
            number,
        )
    model.eval()
    return share_recalled(model, recall_batch(random, RECALL_TESTS, delay))


def share_recalled(model: CharModel, batch: Batch) -> float:
    """Of a batch of recall_batch."""
    with torch.inference_mode():
        state = model.advance(batch.inputs[:, :-1], model.zero_state(len(batch.inputs)))
        logits, _ = model(batch.inputs[:, -1:], state)
    return float((logits[:, 0].argmax(1) == batch.targets[:, -1]).double().mean())


def _bits(nats: float) -> float:
    return nats / math.log(2)
