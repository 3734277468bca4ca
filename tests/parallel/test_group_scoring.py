"""charrnn eval on several processes: what can be dealt out is, with the same card to the bit."""

import pytest
from parallel_support import alone, on, together
from reading_support import NAMES, PROSE
from support import needs_kernel

from charrnn.modelfile import read_model
from charrnn.parallel.group import LostError, ToldError
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.labels import classified
from charrnn.scoring.readers import LossReader
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training import helping
from charrnn.training.helping import helped_by
from charrnn.training.leading import Ending
from charrnn.training.together import score_together

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")
SMALL = {"steps": 3, "split": "0.5,0.4,0.1", "backend": "own"}
TEXTS = {
    "lines": ({"mode": "lines", "cell": "lstm"}, NAMES),
    "lines, counting": ({"mode": "lines", "counting": "on"}, NAMES),
    "labels": ({"label": "prefix"}, NAMES.replace("a", "b\ta")),
    "windowed": ({"mode": "stream"}, PROSE),
    "windowed, counting": ({"mode": "stream", "counting": "on"}, PROSE),
}


@pytest.fixture
def pieces(monkeypatch):
    """How many pieces of texts were handed out. They are small."""
    monkeypatch.setattr(helping, "PIECE", 100)
    monkeypatch.setattr("charrnn.scoring.validation.LANES", 1)
    handed = []
    hand_out = helping._hand_out

    def watched(*arguments):
        handed.append(None)
        hand_out(*arguments)

    monkeypatch.setattr(helping, "_hand_out", watched)
    return handed


def run_of(tmp_path, kind):
    changes, content = TEXTS[kind]
    path = tmp_path / "text.txt"
    path.write_text(content)
    alone(path, tmp_path / "r", **SMALL | changes)
    return OpenedRun(read_model(tmp_path / "r"))


def card_of(run, protocol="stateful", helped=None):
    how = How(protocol, 20, "cpu", helped=helped)
    return evaluated(run, text_of_split(run, "val"), how, True, print).to_json()


def scored(score, world):
    """What score(helped) returned in process 0, and how the others ended."""
    found = []

    def work(group):
        def lead():
            found.append(score(lambda *asked: helped_by(group, *asked)))

        return score_together(group, [], lead)

    results = together(work, world)
    return found[0] if found else results[0], results[1:]


@needs_kernel
@pytest.mark.parametrize("kind", list(TEXTS))
def test_the_card_is_that_of_one_process(tmp_path, pieces, kind):
    run = run_of(tmp_path, kind)
    protocol = "windowed" if "windowed" in kind else "stateful"
    expected = card_of(run, protocol)
    assert not pieces
    for world in (2, 4):
        card, others = scored(lambda helped: card_of(run, protocol, helped), world)
        assert card == expected
        assert others == [Ending(0)] * (world - 1)
    assert len(pieces) >= 2


@needs_kernel
def test_classes_are_those_of_one_process(tmp_path, pieces):
    run = run_of(tmp_path, "labels")
    text = text_of_split(run, "val")

    def classes(helped=None):
        return classified(run.model, text, How(device="cpu", helped=helped), "count")

    expected = classes()
    assert scored(classes, 2)[0] == expected
    assert pieces


@needs_kernel
def test_a_stream_is_read_by_the_first_alone(tmp_path, pieces):
    run = run_of(tmp_path, "windowed")
    expected = card_of(run)
    card, (other,) = scored(lambda helped: card_of(run, helped=helped), 2)
    assert card == expected
    assert other == Ending(0)
    assert not pieces


@needs_kernel
@pytest.mark.parametrize("rank", [0, 1])
def test_memory_that_runs_out_in_one_ends_all_with_2(tmp_path, monkeypatch, rank):
    run = run_of(tmp_path, "lines")
    read = LossReader.read

    def refuse(self, *arguments):
        if on(rank):
            raise MemoryError
        return read(self, *arguments)

    monkeypatch.setattr(LossReader, "read", refuse)
    fault, (other,) = scored(lambda helped: card_of(run, helped=helped), 2)
    assert isinstance(fault, MemoryError if rank == 0 else ToldError)
    assert other.code == 2


@needs_kernel
def test_one_that_is_gone_is_missed_by_all(tmp_path, monkeypatch):
    run = run_of(tmp_path, "lines")

    def dies(group):
        group.leave(is_whole=False)
        raise LostError

    monkeypatch.setattr("charrnn.training.following.help_read", dies)
    fault, (other,) = scored(lambda helped: card_of(run, helped=helped), 2)
    assert isinstance(fault, LostError)
    assert isinstance(other, LostError)
