"""Text to ids and back, without a network."""

import numpy as np
import pytest

from charrnn.config import TextSettings
from charrnn.sampling.codec import Codec
from charrnn.sampling.steps import Finished
from charrnn.text.vocabulary import Vocabulary


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_sample_knows_the_ids_that_were_drawn_behind_its_prompt(unit, mode):
    codec = Codec(Vocabulary(unit, (10, 97, 98, 99)), TextSettings(unit=unit), mode, 0)
    finished = Finished(5, np.array([1, 0, 2, 3, 0]), [2, 3], [0.5, 1.5])
    samples = list(codec.samples_of(np.array([3, 1, 2]), finished))
    end = "\n" if mode == "stream" else ""
    assert [sample.text for sample in samples] == ["cab" + "a" + end, "cab" + "bc" + end]
    assert [sample.ids.tolist() for sample in samples] == [[1, 0], [2, 3, 0]]
    assert [(sample.index, sample.nats, sample.chars) for sample in samples] == [
        (5, 0.5, 2),
        (6, 1.5, 3),
    ]
    assert [sample.data for sample in samples] == [sample.text.encode() for sample in samples]
