"""Model files of mixtures: they come back whole, and what does not fit is refused."""

import numpy as np
import pytest
from mixture_support import SIZE, mixed_model

from charrnn.errors import CheckpointError
from charrnn.modelfile import model_meta, read_model
from charrnn.storage import write_tensors
from charrnn.text.compact import packed_levels


@pytest.fixture
def written(tmp_path):
    """(changes of tensors, changes of meta) -> the file of a mixture."""

    def write(tensors, meta):
        model = mixed_model("lines")
        levels = model.ally.contexts.ngram.levels
        parts = model.tensors | packed_levels(levels, SIZE) | {"gate.theta": model.ally.theta}
        about = model_meta("charrnn-model", model.settings, model.vocabulary, "lines", 0)
        kept = {name: part for name, part in (parts | tensors).items() if part is not None}
        write_tensors(tmp_path / "x.safetensors", kept, about | meta)
        return tmp_path / "x.safetensors"

    return write


def test_a_mixture_comes_back_whole(written):
    expected = mixed_model("lines")
    model = read_model(written({}, {}))
    assert np.array_equal(model.ally.theta, expected.ally.theta)
    nodes = np.arange(len(model.ally.contexts.suffix))
    assert np.array_equal(
        model.ally.contexts.distributions(nodes), expected.ally.contexts.distributions(nodes)
    )
    assert model.tensors.keys() == expected.tensors.keys()  # of the network alone


@pytest.mark.parametrize(
    "tensors",
    [
        {"gate.theta": None},
        {"gate.theta": np.full(8, np.inf)},
        {"gate.theta": np.zeros(8, np.float32)},
        {"gate.phi": np.zeros(8)},
        {"ngram.2.chars": None},
        {"ngram.9.chars": np.zeros(1, np.uint8)},
        {"ngram.1.counts": np.zeros(2, np.uint8)},
    ],
)
def test_parts_that_make_no_mixture_are_refused(written, tensors):
    with pytest.raises(CheckpointError, match="its n-grams make no sense; use another copy"):
        read_model(written(tensors, {}))


def test_a_later_format_is_refused_with_a_plain_line(written):
    with pytest.raises(CheckpointError, match="has format 5, written by"):
        read_model(written({}, {"format": 5}))


def test_a_run_from_before_goes_on_without_counting(written):
    model = read_model(written({}, {"format": 2}))
    assert model.settings.training.counting == "off"
