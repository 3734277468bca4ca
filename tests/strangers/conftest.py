"""The fixtures of this folder."""

import shutil
from pathlib import Path

import pytest
from fuzz_inputs import FIXTURES
from fuzz_words import TARGETS
from strangers_support import STREAM

from charrnn.sampling import constraints


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FIXTURES / STREAM, tmp_path / "run"))


# At random


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """One of each, so that a sampler is loaded once. An example is a number: the same input as of tests/fuzz.py --only."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TERM", "dumb")  # rich writes no escapes of its own
    patch.setattr(constraints, "PATTERN_S", 0.2)
    made = {}
    for name, target in TARGETS.items():
        folder = tmp_path_factory.mktemp("fuzz") / "x"
        folder.mkdir()
        made[name] = target(folder)
    yield made
    patch.undo()
