"""From what a person asked to a finished run: a new training or one resumed, its directory, its signals, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import LENGTHS, Settings, flag, resolve
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.kernel.library import build
from charrnn.machine import runtime
from charrnn.machine.backends import candidates, training_rate, words
from charrnn.machine.malloc import tune_malloc
from charrnn.terminal import one_line
from charrnn.text import building, doctor
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training import finetune, recipe
from charrnn.training.checkpoint import (
    Checkpoint,
    RunDirectory,
    check_new,
    fresh_run,
    load_newest,
    run_name,
    run_to_resume,
)
from charrnn.training.counted import CountingTrainer, check_flags
from charrnn.training.loop import MakeSamples, Progress, Trainer
from charrnn.training.outcome import Outcome
from charrnn.values import seconds

FREE_TO_CHANGE = {
    "save_every",
    "sample_every",
    "keep",
    "max_bytes",
    "watch",
}  # no weight depends on these
CHANGES_ROUNDING = {"device", "threads", "backend", "precision"}  # allowed, and declared not exact
LARGE_BYTES = 1_000_000_000
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@dataclass(frozen=True)
class Request:
    """What `charrnn train` was asked: layers of settings (config.resolve) and where to."""

    corpus: str | None = None
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    run: Path | None = None
    resume: bool = False
    overwrite: bool = False
    allow_corpus_change: bool = False
    runs: Path = Path("runs")
    began: float | None = None  # time.perf_counter() when the person pressed Enter
    verbose: bool = False  # say what it runs on, and what memory it will take


def train(
    request: Request, progress: Progress, make_samples: MakeSamples | None = None
) -> tuple[Path, Outcome]:
    """Do it. Returns the run directory and how it ended; "already done": nothing was left for a resume to do."""
    if request.resume and request.overwrite:
        raise SettingsError("--resume goes on with a run and --overwrite starts it anew; give one")
    if request.resume:
        return _resume(request, progress, make_samples)
    return _start(request, progress, make_samples)


def _start(
    request: Request, progress: Progress, make_samples: MakeSamples | None
) -> tuple[Path, Outcome]:
    settings, origins, old = finetune.begin(request.layers)
    if request.run is not None:
        check_new(request.run, request.overwrite)
    device = runtime.choose_device(
        settings.runtime.device
    )  # before the text is read: a typing error should not cost time
    if settings.model.cell != "ngram":
        candidates(settings.runtime, settings.model.cell, device)
    found = building.survey(request.corpus, settings.text, settings.training.seed)
    counts, network, asked = settings.model.cell == "ngram", "", settings
    if counts:
        check_flags(origins)
    else:
        settings, network = recipe.fill(
            settings, found, lambda: training_rate(asked, runtime.prepare(asked.runtime)), origins
        )
    path = request.run or (
        request.runs / run_name(found.name)
        if request.overwrite
        else fresh_run(found.name, request.runs)
    )
    source = finetune.prepare(old, settings, found, path) if old is not None else None
    vocabulary = source.vocabulary if source is not None else found.vocabulary
    with RunDirectory(path) as run:
        check_new(path, request.overwrite)  # again, now that nobody else can be writing there
        corpus, notes = building.build(
            found, settings.text, settings.training.seed, path / "corpus", vocabulary
        )
        mixed, texts = source.move_in(corpus) if source is not None else (None, {corpus.path.stem})
        about_text, warnings = doctor.at_start(found, settings.text)
        warnings += finetune.leaks(source, corpus) if source is not None else []
        all_notes = (*found.notes, *notes, *([source.note] if source is not None else []))
        for line in (
            *(f"note: {note}" for note in all_notes),
            *(f"warning: {each}" for each in warnings),
        ):
            progress.say(line)
        common: dict[str, Any] = {
            "origins": origins,
            "make_samples": make_samples,
            "began": request.began,
        }
        trainer: Trainer | CountingTrainer
        if counts:
            trainer = CountingTrainer(settings, corpus, run, progress, **common)
        else:
            start: dict[str, Any] = (
                {"weights": source.weights, "lift": source.lift} if source is not None else {}
            )
            trainer = Trainer(settings, corpus, run, progress, mixed=mixed, **start, **common)
        sizes = ", ".join(
            f"{stop - start:,} {name}" for name, (start, stop) in corpus.bounds.items()
        )
        progress.say(f"corpus: {about_text}")
        progress.say(f"text: {found.name}, {corpus.mode} ({found.reason}); characters: {sizes}")
        if isinstance(trainer, CountingTrainer):
            progress.say(trainer.describe())
        else:
            progress.say(_network_line(trainer, network))
            _say_surroundings(trainer, request, progress)
        run.clear(keep_corpora=texts)  # only now: whatever was wrong with the request has been said
        about = {
            "command": sys.argv,
            "settings": settings.to_dict(),
            "origins": origins,
            "corpus": found.name,
        }
        run.describe({"schema": 1} | about)
        return path, _fit(trainer)


def _resume(
    request: Request, progress: Progress, make_samples: MakeSamples | None
) -> tuple[Path, Outcome]:
    path = request.run or run_to_resume(request.corpus, request.runs)
    if path.is_file():
        raise CheckpointError(
            f"--run {one_line(str(path))} is a file; name the run directory to resume"
        )
    if not path.is_dir():
        raise CheckpointError(f"no run {one_line(str(path))} to resume; train it without --resume")
    load_newest(path)  # a directory that is no run is left as it is, without even a lock
    with RunDirectory(path) as run:
        checkpoint, messages = load_newest(path)
        for message in messages:
            progress.say(f"warning: {message}")
        if checkpoint.model.counts:
            check_flags(resolve(request.layers)[1])
        settings, origins = _continued(checkpoint, request)
        corpus = _same_corpus(checkpoint, settings, request, path, progress)
        recorded = checkpoint.surroundings
        if settings.runtime.threads is None and type(recorded.get("threads")) is int:
            # The default is every core; an exact resume needs as many threads as there were.
            now = settings.with_values(
                "runtime", threads=max(1, min(recorded["threads"], os.cpu_count() or 1))
            )
            runtime.prepare(now.runtime)
        run.rewind(checkpoint)
        common: dict[str, Any] = {
            "origins": origins,
            "make_samples": make_samples,
            "checkpoint": checkpoint,
            "began": request.began,
        }
        trainer: Trainer | CountingTrainer
        if checkpoint.model.counts:
            trainer = CountingTrainer(settings, corpus, run, progress, **common)
        else:
            mixed = finetune.recorded_mix(checkpoint, corpus, path / "corpus")
            trainer = Trainer(settings, corpus, run, progress, mixed=mixed, **common)
            _compare_surroundings(trainer, recorded, progress)
        total, step = trainer.plan.total_steps, trainer.place.step
        trainer.settle()
        if trainer.is_done:
            more = (
                "all is counted"
                if checkpoint.model.counts
                else "a larger --budget, --epochs or --steps goes on"
            )
            progress.say(f"{one_line(str(path))} is already done at step {step:,}; {more}")
            return path, trainer.outcome("already done")
        progress.say(
            f"resuming {one_line(str(path))} at step {step:,}{f' of {total:,}' if total else ''}"
        )
        if isinstance(trainer, Trainer):
            _say_surroundings(trainer, request, progress)
        return path, _fit(trainer)


def _compare_surroundings(
    trainer: Trainer, recorded: Mapping[str, Any], progress: Progress
) -> None:
    """Say what makes a resume inexact, if anything does."""
    here = runtime.surroundings(trainer.device, trainer.backend, trainer.precision)
    changed = [
        f"{key} {recorded.get(key)} -> {here[key]}"
        for key in here
        if here[key] != recorded.get(key)
    ]
    if trainer.device.type != "cpu":
        changed.append(f"{trainer.device} adds up in no fixed order")
    if changed:
        progress.say(f"note: this resume is not exact to the bit: {'; '.join(map(str, changed))}")


def _continued(checkpoint: Checkpoint, request: Request) -> tuple[Settings, dict[str, str]]:
    """The checkpoint's settings, with what may be changed changed. Raises SettingsError naming both values."""
    before = checkpoint.model.settings
    asked, asked_origins = resolve(request.layers)
    origins = dict(checkpoint.origins)
    was, wants, settings = before.to_dict(), asked.to_dict(), before
    for key, origin in asked_origins.items():
        section = next(name for name in wants if key in wants[name])
        old, new = was[section][key], wants[section][key]
        if old == new or (
            key == "budget" and old is not None and seconds(old, key) == seconds(new, key)
        ):
            continue
        if key in LENGTHS:
            cleared: dict[str, Any] = dict.fromkeys(LENGTHS)
            settings = settings.with_values(
                "training", **(cleared | {key: new})
            )  # Trainer refuses a shorter one
        elif key in FREE_TO_CHANGE or key in CHANGES_ROUNDING:
            settings = settings.with_values(section, **{key: new})
        else:
            raise SettingsError(
                f"{origin}: this run was trained with {flag(key)} {_shown(old)}, not {_shown(new)}; "
                "leave that as it was, or train anew"
            )
        origins[key] = origin
    return settings, origins


def _same_corpus(
    checkpoint: Checkpoint, settings: Settings, request: Request, path: Path, progress: Progress
) -> Corpus:
    """The text of the checkpoint: from the run's own copy, after a look at whether the given one has changed."""
    folder, fingerprint = path / "corpus", checkpoint.fingerprint
    if request.corpus is not None:
        found = building.survey(request.corpus, settings.text, settings.training.seed)
        if found.fingerprint != fingerprint:
            if not request.allow_corpus_change:
                raise CorpusError(
                    f"{one_line(request.corpus)} is not the text this run was trained on ({found.fingerprint[:12]}, not "
                    f"{fingerprint[:12]}); resume without naming it, or pass --allow-corpus-change"
                )
            if found.mode != checkpoint.model.mode:
                raise CorpusError(
                    f"{one_line(request.corpus)} would be read as {found.mode}, the run as {checkpoint.model.mode}; pass --mode"
                )
            made, notes = building.build(
                found, settings.text, settings.training.seed, folder, checkpoint.model.vocabulary
            )
            for note in ("the text has changed: this resume is not exact to the bit", *notes):
                progress.say(f"note: {note}")
            return made
        try:
            opened = open_corpus(folder, fingerprint)
        except CheckpointError:  # the run's copy is lost or damaged, but here is the very text
            opened, _ = building.build(
                found, settings.text, settings.training.seed, folder, checkpoint.model.vocabulary
            )
            progress.say(
                f"note: {one_line(str(folder))} was damaged and is made anew from {one_line(request.corpus)}"
            )
    else:
        opened = open_corpus(folder, fingerprint)
    if opened.vocabulary != checkpoint.model.vocabulary or opened.mode != checkpoint.model.mode:
        raise CheckpointError(
            f"{one_line(str(folder))} does not belong to this run's checkpoint; start the run anew with its text"
        )
    return opened


def _fit(trainer: Trainer | CountingTrainer) -> Outcome:
    with _signals(trainer):
        return trainer.fit()


@contextlib.contextmanager
def _signals(trainer: Trainer | CountingTrainer) -> Iterator[None]:
    """The first signal finishes the step and saves; the second leaves at once (files are replaced whole or not at all)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, lambda n, f: os._exit(128 + n))
        trainer.stop(signal.Signals(number).name)

    present = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    numbers = [
        number for number in present if signal.getsignal(number) is not signal.SIG_IGN
    ]  # nohup, background jobs
    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _network_line(trainer: Trainer, network: str) -> str:
    training = trainer.settings.training
    length = training.budget or (
        f"{training.epochs:g} epochs"
        if training.epochs is not None
        else f"{training.steps:,} steps"
    )
    shape = (
        f"{training.batch_size} lines"
        if trainer.corpus.mode == "lines"
        else f"{training.batch_size} x {training.seq_length}"
    )
    cells = words(trainer.backend, trainer.precision)
    return (
        f"network: {network}, {trainer.model.parameter_count():,} parameters; {cells} on {trainer.device}; "
        f"batches of {shape}, lr {training.lr:.2g}, {length}"
    )


def _say_surroundings(trainer: Trainer, request: Request, progress: Progress) -> None:
    """What a training runs on and the memory it will take, if asked; activations of over 1 GB are said unasked."""
    expected, pieces = trainer.expected_memory, trainer.settings.training.checkpoint_every_chars
    activations = f"activations {expected.activations / 1e6:,.0f} MB" + (
        f", recomputed in pieces of {pieces:,} characters" if pieces else ""
    )
    if request.verbose:
        on = runtime.surroundings(trainer.device, trainer.backend, trainer.precision)
        progress.say(
            f"torch {on['torch']} on {on['device']}, {on['cpu']}, {on['precision']}; threads: {on['threads']}"
        )
        progress.say(
            f"cells: {on['backend']} ({trainer.why_backend}); kernel: {build() or 'none'}; malloc: {tune_malloc()}"
        )
        progress.say(
            f"memory expected: weights and gradients {expected.weights / 1e6:,.1f} MB, optimiser "
            f"{expected.optimizer / 1e6:,.1f} MB, {activations}"
        )
    elif expected.activations > LARGE_BYTES:
        progress.say(f"memory expected: {activations}")


def _shown(value: Any) -> str:
    return "left to the program" if value is None else one_line(str(value))
