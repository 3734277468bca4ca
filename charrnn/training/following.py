"""The other processes of a group: they compute what process 0 orders, and write nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from charrnn.config import settings_from_dict
from charrnn.errors import CorpusError
from charrnn.machine import runtime
from charrnn.model.recurrent import State
from charrnn.parallel.group import Group, LostError
from charrnn.scoring.held_out import held_out
from charrnn.scoring.readers import VALIDATION, GateReader, NatsReader, Placed, Reader
from charrnn.scoring.spelled import spelled_text
from charrnn.scoring.validation import validation_batches
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training.assembly import assemble
from charrnn.training.helping import help_read
from charrnn.training.leading import (
    BEGIN,
    GATHER,
    HELP,
    LOAD,
    READ,
    STEP,
    Ending,
    order,
    receive_texts,
    share_weights,
)
from charrnn.training.reading import check_alike, read_together
from charrnn.training.step import carried_into


def follow(group: Group) -> Ending:
    """Do what process 0 says until it says that all is over. Returns how it ended.

    Raises LostError where a process is gone.
    """
    follower: Follower | None = None
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        while True:
            what, step, lr = order(group)
            try:
                if what == BEGIN:
                    follower = _begun(group, Path(folder))
                elif what == HELP:
                    help_read(group)
                elif follower is None:
                    break  # END before a beginning
                elif what == LOAD:
                    follower.load()
                elif what == STEP:
                    follower.step(step, lr)
                elif what == GATHER:
                    follower.gather()
                elif what == READ:
                    follower.read()
                else:
                    break
            except LostError:
                raise
            except Exception:  # noqa: S112 - all know of it, and process 0 says what follows
                continue
    ending = Ending(**group.tell())
    group.leave(is_whole=True)
    return ending


def _begun(group: Group, folder: Path) -> Follower:
    """Make ready for the training that process 0 tells of. Raises what prevents it, in all."""
    training = group.tell()
    if training["shares_text"]:
        receive_texts(group, folder)
        training["folder"] = str(folder)
    fault: Exception | None = None
    follower = None
    try:
        follower = Follower(group, training)
    except Exception as error:
        fault = error
    group.raise_fault(fault)
    assert follower is not None
    return follower


class Follower:
    """A training as a process knows it that computes shards alone."""

    def __init__(self, group: Group, training: dict[str, Any]) -> None:
        """training: what `Leader.begin` was given. Raises CharrnnError."""
        settings = settings_from_dict(training["settings"], "process 0")
        if training["device"] == "cuda":
            device = f"cuda:{group.launch.local_rank}"
            settings = settings.with_values("runtime", device=device)
        self._group = group
        self._settings = settings.training
        self._corpora = [_opened(training["folder"], name) for name in training["texts"]]
        mixed = self._corpora[1] if len(self._corpora) > 1 else None
        parts = assemble(
            settings, self._corpora[0], mixed, _unsaid, None, training["backend"], group
        )
        here = runtime.surroundings(parts.device, parts.backend, parts.precision)
        check_alike(training["surroundings"], here)
        assert parts.sharded is not None
        self._parts = parts
        self._sharded = parts.sharded
        self._sharded.check = self._check_texts
        self._state: State = ()

    def load(self) -> None:
        """Take over weights, moments and state."""
        share_weights(self._group, self._parts.model, self._parts.optimizer)
        bias = self._parts.model.head.bias
        self._state = tuple(bias.new_zeros(shape) for shape in self._group.tell())
        for part in self._state:
            self._group.share(part)

    def step(self, step: int, lr: float) -> None:
        """Compute this process's shards of a step, and update as all do."""
        batch = self._parts.batches.batch(step)
        carried = carried_into(batch, self._state, self._settings, step)
        self._state = self._parts.update(batch, carried, lr, step).state

    def gather(self) -> None:
        """Give the lanes of the carried state."""
        self._sharded.gathered(self._state)

    def read(self) -> None:
        """Read rows of what process 0 reads, with its weights."""
        asked = self._group.tell()
        model = self._parts.model
        weights = list(model.tensors().values())
        kept = [weight.clone() for weight in weights]
        try:
            for weight in weights:
                self._group.share(weight)
            best = None
            if asked["best"] is not None:
                best = torch.zeros(asked["best"], dtype=torch.int64)
                self._group.share(best)
            read_together(self._group, model, lambda: self._asked(asked["what"], best))
        finally:
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)

    def _asked(self, what: str, best: torch.Tensor | None) -> tuple[Reader, Placed]:
        """Return what process 0 reads with, and what it reads (Leader.read)."""
        self._check_texts()
        corpus = self._corpora[0]
        model = self._parts.model
        is_validation = what == VALIDATION
        placed = validation_batches(corpus, "val", model) if is_validation else self._parts.sample()
        if best is None:
            return NatsReader(model), placed
        text = spelled_text(corpus.vocabulary.spelling, held_out(corpus, "val").ids)
        return GateReader(model, self._parts.device, best.numpy(), text), placed

    def _check_texts(self) -> None:
        for corpus in self._corpora:
            corpus.check_size()


def _opened(folder: str, fingerprint: str) -> Corpus:
    """Open a text of the run. Raises CorpusError where it is not here, CheckpointError."""
    path = Path(folder)
    if not path.is_dir():
        raise CorpusError(
            f"there is no {one_line(folder)} here: let all machines see the run's directory, "
            "or add --share-text"
        )
    return open_corpus(path, fingerprint)


def _unsaid(text: str) -> None:
    """Show nothing: process 0 does."""
