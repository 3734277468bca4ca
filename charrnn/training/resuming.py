"""What a resume goes on with: checkpoint, settings, text; and whether it is exact."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn.config import LENGTHS, Settings, TextSettings, flag, resolve
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.machine import runtime
from charrnn.modelfile import checkpoint_files
from charrnn.terminal import one_line
from charrnn.text import building
from charrnn.text.corpus import Corpus, described, open_corpus
from charrnn.text.sources import Source
from charrnn.training.checkpoint import Checkpoint, load_newest
from charrnn.training.listener import Progress
from charrnn.training.loop import Trainer
from charrnn.values import interval, is_digest, seconds, shares

FREE_TO_CHANGE = ("save_every", "sample_every", "keep", "max_bytes", "watch")  # move no weight
CHANGES_ROUNDING = ("device", "threads", "backend", "precision")  # allowed, declared not exact

Layers = Iterable[tuple[str, Mapping[str, Any]]]


class NewestCheckpoint:
    """The newest good checkpoint of a run, read once.

    It is read before the run's lock is taken: a directory that is no run is left as it is, without
    even a lock.
    """

    def __init__(self, run: Path) -> None:
        """Raises CheckpointError if there is none."""
        self._run = run
        self._files = self._look()
        self._checkpoint, self._messages = load_newest(run)

    def locked(self) -> tuple[Checkpoint, list[str]]:
        """Return the checkpoint, now that nobody else can write, and warnings of damaged ones.

        It is read again only if somebody wrote between the reading and the lock.
        """
        if self._look() != self._files:
            return load_newest(self._run)
        return self._checkpoint, self._messages

    def _look(self) -> list[tuple[Path, int, int]]:
        stats = []
        for file in checkpoint_files(self._run / "checkpoints"):
            with contextlib.suppress(FileNotFoundError):  # a training removed it meanwhile
                stat = file.stat()
                stats.append((file, stat.st_mtime_ns, stat.st_ino))
        return stats


def find_checkpoint(path: Path) -> NewestCheckpoint:
    """Return the checkpoint to resume from in a run directory. Raises CheckpointError."""
    shown = one_line(str(path))
    if path.is_file():
        raise CheckpointError(f"--run {shown} is a file; name the run directory to resume")
    if not path.is_dir():
        raise CheckpointError(f"no run {shown} to resume; train it without --resume")
    return NewestCheckpoint(path)


def continued_settings(checkpoint: Checkpoint, layers: Layers) -> tuple[Settings, dict[str, str]]:
    """Return the checkpoint's settings with what is asked for now, and where each comes from.

    Raises SettingsError, naming both values, for what cannot be changed.
    """
    settings = checkpoint.model.settings
    recorded = settings.to_dict()
    asked, asked_origins = resolve(layers)
    wanted = asked.to_dict()
    origins = dict(checkpoint.origins)
    for key, origin in asked_origins.items():
        section = next(name for name in wanted if key in wanted[name])
        old = recorded[section][key]
        new = wanted[section][key]
        if _is_same(key, old, new):
            continue
        if _is_in_effect(key, old, new, checkpoint):
            settings = settings.with_values(section, **{key: new})  # now it is said
            continue
        if key in LENGTHS:  # a shorter one is refused by the plan
            length: dict[str, Any] = dict.fromkeys(LENGTHS) | {key: new}
            settings = settings.with_values("training", **length)
        elif key in FREE_TO_CHANGE or key in CHANGES_ROUNDING:
            settings = settings.with_values(section, **{key: new})
        else:
            raise SettingsError(
                f"{origin}: this run was trained with {flag(key)} {_shown(old)}, "
                f"not {_shown(new)}; leave that as it was, or start a new run"
            )
        origins[key] = origin
    return settings, origins


def _is_same(key: str, old: Any, new: Any) -> bool:
    """Return whether two values of a setting mean the same: 90s is 1.5m, and UTF8 is utf-8."""
    if old == new:
        return True
    if (
        key in ("mode", "newlines", "order", "column", "strip", "separator") and new == "auto"
    ):  # what the program chose is kept
        return True
    if old is None or new is None or "" in (old, new):
        return False
    if key == "budget":
        return seconds(old, key) == seconds(new, key)
    if key.endswith("_every"):
        return interval(old, key) == interval(new, key)
    if key == "split":
        return shares(old) == shares(new)
    if key == "encoding":  # of several texts, one for each
        return _encodings(old) == _encodings(new)
    if key in ("val", "test", "init_from"):
        return bool(os.path.realpath(old) == os.path.realpath(new))
    return False


def _encodings(text: str) -> list[str]:
    return [codecs.lookup(name).name for name in text.split(",")]


def _is_in_effect(key: str, old: Any, new: Any, checkpoint: Checkpoint) -> bool:
    """Return whether a value is what the program chose where nobody said."""
    model = checkpoint.model
    if key == "mode" and old == "auto":
        return bool(new == model.mode)
    if key == "order" and old == "auto" and model.counts and checkpoint.place.has_learnt:
        return bool(new == str(model.ngram().order))
    if key == "shards" and old is None:  # up to 0.4.0 a batch was one
        return bool(new == 1)
    if key == "eval_every" and old is None:
        steps, _ = interval(new, key)
        plan = checkpoint.plan
        return steps == plan.eval_steps and plan.look_steps in (None, steps)
    return False


def _shown(value: Any) -> str:
    if value is None:
        return "left to the program"
    return one_line(str(value)) or "''"


def same_corpus(
    checkpoint: Checkpoint,
    settings: Settings,
    text: str | Source | None,
    folder: Path,
    progress: Progress,
    *,
    may_change: bool,
) -> Corpus:
    """Return the checkpoint's corpus from the run's own copy, or another text's if that is allowed.

    text: as named by the person; None: the run's. folder: of the run's copies of texts.
    may_change: another text than the checkpoint's is allowed (--allow-corpus-change).
    Raises CorpusError for another text, CheckpointError for a copy that is lost or damaged.
    """
    # 1. Another text
    seed = settings.split_seed
    model = checkpoint.model
    is_several = isinstance(text, Source) and bool(text.parts)
    how = settings.text if is_several else as_it_was(settings.text)
    how = dataclasses.replace(how, newlines=model.open_reading.newlines)
    if how.mode != "records" and not is_several:
        how = dataclasses.replace(how, mode=model.mode)
    survey = building.survey(text, how, seed) if text is not None else None
    if survey is not None and survey.mode != model.mode:
        survey = building.survey(text, dataclasses.replace(how, mode=model.mode), seed)
    shown_text = text.shown if isinstance(text, Source) else one_line(text or "")
    if survey is not None and survey.fingerprint != checkpoint.fingerprint:
        if not may_change:
            _refuse_other_shares(survey, checkpoint.fingerprint, folder)
            raise CorpusError(
                f"{shown_text} is not the text this run was trained on "
                f"({survey.fingerprint[:12]}, not {checkpoint.fingerprint[:12]}); "
                "resume without naming it, or pass --allow-corpus-change"
            )
        if model.counts:
            raise CorpusError(
                "--cell ngram counts one text, and cannot go on with another; "
                f"start a new run with {shown_text}"
            )
        corpus, notes = building.build(survey, settings.text, seed, folder, model.vocabulary)
        for note in ("the text has changed: this resume is not exact to the bit", *notes):
            progress.say(f"note: {note}")
        return corpus

    # 2. The same text, whose copy is made again if it is lost or damaged and the text was named
    shown_folder = one_line(str(folder))
    try:
        corpus = open_corpus(folder, checkpoint.fingerprint)
    except CheckpointError:
        if survey is None:
            raise
        corpus, _ = building.build(survey, settings.text, seed, folder, model.vocabulary)
        progress.say(f"note: {shown_folder} was damaged and is made again from {shown_text}")
    if corpus.vocabulary != model.vocabulary or corpus.mode != model.mode:
        raise CheckpointError(
            f"{shown_folder} does not belong to this run's checkpoint; "
            "start a new run with its text"
        )
    return corpus


def _refuse_other_shares(survey: building.Survey, fingerprint: Any, folder: Path) -> None:
    """Raise CorpusError where the texts are the run's and differ in how they are read alone."""
    if not survey.sources["train"].parts or not is_digest(fingerprint):
        return
    digests: Any = {}
    with contextlib.suppress(CheckpointError):
        digests = described(folder / f"{fingerprint[:16]}.ids").get("text_sha256")
    if isinstance(digests, dict) and digests.get("train") == survey.censuses["train"].sha256:
        raise CorpusError(
            f"{survey.sources['train'].shown}: this run has other shares of these texts, or read "
            "them in another way; resume without naming them, or start a new run"
        )


def as_it_was(text: TextSettings) -> TextSettings:
    """Return how a text is read again: versions that chose no column read it as it was."""
    column = "none" if text.column == "auto" else text.column
    strip = "none" if text.strip == "auto" else text.strip
    return dataclasses.replace(text, column=column, strip=strip)


def restore_threads(settings: Settings, recorded: Mapping[str, Any]) -> None:
    """Use as many threads as the checkpoint's training did, unless settings say how many.

    The default is every core; an exact resume needs the number that there was.
    """
    threads = recorded.get("threads")
    if settings.runtime.threads is None and type(threads) is int:
        threads = max(1, min(threads, os.cpu_count() or 1))
        runtime.prepare(settings.with_values("runtime", threads=threads).runtime)


def inexact(trainer: Trainer, recorded: Mapping[str, Any]) -> list[str]:
    """Return what makes this resume inexact, in words. recorded: the checkpoint's surroundings."""
    parts = trainer.parts
    here = runtime.surroundings(parts.device, parts.backend, parts.precision)
    unimportant = "threads" if is_steady(trainer) else ""
    changes = [
        f"{key} {recorded.get(key)} -> {value}"
        for key, value in here.items()
        if value != recorded.get(key) and key != unimportant
    ]
    if parts.device.type != "cpu":
        changes.append(f"{parts.device} adds up in no fixed order")
    return changes


def is_steady(trainer: Trainer) -> bool:
    """Return whether the weights are the same bits with any number of threads.

    The compiled kernel's are, without a convolution, and so is the norm of shards.
    """
    settings = trainer.settings
    has_shards = (settings.training.shards or 1) > 1
    return has_shards and trainer.parts.backend == "kernel" and not settings.model.conv
