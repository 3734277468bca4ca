"""The fixtures of this folder."""

import itertools

import pytest
from constraints_support import Run

from charrnn.config import TextSettings


@pytest.fixture
def make_run(tmp_path):
    numbers = itertools.count()

    def made(text, mode="lines", unit="char", split="1,0"):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Run(folder, text, TextSettings(mode=mode, unit=unit, split=split, deduplicate=False))

    return made
