"""What happens to one process ends the training for all, with one message and one code."""

import pytest
from parallel_support import PROSE, alone, on, together, trained
from support import FEW, Watcher

from charrnn.errors import CheckpointError, SettingsError, StorageError
from charrnn.modelfile import checkpoint_files
from charrnn.parallel.group import LostError, ToldError
from charrnn.training import following, memory
from charrnn.training import together as together_module
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.leading import Ending
from charrnn.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")
STREAM = {"mode": "stream", "cell": "rnn", "num_layers": 1, "shards": 4}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(PROSE)
    return path


def test_a_full_disk_ends_all_with_5_and_the_checkpoint_before_goes_on(tmp_path, text, monkeypatch):
    save = RunDirectory.save

    def full(self, step, *arguments):
        if step == 8:
            raise StorageError("no space")
        return save(self, step, *arguments)

    monkeypatch.setattr(RunDirectory, "save", full)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert isinstance(fault, StorageError)
    assert other == Ending(5, "no space")
    monkeypatch.setattr(RunDirectory, "save", save)
    (_, outcome), _ = trained(None, tmp_path / "r", 2, resume=True)
    assert outcome.weights_sha256 == alone(text, tmp_path / "1", **STREAM).weights_sha256


def test_memory_refused_to_one_is_told_before_the_first_step(tmp_path, text, monkeypatch):
    check = memory.check_memory

    def refuse(*arguments):
        if on(1):
            raise SettingsError("0.0 GB are free")
        check(*arguments)

    monkeypatch.setattr(memory, "check_memory", refuse)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert isinstance(fault, ToldError)
    assert str(fault) == "process 1 of 2: 0.0 GB are free"
    assert other.code == fault.exit_code == 2
    assert not checkpoint_files(tmp_path / "r/checkpoints")


def test_a_damaged_text_on_one_ends_all_with_3(tmp_path, text, monkeypatch):
    def damaged(folder, fingerprint):
        raise CheckpointError("t.ids is damaged")

    monkeypatch.setattr(following, "open_corpus", damaged)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert str(fault) == "process 1 of 2: t.ids is damaged"
    assert other.code == fault.exit_code == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_memory_that_runs_out_in_a_step_ends_all_with_2(tmp_path, text, monkeypatch, rank):
    add = TrainStep.add_gradients

    def add_or_fail(self, batch, state, chars, step, shard=0):
        if on(rank) and step == 6:
            raise MemoryError
        return add(self, batch, state, chars, step, shard)

    monkeypatch.setattr(TrainStep, "add_gradients", add_or_fail)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    expected = MemoryError if rank == 0 else ToldError
    assert isinstance(fault, expected)
    assert other.code == 2
    assert load_newest(tmp_path / "r")[0].step == 4


def test_a_signal_to_one_saves_and_stops_all(tmp_path, text, monkeypatch):
    step = following.Follower.step

    def signalled(self, number, lr):
        if number == 5:
            self._group.stop("SIGTERM")
        step(self, number, lr)

    monkeypatch.setattr(following.Follower, "step", signalled)
    (_, outcome), other = trained(text, tmp_path / "r", 2, **STREAM)
    assert outcome.reason == "SIGTERM"
    assert other.code == 143
    assert load_newest(tmp_path / "r")[0].step == 6
    monkeypatch.setattr(following.Follower, "step", step)
    (_, outcome), _ = trained(None, tmp_path / "r", 2, resume=True)
    assert outcome.weights_sha256 == alone(text, tmp_path / "1", **STREAM).weights_sha256


def test_one_that_is_gone_is_missed_by_all(tmp_path, text, monkeypatch):
    step = following.Follower.step

    def dies(self, number, lr):
        if number == 5:
            self._group.leave(is_whole=False)
            raise LostError
        step(self, number, lr)

    monkeypatch.setattr(following.Follower, "step", dies)
    results = trained(text, tmp_path / "r", 2, **STREAM)
    assert all(isinstance(result, LostError) for result in results)
    assert load_newest(tmp_path / "r")[0].step == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 9}, "--batch-size 9 does not divide into 4 shards; choose 8 or 12"),
        ({"shards": 2, "batch_size": 8}, "4 processes and --shards 2: each process needs a shard"),
    ],
)
def test_shards_that_do_not_fit_are_refused(tmp_path, text, changes, words):
    fault, *others = trained(text, tmp_path / "r", 4, **STREAM | changes)
    assert isinstance(fault, SettingsError)
    assert words in str(fault)
    assert [other.code for other in others] == [2, 2, 2]
    assert not (tmp_path / "r").exists()


def test_a_run_of_one_shard_is_not_resumed_on_two(tmp_path, text):
    alone(text, tmp_path / "r", **STREAM | {"shards": 1, "steps": 4})
    fault, other = trained(None, tmp_path / "r", 2, resume=True)
    assert "2 processes and --shards 1" in str(fault)
    assert other.code == 2


def test_other_words_and_other_versions_are_refused(tmp_path, text, monkeypatch):
    def work(group):
        words = ["--lr", f"0.{group.rank}"]
        return together_module.train_together(group, words, None, is_guest=True)

    fault, other = together(work, 2)
    assert "process 1 was started with other options than process 0 (0.0 0.1)" in str(fault)
    assert other.code == fault.exit_code == 2
    heard = [{"charrnn": "1", "words": []}, {"charrnn": "2", "words": []}]
    with pytest.raises(SettingsError, match="process 1 runs charrnn 2, and process 0 1"):
        together_module.check_words(heard)


def test_another_processor_is_refused(tmp_path, text, monkeypatch):
    surroundings = following.runtime.surroundings

    def here(*arguments):
        return surroundings(*arguments) | ({"cpu": "OTHER"} if on(1) else {})

    monkeypatch.setattr(following.runtime, "surroundings", here)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert "process 1 of 2: cpu OTHER, and not" in str(fault)
    assert other.code == 2


def test_the_text_is_given_to_those_that_do_not_see_it(tmp_path, text, monkeypatch):
    opened = []
    open_corpus = following.open_corpus

    def watched(folder, fingerprint):
        opened.append(folder)
        return open_corpus(folder, fingerprint)

    monkeypatch.setattr(following, "open_corpus", watched)
    monkeypatch.setattr("charrnn.training.leading.PIECE_BYTES", 100)
    more = {"shares_text": True}
    (_, outcome), other = trained(text, tmp_path / "r", 2, more=more, **STREAM)
    assert other.code == 0
    assert tmp_path not in opened[0].parents
    assert not opened[0].exists()
    assert outcome.weights_sha256 == alone(text, tmp_path / "1", **STREAM).weights_sha256


def test_a_run_that_cannot_be_seen_is_told(tmp_path, text, monkeypatch):
    is_dir = following.Path.is_dir
    monkeypatch.setattr(following.Path, "is_dir", lambda self: not on(1) and is_dir(self))
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert "or add --share-text" in str(fault)
    assert other.code == fault.exit_code == 3


@pytest.mark.slow
def test_steps_that_are_not_finite_end_all_with_4(tmp_path, text, monkeypatch):
    """Going back, too, is the same on two processes: it changes the others' weights."""
    add = TrainStep.add_gradients

    def spoilt(self, batch, state, chars, step, shard=0):
        nats, after = add(self, batch, state, chars, step, shard)
        return (float("nan") if step >= 9 else nats), after

    monkeypatch.setattr(TrainStep, "add_gradients", spoilt)
    fault, other = trained(text, tmp_path / "r", 2, **STREAM)
    assert "after going back 3 times" in str(fault)
    assert other.code == 4


def test_going_back_and_on_is_the_same_on_two_processes(tmp_path, text, monkeypatch):
    add = TrainStep.add_gradients
    spoilt = []

    def spoil_once(self, batch, state, chars, step, shard=0):
        nats, after = add(self, batch, state, chars, step, shard)
        spoilt.append(step)
        is_bad = 9 <= step < 14 and spoilt.count(step) <= 4
        return (float("nan") if is_bad else nats), after

    monkeypatch.setattr(TrainStep, "add_gradients", spoil_once)
    expected = alone(text, tmp_path / "1", **STREAM)
    spoilt.clear()
    (_, outcome), _ = trained(text, tmp_path / "2", 2, **STREAM)
    assert expected.place.rollbacks == outcome.place.rollbacks == 1
    assert outcome.weights_sha256 == expected.weights_sha256


@pytest.mark.slow
def test_annealing_is_the_same_on_two_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.scoring.validation.FEWEST_LINES", 0)
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}\n" for name in FEW))
    changes = {"patience": None, "lr": 0.3, "eval_every": "5", "steps": 400, "ema": 0.9}
    changes |= {"mode": "lines", "shards": 2, "num_layers": 1}
    expected = alone(path, tmp_path / "1", **changes)
    assert expected.reason == "stopped improving"
    (_, outcome), _ = trained(path, tmp_path / "2", 2, **changes)
    assert outcome.weights_sha256 == expected.weights_sha256
    assert outcome.place.step == expected.place.step


def test_counting_needs_no_others(tmp_path, text):
    def work(group):
        from charrnn.training.session import Request, train

        settings = (("--", {"cell": "ngram", "order": "3"}),)
        request = Request(str(text), settings, run=tmp_path / "r")

        def lead():
            return train(request, Watcher(), None, group)

        return together_module.train_together(group, [], lead, is_guest=True)

    (_, outcome), other = together(work, 2)
    assert outcome.reason == "done"
    assert other.code == 0
