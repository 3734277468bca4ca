"""RNN, LSTM and GRU as in the textbook, one step at a time: the reference for all that runs fast.

Each cell has two forms. The lecture's form has one matrix that acts on the concatenation [h, x].
The split form has PyTorch's weight_hh and weight_ih, its gate order and its two biases.
lecture_to_torch turns the first into the second.

The state that has seen x_i predicts x_{i+1}. (The lecture's slide writes softmax(W_out h_i + b)
with an h_i that has not seen x_i. Its practical, and this program, use the state after x_i.)

Shapes: B batch, E inputs, H hidden size, T time; x (B, E); h, c (B, H). Everything is
differentiable; nothing is fast.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


# Before the cell: the lecture's "RNN and CNN"


def causal_convolution(x: Tensor, past: Tensor, weight: Tensor) -> Tensor:
    """Return y_t = W_0 x_t + W_1 x_{t-1} + ... over the last K inputs, without a nonlinearity.

    x (T, B, E); past (K-1, B, E): the inputs before x, the oldest first. weight (E, E, K) as
    torch.nn.Conv1d's: its last tap is W_0. Source: Waibel et al. 1989, a time-delay layer.
    """
    width = weight.shape[2]
    whole = torch.cat([past, x])
    outputs = []
    for t in range(len(x)):
        y = torch.zeros_like(x[0])
        for tap in range(width):
            y = y + whole[t + tap] @ weight[:, :, tap].T
        outputs.append(y)
    return torch.stack(outputs)


# The lecture's form: one matrix on [h, x]


def rnn_lecture(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Return h' = tanh(W [h, x] + b). w: W (H, H+E), b (H). Source: Elman 1990."""
    return torch.tanh(torch.cat([h, x], 1) @ w["W"].T + w["b"])


def lstm_lecture(x: Tensor, h: Tensor, c: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """Return h and c after forgetting (f), writing (i, C~) and reading (o).

    w: W_f, W_i, W_C, W_o (H, H+E) and their biases b_f, b_i, b_C, b_o (H).
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
    """Return h' = (1 - u) h + u h~ with update gate u and reset gate r (gru-before).

    r acts on h before the product.
    w: W_u, W_r, W_h (H, H+E) and their biases b_u, b_r, b_h (H). Source: Cho et al. 2014, v3.
    """
    hx = torch.cat([h, x], 1)
    u = torch.sigmoid(hx @ w["W_u"].T + w["b_u"])
    r = torch.sigmoid(hx @ w["W_r"].T + w["b_r"])
    candidate = torch.tanh(torch.cat([r * h, x], 1) @ w["W_h"].T + w["b_h"])
    return (1 - u) * h + u * candidate


# The split form: PyTorch's parameters


def rnn_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Return h' = tanh(W_ih x + b_ih + W_hh h + b_hh). w: the parameters of torch.nn.RNN."""
    return torch.tanh(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])


def lstm_step(x: Tensor, h: Tensor, c: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """Return h and c. w: the parameters of torch.nn.LSTM, gates in the order i, f, g, o."""
    gates = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
    i, f, g, o = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Return h' of a GRU whose reset gate acts after the product, so that b_hn is reset too.

    w: the parameters of torch.nn.GRU, gates in the order r, z, n.
    Source: Cho et al. 2014, v1 (1406.1078v1), the form of cuDNN.
    """
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, 1)
    h_r, h_z, h_n = (h @ w["weight_hh"].T + w["bias_hh"]).chunk(3, 1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return z * h + (1 - z) * n


def gru_before_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """Return h' of the lecture's GRU. w: the parameters of torch.nn.GRU; z = 1 - u."""
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, 1)
    w_r, w_z, w_n = w["weight_hh"].chunk(3, 0)
    b_r, b_z, b_n = w["bias_hh"].chunk(3, 0)
    r = torch.sigmoid(x_r + h @ w_r.T + b_r)
    z = torch.sigmoid(x_z + h @ w_z.T + b_z)
    n = torch.tanh(x_n + (r * h) @ w_n.T + b_n)
    return z * h + (1 - z) * n


def lecture_to_torch(cell: str, w: Weights) -> dict[str, Tensor]:
    """Return the lecture's matrices as PyTorch's: columns split in W_hh and W_ih, gates reordered.

    The whole bias goes to bias_ih. The lecture's u becomes z = 1 - u: since 1 - sigmoid(a) =
    sigmoid(-a), its rows change sign. cell: "rnn", "lstm" or "gru-before".
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
    """Return a cell's state after x, by the split form. state: (h,) or (h, c)."""
    if cell == "lstm":
        return lstm_step(x, state[0], state[1], w)
    cell_step = {"rnn": rnn_step, "gru": gru_step, "gru-before": gru_before_step}[cell]
    return (cell_step(x, state[0], w),)


def run_layer(
    cell: str, x: Tensor, state: tuple[Tensor, ...], w: Weights
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over time by the split form: outputs (T, B, H), last state. x (T, B, E)."""
    outputs = []
    for x_t in x:
        state = step(cell, x_t, state, w)
        outputs.append(state[0])
    return torch.stack(outputs), state
