"""RNN, LSTM and GRU as in the textbook, one step at a time: the reference for everything that runs fast.

Two forms of each cell. The lecture's form has one matrix that acts on the concatenation [h, x]; the split form has
PyTorch's weight_hh and weight_ih, its gate order and its two biases. `lecture_to_torch` turns one into the other.
The state that has seen x_i predicts x_{i+1} (the lecture's slide writes softmax(W_out h_i + b) with an h_i that has
not seen x_i; its own practical, and this program, use the state after x_i).

Shapes: x (B, E); h, c (B, H); everything differentiable; nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


# The lecture's form: one matrix on [h, x]


def rnn_lecture(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """h' = tanh(W [h, x] + b). w: W (H, H+E), b (H). Source: Elman 1990."""
    return torch.tanh(torch.cat([h, x], 1) @ w["W"].T + w["b"])


def lstm_lecture(x: Tensor, h: Tensor, c: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """Forget, write, read: f, i, C~, C, o, h. w: W_f, W_i, W_C, W_o (H, H+E) and their biases.

    Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000.
    """
    hx = torch.cat([h, x], 1)
    f = torch.sigmoid(hx @ w["W_f"].T + w["b_f"])
    i = torch.sigmoid(hx @ w["W_i"].T + w["b_i"])
    candidate = torch.tanh(hx @ w["W_C"].T + w["b_C"])
    o = torch.sigmoid(hx @ w["W_o"].T + w["b_o"])
    c = f * c + i * candidate
    return o * torch.tanh(c), c


def gru_lecture(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Update u, reset r: h' = (1 - u) h + u h~, with r applied to h before the product (gru-before).

    w: W_u, W_r, W_h (H, H+E) and their biases. Source: Cho et al. 2014, v3.
    """
    hx = torch.cat([h, x], 1)
    u = torch.sigmoid(hx @ w["W_u"].T + w["b_u"])
    r = torch.sigmoid(hx @ w["W_r"].T + w["b_r"])
    candidate = torch.tanh(torch.cat([r * h, x], 1) @ w["W_h"].T + w["b_h"])
    return (1 - u) * h + u * candidate


# The split form: PyTorch's parameters


def rnn_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh). Parameters as torch.nn.RNN."""
    return torch.tanh(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])


def lstm_step(x: Tensor, h: Tensor, c: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """Gates in the order i, f, g, o. Parameters as torch.nn.LSTM."""
    i, f, g, o = (x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).chunk(
        4, 1
    )
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Gates in the order r, z, n; the reset gate acts after the product, so b_hn stays inside. As torch.nn.GRU.

    Source: Cho et al. 2014, v1 (1406.1078v1), the form of cuDNN.
    """
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, 1)
    h_r, h_z, h_n = (h @ w["weight_hh"].T + w["bias_hh"]).chunk(3, 1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return z * h + (1 - z) * n


def gru_before_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """The lecture's GRU in PyTorch's parameters: gate order r, z, n and z = 1 - u."""
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, 1)
    w_r, w_z, w_n = w["weight_hh"].chunk(3, 0)
    b_r, b_z, b_n = w["bias_hh"].chunk(3, 0)
    r, z = torch.sigmoid(x_r + h @ w_r.T + b_r), torch.sigmoid(x_z + h @ w_z.T + b_z)
    n = torch.tanh(x_n + (r * h) @ w_n.T + b_n)
    return z * h + (1 - z) * n


def lecture_to_torch(cell: str, w: Weights) -> dict[str, Tensor]:
    """The lecture's matrices as PyTorch's: columns split into W_hh and W_ih, rows stacked in PyTorch's gate order.

    The whole bias goes to bias_ih. The lecture's u becomes z = 1 - u: since 1 - sigmoid(a) = sigmoid(-a), its rows
    change sign. cell: "rnn", "lstm" or "gru-before".
    """
    order = {
        "rnn": [("", 1)],
        "lstm": [("_i", 1), ("_f", 1), ("_C", 1), ("_o", 1)],
        "gru-before": [("_r", 1), ("_u", -1), ("_h", 1)],
    }[cell]
    matrix = torch.cat([sign * w["W" + gate] for gate, sign in order])
    bias = torch.cat([sign * w["b" + gate] for gate, sign in order])
    hidden = matrix.shape[0] // len(order)
    return {
        "weight_hh": matrix[:, :hidden],
        "weight_ih": matrix[:, hidden:],
        "bias_ih": bias,
        "bias_hh": torch.zeros_like(bias),
    }


def step(cell: str, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
    """A cell's state after x (B, E), in the split form. state: of (B, H)."""
    if cell == "lstm":
        return lstm_step(x, state[0], state[1], w)
    return (
        {"rnn": rnn_step, "gru": gru_step, "gru-before": gru_before_step}[cell](x, state[0], w),
    )


def run_layer(
    cell: str, x: Tensor, state: tuple[Tensor, ...], w: Weights
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over time by the split form. x (T, B, E), state of (B, H) -> outputs (T, B, H), last state."""
    outputs = []
    for x_t in x:
        state = step(cell, x_t, state, w)
        outputs.append(state[0])
    return torch.stack(outputs), state
