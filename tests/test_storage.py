"""Tensor files come back as they were written, and no damaged file is taken for a whole one."""

import contextlib
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from charrnn import strictjson
from charrnn.errors import CheckpointError
from charrnn.storage import json_line, parsed, read_bounded, read_tensors, write_tensors

KINDS = {"test": 3}
META = {
    "kind": "test",
    "format": 3,
    "charrnn": "9.9",
    "text": 'é "sha256":"' + "0" * 64 + '" \U0001f600 \x1b',
}
TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], np.int64),
    "half": np.array([[0.5]], np.float16),
    "bytes": np.frombuffer(b"xyz", np.uint8),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, META)
    return path


def refusal(path, kinds=KINDS):
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path, kinds)
    assert time.process_time() - start < 2
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


def sealed(header, body=b""):
    """A file with any header whose SHA-256 is right: what damage cannot make but a person can."""
    data = bytearray(len(header).to_bytes(8, "little") + header + body)
    start = data.index(b"0" * 64)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def header(meta, tensors=None):
    """meta: an object, or the text of one after its opening brace."""
    text = meta if isinstance(meta, str) else json.dumps(meta)[1:]
    text = '{"sha256":"' + "0" * 64 + '",' + text
    return json.dumps(
        {"__metadata__": {"meta": text}} | (tensors or {}), separators=(",", ":")
    ).encode()


def own(meta):
    """What was given to write_tensors of what came back."""
    return {key: value for key, value in meta.items() if key != "sha256"}


# Round trip


def test_tensors_and_meta_come_back_exactly(written):
    tensors, meta = read_tensors(written, KINDS)
    assert own(meta) == META
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert np.array_equal(tensors[name], tensor)
        assert tensors[name].shape == tensor.shape


def test_a_strided_tensor_is_written_as_it_looks(tmp_path):
    write_tensors(tmp_path / "x", {"t": np.arange(6, dtype=np.float32).reshape(2, 3).T}, META)
    assert read_tensors(tmp_path / "x", KINDS)[0]["t"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_file_without_tensors_comes_back(tmp_path):
    write_tensors(tmp_path / "x", {}, META)
    tensors, meta = read_tensors(tmp_path / "x", KINDS)
    assert (tensors, own(meta)) == ({}, META)


def test_the_file_is_a_safetensors_file_for_everyone(written):
    from safetensors.numpy import load_file

    assert np.array_equal(load_file(written)["b"], TENSORS["b"])


def test_the_digest_is_the_sha256_of_the_file_with_zeros_in_its_place(written):
    data = written.read_bytes()
    digest = json.loads(
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["meta"]
    )["sha256"]
    assert data.count(digest.encode()) == 1
    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_texts_that_imitate_the_digest_do_not_confuse_it(tmp_path):
    plain = '{"sha256":"' + "0" * 64 + '"'
    imitations = [
        plain,
        plain.replace('"', '\\"'),
        plain.replace("0", "f"),
        '{"__metadata__":{"meta":"' + plain,
    ]
    meta = META | {"vocabulary": imitations} | dict.fromkeys(imitations, 1)
    tensors = dict.fromkeys(imitations, TENSORS["a"])
    write_tensors(tmp_path / "x", tensors, meta)
    got, got_meta = read_tensors(tmp_path / "x", KINDS)
    assert own(got_meta) == meta
    assert got.keys() == tensors.keys()


def test_equal_contents_make_equal_files(tmp_path):
    written = set()
    for _ in range(8):
        write_tensors(tmp_path / "x", TENSORS, META)
        written.add((tmp_path / "x").read_bytes())
    assert len(written) == 1


def test_meta_that_was_read_can_be_written_again(written):
    tensors, meta = read_tensors(written, KINDS)
    before = written.read_bytes()
    write_tensors(written, tensors, meta)
    assert written.read_bytes() == before


def test_meta_that_is_no_json_is_our_mistake_and_raises(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_tensors(tmp_path / "x", {}, META | {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


# Damage


def test_every_truncation_is_seen(written):
    data = written.read_bytes()
    for length in range(len(data)):
        written.write_bytes(data[:length])
        refusal(written)


@pytest.mark.parametrize("extra", [b"\0", b"x", b"\0" * 8])
def test_appended_bytes_are_seen(extra, written):
    written.write_bytes(written.read_bytes() + extra)
    assert "damaged" in refusal(written)


def test_a_flipped_bit_in_any_byte_is_seen(written):
    data = written.read_bytes()
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1 << (index % 8)
        written.write_bytes(changed)
        refusal(written)


def test_a_changed_weight_is_called_damage(written):
    data = bytearray(written.read_bytes())
    data[-1] ^= 1
    written.write_bytes(data)
    assert "SHA-256 does not match" in refusal(written)


def test_two_swapped_bytes_are_seen(written):
    data = bytearray(written.read_bytes())
    body = 8 + int.from_bytes(data[:8], "little")
    first, second = next(
        (i, j) for i in range(body, len(data)) for j in range(i) if j >= body and data[i] != data[j]
    )
    data[first], data[second] = data[second], data[first]
    written.write_bytes(data)
    refusal(written)


# Files that are not ours


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\0" * 100,
        b"\xff" * 100,
        b"PK\x03\x04" + b"\0" * 60,
        b"[run]\n" * 20,
        b"\x02" + b"\0" * 7 + b"{}",
    ],
)
def test_any_other_file_is_not_a_checkpoint(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x")


def test_a_safetensors_file_of_another_program_is_not_a_checkpoint(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": TENSORS["b"]}, tmp_path / "x", metadata={"format": "pt"})
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x")


class Canary:
    """Unpickling this makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("way", ["torch", "legacy torch", "pickle"])
def test_a_pickle_is_not_a_checkpoint_and_none_of_its_code_runs(way, tmp_path):
    canary = Canary(str(tmp_path / "ran"))
    if way == "pickle":
        import pickle

        (tmp_path / "x.pt").write_bytes(pickle.dumps(canary))
    else:
        import torch

        torch.save({"w": canary}, tmp_path / "x.pt", _use_new_zipfile_serialization=way == "torch")
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_names_the_reason(tmp_path):
    assert "No such file" in refusal(tmp_path / "none")


def test_a_directory_is_not_a_checkpoint(tmp_path):
    assert "directory" in refusal(tmp_path)


def test_a_fifo_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


def test_a_socket_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert "cannot read" in refusal(tmp_path / "s")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_an_endless_device_is_refused_without_reading():
    assert "is not a regular file" in refusal(Path("/dev/zero"))


def test_a_file_over_the_limit_is_refused_without_reading(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bounded(tmp_path / "x", 5, "a thing") == b"12345"
    with pytest.raises(CheckpointError, match="has 5 bytes, too many for a thing"):
        read_bounded(tmp_path / "x", 4, "a thing")


def test_a_path_that_steers_terminals_is_escaped(tmp_path):
    assert "\x1b" not in refusal(tmp_path / "\x1b[31m")


# Files with a right digest and wrong contents


@pytest.mark.fault("F13 files of other versions")
def test_a_newer_format_names_both_versions(tmp_path):
    write_tensors(tmp_path / "x", {}, META | {"format": 7, "charrnn": "12.0\n\x1b"})
    message = refusal(tmp_path / "x")
    assert "format 7, written by charrnn 12.0" in message
    assert "reads up to format 3" in message
    assert "\x1b" not in message


@pytest.mark.fault("F13 files of other versions")
def test_an_older_format_is_read(tmp_path):
    write_tensors(tmp_path / "x", {}, META | {"format": 1})
    assert read_tensors(tmp_path / "x", KINDS)[1]["format"] == 1


def test_another_kind_is_not_a_checkpoint(written):
    assert "is not a charrnn checkpoint" in refusal(written, {"other": 9})


def test_json_may_have_as_many_marks_as_the_limit_and_no_more(monkeypatch):
    monkeypatch.setattr(strictjson, "MAX_MARKS", {b",": 2})
    assert parsed(b"[1,2,3]") == [1, 2, 3]
    with pytest.raises(ValueError, match="too large"):
        parsed(b"[1,2,3,4]")


@pytest.mark.parametrize(
    "meta",
    [
        "",
        "[",
        '"x"',
        '"x":' + "[" * 100_000,
        '"x":1}',
        '"kind":["test"],"format":1}',
        '"kind":"test"}',
        '"kind":"test","format":Infinity}',
        '"kind":"test","format":"x"}',
        '"kind":"test","format":null}',
    ],
)
def test_meta_that_makes_no_sense_is_not_a_checkpoint(meta, tmp_path):
    (tmp_path / "x").write_bytes(sealed(header(meta)))
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 80]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "X99", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32"},
    ],
)
def test_a_tensor_that_does_not_fit_its_bytes_is_refused(entry, tmp_path):
    (tmp_path / "x").write_bytes(sealed(header(META, {"t": entry}), b"\0" * 8))
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x")


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "BF16"])
def test_a_tensor_type_that_numpy_lacks_does_no_harm(kind, tmp_path):
    size = 2 if kind == "BF16" else 1
    (tmp_path / "x").write_bytes(
        sealed(
            header(META, {"t": {"dtype": kind, "shape": [1], "data_offsets": [0, size]}}),
            b"\0" * size,
        )
    )
    with contextlib.suppress(CheckpointError):
        read_tensors(tmp_path / "x", KINDS)


def test_a_header_larger_than_the_file_is_refused_without_memory(tmp_path):
    (tmp_path / "x").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    assert "is not a charrnn checkpoint" in refusal(tmp_path / "x")


# JSON lines


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": 1.5, "b": float("nan")}, '{"a":1.5,"b":null}'),
        ({"a": [float("inf"), (1, float("-inf"))]}, '{"a":[null,[1,null]]}'),
        ({"a": {"b": float("nan")}, "t": "é\n"}, '{"a":{"b":null},"t":"é\\n"}'),
    ],
)
def test_json_line_is_strict_json_on_one_line(values, expected):
    assert json_line(values) == expected
