"""From what a person asked to a finished run: a new training or one resumed, and its signals."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.config import resolve
from charrnn.errors import DivergedError, SettingsError
from charrnn.machine import runtime
from charrnn.machine.backends import candidates, training_rate
from charrnn.modelfile import MISCOUNTED, checkpoint_files
from charrnn.terminal import one_line
from charrnn.text import building, doctor, leaks
from charrnn.text.sources import Source
from charrnn.training import finetune, recipe, resuming
from charrnn.training.announcement import say_network, say_surroundings, start_line, text_line
from charrnn.training.by_text import scores_of_texts
from charrnn.training.card import card_for
from charrnn.training.checkpoint import RunDirectory
from charrnn.training.counted import CountingTrainer
from charrnn.training.counting_flags import check_flags
from charrnn.training.idle_flags import check_idle
from charrnn.training.listener import MakeSamples, Progress
from charrnn.training.loop import Trainer
from charrnn.training.naming import (
    check_new,
    claimed_run,
    fresh_run,
    run_name,
    run_to_resume,
    runs_of_text,
)
from charrnn.training.outcome import STOPPED, Outcome
from charrnn.training.shards import check_shards, with_shards
from charrnn.training.signals import SIGNALS as SIGNALS
from charrnn.training.signals import signals
from charrnn.training.together import begin, run_of_launch, say_group

if TYPE_CHECKING:
    from charrnn.parallel.group import Group


@dataclass(frozen=True)
class Request:
    """What `charrnn train` was asked: layers of settings (config.resolve) and where to.

    corpus: as building.survey takes it. is_guest: the process is somebody else's, who called
    charrnn.train: no signal ends it.
    """

    corpus: str | Source | None = None
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    run: Path | None = None
    resume: bool = False
    overwrite: bool = False
    allow_corpus_change: bool = False
    runs: Path = Path("runs")
    began: float | None = None  # time.perf_counter() when the person pressed Enter
    is_guest: bool = False
    verbose: bool = False  # say what it runs on, and what memory it will take
    shares_text: bool = False  # process 0 gives the text to the others


def train(
    request: Request,
    progress: Progress,
    make_samples: MakeSamples | None = None,
    group: Group | None = None,
) -> tuple[Path, Outcome]:
    """Train as asked. Returns the run directory and how the training ended.

    group: the processes that compute together; this one leads (together.py).
    "already done": nothing was left for a resume to do.
    """
    if group is not None:
        request = _relaunched(request, group)
    if request.resume and request.overwrite:
        raise SettingsError(
            "--resume goes on with a run and --overwrite starts a new one; give one"
        )
    if request.allow_corpus_change and not request.resume:
        raise SettingsError("--allow-corpus-change is for a run that goes on; add --resume")
    if request.resume:
        return _resume(request, progress, make_samples, group)
    return _start(request, progress, make_samples, group)


def _relaunched(request: Request, group: Group) -> Request:
    """Return what to do where torchrun has restarted the processes: go on, or begin again."""
    if request.resume or not group.launch.name:
        return request
    path = run_of_launch(group.launch.name, request.run, request.runs)
    if path is None:
        return request
    if checkpoint_files(path / "checkpoints"):
        return dataclasses.replace(request, corpus=None, run=path, resume=True, overwrite=False)
    return dataclasses.replace(request, run=path, overwrite=True)


def _start(
    request: Request, progress: Progress, make_samples: MakeSamples | None, group: Group | None
) -> tuple[Path, Outcome]:
    # 1. Settings: what is wrong with them is told before the text is read.
    settings, origins, old = finetune.begin(request.layers)
    if request.run is not None:
        check_new(request.run, request.overwrite)
    device = runtime.choose_device(settings.runtime.device)
    is_counting = settings.model.cell == "ngram"
    if not is_counting:
        candidates(settings.runtime, settings.model.cell, device)

    # 2. The text, and the network that follows from it
    survey = building.survey(request.corpus, settings.text, settings.split_seed)
    settings = dataclasses.replace(settings, text=survey.as_read(settings.text))
    notes_on_flags = check_idle(settings, origins, survey)
    filled = None
    if is_counting:
        check_flags(origins)
    else:
        asked = settings
        processes = group.world if group is not None else 1

        def rate() -> float:
            return processes * training_rate(asked, runtime.prepare(asked.runtime))

        filled = recipe.fill(asked, survey, rate, origins, card_for(asked, survey))
        settings = with_shards(filled.settings, origins, group)

    # 3. The directory
    source = None
    if old is not None:
        place = _named_run(survey, request) or fresh_run(survey.name, request.runs)
        source = finetune.prepare(old, settings, survey, place)
    vocabulary = source.vocabulary if source is not None else survey.vocabulary
    with _run_directory(survey, request) as run:
        path = run.path
        is_said = _say_directory(path, survey, request, progress)
        check_new(path, request.overwrite)  # again, now that nobody else can be writing there

        # 4. The text as ids, and what to mind about it
        corpus, notes = building.build(
            survey, settings.text, settings.split_seed, path / "corpus", vocabulary
        )
        mixed = None
        texts = {corpus.path.stem}
        about_text, warnings = doctor.at_start(survey, settings.text)
        warnings += leaks.alike_warnings(corpus)
        all_notes = [*survey.notes, *notes, *notes_on_flags]
        if source is not None:
            mixed, texts = source.move_in(corpus)
            warnings += finetune.leaks(source, corpus)
            all_notes.append(source.note)
        for note in all_notes:
            progress.say(f"note: {note}")
        for warning in warnings:
            progress.say(f"warning: {warning}")

        # 5. The training
        trainer: Trainer | CountingTrainer
        if is_counting:
            trainer = CountingTrainer(
                settings,
                corpus,
                run,
                progress,
                origins=origins,
                make_samples=make_samples,
                began=request.began,
            )
        else:
            trainer = Trainer(
                settings,
                corpus,
                run,
                progress,
                origins=origins,
                make_samples=make_samples,
                began=request.began,
                weights=source.weights if source is not None else None,
                mixed=mixed,
                lift=source.lift if source is not None else (),
                group=group,
            )
        start = start_line(survey, trainer)
        if not is_said:
            start += f"; into {one_line(str(path))}"
        progress.say(start)
        if request.verbose:
            progress.say(f"corpus: {about_text}")
            progress.say(text_line(survey, corpus))
            if isinstance(trainer, CountingTrainer):
                progress.say(trainer.describe())
        if isinstance(trainer, Trainer):
            if filled is not None and request.verbose:
                say_network(trainer, filled, progress)
            say_surroundings(trainer, request.verbose, progress)

        # 6. Only now is an earlier run removed: whatever is wrong with the request has been said.
        run.clear(keep_corpora=texts)
        run.describe(
            {
                "schema": 1,
                "command": sys.argv,
                "settings": settings.to_dict(),
                "origins": origins,
                "corpus": survey.name,
                "launch": group.launch.name if group is not None else None,
            }
        )
        return path, _fit(trainer, run, request, group)


def _named_run(survey: building.Survey, request: Request) -> Path | None:
    """Return the directory of --run, or the run that --overwrite replaces: the newest of this text.

    None where any new one will do.
    """
    if request.run is None and request.overwrite:
        same = runs_of_text(survey.censuses["train"].sha256, request.runs)
        return same[-1] if same else None
    return request.run


def _run_directory(survey: building.Survey, request: Request) -> RunDirectory:
    """Return the directory of a new run. Without --run another process never has the same."""
    path = _named_run(survey, request)
    if path is not None:
        return RunDirectory(path)
    return RunDirectory(claimed_run(survey.name, request.runs), is_new=True)


def _say_directory(
    path: Path, survey: building.Survey, request: Request, progress: Progress
) -> bool:
    """Say which directory is written, where that is not the plain one, and what is lost there.

    Returns whether anything was said.
    """
    shown = one_line(str(path))
    usual = request.runs / run_name(survey.name)
    if checkpoint_files(path / "checkpoints"):
        progress.say(f"writing {shown}: the run that was there is replaced")
        return True
    if request.run is None and path != usual:
        is_same = usual in runs_of_text(survey.censuses["train"].sha256, request.runs)
        reason = "of another text"
        if is_same:
            reason = f"of this text too; to go on with it: charrnn train --resume --run {usual}"
        progress.say(f"writing {shown}; {one_line(str(usual))} is {reason}")
        return True
    return False


def _resume(
    request: Request, progress: Progress, make_samples: MakeSamples | None, group: Group | None
) -> tuple[Path, Outcome]:
    # 1. The checkpoint
    text = resolve(request.layers)[0].text
    path = request.run or run_to_resume(request.corpus, text, request.runs)
    shown = one_line(str(path))
    newest = resuming.find_checkpoint(path)
    with RunDirectory(path) as run:
        checkpoint, messages = newest.locked()
        for message in messages:
            progress.say(f"warning: {message}")
        is_counting = checkpoint.model.counts
        if is_counting:
            check_flags(resolve(request.layers)[1])
        if checkpoint.model.is_miscounted:
            progress.say(f"note: {MISCOUNTED}")

        # 2. Settings, text and machine as they were
        settings, origins = resuming.continued_settings(checkpoint, request.layers)
        corpus = resuming.same_corpus(
            checkpoint,
            settings,
            request.corpus,
            path / "corpus",
            progress,
            may_change=request.allow_corpus_change,
        )
        if group is None:
            resuming.restore_threads(settings, checkpoint.surroundings)
        elif not is_counting:
            training = settings.training
            check_shards(training.shards or 1, training.batch_size or 1, group.world)

        # 3. The training
        run.rewind(checkpoint)
        trainer: Trainer | CountingTrainer
        if is_counting:
            trainer = CountingTrainer(
                settings,
                corpus,
                run,
                progress,
                origins=origins,
                make_samples=make_samples,
                checkpoint=checkpoint,
                began=request.began,
            )
        else:
            trainer = Trainer(
                settings,
                corpus,
                run,
                progress,
                origins=origins,
                make_samples=make_samples,
                checkpoint=checkpoint,
                began=request.began,
                mixed=finetune.recorded_mix(checkpoint, corpus, path / "corpus"),
                group=group,
            )
            changes = resuming.inexact(trainer, checkpoint.surroundings)
            if changes:
                progress.say(f"note: this resume is not exact to the bit: {'; '.join(changes)}")
        total = trainer.plan.total_steps
        step = trainer.place.step
        trainer.settle()

        # 4. Is anything left to do?
        if trainer.is_done:
            advice = "a larger --budget, --epochs or --steps goes on"
            if is_counting:
                advice = "counting is complete"
            progress.say(f"{shown} is already done at step {step:,}; {advice}")
            return path, trainer.outcome("already done")
        end = f" of {total:,}" if total else ""
        progress.say(f"resuming {shown} at step {step:,}{end}")
        if isinstance(trainer, Trainer):
            say_surroundings(trainer, request.verbose, progress)
        return path, _fit(trainer, run, request, group)


def _fit(
    trainer: Trainer | CountingTrainer, run: RunDirectory, request: Request, group: Group | None
) -> Outcome:
    """Train to the end, and tell of it, whatever ends the training."""
    path = run.path
    trainer.progress.started(path, trainer.settings, trainer.place.step)
    place = None
    reason = "failed"
    wake = trainer.pace.wake if isinstance(trainer, Trainer) else None
    try:
        if group is not None and isinstance(trainer, Trainer):
            say_group(group, trainer.settings.training.shards or 1, trainer.progress)
            begin(trainer, shares_text=request.shares_text)
        with signals(trainer.stop, wake, request.is_guest, is_launched=group is not None):
            outcome = trainer.fit()
        if trainer.corpus.parts and outcome.reason not in (*SIGNALS, STOPPED):
            outcome = _with_texts(outcome, run, trainer.settings.runtime.device)
        place = outcome.place
        reason = outcome.reason
        return outcome
    except DivergedError:
        reason = "diverged"
        raise
    finally:
        trainer.progress.ended(path, reason, place or trainer.place)


def _with_texts(outcome: Outcome, run: RunDirectory, device: str) -> Outcome:
    """Return an outcome with the score of each of several texts, which the run keeps."""
    texts = tuple(scores_of_texts(run.path, device))
    scores = [dataclasses.asdict(score) for score in texts]
    run.log({"event": "texts", "step": outcome.place.step, "texts": scores})
    return dataclasses.replace(outcome, texts=texts)
