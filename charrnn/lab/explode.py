"""What clipping saves a training from: the same recurrent network with and without it.

The task is a sentence learnt by heart. The network begins where gradients grow with distance: weak
inputs, so that the units are not saturated, and a recurrent matrix whose spectral radius is above
one (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"). cliff.py shows
why in a network of one unit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import Settings
from charrnn.errors import DivergedError
from charrnn.lab import cliff
from charrnn.lab.gradients import spectral_radius
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.machine.backends import expected_backend
from charrnn.model.charmodel import CharModel
from charrnn.storage import make_directories, write_atomically
from charrnn.text import building
from charrnn.text.batches import Batch, StreamBatches
from charrnn.text.corpus import Corpus
from charrnn.training.checkpoint import RunDirectory
from charrnn.training.listener import Silent
from charrnn.training.loop import Trainer
from charrnn.training.norms import clip_by_norm
from charrnn.training.optim import FlatOptimizer
from charrnn.training.step import TrainStep

SENTENCE = "a cell that forgets slowly will quote me exactly, by heart. "
REPEATS = 700
THRESHOLD = 1.0
ALGORITHM = "Algorithm 1"
CLIPPED = "clip_grad_norm_"
RADIUS = 1.3  # spectral radius of the first weight_hh
INPUTS = 0.1  # what the first embedding is multiplied by
LAST = 20  # steps whose mean is the loss at the end
MODEL: dict[str, Any] = {
    "cell": "rnn",
    "hidden_size": 64,
    "num_layers": 1,
    "embedding_size": 16,
    "dropout": 0.0,
}
TRAINING: dict[str, Any] = {
    "steps": 300,
    "batch_size": 16,
    "seq_length": 100,
    "lr": 1.5,
    "optimizer": "sgd",
    "schedule": "constant",
    "warmup": 0,
    "weight_decay": 0.0,
    "ema": 0.0,
    "patience": 0,
    "eval_every": "20",
    "save_every": "20",
    "sample_every": "300",
}

Say = Callable[[str], None]
Weights = dict[str, np.ndarray]


def explode(seed: int, say: Say) -> Result:
    """Train one network four times.

    Without clipping, clipped by Algorithm 1 of the paper, clipped as `train` clips, and without
    clipping but going back to a checkpoint as `train` does.
    """
    # 1. The trainings
    with tempfile.TemporaryDirectory(prefix="charrnn-explode-") as name:
        folder = Path(name)
        bare = settings_for(seed, 0.0)
        clipping = settings_for(seed, THRESHOLD)
        corpus = sentence_corpus(bare, folder)
        weights = first_weights(bare, len(corpus.vocabulary))
        unclipped = trained("no clipping", FlatOptimizer, bare, corpus, weights, say)
        algorithm = trained(ALGORITHM, Algorithm1, clipping, corpus, weights, say)
        clipped = trained(CLIPPED, FlatOptimizer, clipping, corpus, weights, say)
        back = gone_back("going back", bare, corpus, weights, folder / "run", say)
    runs = (unclipped, algorithm, clipped, back)

    # 2. The cliff
    plain = cliff.descent(0.0)
    careful = cliff.descent(THRESHOLD)

    # 3. What there is to see
    blind = math.log(len(corpus.vocabulary))
    sentence = (
        "Clipped, the network knows its sentence by heart at the end "
        f"({clipped.last:.2g} nats/char); not clipped, its loss rises to "
        f"{max(unclipped.losses):.3g}, where blind guessing has {blind:.3g}, and ends at "
        f"{unclipped.last:.2g}. {about_back(back)} Algorithm 1 leaves the threshold, "
        f"clip_grad_norm_ up to {clipped.shortfall:.1e} less: it divides by the norm + 1e-6. On "
        f"the cliff of one unit plain descent leaps {cliff.longest_step(plain):.2g} and ends at a "
        f"loss of {plain[-1].loss:.2g}; clipped, it leaps {cliff.longest_step(careful):.2g} and "
        f"ends at {careful[-1].loss:.1g}."
    )
    chosen = {"seed": seed, "clip": THRESHOLD, "radius": RADIUS, "inputs": INPUTS}
    return Result(
        "A network that explodes",
        ("", *(run.name for run in runs)),
        _rows(runs),
        (*training_panels(runs), *cliff.panels(plain, careful), shortfall_panel()),
        sentence,
        chosen | MODEL | TRAINING,
    )


@dataclass
class Exploded:
    """What happened in one training, step by step."""

    name: str
    losses: list[float] = field(default_factory=list)  # nats per character
    norms: list[float] = field(default_factory=list)  # of the gradient, before clipping
    after: list[float] = field(default_factory=list)  # once clipped; empty without clipping
    radius: float = math.nan  # of weight_hh at the end
    rollbacks: int = 0

    @property
    def last(self) -> float:
        """The mean loss of the last steps."""
        return float(np.mean(self.losses[-LAST:]))

    @property
    def clipped(self) -> int:
        """How many steps were clipped."""
        if not self.after:
            return 0
        return sum(norm >= THRESHOLD for norm in self.norms)

    @property
    def shortfall(self) -> float:
        """How far below the threshold a clipped gradient ended at most, as a share of it."""
        pairs = zip(self.norms, self.after, strict=True)
        shares = (1 - after / THRESHOLD for norm, after in pairs if norm >= THRESHOLD)
        return max(shares, default=0.0)


def _rows(runs: tuple[Exploded, ...]) -> tuple[tuple[Cell, ...], ...]:
    below = (run.shortfall if run.after else None for run in runs)
    return (
        ("highest loss, nats/char", *(max(run.losses) for run in runs)),
        (f"loss of the last {LAST} steps", *(run.last for run in runs)),
        ("largest gradient norm", *(max(run.norms) for run in runs)),
        ("largest norm after clipping", *(max(run.after, default=None) for run in runs)),
        ("most below the threshold", *below),
        ("steps clipped", *(run.clipped for run in runs)),
        ("spectral radius at the end", *(run.radius for run in runs)),
        ("times gone back", *(run.rollbacks for run in runs)),
    )


def about_back(back: Exploded) -> str:
    """Say what going back did."""
    if not back.rollbacks:
        return "No evaluation saw a jump large enough to go back from."
    times = "once" if back.rollbacks == 1 else f"{back.rollbacks} times"
    return (
        f"Gone back {times} to a checkpoint, with half the learning rate, it ends at "
        f"{back.last:.2g}."
    )


class Algorithm1(FlatOptimizer):
    """An optimiser that clips as the paper says."""

    def clip(self, threshold: float) -> float:
        """Scale the gradient down to the threshold. Returns the norm before."""
        return clip_by_norm([self._grads], threshold)


def settings_for(seed: int, threshold: float) -> Settings:
    """Return the settings of a training. threshold 0: no clipping."""
    training = TRAINING | {"seed": seed, "clip": threshold}
    settings = Settings().with_values("text", mode="stream").with_values("model", **MODEL)
    settings = settings.with_values("training", **training)
    # float32, as the steps by hand: the first losses are equal.
    return settings.with_values("runtime", precision="float32")


def sentence_corpus(settings: Settings, folder: Path) -> Corpus:
    """Write the sentence over and over, and read it as `train` would."""
    seed = settings.training.seed
    write_atomically(folder / "sentence.txt", (SENTENCE * REPEATS).encode())
    survey = building.survey(str(folder / "sentence.txt"), settings.text, seed)
    make_directories(folder / "corpus")
    return building.build(survey, settings.text, seed, folder / "corpus")[0]


def first_weights(settings: Settings, vocabulary_size: int) -> Weights:
    """Return a new network's tensors, its recurrent matrix at RADIUS and its inputs weak."""
    torch.manual_seed(settings.training.seed)
    model = CharModel(settings.model, vocabulary_size)
    with torch.no_grad():
        weight = model.recurrent.get_parameter("weight_hh_l0")
        weight.mul_(RADIUS / spectral_radius(weight))
        model.embedding.weight.mul_(INPUTS)
    return {name: value.detach().numpy().copy() for name, value in model.tensors().items()}


def norm_of(gradients: Iterable[torch.Tensor]) -> float:
    """Return the total norm of several gradients, summed in float64."""
    squares = (float(gradient.double().square().sum()) for gradient in gradients)
    return math.sqrt(sum(squares))


def trained(
    name: str,
    optimizer_kind: type[FlatOptimizer],
    settings: Settings,
    corpus: Corpus,
    weights: Weights,
    say: Say,
) -> Exploded:
    """Make the steps of `train` and nothing around them: no evaluation, no going back."""
    training = settings.training
    assert training.batch_size is not None
    assert training.seq_length is not None
    assert training.lr is not None
    assert training.steps is not None
    backend = expected_backend(settings, torch.device("cpu"))
    model = CharModel(settings.model, len(corpus.vocabulary), backend)
    model.load_tensors({key: torch.from_numpy(value) for key, value in weights.items()})
    step = TrainStep(model, optimizer_kind(model, training), settings)
    batches = StreamBatches(corpus, training.batch_size, training.seq_length)
    state = model.zero_state(1)
    run = Exploded(name)
    for number in range(training.steps):
        update = step(batches.batch(number), state, training.lr, number)
        state = update.state
        run.losses.append(update.nats_per_char)
        run.norms.append(update.norm)
        if training.clip:
            weights_gradients = (weight.grad for weight in model.parameters())
            gradients = (gradient for gradient in weights_gradients if gradient is not None)
            run.after.append(norm_of(gradients))
    run.radius = _final_radius(model)
    say(_about(run))
    return run


def gone_back(
    name: str, settings: Settings, corpus: Corpus, weights: Weights, folder: Path, say: Say
) -> Exploded:
    """Train as `train` does.

    A training that diverges goes back to its last good checkpoint, with half the learning rate
    (recovery.py).
    """
    run = Exploded(name)

    class Watched(Trainer):
        """A Trainer that keeps the figures of every step, even of those that are undone."""

        def train_step(self, batch: Batch) -> dict[str, Any]:
            """Make one update and keep its figures."""
            record = super().train_step(batch)
            run.losses.append(record["train_nats_per_char"])
            run.norms.append(record["grad_norm"])
            return record

    with RunDirectory(folder) as directory:
        trainer = Watched(settings, corpus, directory, _Warnings(name, say), weights=weights)
        try:
            trainer.fit()
        except DivergedError as error:
            say(f"{name}: {error}")
    run.radius = _final_radius(trainer.model)
    run.rollbacks = trainer.place.rollbacks
    say(_about(run))
    return run


def _final_radius(model: CharModel) -> float:
    return spectral_radius(model.recurrent.get_parameter("weight_hh_l0"))


def _about(run: Exploded) -> str:
    return (
        f"{run.name}: largest gradient norm {max(run.norms):.3g}, "
        f"loss at the end {run.last:.2g} nats/char"
    )


class _Warnings(Silent):
    """A training.listener.Progress that passes on nothing but warnings."""

    def __init__(self, name: str, say: Say) -> None:
        self._name = name
        self._say = say

    def say(self, text: str) -> None:
        """Pass on a warning, under the name of the training."""
        if text.startswith("warning: "):
            self._say(f"{self._name}: {text.removeprefix('warning: ')}")


def training_panels(runs: Iterable[Exploded]) -> tuple[Panel, ...]:
    """Draw loss and norm of the gradient, step by step."""
    losses = []
    norms = []
    for run in runs:
        steps = tuple(range(1, len(run.losses) + 1))
        losses.append(Series(run.name, steps, tuple(run.losses)))
        norms.append(Series(run.name, steps, tuple(run.norms)))
        if run.after and run.name == CLIPPED:
            norms.append(Series(f"{run.name}, after", steps, tuple(run.after)))
    title = "The same network, the same seed"
    return (
        Panel(title, "step", "loss, nats/char", tuple(losses), log_y=True),
        Panel("Norm of the gradient", "step", "norm", tuple(norms), log_y=True),
    )


def shortfall_panel() -> Panel:
    """Draw what each rule leaves of gradients of growing norm, measured in float64."""
    norms = np.geomspace(THRESHOLD / 100, THRESHOLD * 1e4, 61)
    shortfalls: dict[str, list[float]] = {ALGORITHM: [], CLIPPED: []}
    for norm in norms:
        parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        parameter.grad = torch.tensor([0.6, 0.8], dtype=torch.float64) * norm
        by_paper = parameter.grad.clone()
        torch.nn.utils.clip_grad_norm_([parameter], THRESHOLD)
        clip_by_norm([by_paper], THRESHOLD)
        wanted = min(norm, THRESHOLD)
        shortfalls[ALGORITHM].append(wanted - norm_of([by_paper]))
        shortfalls[CLIPPED].append(wanted - norm_of([parameter.grad]))
    x = tuple(norms.tolist())
    curves = tuple(Series(name, x, tuple(values)) for name, values in shortfalls.items())
    title = "What clip_grad_norm_ leaves less than Algorithm 1"
    label = "smaller of norm and threshold, minus norm after"
    return Panel(title, "norm before", label, curves, log_x=True)
