"""Writing: whatever fails, the old file is there or the new one, and nothing else."""

import errno
import os
import stat

import pytest
from test_storage import KINDS, META, TENSORS

from charrnn import storage
from charrnn.errors import StorageError
from charrnn.storage import read_tensors, write_atomically, write_tensors


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


def test_a_left_over_temporary_file_is_no_obstacle(tmp_path):
    (tmp_path / ".x.tmp").write_bytes(b"half of something longer")
    write_atomically(tmp_path / "x", b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("x", b"new")]


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
