"""The graph of an n-gram model says what its levels say, and its file holds all of it."""

import numpy as np
import pytest
from mixture_support import SIZE, ally, lines, text

from charrnn.sampling.counted import Counted
from charrnn.text.compact import packed_levels, unpacked_levels
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.ngram import NGram


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_walk_through_the_graph_is_counting_step_by_step(mode, order):
    graph = ally(mode, order).contexts
    steps = Counted(graph.ngram)
    state = steps.zero_state(1)
    node = np.array([graph.start])
    for char in [*text(40, seed=5), 0, 0, 3]:
        expected = np.exp(steps.logits(state)[0])
        found = graph.distributions(node)[0]
        assert found == pytest.approx(expected, abs=1e-14)
        assert graph.top[node[0]] == pytest.approx(expected.max(), abs=1e-14)
        assert found[graph.best[node[0]]] == pytest.approx(expected.max(), abs=1e-14)
        state = steps.step(np.array([char]), state)[1]
        node = graph.advance(node, np.array([char]))


def test_rows_do_not_depend_on_each_other():
    graph = ally(order=5).contexts
    nodes = np.arange(len(graph.suffix))
    ids = np.arange(len(nodes)) % SIZE
    together = graph.advance(nodes, ids)
    alone = [graph.advance(nodes[i : i + 1], ids[i : i + 1])[0] for i in range(len(nodes))]
    assert together.tolist() == alone
    assert graph.distributions(nodes)[7] == pytest.approx(graph.distributions(nodes[7:8])[0])


@pytest.mark.parametrize("size", [SIZE, 300])
def test_levels_come_back_from_their_file(size):
    levels = count(lines(3000, size=size), size, 4, 0, "witten-bell").levels
    tensors = packed_levels(levels, size)
    assert max(levels[0].counts) >= 255 or size > SIZE  # counts that do not fit a byte
    for level, expected in zip(unpacked_levels(tensors, size), levels, strict=True):
        assert np.array_equal(level.grams, expected.grams)
        assert np.array_equal(level.counts, expected.counts)


DAMAGE = {
    "a character beyond the alphabet": ("ngram.2.chars", lambda part: part + SIZE),
    "another type": ("ngram.1.counts", lambda part: part.astype(np.int32)),
    "too few characters": ("ngram.2.chars", lambda part: part[:-1]),
    "too few counts": ("ngram.2.counts", lambda part: part[:-1]),
    "a count too many": ("ngram.1.large", lambda part: np.append(part, part[:1] + 300)),
    "one context too many": ("ngram.3.children", lambda part: np.append(part, part[:1] * 0)),
    "out of order": ("ngram.1.chars", lambda part: part[::-1]),
    "no length 1": ("ngram.1.chars", lambda part: None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_levels_that_no_counting_wrote_are_refused(damage):
    name, change = DAMAGE[damage]
    levels = count(text(3000), SIZE, 3, smoothing="witten-bell").levels
    tensors = packed_levels(levels, SIZE)
    tensors[name] = change(tensors[name])
    if tensors[name] is None:
        del tensors[name]
    with pytest.raises(ValueError, match="n-grams"):
        unpacked_levels(tensors, SIZE)


def test_an_ngram_without_its_end_is_refused():
    levels = count(text(300), SIZE, 3).levels
    grams = levels[2].grams.copy()
    # Another character after the last context: its end, a pair, was never counted.
    unseen = set(range(SIZE * SIZE)) - set(levels[1].grams.tolist())
    context = int(np.flatnonzero(levels[1].grams % SIZE == min(unseen) // SIZE)[0])
    grams = np.sort(np.append(grams, context * SIZE + min(unseen) % SIZE))
    counts = np.ones(len(grams), np.uint32)
    broken = [*levels[:2], type(levels[2])(grams, counts)]
    with pytest.raises(ValueError, match="missing"):
        Contexts(NGram(broken, SIZE, None, "kneser-ney"))
