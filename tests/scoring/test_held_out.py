"""What training looks at of a held-out text is bounded, however large the text is."""

import numpy as np
import pytest

from charrnn.scoring import held_out as module
from charrnn.scoring.held_out import held_out
from charrnn.text.corpus import line_bounds

LINES = [[1, 0], [2, 3, 0], [4, 5, 6, 0], [7, 0], [0], [1, 2, 0], [3, 0]]


class Text:
    def __init__(self, mode, ids, first=None):
        self.mode = mode
        self.ids = np.array(ids)
        self.first_ids = lambda split: first
        self.split = lambda split: self.ids
        self.lines = lambda split: line_bounds(self.ids, 0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "MOST_OF_STREAM", 4)
    monkeypatch.setattr(module, "MOST_OF_LINES", 9)


def test_of_a_stream_the_beginning_is_looked_at():
    assert held_out(Text("stream", range(9)), "val").ids.tolist() == [0, 1, 2, 3, 4]


def test_few_lines_are_looked_at_whole():
    ids = [1, 0, 2, 3, 0, 4, 5, 6, 0]
    assert held_out(Text("lines", ids), "val").ids.tolist() == ids


def test_of_many_lines_every_kth_is_looked_at_with_what_stands_before_it():
    first = np.arange(20, 27)
    found = held_out(Text("lines", np.concatenate(LINES), first), "val")
    assert found.ids.tolist() == LINES[0] + LINES[2] + LINES[4] + LINES[6]
    assert found.first.tolist() == [20, 22, 24, 26]
