"""The fixtures of this folder."""

import os
import subprocess
from pathlib import Path

import pytest
from faults import (
    Straight,
    trainings,
    without_times,
)
from matrix_support import LINES, LONGER, put_text, start


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return Straight(tmp_path_factory.mktemp("straight"), LINES)


@pytest.fixture(
    scope="module", params=[name for name in trainings(Path("nowhere")) if name != "lines"]
)
def other(request, tmp_path_factory):
    """The undisturbed training of a stream, by counting, or of a network that learnt another text before."""
    folder = tmp_path_factory.mktemp("other")
    return Straight(folder / "straight", trainings(folder)[request.param])


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    folder = put_text(tmp_path_factory.mktemp("longer"))
    return start(folder, **LONGER).weights_sha256, without_times(folder / "r")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)
