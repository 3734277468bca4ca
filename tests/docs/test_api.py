"""docs/api.md: up to date, every example runs, and a program that uses all of it is checked."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parents[2]
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
    names = [name for name in charrnn.__all__ if name not in ("__version__", "callbacks", "errors")]
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


@pytest.mark.slow
def test_the_examples_pass_mypy_strict(tmp_path):
    typed = "\n".join(EXAMPLES).replace("(self, event)", "(self, event: Evaluation) -> None")
    head = "from charrnn.api.events import Evaluation\n"
    (tmp_path / "script.py").write_text(
        head + typed.replace("safetensors.torch import", "t import")
    )
    (tmp_path / "t.py").write_text("from typing import Any\n\nload_file: Any = None\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--untyped-calls-exclude=torch",
        "script.py",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
