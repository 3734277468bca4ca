"""A training on the processes of a launch: who leads, who follows, and how all end alike."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from charrnn import __version__
from charrnn.errors import CharrnnError, SettingsError
from charrnn.machine import runtime
from charrnn.storage import read_bounded
from charrnn.terminal import many, one_line
from charrnn.training.listener import Progress
from charrnn.training.loop import Trainer
from charrnn.training.signals import SIGNALS, signals

if TYPE_CHECKING:
    from charrnn.parallel.group import Group
    from charrnn.training.leading import Ending

RUN_FILE = "run.json"
MAX_RUN_BYTES = 4 << 20

Led = TypeVar("Led")
Trained = TypeVar("Trained", bound=tuple[Any, ...])


def train_together(
    group: Group, words: Sequence[str], lead: Callable[[], Trained], *, is_guest: bool
) -> Trained | Ending:
    """Train with the processes of a group. Process 0 leads; the others hear how it ended.

    words: what this process was started with; all must be alike.
    lead: trains, in process 0. Returns the run, its outcome, and what else there is.
    Raises SettingsError, LostError, and in process 0 what lead raises.
    """
    from charrnn.training.leading import Ending

    def ending(trained: Trained) -> Ending:
        path, outcome, *_ = trained
        return Ending(SIGNALS.get(outcome.reason, 0), run=str(path))

    with signals(group.stop, None, is_guest, is_launched=True):
        heard = _heard(group, words)
        if not group.is_leader:
            return _followed(group)
    return _led(group, heard, lead, ending)


def score_together(group: Group, words: Sequence[str], lead: Callable[[], None]) -> Ending:
    """Score with the processes of a group. Process 0 leads; the others hear how it ended.

    Nothing is saved, so a signal ends a process at once, and with it the others.
    words, and what is raised: as for train_together.
    """
    from charrnn.training.leading import Ending

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's waits for what the others say
    heard = _heard(group, words)
    if not group.is_leader:
        return _followed(group)
    _led(group, heard, lead, lambda _: Ending(0))
    return Ending(0)


def _heard(group: Group, words: Sequence[str]) -> list[dict[str, Any]]:
    """Return what each process was started with. Raises LostError."""
    with _loss_left(group):
        return group.hear_all({"charrnn": __version__, "words": list(words)})


def _followed(group: Group) -> Ending:
    """Do what process 0 says, and return how it ended. Raises LostError."""
    from charrnn.training.following import follow

    with _loss_left(group):
        return follow(group)


def _led(
    group: Group,
    heard: Sequence[dict[str, Any]],
    lead: Callable[[], Led],
    ending: Callable[[Led], Ending],
) -> Led:
    """Lead the others, and tell them how it ended. Returns what lead returned.

    ending: of what lead returned.
    """
    from charrnn.parallel.group import LostError, is_out_of_memory
    from charrnn.training.leading import Ending, dismiss

    with _loss_left(group):
        try:
            check_words(heard)
            led = lead()
        except LostError:
            raise
        except CharrnnError as error:
            dismiss(group, Ending(error.exit_code, str(error)))
            raise
        except BaseException as error:
            dismiss(group, Ending(2 if is_out_of_memory(error) else 1, repr(error)))
            raise
        dismiss(group, ending(led))
        return led


@contextlib.contextmanager
def _loss_left(group: Group) -> Iterator[None]:
    """Leave a group of which a process is gone."""
    from charrnn.parallel.group import LostError

    try:
        yield
    except LostError:
        group.leave(is_whole=False)
        raise


def check_words(heard: Sequence[dict[str, Any]]) -> None:
    """Raise SettingsError unless all processes were started alike. heard: from each."""
    for rank, words in enumerate(heard):
        if words["charrnn"] != heard[0]["charrnn"]:
            raise SettingsError(
                f"process {rank} runs charrnn {words['charrnn']}, and process 0 "
                f"{heard[0]['charrnn']}: install the same everywhere"
            )
        if words["words"] != heard[0]["words"]:
            theirs = set(words["words"]) ^ set(heard[0]["words"])
            raise SettingsError(
                f"process {rank} was started with other options than process 0 "
                f"({one_line(' '.join(sorted(theirs)))}): start all alike"
            )


def begin(trainer: Trainer, *, shares_text: bool) -> None:
    """Let the others of a group make ready. Raises ToldError where one of them cannot."""
    parts = trainer.parts
    if parts.leader is None:
        return
    corpora = trainer.records.corpora
    training = {
        "settings": trainer.settings.to_dict(),
        "texts": [corpus.fingerprint for corpus in corpora],
        "folder": str(trainer.corpus.path.parent.resolve()),
        "device": parts.device.type,
        "backend": parts.backend,
        "surroundings": runtime.surroundings(parts.device, parts.backend, parts.precision),
    }
    files = []
    if shares_text:
        files = [c.path.with_suffix(end) for c in corpora for end in (".ids", ".json")]
    parts.leader.begin(training, files)


def say_group(group: Group, shards: int, progress: Progress) -> None:
    """Say how many processes compute, and with how many threads."""
    threads = many(torch.get_num_threads(), "thread")
    processes = "1 process" if group.world == 1 else f"{group.world} processes"
    progress.say(f"{processes}, {threads} each; {many(shards, 'shard')}")


def run_of_launch(name: str, run: Path | None, runs: Path) -> Path | None:
    """Return the run that a launch began before torchrun restarted its processes, if it did.

    run: where it would be; None: under runs.
    """
    places = [run] if run is not None else sorted(runs.glob("*"))
    for place in places:
        try:
            about = json.loads(read_bounded(place / RUN_FILE, MAX_RUN_BYTES, "a run of charrnn"))
        except (OSError, ValueError, CharrnnError, RecursionError):
            continue
        if isinstance(about, dict) and about.get("launch") == name:
            return place
    return None
