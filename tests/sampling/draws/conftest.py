"""The fixtures of this folder: small trained models, and both engines."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from draws_support import MODELS, lines_of, stream_of
from support import Watcher, needs_kernel

NETWORK = {
    "counting": "off",
    "hidden_size": 8,
    "embedding_size": 4,
    "num_layers": 1,
    "steps": 60,
    "batch_size": 16,
    "seq_length": 16,
    "lr": 0.03,
    "dropout": 0.0,
    "threads": 1,
}


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_kernel)])
def engine(request):
    return request.param


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """run_of("lines") -> the run directory of a small model; trained when first asked for."""

    @functools.cache
    def trained(name):
        from charrnn.training.session import Request, train

        folder = tmp_path_factory.mktemp("draws")
        settings = dict(MODELS[name])
        letters = "abé" if settings.get("unit") == "byte" else "abcd"
        if name == "stream":
            letters += "efghij"
        if settings["mode"] == "lines":
            lines = lines_of(letters, 4, seed=1)
            text = "".join(f"{line}\n" for k, line in enumerate(lines) if k % 8)
            held_out = "".join(f"{line}\n" for line in lines[::8])
        else:
            length = 500 if settings["cell"] == "ngram" else 4000
            text = stream_of(letters, length, seed=2)
            held_out = stream_of(letters, 300, seed=3)
        (folder / "text.txt").write_text(text)
        (folder / "held-out.txt").write_text(held_out)
        settings["val"] = settings["test"] = str(folder / "held-out.txt")
        if settings["cell"] != "ngram":
            settings = NETWORK | settings
        request = Request(str(folder / "text.txt"), (("--", settings),), run=folder / "run")
        run, _ = train(request, Watcher())
        return Path(run)

    return trained


@pytest.fixture
def command(engine, tmp_path):
    """command(run, "--rank", ...) -> the texts of `charrnn sample --json` by that engine."""

    def texts(run, *arguments, key="text"):
        kernel = {"numpy": {"CHARRNN_KERNEL": "off"}, "compiled": {}}[engine]
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", "sample", run, "--json", *map(str, arguments)],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **kernel},
        )
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line)[key] for line in done.stdout.splitlines()]

    return texts
