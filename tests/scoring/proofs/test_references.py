"""A network's score against PyTorch's own cells in float64, made of the model file alone.

Nothing of charrnn is imported but the command under test. The equations, where torch.nn has no such
cell, are those of Cho et al. 2014 (the reset gate stands before the product).
"""

import json

import numpy as np
import pytest
import torch
from proofs_support import TEXTS, alphabet_of, rows_of, write_network
from safetensors.numpy import load_file
from torch import nn

MOST_OFF = 2e-5  # nats of a character that costs up to 20
MEAN_OFF = 2e-6
WINDOW = 37


def cell_of(kind, tensors, k):
    """Return layer k as a function from inputs (T, E) to outputs (T, H), in float64."""
    names = [f"{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    weights = [torch.from_numpy(tensors[f"recurrent.{name}"]).double() for name in names]
    hidden = weights[1].shape[1]
    if kind == "gru-before":
        return lambda inputs: reset_before(inputs, *weights)
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](weights[0].shape[1], hidden)
    layer = layer.double()
    with torch.no_grad():
        for name, weight in zip(names, weights, strict=True):
            getattr(layer, name.replace(f"_l{k}", "_l0")).copy_(weight)
    return lambda inputs: layer(inputs)[0]


def reset_before(inputs, weight_ih, weight_hh, bias_ih, bias_hh):
    hidden = weight_hh.shape[1]
    h = torch.zeros(hidden, dtype=torch.float64)
    outputs = []
    of_r, of_z, of_n = weight_hh.split(hidden)
    for x in inputs @ weight_ih.T + bias_ih + bias_hh:
        x_r, x_z, x_n = x.split(hidden)
        r = torch.sigmoid(x_r + of_r @ h)
        z = torch.sigmoid(x_z + of_z @ h)
        n = torch.tanh(x_n + of_n @ (r * h))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs)


def nats_of(file, model, ids):
    """Return the nats (T - 1,) of each of ids (T,) but the first, from an empty state."""
    tensors = load_file(file)
    embedding = torch.from_numpy(tensors["embedding.weight"]).double()
    below = embedding[torch.tensor(ids[:-1])]
    with torch.no_grad():
        for k in range(model["num_layers"]):
            above = cell_of(model["cell"], tensors, k)(below)
            if model["skip"] == "residual" and below.shape == above.shape:
                above = above + below
            elif model["skip"] == "dense":
                above = torch.cat([below, above], 1)
            below = above
        head = tensors.get("head.weight", tensors["embedding.weight"])
        logits = below @ torch.from_numpy(head).double().T + torch.from_numpy(tensors["head.bias"])
        targets = torch.tensor(ids[1:])
        return nn.functional.cross_entropy(logits, targets, reduction="none").numpy()


def meta_of(file):
    """Return the settings of the network, and its alphabet, from the header of the file."""
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    meta = next(json.loads(text) for text in header["__metadata__"].values() if "vocab" in text)
    return meta["settings"]["model"], meta["vocabulary"]["symbols"]


def pieces_of(text, reading):
    """Return the pieces of a text that each begin in the empty state, first characters unscored."""
    if reading == "lines":
        return [b"\n" + line + b"\n" for line in text.split(b"\n") if line]
    if reading == "windowed":
        return [text[start : start + WINDOW + 1] for start in range(0, len(text) - 1, WINDOW)]
    return [text]


@pytest.mark.parametrize(
    ("skip", "layers", "tied"),
    [("none", 1, False), ("residual", 3, False), ("dense", 2, False), ("none", 2, True)],
)
@pytest.mark.parametrize("reading", ["lines", "stateful", "windowed"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_a_score_is_that_of_float64(cell, reading, skip, layers, tied, engine, tmp_path):
    mode = "lines" if reading == "lines" else "stream"
    text = TEXTS[mode]()[: 1100 if reading == "stateful" else 300]  # over two chunks of a stream
    options = {"protocol": "windowed", "window": WINDOW} if reading == "windowed" else {}
    # Larger weights are chaotic: float32 of torch.nn itself was 3e-5 nats off at one place.
    sizes = {"cell": cell, "skip": skip, "layers": layers, "tied": tied, "scale": 1.0}
    file = write_network(tmp_path, alphabet_of(text), mode, **sizes)
    model, symbols = meta_of(file)
    expected = np.concatenate(
        [
            nats_of(file, model, [symbols.index(code) for code in piece])
            for piece in pieces_of(text, reading)
        ]
    )
    bits = [row["bits"] for row in rows_of(file, text, **options)]
    off = abs(np.array(bits) * np.log(2) - expected)
    assert off.max() < MOST_OFF
    assert off.mean() < MEAN_OFF
