"""Shares as they are typed, and what each text gets of lanes and items."""

from collections import Counter

import numpy as np
import pytest

from charrnn.errors import SettingsError
from charrnn.text.shares import SharedLanes, chosen, divided, named, note_of, quotas


@pytest.mark.parametrize(
    ("operand", "expected"),
    [
        ("a.txt:0.7", ("a.txt", 0.7)),
        ("a.txt:2", ("a.txt", 2.0)),
        ("a.txt:1e-3", ("a.txt", 0.001)),
        ("a.txt:.5", ("a.txt", 0.5)),
        ("-:0.5", ("-", 0.5)),
        ("a:b.txt", ("a:b.txt", None)),
        ("a.txt", ("a.txt", None)),
        ("C:\\a.txt", ("C:\\a.txt", None)),
        ("https://a.example:80", ("https://a.example:80", None)),
    ],
)
def test_a_share_stands_behind_the_last_colon(operand, expected):
    assert named(operand) == expected


def test_a_file_that_exists_under_its_whole_name_has_no_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt:0.3").write_text("x")
    assert named("a.txt:0.3") == ("a.txt:0.3", None)


@pytest.mark.parametrize("share", ["0", "-1", "nan", "inf", "-0.0"])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(SettingsError, match="a share must be above 0"):
        named(f"a.txt:{share}")


@pytest.mark.parametrize("share", ["0,7", "70%", "half", ""])
def test_a_share_that_is_no_number_is_told_by_the_file(share, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SettingsError, match=r"above 0, such as a\.txt:0\.7"):
        named(f"a.txt:{share}")


def test_shares_are_taken_as_parts_of_their_sum():
    assert divided([7.0, 3.0], [1, 1]) == pytest.approx((0.7, 0.3))
    assert note_of(["a", "b"], [7.0, 1.0]) == (
        "the shares add up to 8, and are taken as 0.875 of a, 0.125 of b"
    )
    assert note_of(["a", "b"], [0.7, 0.3]) == ""


def test_texts_without_a_share_divide_the_rest_by_their_sizes():
    assert divided([0.4, None, None], [1000, 10, 20]) == pytest.approx((0.4, 0.2, 0.4))
    assert divided([None, None], [10, 20]) == ()


def test_quotas_are_whole_add_up_and_leave_nobody_out():
    assert quotas(10, [0.55, 0.35, 0.1]) == [6, 3, 1]
    assert quotas(7, [0.98, 0.01, 0.01]) == [5, 1, 1]
    for total in (3, 7, 100):
        counts = quotas(total, [0.6, 0.3, 0.1])
        assert sum(counts) == total and min(counts) >= 1


def test_a_choice_takes_all_equally_often_give_or_take_one():
    counts = Counter(chosen(5, 13, np.random.default_rng(1)).tolist())
    assert sorted(counts) == [0, 1, 2, 3, 4] and set(counts.values()) == {2, 3}


def read_by(lanes, spans, steps):
    """How many characters of each text the lanes read, and their places, by step."""
    edges = [start for start, _ in spans[1:]]
    counts = np.zeros(len(spans), int)
    for step in range(steps):
        places, _ = lanes.places(step)
        numbers = np.searchsorted(edges, places[:, :-1].ravel(), side="right")
        counts += np.bincount(numbers, minlength=len(spans))
    return counts


@pytest.mark.parametrize("lanes", [1, 2, 5, 32])
@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.3, 0.2), (0.97, 0.01, 0.02)])
def test_each_text_gets_its_share_of_what_is_read(lanes, shares):
    spans = [(0, 1000), (1000, 37), (1037, 5000)][: len(shares)]
    reader = SharedLanes(spans, shares, lanes, 7, block_chars=14)
    counts = read_by(reader, spans, 2000)
    block = 14 * len(shares)  # what a text may lack, or have too much, at any time
    assert np.abs(counts - np.array(shares) * counts.sum()).max() <= block


def test_a_lane_reads_on_where_it_was_unless_it_turns():
    spans = [(0, 50), (50, 11), (61, 200)]
    lanes = SharedLanes(spans, (0.4, 0.25, 0.35), 5, 3, block_chars=6)
    places, begins = lanes.places(0)
    assert begins is None
    turned = 0
    for step in range(1, 400):
        after, begins = lanes.places(step)
        goes_on = after[:, 0] == places[:, -1]
        if begins is None:
            assert goes_on.all()
        else:
            assert goes_on[~begins].all()
            turned += begins.sum()
        places = after
    assert turned > 10


def test_a_step_reads_the_same_whichever_steps_were_asked_before():
    def lanes():
        return SharedLanes([(0, 50), (50, 11)], (0.55, 0.45), 5, 3, block_chars=6)

    straight = lanes()
    for step in range(90):
        expected = straight.places(step)
    found = lanes().places(89)
    assert (found[0] == expected[0]).all()
    assert np.array_equal(found[1], expected[1])


def test_all_of_a_text_is_read():
    lanes = SharedLanes([(0, 50), (50, 11)], (0.55, 0.45), 5, 3, block_chars=6)
    seen = {place for step in range(60) for place in lanes.places(step)[0].ravel().tolist()}
    assert seen == set(range(61))
