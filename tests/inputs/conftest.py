"""The fixtures of this folder."""

import os
import shutil

import pytest
from inputs_support import LINES


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory to work in, and no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")  # rich writes no escapes of its own
    for name in [name for name in os.environ if name.startswith("CHARRNN_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run():
    """A copy of a run in which things may be broken."""
    return shutil.copytree(LINES, "run")
