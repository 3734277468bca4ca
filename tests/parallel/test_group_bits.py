"""The same weights on any number of processes."""

import pytest
from parallel_support import PROSE, alone, trained
from support import FEW, Killed, Watcher

from charrnn.training.leading import Ending

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


@pytest.fixture
def text(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return path

    return write


def sha_of(results):
    """The weights of a training whose every process ended well."""
    (_, outcome), *others = results
    assert all(other == Ending(0, run=others[0].run) for other in others)
    return outcome.weights_sha256


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_on_one_two_and_four_processes_the_weights_are_the_same(tmp_path, text, mode, cell):
    changes = {"cell": cell, "dropout": 0.3, "ema": 0.9, "mode": mode, "shards": 4}
    if mode == "stream":
        changes |= {"state_reset": 0.2}
    expected = alone(text(mode), tmp_path / "1", **changes).weights_sha256
    for world in (2, 4):
        assert sha_of(trained(text(mode), tmp_path / f"{world}", world, **changes)) == expected


def test_on_three_processes_too(tmp_path, text):
    changes = {"mode": "stream", "shards": 4, "dropout": 0.3, "checkpoint_every_chars": 3}
    expected = alone(text("stream"), tmp_path / "1", **changes).weights_sha256
    assert sha_of(trained(text("stream"), tmp_path / "3", 3, **changes)) == expected


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_resumed_on_two_one_and_four_processes(tmp_path, text, mode):
    changes = {"mode": mode, "shards": 4, "dropout": 0.3}
    expected = alone(text(mode), tmp_path / "straight", **changes).weights_sha256
    run = tmp_path / "r"
    with pytest.raises(Killed):
        raise_first(trained(text(mode), run, 2, Watcher(6), **changes))
    with pytest.raises(Killed):
        alone(None, run, Watcher(13), resume=True)
    assert sha_of(trained(None, run, 4, resume=True)) == expected


def raise_first(results):
    raise next(result for result in results if isinstance(result, BaseException))
