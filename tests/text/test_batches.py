"""What a network is fed: lanes of a stream, buckets of lines."""

import numpy as np
import pytest
import torch

from charrnn.errors import CorpusError
from charrnn.text.batches import IGNORED, LineBatches, StreamBatches
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary


def stream(tmp_path, count, dtype="uint8"):
    ids = (np.arange(count) % 200).astype(dtype)
    ids.tofile(tmp_path / "x.ids")
    bounds = {"train": (0, count), "val": (count, count), "test": (count, count)}
    return Corpus(
        "x",
        tmp_path / "x.ids",
        dtype,
        bounds,
        Vocabulary("byte", tuple(range(200))),
        "stream",
        "0" * 64,
    )


def lines(texts):
    """ids of lines over a=1, b=2, ...; the newline is 0."""
    return np.array(
        [code for text in texts for code in [*(ord(c) - 96 for c in text), 0]], np.uint8
    )


def test_row_b_of_the_next_batch_continues_row_b(tmp_path):
    batches = StreamBatches(stream(tmp_path, 13), 2, 3)
    first = batches.batch(0)
    second = batches.batch(1)
    assert first.inputs.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert second.inputs.tolist() == [[3, 4, 5], [9, 10, 11]]


def test_targets_are_the_same_text_one_character_later(tmp_path):
    batch = StreamBatches(stream(tmp_path, 13), 2, 3).batch(1)
    assert batch.targets.tolist() == [[4, 5, 6], [10, 11, 12]]


def test_only_an_epochs_first_batch_is_fresh(tmp_path):
    batches = StreamBatches(stream(tmp_path, 20), 2, 4)
    assert batches.steps_per_epoch == 3
    assert [batches.batch(step).fresh for step in range(7)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_an_epoch_predicts_each_character_of_a_lane_once(tmp_path):
    batches = StreamBatches(stream(tmp_path, 24), 2, 4)
    seen = torch.cat(
        [batches.batch(step).targets.flatten() for step in range(batches.steps_per_epoch)]
    )
    assert sorted(seen.tolist()) == list(range(1, 23))
    assert batches.chars_per_epoch == 22


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_lanes_do_not_depend_on_the_type_of_ids(tmp_path, dtype):
    batch = StreamBatches(stream(tmp_path, 50, dtype), 3, 5).batch(2)
    assert batch.inputs.tolist() == [
        [10, 11, 12, 13, 14],
        [26, 27, 28, 29, 30],
        [42, 43, 44, 45, 46],
    ]


@pytest.mark.parametrize(
    ("count", "batch_size", "seq_length", "says"),
    [
        (50, 10, 10, "the largest batch at this length is 4"),
        (8, 1, 10, "the longest here is 7"),
        (8, 4, 2, "batch at this length is 3"),
    ],
)
def test_a_text_too_short_for_its_lanes_is_refused_with_what_fits(
    tmp_path, count, batch_size, seq_length, says
):
    with pytest.raises(CorpusError, match=says):
        StreamBatches(stream(tmp_path, count), batch_size, seq_length)


def test_the_sizes_that_a_refusal_names_do_fit(tmp_path):
    corpus = stream(tmp_path, 50)
    assert StreamBatches(corpus, 4, 10).batch(0).inputs.shape == (4, 10)


def test_a_line_begins_with_the_newline_and_ends_in_it():
    batch = LineBatches(lines(["abc"]), 0, 4).batch(0)
    assert batch.inputs.tolist() == [[0, 1, 2, 3]]
    assert batch.targets.tolist() == [[1, 2, 3, 0]]
    assert batch.fresh


def test_padding_counts_for_nothing():
    batch = LineBatches(lines(["abc", "d"]), 0, 2).collate(np.array([0, 1]))
    assert batch.targets.tolist() == [[1, 2, 3, 0], [4, 0, IGNORED, IGNORED]]


def test_every_line_comes_once_an_epoch():
    texts = [chr(97 + i % 26) * (1 + i % 7) for i in range(53)]
    batches = LineBatches(lines(texts), 0, 4, seed=3)
    seen = []
    for step in range(batches.steps_per_epoch):
        targets = batches.batch(step).targets
        seen += ["".join(chr(96 + c) for c in row.tolist() if c > 0) for row in targets]
    assert sorted(seen) == sorted(texts)


def test_epochs_differ_and_a_step_does_not_depend_on_those_before():
    ids = lines([chr(97 + i % 26) * (1 + i % 5) for i in range(40)])
    one = LineBatches(ids, 0, 4, seed=1)
    other = LineBatches(ids, 0, 4, seed=1)
    assert not torch.equal(one.batch(0).targets, one.batch(10).targets)
    torch.testing.assert_close(
        other.batch(13).targets, [one.batch(step) for step in range(14)][13].targets
    )


def test_batches_hold_lines_of_like_length():
    texts = ["a" * (1 + i % 16) for i in range(512)]
    batches = LineBatches(lines(texts), 0, 8, seed=5)
    padded = sum(
        int((batches.batch(step).targets == IGNORED).sum())
        for step in range(batches.steps_per_epoch)
    )
    assert padded < 0.05 * batches.chars_per_epoch


def test_blank_lines_are_left_out():
    batches = LineBatches(lines(["", "ab", "", "c"]), 0, 8)
    assert batches.chars_per_epoch == 5
    assert batches.longest == 3
