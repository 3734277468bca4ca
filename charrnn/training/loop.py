"""Batches -> weights: step, evaluate, sample, save, until the plan is over.

The order of things at a step: lr, forward, backward, clip, check, update, metrics, evaluation,
samples, checkpoint.
A step is a function of (weights, optimiser, carried state, step number): nothing else has to be
kept for an exact resume, and nothing else is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.scoring.score import Score
from charrnn.scoring.validation import is_noise
from charrnn.text.batches import Batch
from charrnn.text.corpus import Corpus
from charrnn.training import annealing, assembly, best, memory, optim, recovery
from charrnn.training.checkpoint import Checkpoint, RunDirectory
from charrnn.training.ending import Kept, keep_learnt, outcome_of
from charrnn.training.listener import MakeSamples, Progress, Step, Tensors
from charrnn.training.mixing import Counting
from charrnn.training.outcome import Outcome, Place, Recent
from charrnn.training.pacing import MOST_PASSES, Pacing
from charrnn.training.plan import Plan, first_plan, is_same_length, resumed_plan
from charrnn.training.records import Records, step_record
from charrnn.training.recovery import BAD_STEPS, Diverging
from charrnn.training.step import carried_into

NEVER = -1  # a step that no sample or judgement was made at


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
        group: assembly.Group | None = None,
    ) -> None:
        """checkpoint: go on from there. began: time.perf_counter() when the budget's clock started.

        weights: begin with these instead of random ones.
        mixed: an older text for a share of each batch (--mix).
        lift: (id, nats) by which a character's bias rises at the first step.
        group: the processes that compute together; this one leads.
        """
        self.settings = settings
        self.corpus = corpus
        self.run = run
        self.progress = progress
        self._mixed = mixed
        self._lift = lift

        backend = checkpoint.surroundings.get("backend") if checkpoint is not None else None
        say = progress.say
        self.parts = assembly.assemble(settings, corpus, mixed, say, weights, backend, group)
        # Whoever sets a patience goes by validation all the same.
        self._keeps_last = is_noise(corpus) and settings.training.patience is None
        self.counting = Counting(corpus, mixed, settings.training.counting)
        self.records = Records(
            run, settings, corpus, mixed, self.parts, self.counting, origins or {}, make_samples
        )
        self.model = self.parts.model
        self.state = self.model.zero_state(1)
        self.place = Place()

        work = self.parts.evaluation_steps
        plan = first_plan(settings.training, self.parts.batches.steps_per_epoch, work)
        most = MOST_PASSES * self.parts.batches.steps_per_epoch if self._keeps_last else None
        self.pace = Pacing(settings.training, plan, work, began, most)

        self._signal: str | None = None
        self._stopped: Kept | None = None
        self._sampled_at = NEVER
        self._judged_at = NEVER
        self._is_fresh = checkpoint is None
        self._is_new_text = False  # another one than the checkpoint's
        if checkpoint is not None:
            self.restore(checkpoint)
        self.pace.resume_at(self.place.elapsed_s)

    @property
    def plan(self) -> Plan:
        """How many steps, and how often to evaluate, sample and save."""
        return self.pace.plan

    def stop(self, signal_name: str) -> None:
        """Ask the loop to finish its step, save and return. Safe in a signal handler."""
        self._signal = signal_name

    def fit(self) -> Outcome:
        """Train to the plan's end.

        Raises DivergedError, StorageError, SettingsError where a GPU's memory is too small, or
        CheckpointError where the run's copy of the text was damaged under it; the last checkpoint
        stays good.
        """
        if (ngram := self.counting.baseline()) is not None:
            score = ngram.score.per(self.corpus.vocabulary.unit)
            self.progress.say(f"to beat: {score}, by counting ({ngram})")
        while True:
            try:
                return self.outcome(self._run())
            except Diverging as error:
                self._go_back(str(error))
            except torch.OutOfMemoryError:
                raise SettingsError(self._too_large()) from None
            except (IndexError, RuntimeError):  # what is no character is no row of the embedding
                recovery.check_texts(self.corpus, self._mixed)
                raise

    def _run(self) -> str:
        """Train from here to the plan's end.

        Returns why it ended. Raises Diverging: go back, and run again.
        """
        place = self.place
        is_best = self._begin()
        while not self._is_over:
            reason = self._signal or self.parts.stop_reason or self.progress.stop_reason()
            if reason:
                self._keep(is_best=False, is_due=True)
                self._stopped = keep_learnt(
                    place, self.records, self.pace.chars_per_s, keeps_last=self._keeps_last
                )
                return reason

            # 1. Step
            record = self.train_step(self.parts.batches.batch(place.step))
            self.records.check_texts()
            place.elapsed_s = self.pace.elapsed_s()
            self.records.log(record | {"elapsed_s": round(place.elapsed_s, 3)})
            self._show(record)
            is_decided_now = not self.plan.is_decided and self.pace.decide(place.step)
            if is_decided_now:
                self.records.log_plan(place.step, self.plan)

            # 2. Evaluate
            is_best = False
            is_sample_due = self.pace.is_sample_due(place.step, place.recent.steps)
            if self._is_due(self.plan.evaluation_interval(place.step)):
                is_best = self._evaluate()
                if self.pace.correct(place.step):
                    self.records.log_plan(place.step, self.plan)

            # 3. Sample: before annealing puts other weights in place of those that were scored.
            if is_sample_due and not place.bad_steps:
                self._sample()
            has_new_plan = is_decided_now or self._anneal()

            # 4. Save: last of all, so that a resume from here has nothing of this step left to do.
            # A plan is kept at once: from then on no clock decides anything.
            if not self._is_over:
                is_due = has_new_plan or self._is_due(self.plan.save_steps)
                self._keep(is_best, is_due)
        return self._end(is_best)

    def _begin(self) -> bool:
        """Score and keep the network as it is, if the training or its text is new.

        Returns whether it was.
        """
        self._sampled_at = NEVER
        self._judged_at = NEVER
        is_best = False
        evaluation_s = None
        if self._is_fresh or self._is_new_text:
            began_s = self.pace.elapsed_s()
            is_best = self._evaluate()
            if not self._is_over:
                self._keep(is_best, is_due=True)
            evaluation_s = self.pace.elapsed_s() - began_s
            self._is_fresh = False
            self._is_new_text = False
        self.pace.begin_loop(self.place.step, evaluation_s)
        return is_best

    def _end(self, is_best: bool) -> str:
        """Evaluate, sample and save a last time. Returns why the training ended.

        is_best: the last step's evaluation scored best; it is kept here, after the samples.
        """
        if self.place.recent.steps:
            is_best = self._evaluate()
        self.place.learnt_nats = self.parts.score_sample().nats_per_char * self.corpus.ids_per_char
        if self._sampled_at != self.place.step and not self.place.bad_steps:
            self._sample()
        self._keep(is_best, is_due=True)
        best.put_back(self.run.path, self.place.best_step)
        has_annealed = self.plan.annealed_from is not None
        return "stopped improving" if has_annealed or self._is_out_of_patience else "done"

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Make one optimiser update, or none if loss or gradient is not finite.

        Returns the step's line of metrics. Raises Diverging after a few without update in a row.
        """
        # 1. What goes into the step
        self.pace.begin_step()
        training = self.settings.training
        place = self.place
        watch = self.parts.watch
        peak = (training.lr or 0.0) * recovery.lr_factor(place.rollbacks)
        rate = optim.learning_rate(place.step, self.plan, training, peak)
        if place.step == 0:
            self.parts.lift(self._lift)
        carried = carried_into(batch, self.state, training, place.step)
        before = watch.before(batch, carried, place.step) if watch is not None else None

        # 2. The step
        result = self.parts.update(batch, carried, rate, place.step)
        self.state = result.state

        # 3. What it did
        if result.is_finite:
            self.parts.average.update(place.step - place.skipped_steps + 1)
            score = Score(result.nats_per_char * result.chars, result.chars)
            place.count_update(score, result.norm, 0 < training.clip < result.norm)
            if watch is not None and before is not None:
                health = watch.after(before, batch, result.norm, place.step + 1)
                self.records.log(health.record() | {"clip_rate": place.recent.clip_rate})
        else:
            place.count_bad_step()
        place.step += 1
        place.chars += result.chars
        self.pace.end_step(result.chars)

        # 4. Its line of metrics
        if place.bad_steps >= BAD_STEPS:
            raise Diverging(f"loss or gradient was not finite {BAD_STEPS} times in a row")
        epoch = place.step / self.parts.batches.steps_per_epoch
        return step_record(place.step, epoch, result, rate)

    def _evaluate(self) -> bool:
        """Score the validation text.

        Returns whether these are the best weights so far. Raises Diverging if it jumped.
        """
        place = self.place
        with self.parts.average.in_place():
            reading = self.counting.evaluate(self.model, self.parts.device, share=self.parts.share)
        recovery.judge(place, self.corpus, reading.network, self.parts)
        if not self.parts.average.tensors():  # else the weights themselves are still to be judged
            self._judged_at = place.step
        is_best = place.count_evaluation(reading.val, reading.network, keeps_last=self._keeps_last)

        self.records.log_evaluation(place, reading, is_best)
        val = reading.val
        self.progress.evaluated(place.step, self.plan.total_steps, place.recent, val, is_best)
        news = self.parts.watch.news() if self.parts.watch is not None else None
        if news is not None:
            self.progress.say(news)
        place.recent = Recent()
        return is_best

    def _anneal(self) -> bool:
        """Go back to the best weights and anneal them, if validation has levelled off.

        Returns whether the plan changed.
        """
        if self._keeps_last:
            return False
        way = annealing.anneal(self.plan, self.place, self.settings.training, self.run, self.parts)
        if way is not None:
            self.pace.plan = way.plan
            self.records.log_plan(self.place.step, way.plan)
            self.progress.say(way.note)
        return way is not None

    def _sample(self) -> None:
        self._sampled_at = self.place.step
        text = self.records.sample(self.place)
        if text is not None:
            self.progress.sampled(self.place.step, text)

    def _keep(self, is_best: bool, is_due: bool) -> None:
        """Save what is due.

        While steps are not finite nothing is, unless it scored best. Raises Diverging.
        """
        if is_best or (is_due and not self.place.bad_steps):
            if self._judged_at != self.place.step:
                recovery.judge(self.place, self.corpus, None, self.parts)
            self.save()
        if is_best:
            self.records.save_best(self.place)
        elif is_due and self.place.is_unscored:
            self.records.save_unscored(self.place)

    def save(self) -> None:
        """Write a checkpoint of this very moment.

        Raises Diverging rather than keep numbers that are not finite.
        """
        self.place.elapsed_s = self.pace.elapsed_s()
        self.state = self.parts.gathered(self.state)
        path = self.records.save(self.place, self.plan, self.state, self._lift)
        self.progress.saved(self.place.step, path)

    def settle(self) -> None:
        """Write the model again if it is the checkpoint's: a kill may have fallen between both."""
        if self.place.best_step == self.place.step and math.isfinite(self.place.best_nats):
            self.records.save_best(self.place)
        elif self.place.is_unscored:
            self.records.save_unscored(self.place)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stood, whatever came since. Raises CheckpointError."""
        self.state = self.parts.load(checkpoint)
        self.place = checkpoint.place
        ally = checkpoint.model.ally
        self.counting.theta = ally.theta if ally is not None else None
        self._lift = checkpoint.lift
        before = checkpoint.model.settings.training
        self.pace.plan = resumed_plan(
            checkpoint.plan,
            self.settings.training,
            before,
            self.parts.batches.steps_per_epoch,
            self.place.step,
            self.place.elapsed_s,
            self.parts.evaluation_steps,
        )
        if not is_same_length(self.settings.training, before):
            self.place.be_patient_again()
        if checkpoint.fingerprint != self.corpus.fingerprint:
            self.place.begin_text()
            self._is_new_text = True

    def _go_back(self, why: str) -> None:
        """Stand where the last good checkpoint stood, with half the learning rate, and record that.

        The checkpoint is written again with the count: no kill or resume gives another try.
        Raises DivergedError when all tries are spent; CheckpointError if a damaged text is why.
        """
        recovery.check_texts(self.corpus, self._mixed)
        way = recovery.go_back(self.run, self.place, self.settings.training, why)
        self.restore(way.checkpoint)
        self.place.rollbacks = way.rollbacks
        for warning in way.warnings:
            self.progress.say(f"warning: {warning}")
        self.records.log(way.record)
        self.save()

    def _too_large(self) -> str:
        """Say what did not fit: a step (the model is in the mode for it) or an evaluation."""
        shape = None
        if self.model.training:
            shape = (self.settings.training.batch_size, self.parts.batches.longest)
        return memory.too_large(shape, self.parts.device, is_kept=not self._is_fresh)

    @property
    def is_done(self) -> bool:
        """Nothing is left to do: no step, and not even the closing evaluation."""
        return self._is_over and not self.place.recent.steps

    @property
    def _is_over(self) -> bool:
        """No step is left."""
        return self.pace.is_over(self.place.step) or self._is_out_of_patience

    @property
    def _is_out_of_patience(self) -> bool:
        patience = self.settings.training.patience
        return bool(patience and self.place.evaluations_since_best >= patience)

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.place.step % every == 0

    def _show(self, record: dict[str, float]) -> None:
        place = self.place
        left_s = self.pace.seconds_left(place.step)
        chars = int(record["chars"])
        nats = record["train_nats_per_char"]
        self.progress.step(Step(place.step, self.plan.total_steps, chars, nats, left_s))

    def outcome(self, reason: str) -> Outcome:
        """Say where this training stands, and what that means."""
        kept = self._stopped or Kept(self.place, "")
        return outcome_of(
            reason, kept, self.settings, self.records, self.pace, keeps_last=self._keeps_last
        )
