"""Batches -> weights: the loop around one training step (step.py), evaluation points, checkpoints, the way it ends.

The order of things at a step: lr, forward, backward, clip, check, update, metrics, evaluation, samples, checkpoint.
A step is a function of (weights, optimiser, carried state, step number): nothing else has to be kept for an exact
resume, and nothing else is.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from charrnn.config import Settings
from charrnn.errors import CheckpointError, SettingsError
from charrnn.machine import backends, runtime
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import model_meta
from charrnn.scoring.counting import Baseline, counted_for_training
from charrnn.scoring.score import Score
from charrnn.scoring.validation import validation, validation_chars
from charrnn.terminal import one_line
from charrnn.text.batches import Batch, Batches, make_batches
from charrnn.text.corpus import Corpus
from charrnn.training import memory, optim, recovery
from charrnn.training.average import WeightAverage
from charrnn.training.checkpoint import Checkpoint, RunDirectory
from charrnn.training.finetune import frozen_tensors
from charrnn.training.graph import make_step
from charrnn.training.health import Watch
from charrnn.training.outcome import Outcome, Place, Recent, place_to_dict, verdict, weights_sha256
from charrnn.training.plan import Plan, corrected_plan, decided_plan, extended_plan, first_plan
from charrnn.training.recovery import BAD_STEPS, Diverging
from charrnn.training.step import some_emptied
from charrnn.values import seconds

TIMED_STEPS, TIMED_S = 10, 1.5  # a plan waits for at least so many steps and seconds
FORWARD_SHARE = 1 / 3  # of a step's work: what scoring a character costs beside learning from one

Tensors = dict[str, np.ndarray]
MakeSamples = Callable[
    [Tensors, dict[str, Any]], str
]  # weights and their metadata -> text for a person


class Progress(Protocol):
    """Who is told. progress.py has one for people; tests have their own."""

    def say(self, text: str) -> None: ...
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


def run_meta(kind: str, settings: Settings, corpus: Corpus, **more: Any) -> dict[str, Any]:
    """The metadata of a run's model and checkpoint files."""
    vocabulary, first = corpus.vocabulary, int(corpus.split("train")[0])
    start = vocabulary.newline if vocabulary.newline is not None else first
    return model_meta(
        kind,
        settings,
        vocabulary,
        corpus.mode,
        start,
        fingerprint=corpus.fingerprint,
        corpus=corpus.name,
        **more,
    )


class Trainer:
    """A training in a run directory. settings must be filled (recipe.fill)."""

    def __init__(
        self,
        settings: Settings,
        corpus: Corpus,
        run: RunDirectory,
        progress: Progress,
        *,
        origins: dict[str, str] | None = None,
        make_samples: MakeSamples | None = None,
        checkpoint: Checkpoint | None = None,
        began: float | None = None,
        weights: Tensors | None = None,
        mixed: Corpus | None = None,
        lift: Sequence[tuple[int, float]] = (),
    ) -> None:
        """checkpoint: go on from there. began: time.perf_counter() when the budget's clock started.

        weights: begin with these instead of random ones. mixed: an older text for a share of each batch (--mix).
        lift: (id, nats) by which the bias of a character rises as training begins, after the first evaluation.
        """
        training = settings.training
        assert training.batch_size is not None
        assert training.seq_length is not None
        self.settings, self.corpus, self.run, self.progress = settings, corpus, run, progress
        self.mixed, self._lift = mixed, lift
        if not len(corpus.split("val")):
            raise SettingsError(
                f"--split {settings.text.split} leaves nothing to validate on: give it a share, or --val FILE"
            )
        self.device = runtime.prepare(settings.runtime)
        self.batches: Batches = make_batches(
            corpus, training.batch_size, training.seq_length, training.seed, mixed, training.mix
        )
        if training.checkpoint_every_chars and corpus.mode == "lines":
            raise SettingsError(
                "--checkpoint-every-chars is for long windows of a stream; lines are short: leave it out"
            )
        val_chars, shape = (
            validation_chars(corpus, "val"),
            (training.batch_size, self.batches.longest),
        )
        vocabulary_size, backend = (
            len(corpus.vocabulary),
            backends.expected_backend(settings, self.device),
        )
        expected = memory.expected_memory(settings, vocabulary_size, shape, backend, val_chars)
        memory.check_memory(expected, settings, shape, self.device)
        recorded = checkpoint.surroundings.get("backend") if checkpoint is not None else None
        self.backend, self.why_backend = backends.pick(
            settings, vocabulary_size, shape, self.device, recorded
        )
        self.expected_memory = memory.expected_memory(
            settings, vocabulary_size, shape, self.backend, val_chars
        )
        memory.check_memory(self.expected_memory, settings, shape, self.device)
        self._evaluation_steps = (
            FORWARD_SHARE * val_chars * self.batches.steps_per_epoch / self.batches.chars_per_epoch
        )
        torch.manual_seed(training.seed)
        self.precision = backends.precision_of(settings.runtime, self.backend)
        self.model = CharModel(settings.model, len(corpus.vocabulary), self.backend, self.precision)
        if weights is not None:
            self.model.load_tensors(
                {name: torch.from_numpy(value) for name, value in weights.items()}
            )
        frozen = frozen_tensors(settings)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.model.to(self.device)
        self.optimizer = optim.make_optimizer(self.model, training)
        self.average = WeightAverage(self.model, training.ema or 0.0)
        self._update = make_step(
            self.model, self.optimizer, settings, corpus.mode, self.device, progress.say
        )
        self._watch = Watch(self.model) if settings.runtime.watch else None
        self.place, self.plan, self.state = (
            Place(),
            first_plan(training, self.batches.steps_per_epoch, self._evaluation_steps),
            self.model.zero_state(1),
        )
        self._make_samples, self._origins = make_samples, origins or {}
        self._ngram: Baseline | None = None
        self._signal: str | None = None
        self._began = time.perf_counter() if began is None else began
        self._session_chars, self._session_s = 0, 0.0  # training alone, for characters per second
        self._step_ends: deque[float] = deque(maxlen=500)  # when the last steps ended, by the clock
        self._sampled_at = self._judged_at = -1  # steps
        self._loop_began = 0.0  # elapsed seconds before this process's first step
        self._last_look = (0, 0.0)  # step and elapsed seconds at the last evaluation
        self._evaluation_s = 0.0
        self._is_fresh = checkpoint is None
        if checkpoint is not None:
            self.restore(checkpoint)
        self._elapsed_before = self.place.elapsed_s

    def stop(self, signal_name: str) -> None:
        """Ask the loop to finish its step, save and return. Safe in a signal handler."""
        self._signal = signal_name

    def fit(self) -> Outcome:
        """Train to the plan's end. Raises DivergedError, StorageError, SettingsError where a GPU's memory is too small, or
        CheckpointError where the run's copy of the text was damaged under it; the last checkpoint stays good.
        """
        self._ngram = counted_for_training(self.corpus)
        if self._ngram is not None:
            self.progress.say(
                f"to beat: {self._ngram.score.bits_per_char:.3f} bits/char, by counting ({self._ngram})"
            )
        while True:
            try:
                return self.outcome(self._run())
            except Diverging as what:
                recovery.go_back(self, str(what))
            except torch.OutOfMemoryError:
                # An evaluation computes in the mode for it; before the first there is no checkpoint.
                at, shape = (
                    self.model.training,
                    (self.settings.training.batch_size, self.batches.longest),
                )
                raise SettingsError(
                    memory.too_large(shape if at else None, self.device, not self._is_fresh)
                ) from None
            except (IndexError, RuntimeError):  # what is no character is no row of the embedding
                recovery.check_texts(self)
                raise

    def _run(self) -> str:
        """From here to the plan's end. Returns why it ended. Raises Diverging: go back, and run again."""
        place, is_best = self.place, False
        self._sampled_at = self._judged_at = -1
        if self._is_fresh:
            began = time.perf_counter()
            is_best = self._evaluate()
            if not self._is_over:
                self._keep(is_best, is_due=True)
            self._evaluation_s = time.perf_counter() - began
            self._is_fresh = False
        self._step_ends.clear()
        self._loop_began = self._elapsed()
        self._last_look = (place.step, self._loop_began)
        while not self._is_over:
            if self._signal:
                self._keep(is_best=False, is_due=True)
                return self._signal
            record = self.train_step(self.batches.batch(place.step))
            place.elapsed_s = self._elapsed()
            self.run.log(record | {"elapsed_s": round(place.elapsed_s, 3)})
            self._tell(record)
            is_decision = not self.plan.is_decided and self._decide()
            is_best = self._is_due(self.plan.eval_steps) and self._evaluate()
            if self._is_due(self.plan.eval_steps):
                self._replan()
            if self._is_due(self.plan.sample_steps) and not place.bad_steps:
                self._sample()
            # Last of all, so that a resume from here has nothing of this step left to do; the last step has more, below.
            # A plan is kept at once: from then on no clock decides anything.
            if not self._is_over:
                self._keep(is_best, is_due=is_decision or self._is_due(self.plan.save_steps))
        if place.recent.steps:
            is_best = self._evaluate()
        if self._sampled_at != place.step and not place.bad_steps:
            self._sample()
        self._keep(is_best, is_due=True)
        return "stopped improving" if self._is_out_of_patience else "done"

    def settle(self) -> None:
        """After a resume: write the best weights again if they are the checkpoint's, lest a kill fell between the two."""
        if self.place.best_step == self.place.step and math.isfinite(self.place.best_nats):
            self._save_best()

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """One optimiser update, or none if loss or gradient is not finite. Returns the step's line of metrics.

        Raises Diverging after a few of the latter in a row.
        """
        began = time.perf_counter()
        training, place = self.settings.training, self.place
        rate = optim.learning_rate(
            place.step, self.plan, training, (training.lr or 0.0) * recovery.lr_factor(place)
        )
        with torch.no_grad():
            for index, nats in self._lift if place.step == 0 else ():
                self.model.head.bias[index] += nats
        share = 0.0 if batch.fresh else training.state_reset or 0.0
        carried = some_emptied(self.state, len(batch.inputs), share, training.seed, place.step)
        before = self._watch.before(batch, carried, place.step) if self._watch is not None else None
        done = self._update(batch, carried, rate, place.step)
        self.state = done.state
        if done.is_finite:
            self.average.update(place.step - place.skipped_steps + 1)
            place.bad_steps = 0
            is_clipped = 0 < training.clip < done.norm
            place.clipped_steps += is_clipped
            place.recent = place.recent.with_step(
                Score(done.nats_per_char * done.chars, done.chars), done.norm, is_clipped
            )
            if self._watch is not None and before is not None:
                health = self._watch.after(before, batch, done.norm, place.step + 1)
                self.run.log(health.record() | {"clip_rate": place.recent.clip_rate})
        else:
            place.bad_steps += 1
            place.skipped_steps += 1
        place.step += 1
        place.chars += done.chars
        self._session_chars += done.chars
        self._session_s += time.perf_counter() - began
        self._step_ends.append(time.perf_counter())
        record = {
            "step": place.step,
            "epoch": round(place.step / self.batches.steps_per_epoch, 4),
            "chars": done.chars,
            "train_nats_per_char": done.nats_per_char,
            "grad_norm": done.norm,
            "lr": rate,
        }
        if not done.is_finite:
            record["skipped"] = True
            if place.bad_steps >= BAD_STEPS:
                raise Diverging(f"loss or gradient was not finite {BAD_STEPS} times in a row")
        return record

    @property
    def is_done(self) -> bool:
        """Nothing is left to do: no step, and not even the closing evaluation."""
        return self._is_over and not self.place.recent.steps

    @property
    def _is_over(self) -> bool:
        """No step is left."""
        total = self.plan.total_steps
        return (total is not None and self.place.step >= total) or self._is_out_of_patience

    @property
    def _is_out_of_patience(self) -> bool:
        patience = self.settings.training.patience
        return bool(patience and self.place.evaluations_since_best >= patience)

    def save(self) -> None:
        """Write a checkpoint of this very moment. Raises Diverging rather than keep numbers that are not finite."""
        tensors = {f"model.{name}": value for name, value in self.weights().items()}
        self.place.elapsed_s = self._elapsed()
        tensors |= {
            f"optimizer.{name}": _to_numpy(value)
            for name, value in self.optimizer.tensors().items()
        }
        tensors |= {
            f"average.{name}": _to_numpy(value) for name, value in self.average.tensors().items()
        }
        tensors |= {f"state.{index}": _to_numpy(part) for index, part in enumerate(self.state)}
        recovery.check_finite(tensors)
        meta = self._meta(
            "charrnn-checkpoint",
            step=self.place.step,
            place=place_to_dict(self.place),
            plan=dataclasses.asdict(self.plan),
            epoch=self.place.step / self.batches.steps_per_epoch,
            origins=self._origins,
            surroundings=runtime.surroundings(self.device, self.backend, self.precision),
            **({"lift": self._lift} if self._lift and not self.place.step else {}),
        )
        self.run.save(self.place.step, tensors, meta, self.settings.training.keep)

    def weights(self) -> Tensors:
        """The model's tensors on the CPU, float32."""
        return {name: _to_numpy(value) for name, value in self.model.tensors().items()}

    def _sound_weights(self) -> Tensors:
        """weights(), if all are finite. Raises Diverging."""
        weights = self.weights()
        recovery.check_finite(weights)
        return weights

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stood, whatever came since. Raises CheckpointError."""
        self.model.load_tensors(
            {name: torch.from_numpy(value) for name, value in checkpoint.model.tensors.items()}
        )
        optimizer = {
            name: torch.from_numpy(value.copy()) for name, value in checkpoint.optimizer.items()
        }
        self.optimizer.load_tensors(optimizer)
        self.average.load_tensors(
            {name: torch.from_numpy(value) for name, value in checkpoint.average.items()}
        )
        self.state = tuple(torch.tensor(part, device=self.device) for part in checkpoint.state)
        batch = self.batches.batch(checkpoint.step)
        lanes = (
            self.state[0].shape[1]
            if batch.fresh and self.state and self.state[0].dim() == 3
            else len(batch.inputs)
        )
        if [(part.dtype, part.shape) for part in self.state] != [
            (part.dtype, part.shape) for part in self.model.zero_state(lanes)
        ]:
            shown = one_line(str(checkpoint.path))
            raise CheckpointError(
                f"{shown}: its carried state does not fit its network; use another"
            )
        self.place, self.plan, self._lift = checkpoint.place, checkpoint.plan, checkpoint.lift
        now, before, steps_per_epoch = (
            self.settings.training,
            checkpoint.model.settings.training,
            self.batches.steps_per_epoch,
        )
        wanted = first_plan(now, steps_per_epoch, self._evaluation_steps)
        for name in ("save", "sample"):
            if getattr(now, f"{name}_every") != getattr(before, f"{name}_every"):
                self.plan = self.plan.with_interval(name, getattr(wanted, f"{name}_steps"))
        if (now.budget, now.epochs, now.steps) != (before.budget, before.epochs, before.steps):
            self.plan = extended_plan(
                self.plan,
                now,
                steps_per_epoch,
                self.place.step,
                self.place.elapsed_s,
                self._evaluation_steps,
            )
            self.place.evaluations_since_best = 0

    def _decide(self) -> bool:
        """Turn budget and durations into steps, once enough steps were timed. Returns whether that is now done."""
        training, place, ends = self.settings.training, self.place, self._step_ends
        timed_s = self._elapsed() - self._loop_began
        budget_s = seconds(training.budget, "--budget") if training.budget else math.inf
        is_enough = len(ends) >= TIMED_STEPS and timed_s >= TIMED_S
        if not is_enough and not (
            len(ends) >= 3 and timed_s > budget_s / 10
        ):  # slow steps must not eat the budget
            return False
        half = len(ends) // 2  # the first steps pay for caches and lazy set-up
        step_s = (ends[-1] - ends[half]) / (len(ends) - 1 - half)
        left_s = budget_s - self._elapsed()
        costs = (self._evaluation_s, self._evaluation_steps)
        self._adopt(decided_plan(self.plan, training, place.step, step_s, left_s, *costs))
        return True

    def _replan(self) -> None:
        """Look at an evaluation whether the budget will be met."""
        now, (then, at) = self._elapsed(), self._last_look
        self._last_look = (self.place.step, now)
        budget = self.settings.training.budget
        if budget is not None and then != self.place.step:
            step_s = (now - at) / (
                self.place.step - then
            )  # evaluation, samples and checkpoints included
            plan = corrected_plan(
                self.plan, self.place.step, step_s, seconds(budget, "--budget") - now
            )
            if plan is not None:
                self._adopt(plan)

    def _adopt(self, plan: Plan) -> None:
        self.plan = plan
        self.run.log({"event": "plan", "step": self.place.step} | dataclasses.asdict(plan))

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.place.step % every == 0

    def _evaluate(self) -> bool:
        """Score the validation text. Returns whether these are the best weights so far. Raises Diverging if it jumped."""
        place = self.place
        with self.average.in_place():
            val = validation(self.model, self.corpus, "val", self.device)
        recovery.judge(self, val)
        if not self.average.tensors():  # else the weights themselves are still to be judged
            self._judged_at = place.step
        place.val_nats = val.nats_per_char
        if place.recent.steps:
            place.train_nats = place.recent.score.nats_per_char
        is_best = math.isfinite(place.val_nats) and place.val_nats < place.best_nats
        if is_best:
            place.best_nats, place.best_step, place.evaluations_since_best = (
                place.val_nats,
                place.step,
                0,
            )
        else:
            place.evaluations_since_best += 1
        self.run.log(
            {
                "event": "eval",
                "step": place.step,
                "val_nats_per_char": val.nats_per_char,
                "val_bits_per_char": val.bits_per_char,
                "val_chars": val.chars,
                "train_nats_per_char": place.train_nats,
                "best": is_best,
                "grad_norm": place.recent.grad_norm,
                "clip_rate": place.recent.clip_rate,
                "ngram_nats_per_char": self._ngram.score.nats_per_char if self._ngram else None,
            }
        )
        self.progress.evaluated(place.step, self.plan.total_steps, place.recent, val, is_best)
        news = self._watch.news() if self._watch is not None else None
        if news is not None:
            self.progress.say(news)
        place.recent = Recent()
        return is_best

    def _keep(self, is_best: bool, is_due: bool) -> None:
        """Save what is due. While steps are not finite nothing is, unless it scored best. Raises Diverging."""
        if is_best or (is_due and not self.place.bad_steps):
            if self._judged_at != self.place.step:
                recovery.judge(self)
            self.save()
        if is_best:
            self._save_best()

    def _save_best(self) -> None:
        meta = self._meta(
            "charrnn-model", step=self.place.step, val_nats_per_char=self.place.best_nats
        )
        with self.average.in_place():
            self.run.save_best(self.weights(), meta)

    def _sample(self) -> None:
        self._sampled_at = self.place.step
        with self.average.in_place():
            weights = {name: value.copy() for name, value in self._sound_weights().items()}
        if self._make_samples is None:
            return
        text = self._make_samples(weights, self._meta("charrnn-model", step=self.place.step))
        self.run.add_samples(
            f"--- step {self.place.step}, {self.place.val_nats / math.log(2):.3f} bits per character ---\n{text}\n"
        )
        self.progress.sampled(self.place.step, text)

    def _tell(self, record: dict[str, Any]) -> None:
        left = None
        ends = self._step_ends
        if self.plan.total_steps is not None and len(ends) > 1:
            left = (
                (self.plan.total_steps - self.place.step) * (ends[-1] - ends[0]) / (len(ends) - 1)
            )
        bits = record["train_nats_per_char"] / math.log(2)
        self.progress.step(self.place.step, self.plan.total_steps, record["chars"], bits, left)

    def _elapsed(self) -> float:
        return self._elapsed_before + time.perf_counter() - self._began

    def _meta(self, kind: str, **more: Any) -> dict[str, Any]:
        mixed = {"mixed": self.mixed.fingerprint} if self.mixed is not None else {}
        return run_meta(kind, self.settings, self.corpus, **mixed, **more)

    def outcome(self, reason: str) -> Outcome:
        """Where this training stands, and what that means."""
        place = self.place
        return Outcome(
            reason=reason,
            place=place,
            epochs=place.chars / self.batches.chars_per_epoch,
            parameters=self.model.parameter_count(),
            train_chars_per_s=self._session_chars / self._session_s if self._session_s else 0.0,
            weights_sha256=weights_sha256(self.weights()),
            device=str(self.device),
            precision=self.precision,
            ngram=self._ngram,
            verdict=verdict(place, reason, self.settings, self._ngram),
        )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
