"""Of a text that is too long to count beside a network, a part of fixed length is counted."""

import numpy as np
import pytest

from charrnn.config import TextSettings
from charrnn.scoring import counting
from charrnn.text.building import build, survey


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(counting, "MAX_COUNTED_CHARS", 24)
    monkeypatch.setattr(counting, "WHOLE_CHARS", 40)
    monkeypatch.setattr(counting, "PIECES", 3)


def test_a_short_text_is_counted_whole():
    ids = np.arange(40)
    assert counting._counted_part(ids, None) is ids


def test_a_longer_text_loses_no_more_than_it_is_longer():
    assert [len(counting._counted_part(np.arange(size), None)) for size in (43, 49, 58)] == [
        36,
        30,
        24,
    ]


def test_of_a_stream_pieces_from_all_over_it_are_counted():
    part = counting._counted_part(np.arange(100), None)
    assert part.tolist() == [*range(8), *range(46, 54), *range(92, 100)]


def test_of_lines_whole_ones_are_counted():
    lines = np.array([1, 2, 3, 4, 5, 6, 0] * 9)
    assert counting._counted_part(lines, 0).tolist() == [1, 2, 3, 4, 5, 6, 0] * 3


def test_a_line_longer_than_all_that_is_counted_is_cut():
    assert counting._counted_part(np.ones(60, int), 0).tolist() == [1] * 24


@pytest.mark.parametrize(("longest", "orders"), [(400, 7), (40, 2)])
def test_fewer_ngrams_stand_beside_a_text_that_is_counted_in_parts(
    tmp_path, monkeypatch, longest, orders
):
    monkeypatch.setattr(counting, "WHOLE_CHARS", longest)
    monkeypatch.setattr(counting, "MOST_ALLIED", 30)
    monkeypatch.setattr(counting, "MOST_OF_PARTS", 11)
    (tmp_path / "text.txt").write_text("abcd" * 90)
    settings = TextSettings(mode="stream")
    corpus, _ = build(survey(str(tmp_path / "text.txt"), settings, 1), settings, 1, tmp_path / "c")
    tried = []
    real = counting.best_orders
    monkeypatch.setattr(
        counting, "best_orders", lambda *a, **k: tried.append(real(*a, **k)) or tried[0]
    )
    counting.counted_as_ally(corpus, None)
    # 3 or 4 n-grams of each length, for letters that follow one another in one order
    assert len(tried[0][1]) == orders
