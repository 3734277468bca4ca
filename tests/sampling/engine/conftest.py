"""The fixtures of this folder."""

import functools

import numpy as np
import pytest
from engine_support import random_pair
from support import needs_kernel

from charrnn.config import Settings
from charrnn.layout import expected_shapes
from charrnn.sampling.engine import Sampler
from charrnn.text.vocabulary import Vocabulary


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_kernel)])
def engine(request):
    return request.param


@pytest.fixture
def make_pair(engine):
    return functools.partial(random_pair, engine)


@pytest.fixture
def make_sampler(make_pair):
    return lambda **options: make_pair(**options)[1]


@pytest.fixture
def coin(engine):
    """A sampler that writes a or b, each with one half, whatever came before."""
    settings = Settings().with_values(
        "model", cell="rnn", hidden_size=1, num_layers=1, embedding_size=1
    )
    tensors = {
        name: np.zeros(shape, np.float32)
        for name, shape in expected_shapes(settings.model, 2).items()
    }
    return Sampler.from_tensors(
        settings, Vocabulary("char", (97, 98)), "stream", 0, tensors, engine=engine
    )
