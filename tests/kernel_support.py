"""What the tests of the compiled kernel share: models, flags, a process of its own."""

import os
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support import COMPILER

from charrnn.config import Settings
from charrnn.kernel.library import library
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.network import Network
from charrnn.text.vocabulary import Vocabulary

ROOT = Path(__file__).parent.parent


KERNEL = ROOT / "charrnn/kernel"


SOURCES = sorted(KERNEL.glob("*.c"))


FLAGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"][
    0
]["extra-compile-args"]


CELLS = ("rnn", "lstm", "gru", "gru-before")


SKIPS = ("none", "residual", "dense")


LEVELS = range(1 + library().charrnn_level()) if library() else (0,)


PROC = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to look at")


def random_model(
    cell="lstm",
    skip="none",
    layers=1,
    hidden=17,
    vocabulary=10,
    embedding=5,
    *,
    seed=0,
    scale=1.0,
    mode="stream",
):
    """Sums of inputs and sums of states are of size `scale`: gates neither idle nor stuck at 1."""
    sizes = {
        "cell": cell,
        "skip": skip,
        "num_layers": layers,
        "hidden_size": hidden,
        "embedding_size": embedding,
    }
    chosen = Settings().with_values("model", **sizes)
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(chosen.model, vocabulary).items():
        size = (
            1.0
            if name == "embedding.weight"
            else scale / (shape[-1] ** 0.5 if len(shape) > 1 else 2)
        )
        tensors[name] = generator.standard_normal(shape, np.float32) * np.float32(size)
    symbols = tuple(range(10, 10 + vocabulary))  # id 0 is the newline
    return ModelFile(Path(), chosen, Vocabulary("char", symbols), mode, 0, tensors, {})


def bias_model(bias):
    """A model whose scores are `bias` whatever it has read."""
    model = random_model("rnn", hidden=1, vocabulary=len(bias), embedding=1, scale=0.0)
    model.tensors["head.bias"][:] = bias
    return model


def compiled_sampler(model, weights="float32", level=None):
    sampler = Sampler(model, weights=weights, engine="compiled")
    if level is not None:
        sampler._network = Compiled(Network(model, weights), level=level)
    return sampler


def everything(samples):
    return [(sample.index, sample.ids.tolist(), sample.nats) for sample in samples]


# Draws

DECODINGS = [
    Decoding(),
    Decoding(0),
    Decoding(1e-9),
    Decoding(2.0),
    Decoding(top_k=3),
    Decoding(top_p=0.6),
    Decoding(min_p=0.2),
    Decoding(repetition_penalty=1.7),
    Decoding(0, repetition_penalty=1.7),
    Decoding(0.8, 6, 0.9, 0.05, 1.2),
]


# The library


def child(**changes):
    """The environment of a process that finds the package and these tests."""
    tests = ROOT / "tests"
    folders = (ROOT, tests, tests / "kernel" / "sampler", tests / "kernel" / "layer")
    paths = os.pathsep.join(map(str, folders))
    return {
        **os.environ,
        "PYTHONPATH": paths,
        **{name: str(value) for name, value in changes.items()},
    }


def build(sources, target, *flags, compiler=COMPILER):
    command = [compiler, *flags, "-fPIC", "-shared", "-o", target, *sources, "-lm"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
