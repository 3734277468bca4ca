"""Which engine samples a model: what is asked for, where there is a kernel and where not."""

from pathlib import Path

import numpy as np
import pytest
from kernel_support import random_model
from support import needs_kernel

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.modelfile import ModelFile
from charrnn.sampling import choice
from charrnn.sampling.choice import choose_steps
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.counted import Counted
from charrnn.sampling.network import Network
from charrnn.text.counting import count
from charrnn.text.vocabulary import Vocabulary


def counting_model():
    settings = Settings().with_values("model", cell="ngram", smoothing="kneser-ney")
    tensors = count(np.tile([0, 1, 2, 1], 5), 3, 2).tensors()
    return ModelFile(Path(), settings, Vocabulary("char", (10, 97, 98)), "stream", 0, tensors, {})


@needs_kernel
def test_the_kernel_samples_networks_unless_numpy_is_asked_for():
    engines = [
        type(choose_steps(random_model(), "auto", engine, 0))
        for engine in ("auto", "compiled", "numpy")
    ]
    assert engines == [Compiled, Compiled, Network]


def test_without_a_kernel_numpy_samples_networks(monkeypatch):
    monkeypatch.setattr(choice, "library", lambda: None)
    for engine in ("auto", "numpy"):
        assert type(choose_steps(random_model(), "auto", engine, 0)) is Network
    with pytest.raises(SettingsError, match="install charrnn where there is a C compiler"):
        choose_steps(random_model(), "auto", "compiled", 0)


def test_counting_models_are_sampled_by_numpy():
    for engine in ("auto", "numpy"):
        assert type(choose_steps(counting_model(), "auto", engine, 0)) is Counted
    with pytest.raises(SettingsError, match="counting models are sampled by numpy"):
        choose_steps(counting_model(), "auto", "compiled", 0)


@pytest.mark.parametrize(
    ("weights", "engine", "message"),
    [("float64", "auto", "--weights 'float64'"), ("auto", "torch", "engine 'torch'")],
)
def test_what_is_no_engine_or_precision_is_refused(weights, engine, message):
    with pytest.raises(SettingsError, match=f"{message} is not one of auto, "):
        choose_steps(random_model(), weights, engine, 0)
