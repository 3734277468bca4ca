"""docs/api.md: up to date, every example runs, and a program that uses all of it is checked."""

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests/api/program.py"
PAGE = ROOT / "docs/api.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def generator():
    spec = importlib.util.spec_from_file_location("api_page", ROOT / "docs/api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date():
    assert generator().page() == PAGE.read_text(encoding="utf-8"), "run python docs/api.py"


def test_every_public_name_stands_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    names = [
        name
        for name in charrnn.__all__
        if name not in ("__version__", "callbacks", "errors", "events")
    ]
    missing = [
        name for name in names if not re.search(rf"^## charrnn\.(errors\.)?{name}$", text, re.M)
    ]
    assert missing == []


def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(example, "docs/api.md", "exec"), {})
    assert len(EXAMPLES) == 5


def checked(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """mypy, as a person runs it who has charrnn installed: on their file, with charrnn's types."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    command += ["--untyped-calls-exclude=torch", name]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_examples_pass_mypy_strict(tmp_path):
    typed = "\n".join(EXAMPLES).replace("safetensors.torch import", "t import")
    (tmp_path / "script.py").write_text(typed)
    (tmp_path / "t.py").write_text("from typing import Any\n\nload_file: Any = None\n")
    result = checked(tmp_path, "script.py")
    assert result.returncode == 0, result.stdout


@pytest.mark.medium
def test_a_program_that_uses_all_of_it_runs(tmp_path):
    command = [sys.executable, PROGRAM]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "stopped by a callback" in result.stdout


def test_that_program_uses_every_public_name():
    used = set(re.findall(r"\w+", PROGRAM.read_text(encoding="utf-8")))
    methods = {
        name
        for kind in (charrnn.Run, charrnn.Sampler, charrnn.Score, charrnn.Writer, charrnn.Network)
        for name, member in vars(kind).items()
        if callable(member) and not name.startswith("_")
    }
    internal = {"from_tensors", "forward", "frame"}  # forward is called as the module itself
    assert sorted((set(charrnn.__all__) | methods) - internal - used) == []


@pytest.mark.slow
def test_that_program_passes_mypy_strict(tmp_path):
    shutil.copy(PROGRAM, tmp_path)
    result = checked(tmp_path, PROGRAM.name)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_mypy_sees_the_types(tmp_path):
    (tmp_path / "wrong.py").write_text("import charrnn\n\ncharrnn.open_run('x').step.upper()\n")
    assert '"int" has no attribute "upper"' in checked(tmp_path, "wrong.py").stdout
