"""One step of a cell in numpy, which keeps every gate and what each gate's sum is made of.

It works in the precision of its weights. It knows one layer and one character; who feeds it
characters, and what its numbers are for, it does not know. `model/equations.py` is the reference.

Shapes: E inputs, H hidden size, K gates: 1 (RNN), 4 (LSTM: i, f, g, o) or 3 (GRUs: r, z, n), in
PyTorch's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

State = tuple[np.ndarray, ...]  # of one layer: (h,) or, of an LSTM, (h, c), each (H,)


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer, a block of rows for each gate.

    bias: what is added to a gate's sum as it is.
    candidate_bias (H,): of "gru" alone, whose reset gate scales this part of the bias too.
    """

    weight_ih: np.ndarray  # (K, H, E)
    weight_hh: np.ndarray  # (K, H, H)
    bias: np.ndarray  # (K, H)
    candidate_bias: np.ndarray | None


class Step(NamedTuple):
    """A step of one layer.

    A gate's sum is from_h + from_x + bias, added in this order. The GRUs' from_h of the candidate
    has r in it. gates: the sums after their σ or tanh, but row 1 of the GRUs holds the lecture's
    update gate u = 1 - z.
    """

    from_h: np.ndarray  # (K, H)
    from_x: np.ndarray  # (K, H)
    sums: np.ndarray  # (K, H)
    gates: np.ndarray  # (K, H)
    state: State


def weights_of(cell: str, parameters: Sequence[np.ndarray]) -> Weights:
    """The weights of a layer from PyTorch's parameters, in the order of layout.PARAMETERS."""
    weight_ih, weight_hh, bias_ih, bias_hh = parameters
    rows, hidden = weight_hh.shape
    count = rows // hidden
    bias_ih = bias_ih.reshape(count, hidden)
    bias_hh = bias_hh.reshape(count, hidden)
    bias = bias_ih + bias_hh
    candidate_bias = None
    if cell == "gru":
        bias[2] = bias_ih[2]
        candidate_bias = bias_hh[2]
    return Weights(
        weight_ih.reshape(count, hidden, -1),
        weight_hh.reshape(count, hidden, hidden),
        bias,
        candidate_bias,
    )


def advance(cell: str, weights: Weights, x: np.ndarray, state: State) -> Step:
    """Advance one layer by one character. x (E,): its inputs. The arrays of `state` are kept.

    Equal inputs after equal states give equal bits: every product has one shape. In a product over
    many characters, a BLAS may sum a row in an order that depends on its place.
    """
    from_x = weights.weight_ih @ x
    if cell == "rnn":
        return _rnn(weights, from_x, state)
    if cell == "lstm":
        return _lstm(weights, from_x, state)
    return _gru(weights, from_x, state)


def convolve(weight: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return what a convolution (E, E, K) makes of the last K inputs (K, E), the newest last."""
    outputs = np.zeros(len(weight), weight.dtype)
    for tap, x in enumerate(window):
        outputs = outputs + weight[:, :, tap] @ x
    return outputs


def _rnn(weights: Weights, from_x: np.ndarray, state: State) -> Step:
    (h,) = state
    from_h = weights.weight_hh @ h
    sums = from_h + from_x + weights.bias
    gates = np.tanh(sums)
    return Step(from_h, from_x, sums, gates, (gates[0],))


def _lstm(weights: Weights, from_x: np.ndarray, state: State) -> Step:
    h, c = state
    from_h = weights.weight_hh @ h
    sums = from_h + from_x + weights.bias
    gates = logistic(sums)
    np.tanh(sums[2], out=gates[2])
    i, f, g, o = gates
    c = f * c + i * g
    return Step(from_h, from_x, sums, gates, (o * np.tanh(c), c))


def _gru(weights: Weights, from_x: np.ndarray, state: State) -> Step:
    (h,) = state
    sums = np.empty_like(weights.bias)
    gates = np.empty_like(weights.bias)
    from_h = np.empty_like(weights.bias)

    # 1. Both gates. u = 1 - σ(a) = σ(-a): that way it keeps its digits where z is near 1.
    np.matmul(weights.weight_hh[:2], h, out=from_h[:2])
    sums[:2] = from_h[:2] + from_x[:2] + weights.bias[:2]
    gates[0] = logistic(sums[0])
    gates[1] = logistic(-sums[1])
    r, u = gates[:2]

    # 2. The candidate: the reset gate acts after the product, or before it.
    if weights.candidate_bias is not None:
        from_h[2] = r * (weights.weight_hh[2] @ h + weights.candidate_bias)
    else:
        from_h[2] = weights.weight_hh[2] @ (r * h)
    sums[2] = from_h[2] + from_x[2] + weights.bias[2]
    candidate = np.tanh(sums[2], out=gates[2])

    return Step(from_h, from_x, sums, gates, ((1 - u) * h + u * candidate,))


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), which does not overflow when written with tanh."""
    return (1 + np.tanh(x / 2)) / 2
