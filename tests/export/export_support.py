"""Small networks written down at random, and the programs that are made of them."""

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import numpy as np

from charrnn.config import Settings
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import Vocabulary

CELLS = ("rnn", "lstm", "gru", "gru-before")
SKIPS = ("none", "residual", "dense")
SYMBOLS = (10, *range(97, 103))
H = 5
E = 3
V = len(SYMBOLS)
# Every cell, skip, tied or not, 1 and 2 layers. Dense skips cannot be tied.
GRID = [
    (cell, skip, tied, layers)
    for cell, skip, tied, layers in itertools.product(CELLS, SKIPS, (False, True), (1, 2))
    if not (tied and skip == "dense")
]


def network(cell="gru", skip="none", tied=False, layers=1, *, mode="lines", unit="char", **more):
    """A model with random weights, every bias among them."""
    text = {"corpus": more.pop("corpus", "few"), "fingerprint": "0" * 64}
    sizes = {"hidden_size": H, "num_layers": layers, "embedding_size": H if tied else E}
    settings = Settings().with_values(
        "model", **{"cell": cell, "skip": skip, "tie_weights": tied, **sizes, **more}
    )
    rng = np.random.default_rng(1)
    # Recurrent weights that contract: a chaotic network makes any rounding grow without end.
    tensors = {
        name: rng.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in expected_shapes(settings.model, V).items()
    }
    vocabulary = Vocabulary(unit, SYMBOLS)
    return ModelFile(Path("x"), settings, vocabulary, mode, 0, tensors, text)


def counting():
    """A model that counts. Its n-grams are left out."""
    model = network()
    settings = model.settings.with_values("model", cell="ngram")
    return dataclasses.replace(model, settings=settings, tensors={})


def loaded(path):
    """The module that a Python file holds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ids_of(batch, time, seed=2):
    return np.random.default_rng(seed).integers(0, V, (batch, time))
