"""The fixtures of this folder."""

import pytest
from resume_support import PROSE
from support import FEW

from charrnn.scoring import validation


@pytest.fixture
def corpus(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return str(path)

    return write


@pytest.fixture
def decisive(monkeypatch):
    """Let training go by the validation of these small texts, as it does for larger ones."""
    monkeypatch.setattr(validation, "FEWEST_LINES", 0)
    monkeypatch.setattr(validation, "FEWEST_CHARS", 0)
