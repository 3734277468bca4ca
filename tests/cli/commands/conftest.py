"""The fixtures of this folder."""

import shutil

import pytest


@pytest.fixture
def few(tmp_path):
    from support import FEW

    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return "few.txt"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a trained run: runs/few in the test's own directory."""
    shutil.copytree(trained, tmp_path / "runs/few")
    return "runs/few"
