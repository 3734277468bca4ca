"""What a stranger's files may cost in memory: as much as is shown, however long the files are."""

import json
import tracemalloc

import numpy as np
import pytest

from charrnn import storage
from charrnn.errors import CheckpointError
from charrnn.lab.compared import read_run
from charrnn.report import record
from charrnn.report.record import count_samples, read_about, read_metrics, read_samples
from charrnn.report.writing import samples_of
from charrnn.storage import write_tensors
from charrnn.text import novelty
from charrnn.text.novelty import read_filter
from charrnn.training import metrics

MB = 1 << 20


def peak(call):
    """The result, and the bytes that were in use at once."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "line",
    [
        b"x" * (30 * MB),
        b'{"step":1,"lr":' + b"[" * (4 * MB),
        b'{"step":1,"more":[' + b"[]," * (4 * MB) + b"0]}",
    ],
    ids=["one word", "brackets", "a list"],
)
def test_a_line_of_megabytes_is_passed_over_in_pieces(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(line + b'\n{"step":2,"lr":0.5}\n')
    read, bytes_used = peak(lambda: read_metrics(tmp_path / "metrics.jsonl"))
    assert read.unreadable == 1 and read.steps["lr"].tolist() == [0.5]
    assert bytes_used < 3 * MB
    with pytest.raises(CheckpointError, match="is damaged"):
        read_run(tmp_path)


def test_a_step_of_a_record_costs_its_numbers_alone(tmp_path):
    line = b'{"step":1,"more":"' + b"x" * 500 + b'"}\n'
    (tmp_path / "metrics.jsonl").write_bytes(line * 20_000)
    read, bytes_used = peak(lambda: read_metrics(tmp_path / "metrics.jsonl"))
    assert len(read.steps["step"]) == 20_000 and bytes_used < 4 * MB  # of 10


def test_the_lines_of_a_record_that_are_kept_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "MAX_STEPS", 3)
    monkeypatch.setattr(record, "MAX_ROLLBACKS", 2)
    rollback = {"event": "rollback", "step": 1, "from_step": 2, "reason": "NaN", "lr_factor": 0.5}
    lines = [json.dumps(rollback)] * 5 + [json.dumps({"step": step}) for step in range(5)]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    read = read_metrics(tmp_path / "metrics.jsonl")
    assert len(read.steps["step"]) == 3 and len(read.rollbacks) == 2 and read.unreadable == 2
    monkeypatch.setattr("charrnn.lab.compared.MAX_EVALUATIONS", 3)
    evaluation = {"event": "eval", "step": 1, "val_nats_per_char": 1, "ngram_nats_per_char": 1}
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(evaluation)}\n" * 4)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_run(tmp_path)


def test_a_record_of_gigabytes_is_refused_unread(tmp_path):
    with open(tmp_path / "metrics.jsonl", "wb") as file:
        file.truncate(1 << 33)  # of holes
    read, bytes_used = peak(lambda: read_metrics(tmp_path / "metrics.jsonl"))
    assert "has 8,589,934,592 bytes, too many" in read.missing and bytes_used < MB
    with pytest.raises(CheckpointError, match="too many for a record of metrics"):
        read_run(tmp_path)
    assert metrics.MAX_METRICS_BYTES < 1 << 30


def test_samples_cost_what_is_shown_of_them(tmp_path):
    sample = "--- step {}, 2.500 bits per character ---\n" + "ab\n" * 1000
    text = "".join(sample.format(step) for step in range(2000)) + "x" * (8 * MB)
    (tmp_path / "samples.txt").write_text(text)
    shown, bytes_used = peak(lambda: samples_of(tmp_path / "samples.txt", range(2000)))
    assert shown["kept"] == 2000
    assert [one["step"] for one in shown["shown"]][::7] == [0, 1999]
    assert bytes_used < 2 * MB  # of 14
    assert count_samples(tmp_path / "samples.txt") == 2000
    assert read_samples(tmp_path / "samples.txt", {5})[0].text == "ab\n" * 999 + "ab"


def test_samples_without_a_heading_are_none(tmp_path):
    (tmp_path / "samples.txt").write_text("Anna\nBen\n")
    assert samples_of(tmp_path / "samples.txt", ()) == {"kept": 0, "shown": [], "why": ""}


@pytest.mark.parametrize("bomb", ["[],", "{},", '{"a":'])
def test_a_run_json_that_would_take_gigabytes_is_not_read(tmp_path, bomb, monkeypatch):
    (tmp_path / "run.json").write_text('{"command": [' + bomb * (MB // 2))
    monkeypatch.setattr(storage.json, "loads", lambda *rest, **named: pytest.fail("it was read"))
    assert read_about(tmp_path / "run.json") == {}
    (tmp_path / "run.json").write_text(" " * (5 * MB))
    assert read_about(tmp_path / "run.json") == {}


def test_a_filter_larger_than_any_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "0123456789abcdef.novel"
    meta = novelty._about("lines", "char") | {"fingerprint": "0123456789abcdef" * 4}
    write_tensors(path, {"words": np.zeros(3000, np.uint64)}, meta)
    assert read_filter(path, "lines", "char") is not None
    monkeypatch.setattr(novelty, "MAX_FILE_BYTES", 20_000)
    assert read_filter(path, "lines", "char") is None
