"""A mapped file that is cut short under its reader: one line and exit 3, never SIGBUS."""

import os
import subprocess
import sys

import pytest

from charrnn.text.mapped import _read_error, cut_short, is_shorter, mapped

READ = """
import os, sys, threading
from pathlib import Path
import numpy as np
from charrnn.text.mapped import mapped
path = Path(sys.argv[1])
pages = mapped(path)
ids = np.frombuffer(pages, np.uint8)
def change(size):
    os.truncate(path, size)
def compare():
    return int((ids == 97).sum())
def find():
    return pages.find(b"b")
def thread():
    worker = threading.Thread(target=compare)
    worker.start()
    worker.join()
def copy():
    return len(bytes(pages))
change(int(sys.argv[2]))
print({"compare": compare, "find": find, "thread": thread, "copy": copy}[sys.argv[3]]())
"""


def read(path, size, how, before=""):
    words = [sys.executable, "-c", before + READ, str(path), str(size), how]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.ids"
    path.write_bytes(b"a" * 3_000_000)
    return path


@pytest.mark.parametrize("size", [0, 1, 1_500_001])
@pytest.mark.parametrize("how", ["compare", "find", "thread", "copy"])
def test_reading_what_is_no_longer_there_is_one_line_and_exit_3(file, size, how):
    done = read(file, size, how)
    assert done.stderr == f"charrnn: {cut_short(file)}\n"
    assert (done.returncode, done.stdout) == (3, "")


def test_a_file_that_stays_is_read(file):
    assert read(file, 3_000_000, "compare").stdout == "3000000\n"


def test_a_fault_in_another_file_is_left_to_the_system(file, tmp_path):
    """Ours was not to blame: nothing is said of it."""
    (tmp_path / "other").write_bytes(b"a" * 100_000)
    before = f"""
import mmap, os
with open({str(tmp_path / "other")!r}, "rb") as file:
    other = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate({str(tmp_path / "other")!r}, 0)
"""
    words = READ.replace("change(int", "other[5000]\nchange(int")
    command = [sys.executable, "-c", before + words, str(file), "3000000", "compare"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == -7 and "cut short" not in done.stderr


def test_a_file_is_whole_until_it_is_cut(file):
    pages = mapped(file)
    assert not is_shorter(pages)
    with open(file, "ab") as more:
        more.write(b"a")
    assert not is_shorter(pages)
    os.truncate(file, 2_999_999)  # within its last page, which reads as zeros in silence
    assert is_shorter(pages)


UNREADABLE = """
import os, signal
import charrnn.text.mapped as room
from charrnn.errors import CheckpointError
room._read_error = lambda path: CheckpointError(f"cannot read {path}: Input/output error")
"""


def test_a_disk_that_cannot_read_is_one_line_and_exit_3(file):
    # SIGBUS from a file that is not shorter: sent again and again, as the instruction would fault.
    before = UNREADABLE
    words = READ.replace(
        "change(int(sys.argv[2]))", "[os.kill(os.getpid(), signal.SIGBUS) for _ in range(100)]"
    )
    command = [sys.executable, "-c", before + words, str(file), "0", "compare"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == f"charrnn: cannot read {file}: Input/output error\n"
    assert (done.returncode, done.stdout) == (3, "")


def test_a_file_that_can_be_read_is_not_to_blame(file):
    assert _read_error(file) is None


def test_a_file_that_cannot_be_read_is_named(file):
    file.unlink()
    file.mkdir()
    assert str(_read_error(file)) == f"cannot read {file}: Is a directory"
