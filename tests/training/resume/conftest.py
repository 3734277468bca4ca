"""The fixtures of this folder."""

import pytest
from resume_support import PROSE
from support import FEW


@pytest.fixture
def corpus(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return str(path)

    return write
