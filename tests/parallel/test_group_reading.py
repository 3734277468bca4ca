"""Validation on several processes: the same figures to the bit, and what happens to one of them."""

import json

import pytest
from parallel_support import alone, on, trained
from reading_support import NAMES, PROSE
from support import needs_kernel

from charrnn.errors import CheckpointError
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import checkpoint_files
from charrnn.parallel.group import LostError, ToldError
from charrnn.training import following
from charrnn.training.checkpoint import load_newest
from charrnn.training.following import Follower
from charrnn.training.leading import Leader

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")
SMALL = {"steps": 6, "eval_every": "3", "split": "0.5,0.5", "shards": 4}
TEXTS = {
    "stream": ({"mode": "stream", "ema": 0.9}, PROSE),
    "stream, counting": ({"mode": "stream", "counting": "on"}, PROSE),
    "lines": ({"mode": "lines", "cell": "lstm", "ema": 0.9}, NAMES),
    "lines, counting": ({"mode": "lines", "counting": "on"}, NAMES),
    "labels": ({"label": "prefix", "counting": "on"}, NAMES.replace("a", "b\ta")),
    "records": ({"mode": "records", "separator": "---"}, PROSE.replace(" ", "\n---\n")),
    "rare": ({"mode": "stream", "counting": "on", "rare": 20}, PROSE.replace("ab", "\u00e4")),
    "rare, no counting": ({"mode": "lines", "rare": 20}, NAMES.replace("a", "\u00e4", 15)),
}


def figures_of(run, outcome):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = [row for row in rows if row.get("event") == "eval"]
    assert len(scores) == 3
    return scores, outcome.place.learnt_nats, outcome.weights_sha256


@pytest.fixture
def reads(monkeypatch):
    """What was read together."""
    seen = []
    read = Leader.read

    def watched(self, what, reader, placed):
        seen.append(what)
        return read(self, what, reader, placed)

    monkeypatch.setattr(Leader, "read", watched)
    return seen


@needs_kernel
@pytest.mark.parametrize("kind", list(TEXTS))
def test_on_two_and_four_processes_every_figure_is_that_of_one(tmp_path, reads, kind):
    changes, content = TEXTS[kind]
    changes = SMALL | {"backend": "own"} | changes
    path = tmp_path / "text.txt"
    path.write_text(content)
    expected = figures_of(tmp_path / "1", alone(path, tmp_path / "1", **changes))
    assert not reads
    for world in (2, 4):
        (_, outcome), *others = trained(path, tmp_path / f"{world}", world, **changes)
        assert all(other.code == 0 for other in others)
        assert figures_of(tmp_path / f"{world}", outcome) == expected
    validations = 0 if kind == "rare, no counting" else 3
    assert reads == 2 * (["validation"] * validations + ["sample"])


STREAM = SMALL | {"mode": "stream", "backend": "own"}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(PROSE)
    return path


@needs_kernel
@pytest.mark.parametrize("rank", [0, 1])
def test_memory_that_runs_out_in_one_ends_all_with_2(tmp_path, text, monkeypatch, rank):
    nats = CharModel.nats

    def refuse(self, *arguments, each=False):
        if each and on(rank) and checkpoint_files(tmp_path / "r/checkpoints"):
            raise MemoryError
        return nats(self, *arguments, each=each)

    monkeypatch.setattr(CharModel, "nats", refuse)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert isinstance(fault, MemoryError if rank == 0 else ToldError)
    assert other.code == 2
    assert load_newest(tmp_path / "r")[0].step == 0


@needs_kernel
def test_a_damaged_text_on_one_ends_all_with_3(tmp_path, text, monkeypatch):
    def damaged(*arguments):
        raise CheckpointError("t.ids is damaged")

    monkeypatch.setattr(following, "validation_batches", damaged)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert str(fault) == "process 1 of 2: t.ids is damaged"
    assert other.code == fault.exit_code == 3


@needs_kernel
def test_one_that_is_gone_is_missed_by_all(tmp_path, text, monkeypatch):
    read = Follower.read
    calls = []

    def dies(self):
        calls.append(None)
        if len(calls) == 2:
            self._group.leave(is_whole=False)
            raise LostError
        read(self)

    monkeypatch.setattr(Follower, "read", dies)
    results = trained(text, tmp_path / "r", 2, **STREAM)
    assert all(isinstance(result, LostError) for result in results)


@needs_kernel
def test_a_signal_to_one_that_reads_ends_all_after_a_step(tmp_path, text, monkeypatch):
    read = Follower.read

    def signalled(self):
        self._group.stop("SIGTERM")
        read(self)

    monkeypatch.setattr(Follower, "read", signalled)
    (_, outcome), other = trained(text, tmp_path / "r", 2, **STREAM)
    assert outcome.reason == "SIGTERM"
    assert other.code == 143
    assert load_newest(tmp_path / "r")[0].step == 1


def test_other_cells_are_read_by_the_first_alone(tmp_path, text, reads):
    trained(text, tmp_path / "r", 2, **STREAM | {"backend": "torch"})
    trained(text, tmp_path / "c", 2, **STREAM | {"conv": 3})
    assert not reads
