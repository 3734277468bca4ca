"""What the tests of this folder share."""

import torch

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.sampling.engine import Sampler
from charrnn.text.vocabulary import Vocabulary

SYMBOLS = tuple(map(ord, "\n abcdeké\U0001f600"))


def random_pair(
    engine,
    cell="lstm",
    skip="none",
    layers=1,
    mode="stream",
    unit="char",
    symbols=SYMBOLS,
    backend="func",
    scale=3.0,
    weights="float32",
    **model,
):
    """A random CharModel and its Sampler. scale: weights large enough that the text varies."""
    sizes = {"hidden_size": 7, "num_layers": layers, "embedding_size": 5} | model
    settings = (
        Settings()
        .with_values("model", cell=cell, skip=skip, **sizes)
        .with_values("text", unit=unit)
    )
    torch.manual_seed(layers)
    network = CharModel(settings.model, len(symbols), backend).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale).add_(
                0.1 * torch.randn_like(parameter)
            )  # the head's bias begins at 0
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    start = symbols.index(10) if 10 in symbols else 0
    vocabulary, options = Vocabulary(unit, symbols), {"weights": weights, "engine": engine}
    return network, Sampler.from_tensors(settings, vocabulary, mode, start, tensors, **options)


def texts(samples):
    return [sample.text for sample in samples]
