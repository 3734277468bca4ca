"""What clipping saves a training from: the same recurrent network with and without it.

The task is a sentence learnt by heart. Its network begins where gradients grow with distance: weak inputs, so that the
units are not saturated, and a recurrent matrix whose spectral radius is above one (Pascanu et al. 2013, "On the
difficulty of training recurrent neural networks"). The cliff behind it is in cliff.py.
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
from charrnn.scoring.score import Score
from charrnn.storage import make_directories, write_atomically
from charrnn.text import building
from charrnn.text.batches import Batch, StreamBatches
from charrnn.text.corpus import Corpus
from charrnn.training.checkpoint import RunDirectory
from charrnn.training.loop import Trainer
from charrnn.training.optim import FlatOptimizer, clip_by_norm
from charrnn.training.outcome import Recent
from charrnn.training.step import TrainStep

SENTENCE, REPEATS = "a cell that forgets slowly will quote me exactly, by heart. ", 700
THRESHOLD = 1.0
ALGORITHM, CLIPPED = "Algorithm 1", "clip_grad_norm_"
RADIUS, INPUTS = (
    1.3,
    0.1,
)  # spectral radius of the first weight_hh; what the first embedding is multiplied by
LAST = 20  # steps whose mean is the loss at the end
MODEL = {"cell": "rnn", "hidden_size": 64, "num_layers": 1, "embedding_size": 16, "dropout": 0.0}
TRAINING = {
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
    """Train without clipping, by Algorithm 1, as `train` clips, and without clipping but with `train`'s going back."""
    with tempfile.TemporaryDirectory(prefix="charrnn-explode-") as folder:
        bare, clipping = (settings_for(seed, threshold) for threshold in (0.0, THRESHOLD))
        corpus = sentence_corpus(bare, Path(folder))
        weights = first_weights(bare, len(corpus.vocabulary))
        none = trained("no clipping", FlatOptimizer, bare, corpus, weights, say)
        algorithm = trained(ALGORITHM, Algorithm1, clipping, corpus, weights, say)
        clipped = trained(CLIPPED, FlatOptimizer, clipping, corpus, weights, say)
        back = gone_back("going back", bare, corpus, weights, Path(folder) / "run", say)
    runs = (none, algorithm, clipped, back)
    rows: tuple[tuple[Cell, ...], ...] = (
        ("highest loss, nats/char", *(max(run.losses) for run in runs)),
        (f"loss of the last {LAST} steps", *(run.last for run in runs)),
        ("largest gradient norm", *(max(run.norms) for run in runs)),
        ("largest norm after clipping", *(max(run.after, default=None) for run in runs)),
        ("most below the threshold", *(run.shortfall if run.after else None for run in runs)),
        ("steps clipped", *(run.clipped for run in runs)),
        ("spectral radius at the end", *(run.radius for run in runs)),
        ("times gone back", *(run.rollbacks for run in runs)),
    )
    plain, careful = cliff.descent(0.0), cliff.descent(THRESHOLD)
    blind = math.log(len(corpus.vocabulary))
    sentence = (
        f"Clipped, the network knows its sentence by heart at the end ({clipped.last:.2g} nats/char); not clipped, its loss "
        f"rises to {max(none.losses):.3g}, where blind guessing has {blind:.3g}, and ends at {none.last:.2g}. {about_back(back)} "
        f"Algorithm 1 leaves the threshold, clip_grad_norm_ up to {clipped.shortfall:.1e} less: it divides by the norm + 1e-6. "
        f"On the cliff of one unit plain descent leaps {cliff.longest_step(plain):.2g} and ends at a loss of "
        f"{plain[-1].loss:.2g}; clipped, it leaps {cliff.longest_step(careful):.2g} and ends at {careful[-1].loss:.1g}."
    )
    settings = (
        {"seed": seed, "clip": THRESHOLD, "radius": RADIUS, "inputs": INPUTS} | MODEL | TRAINING
    )
    panels = (*training_panels(runs), *cliff.panels(plain, careful), shortfall_panel())
    return Result(
        "A network that explodes",
        ("", *(run.name for run in runs)),
        rows,
        panels,
        sentence,
        settings,
    )


@dataclass
class Exploded:
    """What happened, step by step. norms: before clipping. after: once clipped; empty without clipping."""

    name: str
    losses: list[float] = field(default_factory=list)  # nats per character
    norms: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    radius: float = math.nan  # of weight_hh at the end
    rollbacks: int = 0

    @property
    def last(self) -> float:
        """Mean loss of the last steps."""
        return float(np.mean(self.losses[-LAST:]))

    @property
    def clipped(self) -> int:
        return sum(norm >= THRESHOLD for norm in self.norms) if self.after else 0

    @property
    def shortfall(self) -> float:
        """How far below the threshold a clipped gradient ended at most, as a share of it."""
        after = (
            after for norm, after in zip(self.norms, self.after, strict=True) if norm >= THRESHOLD
        )
        return max((1 - each / THRESHOLD for each in after), default=0.0)


def about_back(back: Exploded) -> str:
    """What going back did, in words."""
    if not back.rollbacks:
        return "No evaluation saw a jump large enough to go back from."
    times = "once" if back.rollbacks == 1 else f"{back.rollbacks} times"
    return f"Gone back {times} to a checkpoint, with half the learning rate, it ends at {back.last:.2g}."


class Algorithm1(FlatOptimizer):
    """Clips as the paper says."""

    def clip(self, threshold: float) -> float:
        return clip_by_norm([self._grads], threshold)


def settings_for(seed: int, threshold: float) -> Settings:
    """threshold 0: no clipping."""
    training = TRAINING | {"seed": seed, "clip": threshold}
    return (
        Settings()
        .with_values("text", mode="stream")
        .with_values("model", **MODEL)
        .with_values("training", **training)
        .with_values(
            "runtime", precision="float32"
        )  # as the steps by hand: equal losses at the first
    )


def sentence_corpus(settings: Settings, folder: Path) -> Corpus:
    """The sentence over and over, as `train` would read it."""
    write_atomically(folder / "sentence.txt", (SENTENCE * REPEATS).encode())
    found = building.survey(str(folder / "sentence.txt"), settings.text, settings.training.seed)
    make_directories(folder / "corpus")
    return building.build(found, settings.text, settings.training.seed, folder / "corpus")[0]


def first_weights(settings: Settings, vocabulary_size: int) -> Weights:
    """A new network's tensors, its recurrent matrix brought to RADIUS and its inputs made weak."""
    torch.manual_seed(settings.training.seed)
    model = CharModel(settings.model, vocabulary_size)
    with torch.no_grad():
        weight = model.recurrent.get_parameter("weight_hh_l0")
        weight.mul_(RADIUS / spectral_radius(weight))
        model.embedding.weight.mul_(INPUTS)
    return {name: value.detach().numpy().copy() for name, value in model.tensors().items()}


def norm_of(gradients: Iterable[torch.Tensor]) -> float:
    """Their total norm, summed in float64."""
    return math.sqrt(sum(float(each.double().square().sum()) for each in gradients))


def trained(
    name: str,
    optimizer_kind: type[FlatOptimizer],
    settings: Settings,
    corpus: Corpus,
    weights: Weights,
    say: Say,
) -> Exploded:
    """The steps of `train` and nothing around them: nothing judges, nothing goes back."""
    training, run = settings.training, Exploded(name)
    assert training.batch_size is not None
    assert training.seq_length is not None
    assert training.lr is not None
    assert training.steps is not None
    model = CharModel(
        settings.model, len(corpus.vocabulary), expected_backend(settings, torch.device("cpu"))
    )
    model.load_tensors({key: torch.from_numpy(value) for key, value in weights.items()})
    step = TrainStep(model, optimizer_kind(model, training), settings)
    batches, state = (
        StreamBatches(corpus, training.batch_size, training.seq_length),
        model.zero_state(1),
    )
    for number in range(training.steps):
        done = step(batches.batch(number), state, training.lr, number)
        state = done.state
        run.losses.append(done.nats_per_char)
        run.norms.append(done.norm)
        if training.clip:
            run.after.append(
                norm_of(each.grad for each in model.parameters() if each.grad is not None)
            )
    run.radius = spectral_radius(model.recurrent.get_parameter("weight_hh_l0"))
    say(
        f"{name}: largest gradient norm {max(run.norms):.3g}, loss at the end {run.last:.2g} nats/char"
    )
    return run


def gone_back(
    name: str, settings: Settings, corpus: Corpus, weights: Weights, folder: Path, say: Say
) -> Exploded:
    """`train` as it is: what diverges goes back to its last good checkpoint with half the learning rate (recovery.py)."""
    run = Exploded(name)

    class Watched(Trainer):
        """Keeps every step's figures, those of steps that are undone too."""

        def train_step(self, batch: Batch) -> dict[str, Any]:
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
    run.radius = spectral_radius(trainer.model.recurrent.get_parameter("weight_hh_l0"))
    run.rollbacks = trainer.place.rollbacks
    say(
        f"{name}: largest gradient norm {max(run.norms):.3g}, loss at the end {run.last:.2g} nats/char"
    )
    return run


class _Warnings:
    """A training.listener.Progress that passes on nothing but warnings."""

    def __init__(self, name: str, say: Say) -> None:
        self._name, self._say = name, say

    def say(self, text: str) -> None:
        if text.startswith("warning: "):
            self._say(f"{self._name}: {text.removeprefix('warning: ')}")

    def step(
        self,
        step: int,
        total: int | None,
        chars: int,
        bits_per_char: float,
        seconds_left: float | None,
    ) -> None: ...
    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None: ...
    def sampled(self, step: int, text: str) -> None: ...


def training_panels(runs: Iterable[Exploded]) -> tuple[Panel, ...]:
    """Loss, norm before and norm after clipping, step by step."""
    losses, norms = [], []
    for run in runs:
        steps = tuple(range(1, len(run.losses) + 1))
        losses.append(Series(run.name, steps, tuple(run.losses)))
        norms.append(Series(run.name, steps, tuple(run.norms)))
        if run.after and run.name == CLIPPED:
            norms.append(Series(f"{run.name}, after", steps, tuple(run.after)))
    return (
        Panel(
            "The same network, the same seed", "step", "loss, nats/char", tuple(losses), log_y=True
        ),
        Panel("Norm of the gradient", "step", "norm", tuple(norms), log_y=True),
    )


def shortfall_panel() -> Panel:
    """What each rule leaves of gradients of growing norm, threshold THRESHOLD, measured in float64."""
    norms = np.geomspace(THRESHOLD / 100, THRESHOLD * 1e4, 61)
    left: dict[str, list[float]] = {ALGORITHM: [], CLIPPED: []}
    for norm in norms:
        parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        parameter.grad = torch.tensor([0.6, 0.8], dtype=torch.float64) * norm
        other = parameter.grad.clone()
        torch.nn.utils.clip_grad_norm_([parameter], THRESHOLD)
        clip_by_norm([other], THRESHOLD)
        for name, gradient in ((ALGORITHM, other), (CLIPPED, parameter.grad)):
            left[name].append(min(norm, THRESHOLD) - norm_of([gradient]))
    curves = (Series(name, tuple(norms.tolist()), tuple(values)) for name, values in left.items())
    label = "smaller of norm and threshold, minus norm after"
    return Panel(
        "What clip_grad_norm_ leaves less than Algorithm 1",
        "norm before",
        label,
        tuple(curves),
        log_x=True,
    )
