"""Small networks with unequal sizes, and a naive one to compare them with."""

import pytest
import torch
from support import needs_kernel

from charrnn.config import ModelSettings
from charrnn.layout import PARAMETERS
from charrnn.model import equations
from charrnn.model.charmodel import CharModel

# Sizes that differ: vocabulary, embedding, hidden size, batch, time.
V = 7
E = 3
H = 5
B = 2
T = 4
SKIPS = ("none", "residual", "dense")
KERNEL = pytest.param("kernel", marks=needs_kernel)
OWN = ("func", KERNEL)
BACKENDS = ("func", KERNEL, "torch")
# float32: sums over T*B=8 products of size 1..10
EXACT = [
    ("func", torch.float64, 1e-11),
    pytest.param("kernel", torch.float32, 1e-5, marks=needs_kernel),
]


def sized(cell="lstm", layers=2, skip="none", **more):
    values = {
        "cell": cell,
        "hidden_size": H,
        "num_layers": layers,
        "embedding_size": E,
        "skip": skip,
    }
    return ModelSettings(**values | more)


def some_state(settings, dtype=torch.float32, batch=B):
    shape = (settings.num_layers, batch, settings.hidden_size)
    parts = 2 if settings.cell == "lstm" else 1
    return tuple(torch.randn(*shape, dtype=dtype).requires_grad_() for _ in range(parts))


def some_ids(batch=B, time=T):
    return torch.randint(0, V, (batch, time))


def random_model(settings, backend="func", dtype=torch.float32):
    """Every bias is random, so that none can go missing unseen."""
    model = CharModel(settings, V, backend).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    return model


def naive(model, ids, state):
    """Return logits and last state of the stack, layer by layer, from equations.py."""
    settings = model.settings
    seen = [model.embedding.weight[ids].transpose(0, 1)]
    last = []
    for k in range(settings.num_layers):
        weights = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
        inputs = torch.cat(seen, 2) if settings.skip == "dense" else seen[-1]
        layer_state = tuple(part[k] for part in state)
        outputs, after = equations.run_layer(settings.cell, inputs, layer_state, weights)
        if settings.skip == "residual" and inputs.shape[2] == outputs.shape[2]:
            outputs = outputs + inputs
        seen.append(outputs)
        last.append(after)
    top = torch.cat(seen, 2) if settings.skip == "dense" else seen[-1]
    logits = top @ model.head.weight.T + model.head.bias
    return logits.transpose(0, 1), tuple(torch.stack(parts) for parts in zip(*last, strict=True))
