"""The network's step in numpy: what every machine can run, and the reference for the compiled kernel.

Weights are prepared once for both: layer 0 becomes a table, biases are folded, gates reordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.layout import GATES, PARAMETERS, sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.steps import Headed, State


@dataclass(frozen=True)
class Layer:
    """weight_* are transposed views, (inputs, G), of contiguous (G, inputs): the fastest for one row and for 64."""

    weight_ih: np.ndarray
    bias: np.ndarray
    weight_hh: np.ndarray
    bias_hn: np.ndarray | None  # gru: stays inside the reset product


class Network(Headed):
    """A model's step. Letters: B rows, V vocabulary, E embedding, H hidden size, L layers, G gates x H."""

    def __init__(self, model: ModelFile, weights: str = "float32") -> None:
        """weights: "float16" rounds every matrix but layer 0's table to half precision; arithmetic stays float32."""
        settings = model.settings.model
        self.cell, self.skip, self.half = settings.cell, settings.skip, weights == "float16"
        self.hidden_size, self.num_layers, _ = sizes(settings)
        self.name = f"{self.cell} {self.num_layers}x{self.hidden_size}"
        tensors = {
            name: np.array(value, np.float32, order="C") for name, value in model.tensors.items()
        }
        self.embedding = tensors["embedding.weight"]
        self.vocabulary_size = len(self.embedding)
        self.head_bias = tensors["head.bias"]
        self.head = self._rounded(
            tensors.get("head.weight", self.embedding)
        ).T  # tied: the embedding
        self.layers = [self._layer(k, tensors) for k in range(self.num_layers)]
        # V different characters have V different input products: layer 0 looks them up.
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            self.table = self.embedding @ self.layers[0].weight_ih + self.layers[0].bias

    def zero_state(self, batch: int) -> State:
        """The state before any character: (h,) or (h, c), each (L, B, H) of zeros."""
        shape = (self.num_layers, batch, self.hidden_size)
        return tuple(np.zeros(shape, np.float32) for _ in range(1 + (self.cell == "lstm")))

    def _rounded(self, weights: np.ndarray) -> np.ndarray:
        """As float16 holds them. Numbers beyond its range stay at its ends."""
        if not self.half:
            return weights
        most = np.float32(np.finfo(np.float16).max)
        return np.clip(weights, -most, most).astype(np.float16).astype(np.float32)

    def _layer(self, k: int, tensors: dict[str, np.ndarray]) -> Layer:
        weight_ih, weight_hh, bias_ih, bias_hh = (
            tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS
        )
        bias_hn = None
        if (
            self.cell == "gru"
        ):  # the reset gate multiplies W_hn h + b_hn: only r and z parts of b_hh can be folded
            hidden = self.hidden_size
            bias_hn, bias_hh = (
                bias_hh[2 * hidden :],
                np.append(bias_hh[: 2 * hidden], np.zeros(hidden, np.float32)),
            )
        weight_ih, weight_hh, bias = (
            _gates(self.cell, rows) for rows in (weight_ih, weight_hh, bias_ih + bias_hh)
        )
        if k:
            weight_ih = self._rounded(weight_ih)
        return Layer(weight_ih.T, bias, self._rounded(weight_hh).T, bias_hn)

    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> what the head sees (B, W), and a new state. As CharModel.forward in evaluation."""
        dense, residual = self.skip == "dense", self.skip == "residual"
        after = tuple(np.empty(part.shape, np.float32) for part in state)
        below = self.embedding.take(ids, axis=0)
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            for k, layer in enumerate(self.layers):
                if k == 0:
                    gates = self.table.take(ids, axis=0)
                else:
                    gates = np.dot(below, layer.weight_ih)
                    gates += layer.bias
                _CELLS[self.cell](
                    gates, layer, tuple(part[k] for part in state), tuple(part[k] for part in after)
                )
                outputs = after[0][k]
                if dense:
                    below = np.concatenate([below, outputs], 1)
                else:
                    below = (
                        outputs + below if residual and below.shape == outputs.shape else outputs
                    )
        return below, after

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            logits = np.dot(hidden, self.head)
            logits += self.head_bias
        return logits


# The cells: gates (B, G) hold the input product with all folded biases and are overwritten; before and after are
# state parts of (B, H). Gates that pass through the logistic function come first and are halved (_gates), since
# 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2: one tanh for all, and no overflow.


def _rnn(gates: np.ndarray, layer: Layer, before: State, after: State) -> None:
    gates += np.dot(before[0], layer.weight_hh)
    np.tanh(gates, out=after[0])


def _lstm(gates: np.ndarray, layer: Layer, before: State, after: State) -> None:
    h, c = after
    hidden = h.shape[1]
    gates += np.dot(before[0], layer.weight_hh)
    np.tanh(gates, out=gates)
    logistic = gates[:, : 3 * hidden]
    logistic += 1
    logistic *= 0.5
    i, f, o, g = (gates[:, gate * hidden : (gate + 1) * hidden] for gate in range(4))
    np.multiply(f, before[1], out=c)
    g *= i
    c += g
    np.tanh(c, out=h)
    h *= o


def _gru(gates: np.ndarray, layer: Layer, before: State, after: State) -> None:
    hidden = before[0].shape[1]
    products = np.dot(before[0], layer.weight_hh)
    r, z, n = gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]
    _logistic(gates[:, : 2 * hidden], products[:, : 2 * hidden])
    h_n = products[:, 2 * hidden :]
    h_n += layer.bias_hn
    h_n *= r
    _update(n, h_n, z, before[0], after[0])


def _gru_before(gates: np.ndarray, layer: Layer, before: State, after: State) -> None:
    hidden = before[0].shape[1]
    r, z, n = gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]
    _logistic(gates[:, : 2 * hidden], np.dot(before[0], layer.weight_hh[:, : 2 * hidden]))
    _update(n, np.dot(r * before[0], layer.weight_hh[:, 2 * hidden :]), z, before[0], after[0])


def _logistic(gates: np.ndarray, products: np.ndarray) -> None:
    gates += products
    np.tanh(gates, out=gates)
    gates += 1
    gates *= 0.5


def _update(
    n: np.ndarray, product: np.ndarray, z: np.ndarray, h: np.ndarray, out: np.ndarray
) -> None:
    """h' = n + z (h - n), n = tanh(n + product)."""
    n += product
    np.tanh(n, out=n)
    np.subtract(h, n, out=out)
    out *= z
    out += n


_CELLS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru, "gru-before": _gru_before}


def _gates(cell: str, rows: np.ndarray) -> np.ndarray:
    """PyTorch's gate rows (G or G, N) with the logistic ones first and halved (exact in binary), the tanh one last."""
    parts = np.split(rows, GATES[cell])
    if cell == "lstm":  # i, f, g, o -> i, f, o, g
        parts = [parts[0], parts[1], parts[3], parts[2]]
    return np.concatenate([part * np.float32(0.5) for part in parts[:-1]] + parts[-1:])
