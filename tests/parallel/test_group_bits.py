"""The same weights on any number of processes."""

import pytest
from parallel_support import PROSE, alone, trained
from support import FEW, Killed, Watcher, needs_kernel

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


OTHERS = [
    pytest.param(cell, mode, marks=pytest.mark.slow)
    for cell, mode in [("lstm", "stream"), ("gru", "lines"), ("rnn", "lines"), ("rnn", "stream")]
]


@pytest.mark.parametrize(("cell", "mode"), [("lstm", "lines"), ("gru", "stream"), *OTHERS])
def test_on_one_two_and_four_processes_the_weights_are_the_same(tmp_path, text, cell, mode):
    changes = {"cell": cell, "dropout": 0.3, "ema": 0.9, "mode": mode, "shards": 4}
    if mode == "stream":
        changes |= {"state_reset": 0.2}
    expected = alone(text(mode), tmp_path / "1", **changes).weights_sha256
    for world in (2, 4):
        assert sha_of(trained(text(mode), tmp_path / f"{world}", world, **changes)) == expected


ITEMS = {
    "labels": ({"label": "prefix"}, "".join(f"{name[0]}\t{name}\n" for name in FEW)),
    "records": (
        {"mode": "records", "separator": "---"},
        "".join(f"{name}\n{name * (n % 5)}\n---\n" for n, name in enumerate(FEW)),
    ),
    "counting": ({"mode": "lines", "counting": "on"}, "".join(f"{name}\n" for name in FEW)),
}


@pytest.mark.parametrize("kind", list(ITEMS))
def test_items_of_every_kind_give_the_same_weights_on_two_processes(tmp_path, kind):
    more, content = ITEMS[kind]
    changes = {"dropout": 0.3, "shards": 2, "steps": 8, **more}
    path = tmp_path / "items.txt"
    path.write_text(content)
    expected = alone(path, tmp_path / "1", **changes).weights_sha256
    assert sha_of(trained(path, tmp_path / "2", 2, **changes)) == expected


@pytest.mark.slow
def test_on_three_processes_too(tmp_path, text):
    changes = {"mode": "stream", "shards": 4, "dropout": 0.3, "checkpoint_every_chars": 3}
    expected = alone(text("stream"), tmp_path / "1", **changes).weights_sha256
    assert sha_of(trained(text("stream"), tmp_path / "3", 3, **changes)) == expected


@pytest.mark.parametrize("mode", [pytest.param("lines", marks=pytest.mark.slow), "stream"])
def test_resumed_on_two_one_and_four_processes(tmp_path, text, mode):
    changes = {"mode": mode, "shards": 4, "dropout": 0.3}
    expected = alone(text(mode), tmp_path / "straight", **changes).weights_sha256
    run = tmp_path / "r"
    with pytest.raises(Killed):
        raise_first(trained(text(mode), run, 2, Watcher(6), **changes))
    with pytest.raises(Killed):
        alone(None, run, Watcher(13), resume=True)
    assert sha_of(trained(None, run, 4, resume=True)) == expected


@needs_kernel
@pytest.mark.parametrize("changes", [{"hidden_size": 96}, {"skip": "dense", "hidden_size": 64}])
def test_with_the_kernel_any_number_of_threads_gives_the_same(tmp_path, text, changes):
    """Also the norm of more than 32,768 gradients, which torch could cut among threads."""
    changes = {"mode": "stream", "shards": 2, "steps": 6, "batch_size": 32, **changes}
    text("stream").write_text(PROSE * 4)
    found = set()
    for threads in (1, 2):
        run = tmp_path / f"{threads}"
        found.add(alone(text("stream"), run, **changes, threads=threads).weights_sha256)
    assert len(found) == 1


def raise_first(results):
    raise next(result for result in results if isinstance(result, BaseException))
