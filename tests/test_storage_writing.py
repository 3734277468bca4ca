"""Writing: whatever fails, the old file is there or the new one, and nothing else."""

import errno
import os
import stat
import subprocess
import sys
import time

import pytest
from test_storage import KINDS, META, TENSORS

from charrnn import storage
from charrnn.errors import StorageError
from charrnn.storage import claim_directory, read_tensors, write_atomically, write_tensors
from charrnn.temporary import LEFT_OVER_S


def failing(error=errno.ENOSPC):
    def call(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    return call


class FullFile:
    """A file whose writing or flushing fails half-way."""

    def __init__(self, file, method):
        self.file = file
        self.method = method

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        if self.method == "write":
            failing()()
        return len(data)

    def flush(self):
        if self.method == "flush":
            failing()()

    def fileno(self):
        return self.file.fileno()


@pytest.mark.parametrize("step", ["open", "write", "flush", "fsync", "replace"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_at_any_step_leaves_the_old_file_and_no_other(
    step, existed, tmp_path, monkeypatch
):
    path = tmp_path / "x"
    if existed:
        path.write_bytes(b"old")
    if step in ("write", "flush"):
        monkeypatch.setattr(
            storage,
            "open",
            lambda *args, **named: FullFile(open(*args, **named), step),
            raising=False,
        )
    elif step == "open":
        monkeypatch.setattr(storage, "open", failing(), raising=False)
    else:
        monkeypatch.setattr(storage.os, step, failing())
    with pytest.raises(
        StorageError, match="No space left on device; make room or choose another --run"
    ) as caught:
        write_atomically(path, b"new contents")
    monkeypatch.undo()
    assert caught.value.exit_code == 5
    assert [item.name for item in tmp_path.iterdir()] == (["x"] if existed else [])
    assert not existed or path.read_bytes() == b"old"


def test_a_failure_to_sync_the_directory_is_told_and_leaves_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.disk, "sync_directory", failing(errno.EIO))
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_data_is_synced_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    steps = []
    real_fsync = os.fsync
    real_replace = os.replace

    def fsync(descriptor):
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("sync directory" if is_directory else "sync file")
        real_fsync(descriptor)

    def replace(*paths):
        steps.append("replace")
        real_replace(*paths)

    monkeypatch.setattr(storage.os, "fsync", fsync)
    monkeypatch.setattr(storage.os, "replace", replace)
    write_atomically(tmp_path / "x", b"new")
    assert steps == ["sync file", "replace", "sync directory"]


def make_temporary(path, age_s):
    path.write_bytes(b"half of something longer")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


RANDOM = "0123456789abcdef"


@pytest.mark.parametrize("name", [".x.tmp", f".x.{RANDOM}.tmp"])
def test_an_old_temporary_file_is_swept_by_the_next_write(name, tmp_path):
    make_temporary(tmp_path / name, LEFT_OVER_S + 60)
    write_atomically(tmp_path / "x", b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("x", b"new")]


@pytest.mark.parametrize(
    ("name", "age_s"),
    [
        (f".x.{RANDOM}.tmp", 60),  # somebody may be writing it
        (f".y.{RANDOM}.tmp", 1e6),  # of another file
        (".x.notes.tmp", 1e6),  # not ours
        (f".x.{RANDOM[1:]}.tmp", 1e6),
        (f"x.{RANDOM}.tmp", 1e6),
    ],
)
def test_a_young_temporary_file_and_any_other_file_stay(name, age_s, tmp_path):
    kept = make_temporary(tmp_path / name, age_s)
    write_atomically(tmp_path / "x", b"new")
    assert kept.read_bytes() == b"half of something longer"


@pytest.mark.parametrize("name", ["*", "[ab]", "é" * 120, "x" * 250])
def test_a_name_of_any_kind_is_written_and_sweeps_its_own(name, tmp_path):
    beside = f".{name[:50]}.{RANDOM}.tmp"
    make_temporary(tmp_path / beside, 1e6)
    other = make_temporary(tmp_path / f".a.{RANDOM}.tmp", 1e6)
    write_atomically(tmp_path / name, b"new")
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, other.name])


WRITER = """
import os, sys
from pathlib import Path
from charrnn.storage import replacing, write_atomically
path, letter, rounds = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
for _ in range(rounds):
    write_atomically(path, letter * 1_000_000)
if not rounds:
    with replacing(path) as output:
        output.write(letter * 10)
        print(flush=True)
        input()
"""


def writer(path, letter, rounds):
    """A process that writes a file of one letter, many times; or waits in the midst of it."""
    command = [sys.executable, "-c", WRITER, path, letter, str(rounds)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_processes_that_write_one_file_at_once_all_succeed_and_readers_see_it_whole(tmp_path):
    path = tmp_path / "page.html"
    writers = [writer(path, letter, 40) for letter in "abcd"]
    contents = set()
    while any(process.poll() is None for process in writers):
        if path.exists():
            data = path.read_bytes()
            contents.add((len(data), data[:1] * len(data) == data))
    assert [process.communicate()[1] for process in writers] == [b""] * 4
    assert [process.returncode for process in writers] == [0] * 4
    assert contents == {(1_000_000, True)}
    assert [item.name for item in tmp_path.iterdir()] == ["page.html"]


def test_the_file_of_a_living_writer_is_never_swept(tmp_path):
    path = tmp_path / "page.html"
    process = writer(path, "a", 0)
    process.stdout.readline()
    [temporary] = tmp_path.glob(".page.html.*.tmp")
    os.utime(temporary, (0, 0))
    write_atomically(path, b"ours")
    assert temporary.exists()
    complaint = process.communicate(b"\n", timeout=60)[1]
    assert (process.returncode, complaint) == (0, b"")
    assert path.read_bytes() == b"a" * 10


def test_the_file_of_a_killed_writer_is_swept_when_it_is_old(tmp_path):
    path = tmp_path / "page.html"
    process = writer(path, "a", 0)
    process.stdout.readline()
    process.kill()
    process.communicate()
    [temporary] = tmp_path.glob(".page.html.*.tmp")
    write_atomically(path, b"ours")
    assert temporary.exists()
    os.utime(temporary, (0, 0))
    write_atomically(path, b"ours")
    assert not temporary.exists()


@pytest.mark.parametrize("place", ["none/x", "file/x", "n" * 300])
def test_a_place_that_cannot_be_written_is_a_storage_error(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_atomically(tmp_path / place, b"new")


def test_a_directory_in_the_way_stays(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "x", b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_directory_is_claimed_once(tmp_path):
    assert claim_directory(tmp_path / "runs/a") is True
    assert claim_directory(tmp_path / "runs/a") is False
    (tmp_path / "runs/b").touch()
    assert claim_directory(tmp_path / "runs/b") is False


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_a_new_file_has_the_permissions_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_failed_write_of_tensors_leaves_the_old_ones(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, META)
    monkeypatch.setattr(storage.os, "fsync", failing())
    with pytest.raises(StorageError):
        write_tensors(path, {}, META)
    monkeypatch.undo()
    assert read_tensors(path, KINDS)[0].keys() == TENSORS.keys()
