"""benchmarks/gpu.py on a processor, tiny: every part runs, and one that fails is one line."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = ("about", "steps", "gaps", "training", "many", "traced", "saturation")
BY_COMMAND = ("tests", "shakespeare", "names", "c", "latex", "resume")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("gpu")
    for name in ("gpu", "gpu_steps", "gpu_runs", "gpu_trainings"):
        sys.modules.pop(name, None)


def lines_of(gpu, part, tmp_path, seconds=1e9):
    out = tmp_path / "gpu.jsonl"
    gpu.run_part(gpu.Bench(part, seconds, out, tmp_path, True))
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_part_is_tried(gpu):
    assert {*HERE, *BY_COMMAND} == set(gpu.PARTS)


def test_the_usual_parts_take_less_than_ten_minutes(gpu):
    assert sum(part.seconds for part in gpu.PARTS.values() if part.is_usual) <= 570


@pytest.mark.parametrize("part", HERE)
def test_a_part_runs(gpu, part, tmp_path, one_thread):
    lines = lines_of(gpu, part, tmp_path)
    assert lines
    assert {line["part"] for line in lines} == {part}
    assert not [line for line in lines if "failed" in line]


@pytest.mark.slow
@pytest.mark.parametrize("part", BY_COMMAND)
def test_a_part_that_runs_commands_runs(gpu, part, tmp_path):
    lines = lines_of(gpu, part, tmp_path)
    assert lines
    assert not [line for line in lines if "failed" in line]
    if part == "resume":
        assert lines[-1]["resumed_is_equal"]
        assert lines[-1]["steps"] == 40


def test_a_part_that_fails_is_one_line(gpu, tmp_path):
    bench = gpu.Bench("c", 60, tmp_path / "gpu.jsonl", tmp_path / "missing", False)
    gpu.run_part(bench)
    (line,) = (tmp_path / "gpu.jsonl").read_text().splitlines()
    assert "linux-kernel.c is not there; name its folder with --data" in json.loads(line)["failed"]
