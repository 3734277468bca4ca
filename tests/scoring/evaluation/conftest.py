"""The fixtures of this folder."""

import pytest

from charrnn.modelfile import read_model

# The whole card of a stored model


@pytest.fixture
def model_file(trained, one_thread):
    return read_model(trained)
