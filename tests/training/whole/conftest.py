"""The fixtures of this folder."""

import pytest
from support import FEW

from charrnn.config import Settings
from charrnn.text.building import survey


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return str(tmp_path / "few.txt")


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    """A stream of 270,000 characters for training."""
    path = tmp_path_factory.mktemp("prose") / "prose.txt"
    path.write_text("Some words in a line.\n\n" * 13_000)
    return survey(str(path), Settings().text, 1)
