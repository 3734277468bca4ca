"""What a training leaves in its run: checkpoints, the best weights, samples, metrics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.config import Settings
from charrnn.machine import runtime
from charrnn.model.recurrent import State
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import noun_of
from charrnn.training import recovery
from charrnn.training.assembly import Parts, to_numpy
from charrnn.training.checkpoint import RunDirectory, run_meta
from charrnn.training.listener import MakeSamples, Tensors
from charrnn.training.mixing import Counting, Reading
from charrnn.training.outcome import Place, place_to_dict
from charrnn.training.plan import Plan
from charrnn.training.step import Stepped


def step_record(step: int, epoch: float, result: Stepped, rate: float) -> dict[str, float]:
    """Return a step's line of metrics."""
    record = {
        "step": step,
        "epoch": round(epoch, 4),
        "chars": result.chars,
        "train_nats_per_char": result.nats_per_char,
        "grad_norm": result.norm,
        "lr": rate,
    }
    if not result.is_finite:
        record["skipped"] = True
    return record


def _heading(place: Place, noun: str) -> str:
    """Return the line above samples: their step, and the score of these very weights if known."""
    score = "not scored"
    if not place.recent.steps and math.isfinite(place.val_nats):
        score = f"{place.val_nats / math.log(2):.3f} bits per {noun}"
    return f"--- step {place.step}, {score} ---"


class Records:
    """Writes the files of one training. Numbers that are not finite are never written."""

    def __init__(
        self,
        run: RunDirectory,
        settings: Settings,
        corpus: Corpus,
        mixed: Corpus | None,
        parts: Parts,
        counting: Counting,
        origins: dict[str, str],
        make_samples: MakeSamples | None,
    ) -> None:
        self._run = run
        self._settings = settings
        self.corpus = corpus
        self._mixed = mixed
        self.parts = parts
        self.counting = counting
        self._origins = origins
        self._make_samples = make_samples

    def save(
        self, place: Place, plan: Plan, state: State, lift: Sequence[tuple[int, float]]
    ) -> Path:
        """Write a checkpoint of this very moment. Raises Diverging if a number is not finite."""
        # 1. Tensors
        self.check_texts()
        parts = self.parts
        groups = {
            "model": parts.model.tensors(),
            "optimizer": parts.optimizer.tensors(),
            "average": parts.average.tensors(),
            "state": {str(index): part for index, part in enumerate(state)},
        }
        tensors: Tensors = {}
        for prefix, group in groups.items():
            for name, value in to_numpy(group).items():
                tensors[f"{prefix}.{name}"] = value
        recovery.check_finite(tensors)
        tensors |= {f"model.{name}": part for name, part in self.counting.tensors().items()}

        # 2. Everything else
        meta = self._meta(
            "charrnn-checkpoint",
            step=place.step,
            place=place_to_dict(place),
            plan=dataclasses.asdict(plan),
            epoch=place.step / parts.batches.steps_per_epoch,
            origins=self._origins,
            surroundings=runtime.surroundings(parts.device, parts.backend, parts.precision),
        )
        if lift and not place.step:
            meta["lift"] = lift
        return self._run.save(place.step, tensors, meta, self._settings.training.keep)

    @property
    def corpora(self) -> list[Corpus]:
        """Return the text and, with --mix, the older one."""
        return [self.corpus] if self._mixed is None else [self.corpus, self._mixed]

    def check_texts(self) -> None:
        """Raise CheckpointError if a text was cut short since it was opened.

        Then nothing more is saved.
        """
        for corpus in self.corpora:
            corpus.check_size()

    def save_best(self, place: Place) -> None:
        """Write the weights, or their mean, as the run's model."""
        self._run.save_best(*self._model(place, place.best_nats))

    def save_unscored(self, place: Place) -> None:
        """Write them as the run's model although no validation has shown what they are worth."""
        nats = place.val_nats if not place.recent.steps else None
        self._run.save_best(*self._model(place, nats))

    def save_stopped(self, place: Place, best_step: int | None) -> None:
        """Write them as the run's model, and set the best one aside, if there is one."""
        self._run.save_stopped(*self._model(place, place.best_nats), best_step)

    def _model(self, place: Place, nats: float | None) -> tuple[Tensors, dict[str, Any]]:
        """Return copies of the weights, or of their mean, and the metadata of a model."""
        self.check_texts()
        if nats is not None and not math.isfinite(nats):
            nats = None
        meta = self._meta("charrnn-model", step=place.step, val_nats_per_char=nats)
        with self.parts.average.in_place():
            weights = {name: value.copy() for name, value in self.parts.weights().items()}
        return weights | self.counting.tensors(), meta

    def sample(self, place: Place) -> str | None:
        """Write what the model writes by now, if somebody makes samples, and return it.

        Raises Diverging if a weight is not finite.
        """
        with self.parts.average.in_place():
            weights = self.parts.weights()
            recovery.check_finite(weights)
            weights = {name: value.copy() for name, value in weights.items()}
        weights |= self.counting.tensors()
        if self._make_samples is None:
            return None
        text = self._make_samples(weights, self._meta("charrnn-model", step=place.step))
        noun = noun_of(self.corpus.vocabulary)
        self._run.add_samples(f"{_heading(place, noun)}\n{text}\n")
        return text

    def log(self, record: dict[str, Any]) -> None:
        """Write a line of metrics."""
        self._run.log(record)

    def log_evaluation(self, place: Place, reading: Reading, is_best: bool) -> None:
        """Write a line of metrics for an evaluation."""
        recent = place.recent
        val = reading.val
        ngram = self.counting.baseline()
        record = {
            "event": "eval",
            "step": place.step,
            "val_nats_per_char": val.nats_per_char,
            "val_bits_per_char": val.bits_per_char,
            "val_chars": val.chars,
            "train_nats_per_char": place.train_nats,
            "best": is_best,
            "grad_norm": recent.grad_norm,
            "clip_rate": recent.clip_rate,
            "ngram_nats_per_char": None if ngram is None else ngram.score.nats_per_char,
            "network_nats_per_char": reading.network.nats_per_char,
            "counting_share": reading.share,
        }
        self._run.log(record)

    def log_plan(self, step: int, plan: Plan) -> None:
        """Write a line of metrics for a plan that was made at this step."""
        self._run.log({"event": "plan", "step": step} | dataclasses.asdict(plan))

    def _meta(self, kind: str, **more: Any) -> dict[str, Any]:
        if self._mixed is not None:
            more = {"mixed": self._mixed.fingerprint} | more
        return run_meta(kind, self._settings, self.corpus, **more)
