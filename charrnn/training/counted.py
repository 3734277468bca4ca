"""Training by counting: `--cell ngram`. The same outside as loop.Trainer: steps, evaluations, checkpoints, signals.

A step counts a piece of the text. `--order auto` counts long n-grams, scores the models of all orders up to them on the
validation text, and counts longer ones as long as the longest is the best. Nothing depends on a clock or on chance.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np

from charrnn.config import Settings, interval
from charrnn.errors import CheckpointError, SettingsError
from charrnn.scoring.score import Score
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus
from charrnn.text.counting import LARGE, GramCounter, Orders, may_grow, most_orders, next_top
from charrnn.text.ngram import Level, NGram
from charrnn.training.checkpoint import Checkpoint, RunDirectory, run_meta
from charrnn.training.listener import MakeSamples, Progress
from charrnn.training.outcome import Outcome, Place, Recent, place_to_dict, weights_sha256
from charrnn.training.plan import Plan

NOT_FOR_COUNTING = (
    "hidden_size",
    "num_layers",
    "embedding_size",
    "dropout",
    "weight_drop",
    "skip",
    "tie_weights",
    "forget_bias",
    "budget",
    "epochs",
    "steps",
    "batch_size",
    "seq_length",
    "checkpoint_every_chars",
    "lr",
    "clip",
    "optimizer",
    "schedule",
    "warmup",
    "weight_decay",
    "ema",
    "init_from",
    "freeze",
    "mix",
    "patience",
    "eval_every",
    "backend",
    "precision",
    "watch",
)


def check_flags(origins: dict[str, str]) -> None:
    """Raises SettingsError for a flag that only a network has; a preset's settings for networks are passed over."""
    for key in NOT_FOR_COUNTING:
        if origins.get(key, "").startswith("--") and origins[key] != "--set":
            raise SettingsError(
                f"{origins[key]} is for networks; --cell ngram counts the text once: leave it out"
            )


def order_asked(settings: Settings, vocabulary_size: int) -> int | None:
    """The order; None: to be picked. Raises SettingsError where the alphabet is too large for it."""
    if settings.model.order == "auto":
        return None
    order, longest = int(settings.model.order), most_orders(vocabulary_size)
    if order > longest:
        raise SettingsError(
            f"--order {order}: with {vocabulary_size:,} different characters n-grams of at most {longest} can be counted"
        )
    return order


class CountingTrainer:
    """A counting in a run directory."""

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
    ) -> None:
        """checkpoint: go on from there. Raises SettingsError where the alphabet is too large for the order."""
        self.settings, self.corpus, self.run, self.progress = settings, corpus, run, progress
        self._origins, self._make_samples = origins or {}, make_samples
        if not len(corpus.split("val")):
            raise SettingsError(
                f"--split {settings.text.split} leaves nothing to validate on: give it a share, or --val FILE"
            )
        self._size = len(corpus.vocabulary)
        self._boundary = corpus.vocabulary.newline if corpus.mode == "lines" else None
        self._order = order_asked(settings, self._size)
        self._ids = corpus.split("train")
        self._signal: str | None = None
        self._began = time.perf_counter() if began is None else began
        self._session_chars = 0
        self._is_fresh = checkpoint is None
        if checkpoint is None:
            # Before anything is counted every character is as likely.
            untrained = Level(np.arange(self._size), np.zeros(self._size, np.uint32))
            self.model = NGram([untrained], self._size, self._boundary, settings.model.smoothing)
            self.place = Place()
            self._begin_pass(self._order or next_top(0, self._size, len(self._ids)))
        else:
            self._restore(checkpoint)
        self._elapsed_before = self.place.elapsed_s

    def _begin_pass(self, top: int) -> None:
        """Count n-grams of `top` characters, from the text's beginning on."""
        self._counter = GramCounter(self._size, top, self._boundary)
        self._pieces = list(self._counter.spans(self._ids))
        self.plan = Plan(
            total_steps=self.place.step + len(self._pieces), start_step=self.place.step
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model = checkpoint.model.ngram()
        try:
            self.place = checkpoint.place
            self._begin_pass(int(checkpoint.meta["counting"]))
            self.plan = checkpoint.plan
            codes, counts = (checkpoint.optimizer[name].copy() for name in ("codes", "counts"))
            done = self.place.step - self.plan.start_step
            whole = self.plan.start_step + len(self._pieces) == self.plan.total_steps
            fine = (
                whole
                and codes.dtype == counts.dtype == np.int64
                and codes.shape == counts.shape == (len(codes),)
            )
            fine = fine and not (
                len(codes)
                and (
                    codes[0] < 0 or codes[-1] >= self._size**self._counter.order or counts.min() < 0
                )
            )
            if not fine or (np.diff(codes) <= 0).any() or not 0 <= done <= len(self._pieces):
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise CheckpointError(
                f"{one_line(str(checkpoint.path))}: its record of the counting makes no sense; use another"
            ) from None
        self._counter.codes, self._counter.counts = codes, counts

    @property
    def is_done(self) -> bool:
        return self.place.step >= (self.plan.total_steps or 0)

    def stop(self, signal_name: str) -> None:
        """Ask to finish the piece, save and return. Safe in a signal handler."""
        self._signal = signal_name

    def fit(self) -> Outcome:
        """Count to the end. Raises StorageError; the last checkpoint stays good."""
        place = self.place
        if self._is_fresh:
            self._evaluated(math.log(self._size), is_best=True)
            self.save()
        is_best, every = False, self.settings.training.save_every
        save_steps, save_s = interval(every, "--save-every")
        saved_at = time.perf_counter()
        while not self.is_done:
            if self._signal:
                self.save()
                return self.outcome(self._signal)
            start, stop = self._pieces[place.step - self.plan.start_step]
            self._counter.add(self._ids[start:stop])
            self.corpus.release()
            place.step += 1
            chars = (
                stop - start - (self._counter.order - 1 if start and self._boundary is None else 0)
            )  # pieces overlap
            place.chars += chars
            self._session_chars += chars
            place.elapsed_s = self._elapsed()
            self.run.log(
                {
                    "step": place.step,
                    "chars": chars,
                    "order": self._counter.order,
                    "ngrams": len(self._counter.codes),
                    "elapsed_s": round(place.elapsed_s, 3),
                }
            )
            self.progress.step(place.step, self.plan.total_steps, chars, math.nan, None)
            is_best = place.step == self.plan.total_steps and self._finish_pass()
            due = (
                place.step % save_steps == 0
                if save_steps
                else time.perf_counter() - saved_at > (save_s or 0)
            )
            if (
                is_best or due
            ) and not self.is_done:  # the last step's checkpoint waits for the samples below
                self._keep(is_best)
                saved_at = time.perf_counter()
        self._sample()
        self._keep(is_best)
        return self.outcome("done")

    def settle(self) -> None:
        """After a resume: write the best model again if it is the checkpoint's, lest a kill fell between the two."""
        if self.place.best_step == self.place.step:
            self._save_best()

    def outcome(self, reason: str) -> Outcome:
        order, place = self.model.order, self.place
        told = "as asked" if self._order is not None else "picked by validation"
        if self._order is None and order == most_orders(self._size):
            told += f", the longest that can be counted with {self._size:,} characters"
        return Outcome(
            reason=reason,
            place=place,
            epochs=place.chars / len(self._ids),
            parameters=self.parameter_count(),
            train_chars_per_s=self._session_chars
            / max(1e-9, self._elapsed() - self._elapsed_before),
            weights_sha256=weights_sha256(self.model.tensors()),
            device="cpu",
            precision=None,
            ngram=None,
            verdict="stopped before its end"
            if reason.startswith("SIG")
            else f"n-grams of up to {order} characters, {told}",
        )

    def parameter_count(self) -> int:
        return sum(len(level.grams) for level in self.model.levels)

    def describe(self) -> str:
        """`counting: ...`, for a person."""
        model = self.settings.model
        name = {"kneser-ney": "modified Kneser-Ney", "witten-bell": "Witten-Bell"}[model.smoothing]
        order = "order picked by validation" if self._order is None else f"order {self._order}"
        return f"counting: n-grams, {name}, {order}; --cell lstm learns instead"

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self.place.elapsed_s = self._elapsed()
        tensors = {f"model.{name}": value for name, value in self.model.tensors().items()}
        tensors |= {
            "optimizer.codes": self._counter.codes,
            "optimizer.counts": self._counter.counts,
        }
        meta = self._meta(
            "charrnn-checkpoint",
            step=self.place.step,
            place=place_to_dict(self.place),
            plan=dataclasses.asdict(self.plan),
            counting=self._counter.order,
            epoch=self.place.chars / len(self._ids),
            origins=self._origins,
            surroundings={},
        )
        self.run.save(self.place.step, tensors, meta, self.settings.training.keep)

    def _finish_pass(self) -> bool:
        """Score what was counted. Returns whether a model of it is the best so far."""
        counter, place, val = self._counter, self.place, self.corpus.split("val")
        smoothing = self.settings.model.smoothing
        if place.chars > LARGE:
            self.progress.say(
                f"counted; scoring n-grams of up to {counter.order} characters on validation"
            )
        counted = Orders(counter, self._ids[: counter.order])
        chars = len(val) - (self._boundary is None)
        scores = [nats / max(1, chars) for nats in counted.nats(val, smoothing)]
        best = int(np.argmin(scores)) + 1 if self._order is None else counted.longest
        place.train_nats, is_best = math.nan, scores[best - 1] < place.best_nats
        self.run.log({"event": "orders", "step": place.step, "val_nats_per_char": scores})
        if self._order is None:
            listed = ", ".join(
                f"{order}: {nats / math.log(2):.3f}" for order, nats in enumerate(scores, 1)
            )
            self.progress.say(f"bits/char on validation by order: {listed}")
        self._evaluated(scores[best - 1], is_best)
        if is_best:
            self.model = counted.model(best, smoothing)
        if self._order is None and may_grow(best, counter.order, self._size):
            self._begin_pass(next_top(counter.order, self._size, len(self._ids)))
        return is_best

    def _evaluated(self, nats: float, is_best: bool) -> None:
        place, chars = self.place, len(self.corpus.split("val")) - (self._boundary is None)
        place.val_nats = nats
        if is_best:
            place.best_nats, place.best_step = nats, place.step
        score = Score(nats * chars, chars)
        self.run.log(
            {
                "event": "eval",
                "step": place.step,
                "val_nats_per_char": nats,
                "val_bits_per_char": score.bits_per_char,
                "val_chars": chars,
                "best": is_best,
            }
        )
        self.progress.evaluated(place.step, self.plan.total_steps, Recent(), score, is_best)

    def _sample(self) -> None:
        if self._make_samples is None:
            return
        text = self._make_samples(
            self.model.tensors(), self._meta("charrnn-model", step=self.place.step)
        )
        bits = self.place.val_nats / math.log(2)
        self.run.add_samples(
            f"--- step {self.place.step}, {bits:.3f} bits per character ---\n{text}\n"
        )
        self.progress.sampled(self.place.step, text)

    def _keep(self, is_best: bool) -> None:
        self.save()
        if is_best:
            self._save_best()

    def _save_best(self) -> None:
        meta = self._meta(
            "charrnn-model", step=self.place.step, val_nats_per_char=self.place.best_nats
        )
        self.run.save_best(self.model.tensors(), meta)

    def _meta(self, kind: str, **more: Any) -> dict[str, Any]:
        return run_meta(kind, self.settings, self.corpus, **more)

    def _elapsed(self) -> float:
        return self._elapsed_before + time.perf_counter() - self._began
