"""The fixtures of this folder."""

import time

import pytest

from charrnn.errors import SettingsError
from charrnn.layers import toml_layer


@pytest.fixture
def toml(tmp_path):
    """text or bytes -> the layer of a file that holds them."""

    def layer(text):
        (tmp_path / "run.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return toml_layer(str(tmp_path / "run.toml"))

    return layer


@pytest.fixture
def refused(toml):
    """text or bytes -> the message about a file of them: at once (processor time), in one line."""

    def message(text):
        start = time.process_time()
        with pytest.raises(SettingsError) as caught:
            toml(text)
        assert time.process_time() - start < 2
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message
