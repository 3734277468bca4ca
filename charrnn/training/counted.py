"""Training by counting: `--cell ngram`.

From outside like loop.Trainer: steps, evaluations, checkpoints, signals.
A step counts a piece of the text. `--order auto` counts long n-grams, scores the models of all
orders up to them on the validation text, and counts longer ones as long as the longest is the best.
Nothing depends on a clock or on chance.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from charrnn.config import Settings
from charrnn.errors import CheckpointError
from charrnn.scoring.counting import labels_counted
from charrnn.scoring.figures import symbols_per_char
from charrnn.scoring.score import Score
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus
from charrnn.text.counting import LARGE, GramCounter, Orders, may_grow, most_orders, next_top
from charrnn.text.labelgrams import LabelGrams
from charrnn.text.ngram import SMOOTHING_NAMES, Level, NGram
from charrnn.text.vocabulary import noun_of
from charrnn.training.assembly import check_validation
from charrnn.training.checkpoint import Checkpoint, RunDirectory, run_meta
from charrnn.training.counting_flags import order_asked
from charrnn.training.listener import MakeSamples, Progress, Step, Tensors
from charrnn.training.outcome import Outcome, Place, Recent, place_to_dict, weights_sha256
from charrnn.training.plan import Plan
from charrnn.values import interval

# What a stop still scores: some two seconds' work.
QUICK_GRAMS = 2_000_000
QUICK_VAL = 20_000


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
        """checkpoint: go on from there. began: time.perf_counter() when the person pressed Enter.

        Raises SettingsError where the alphabet is too large for the order.
        """
        check_validation(settings, corpus)
        self.settings = settings
        self.corpus = corpus
        self.run = run
        self.progress = progress
        self._origins = origins or {}
        self._make_samples = make_samples

        self._size = len(corpus.vocabulary)
        self._boundary = corpus.vocabulary.newline if corpus.mode == "lines" else None
        self._order = order_asked(settings, self._size)
        self._ids = corpus.split("train")
        val_chars = corpus.vocabulary.chars(corpus.split("val"))
        self._val_chars = val_chars if self._boundary is not None else val_chars - 1

        self._signal: str | None = None
        self._began = time.perf_counter() if began is None else began
        self._session_chars = 0
        self._is_fresh = checkpoint is None
        if checkpoint is None:
            # Before anything is counted every character is as likely.
            untrained = Level(np.arange(self._size), np.zeros(self._size, np.uint32))
            self.model = NGram([untrained], self._size, self._boundary, settings.model.smoothing)
            self._by_label: LabelGrams | None = None
            self.place = Place()
            self._begin_pass(self._order or next_top(0, self._size, len(self._ids)))
        else:
            self._restore(checkpoint)
        self._elapsed_before_s = self.place.elapsed_s

    def _begin_pass(self, top: int) -> None:
        """Count n-grams of `top` characters, from the text's beginning on."""
        step = self.place.step
        self._counter = GramCounter(self._size, top, self._boundary)
        self._pieces = list(self._counter.spans(self._ids))
        self.plan = Plan(total_steps=step + len(self._pieces), start_step=step)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stood. Raises CheckpointError if that makes no sense."""
        self.model = checkpoint.model.ngram()
        self._by_label = checkpoint.model.label_grams(self.model)
        try:
            self.place = checkpoint.place
            self._begin_pass(checkpoint.counting or 0)
            self.plan = checkpoint.plan
            codes = checkpoint.optimizer["codes"].copy()
            counts = checkpoint.optimizer["counts"].copy()
            self._check_counts(codes, counts)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise CheckpointError(
                f"{one_line(str(checkpoint.path))}: its record of the counting is damaged; "
                "use another"
            ) from None
        self._counter.codes = codes
        self._counter.counts = counts

    def _check_counts(self, codes: np.ndarray, counts: np.ndarray) -> None:
        """Raise ValueError unless plan and counts are those of a pass over this text."""
        pieces_done = self.place.step - self.plan.start_step
        if self.plan.start_step + len(self._pieces) != self.plan.total_steps:
            raise ValueError("the plan is of another text")
        if not 0 <= pieces_done <= len(self._pieces):
            raise ValueError("the step is not in the plan")
        if codes.dtype != np.int64 or counts.dtype != np.int64:
            raise ValueError("not the type of codes and counts")
        if not codes.shape == counts.shape == (len(codes),):
            raise ValueError("not one count for each code")
        if len(codes):
            is_coded = codes[0] >= 0 and codes[-1] < self._size**self._counter.order
            if not is_coded or counts.min() < 0 or (np.diff(codes) <= 0).any():
                raise ValueError("no codes in ascending order, or no counts")

    @property
    def is_done(self) -> bool:
        """Nothing is left to count."""
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
        is_best = False
        saved_at = time.perf_counter()
        while not self.is_done:
            reason = self._signal or self.progress.stop_reason()
            if reason:
                self.save()
                self._keep_counted()
                return self.outcome(reason)
            self._count_piece()
            is_best = place.step == self.plan.total_steps and self._finish_pass()
            is_due = self._is_save_due(saved_at)
            if (is_best or is_due) and not self.is_done:  # the last step's waits for the samples
                self._keep(is_best)
                saved_at = time.perf_counter()
        self._sample()
        self._keep(is_best)
        return self.outcome("done")

    def _count_piece(self) -> None:
        """Count the next piece of the text, and record it."""
        # 1. Count. The pieces of a stream overlap.
        place = self.place
        order = self._counter.order
        start, stop = self._pieces[place.step - self.plan.start_step]
        self._counter.add(self._ids[start:stop])
        self.corpus.release()
        chars = stop - start
        if start and self._boundary is None:
            chars -= order - 1

        # 2. Record
        place.step += 1
        place.chars += chars
        place.elapsed_s = self._elapsed_s()
        self._session_chars += chars
        self.run.log(
            {
                "step": place.step,
                "chars": chars,
                "order": order,
                "ngrams": len(self._counter.codes),
                "elapsed_s": round(place.elapsed_s, 3),
            }
        )
        self.progress.step(Step(place.step, self.plan.total_steps, chars, math.nan, None))

    def _is_save_due(self, saved_at: float) -> bool:
        """Return whether --save-every, in steps or seconds, has passed.

        saved_at: time.perf_counter() at the last checkpoint.
        """
        steps, every_s = interval(self.settings.training.save_every, "--save-every")
        if steps:
            return self.place.step % steps == 0
        return time.perf_counter() - saved_at > (every_s or 0)

    def _finish_pass(self) -> bool:
        """Score what was counted. Returns whether a model of it is the best so far."""
        # 1. Score the models of all orders.
        counter = self._counter
        place = self.place
        smoothing = self.settings.model.smoothing
        is_picked = self._order is None
        if place.chars > LARGE:
            self.progress.say(
                f"counted; scoring n-grams of up to {counter.order} characters on validation"
            )
        counted = Orders(counter, self._ids[: counter.order])
        spelling = self.corpus.vocabulary.spelling
        nats = counted.nats(self.corpus.split("val"), smoothing, spelling)
        scores = [value / max(1, self._val_chars) for value in nats]
        best = int(np.argmin(scores)) + 1 if is_picked else counted.longest
        model = counted.model(best, smoothing)
        model.spelling = spelling
        by_label, score = labels_counted(model, self.corpus, scores[best - 1])

        # 2. Record and show
        is_best = score < place.best_nats
        place.train_nats = math.nan
        self.run.log({"event": "orders", "step": place.step, "val_nats_per_char": scores})
        if is_picked:
            listed = ", ".join(
                f"{order}: {score / math.log(2):.3f}" for order, score in enumerate(scores, 1)
            )
            self.progress.say(
                f"bits/{self.corpus.vocabulary.unit} on validation by order: {listed}"
            )
        self._evaluated(score, is_best)

        # 3. Keep the best, and count longer ones if the longest is the best.
        if is_best:
            self.model = model
            self._by_label = by_label
        if is_picked and may_grow(best, counter.order, self._size):
            self._begin_pass(next_top(counter.order, self._size, len(self._ids)))
        return is_best

    def _tensors(self) -> Tensors:
        """Return the model as a file holds it."""
        tensors = self.model.tensors()
        if self._by_label is not None:
            tensors |= self._by_label.tensors(len(self.corpus.vocabulary.labels))
        return tensors

    def _keep_counted(self) -> None:
        """Keep a model of what is counted before a stop, where none is kept yet.

        The checkpoint was written before, and knows nothing of it. Orders are scored on a part of
        the validation text; a large table takes longer than whoever stops would wait. It knows no
        labels.
        """
        counter = self._counter
        place = self.place
        if place.has_learnt or not 0 < len(counter.codes) <= QUICK_GRAMS:
            return
        val = self.corpus.split("val")[:QUICK_VAL]
        counted = Orders(counter, self._ids[: counter.order])
        nats = counted.nats(val, self.settings.model.smoothing)
        best = int(np.argmin(nats)) + 1 if self._order is None else counted.longest
        self.model = counted.model(best, self.settings.model.smoothing)
        place.val_nats = nats[best - 1] / max(1, len(val) - (self._boundary is None))
        place.best_nats = place.val_nats
        place.best_step = place.step
        self._save_best()

    def _evaluated(self, nats: float, is_best: bool) -> None:
        """Take in, record and show a score on validation."""
        place = self.place
        place.val_nats = nats
        if is_best:
            place.best_nats = nats
            place.best_step = place.step
        score = Score(nats * self._val_chars, self._val_chars)
        self.run.log(
            {
                "event": "eval",
                "step": place.step,
                "val_nats_per_char": nats,
                "val_bits_per_char": score.bits_per_char,
                "val_chars": self._val_chars,
                "best": is_best,
            }
        )
        self.progress.evaluated(place.step, self.plan.total_steps, Recent(), score, is_best)

    def _sample(self) -> None:
        if self._make_samples is None:
            return
        step = self.place.step
        meta = run_meta("charrnn-model", self.settings, self.corpus, step=step)
        text = self._make_samples(self._tensors(), meta)
        bits = self.place.val_nats / math.log(2)
        noun = noun_of(self.corpus.vocabulary)
        self.run.add_samples(f"--- step {step}, {bits:.3f} bits per {noun} ---\n{text}\n")
        self.progress.sampled(step, text)

    def _keep(self, is_best: bool) -> None:
        self.save()
        if is_best:
            self._save_best()

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self.corpus.check_size()
        place = self.place
        place.elapsed_s = self._elapsed_s()
        tensors = {f"model.{name}": value for name, value in self._tensors().items()}
        tensors["optimizer.codes"] = self._counter.codes
        tensors["optimizer.counts"] = self._counter.counts
        meta = run_meta(
            "charrnn-checkpoint",
            self.settings,
            self.corpus,
            step=place.step,
            place=place_to_dict(place),
            plan=dataclasses.asdict(self.plan),
            counting=self._counter.order,
            epoch=place.chars / len(self._ids),
            origins=self._origins,
            surroundings={},
        )
        path = self.run.save(place.step, tensors, meta, self.settings.training.keep)
        self.progress.saved(place.step, path)

    def _save_best(self) -> None:
        self.corpus.check_size()
        step = self.place.step
        nats = self.place.best_nats
        meta = run_meta(
            "charrnn-model", self.settings, self.corpus, step=step, val_nats_per_char=nats
        )
        self.run.save_best(self._tensors(), meta)

    def settle(self) -> None:
        """After a resume: write the best model again if it is the checkpoint's.

        A kill may have fallen between the two files.
        """
        if self.place.best_step == self.place.step:
            self._save_best()

    def outcome(self, reason: str) -> Outcome:
        """Say where this counting stands, and what that means."""
        place = self.place
        session_s = self._elapsed_s() - self._elapsed_before_s
        return Outcome(
            reason=reason,
            place=place,
            epochs=place.chars / len(self._ids),
            parameters=self.parameter_count(),
            train_chars_per_s=self._session_chars / max(1e-9, session_s),
            weights_sha256=weights_sha256(self._tensors()),
            device="cpu",
            precision=None,
            ngram=None,
            verdict=self._verdict(reason),
            unit=self.corpus.vocabulary.unit,
            symbols_per_char=symbols_per_char(
                self.corpus.split("val"), self.corpus.vocabulary, self.corpus.mode
            ),
            label=next(iter(self.corpus.vocabulary.labels), None),
        )

    def _verdict(self, reason: str) -> str:
        if reason.startswith("SIG"):
            return "stopped before its end"
        order = self.model.order
        verdict = f"n-grams of up to {order} characters, "
        if self._order is not None:
            return verdict + "as asked"
        verdict += "picked by validation"
        if order == most_orders(self._size):
            verdict += f", the longest that can be counted with {self._size:,} characters"
        return verdict

    def parameter_count(self) -> int:
        """Return how many n-grams the model holds."""
        return sum(len(level.grams) for level in self.model.levels)

    def describe(self) -> str:
        """Return `counting: ...`, for a person."""
        smoothing = SMOOTHING_NAMES[self.settings.model.smoothing]
        order = "order picked by validation" if self._order is None else f"order {self._order}"
        return f"counting: n-grams, {smoothing}, {order}; --cell lstm learns instead"

    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.perf_counter() - self._began
