"""The network's step in numpy: it runs everywhere, and is the compiled kernel's reference.

Weights are prepared once for both: layer 0 becomes a table, biases are folded, gates reordered.
Letters: B rows, V vocabulary, E embedding, H hidden size, L layers, G gates x H, W what the head
sees, K characters that a convolution sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from charrnn.layout import GATES, PARAMETERS, sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.steps import Headed, State


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, prepared.

    weight_ih and weight_hh are transposed views of contiguous (G, inputs): the fastest for one row
    and for 64.
    """

    weight_ih: np.ndarray  # (inputs, G)
    bias: np.ndarray  # (G,)
    weight_hh: np.ndarray  # (H, G)
    bias_hn: np.ndarray | None  # (H,); gru: stays inside the reset product


class Stateful(Protocol):
    """What a state's shape depends on. past_size: earlier characters that a convolution sees."""

    cell: str
    num_layers: int
    hidden_size: int
    past_size: int


def zero_state(network: Stateful, batch: int) -> State:
    """Return the state before any character: (h,) or (h, c), each (L, B, H) of zeros.

    With a convolution over K > 1 characters, the K-1 ids before the next one follow (K-1, B), the
    newest first, each plus 1: 0 is no character.
    """
    shape = (network.num_layers, batch, network.hidden_size)
    parts = 2 if network.cell == "lstm" else 1
    state: State = tuple(np.zeros(shape, np.float32) for _ in range(parts))
    if network.past_size:
        state = (*state, np.zeros((network.past_size, batch), np.int64))
    return state


def without_past(network: Stateful, state: State) -> tuple[State, np.ndarray]:
    """Return the layers' parts of a state, and the ids that a convolution sees (K-1, B)."""
    if network.past_size:
        return state[:-1], state[-1]
    return state, np.zeros((0, state[0].shape[1]), np.int64)


class Network(Headed):
    """A network's step."""

    def __init__(self, model: ModelFile, weights: str = "float32") -> None:
        """Prepare the weights of a model.

        weights: "float16" rounds every matrix but layer 0's table to half precision; arithmetic
        stays float32.
        """
        settings = model.settings.model
        self.cell = settings.cell
        self.skip = settings.skip
        self.half = weights == "float16"
        self.hidden_size, self.num_layers, _ = sizes(settings)
        self.name = f"{self.cell} {self.num_layers}x{self.hidden_size}"
        tensors = {
            name: np.array(value, np.float32, order="C") for name, value in model.tensors.items()
        }
        tied = tensors["embedding.weight"]
        self.embedding = tied  # (V + labels, E)
        if "labels.weight" in tensors:
            of_labels = tied[model.start] + tensors["labels.weight"]
            self.embedding = np.concatenate([tied, of_labels])
        self.vocabulary_size = len(tied)
        self.head_bias = tensors["head.bias"]
        self.head = self._rounded(tensors.get("head.weight", tied)).T  # (W, V)
        self.layers = [self._layer(k, tensors) for k in range(self.num_layers)]
        self.past_tables = np.zeros((0, 0, 0), np.float32)
        # V different characters have V different input products: layer 0 looks them up.
        # So does a convolution, which is linear: it adds a row for each earlier character in view.
        self.past_size = max(0, settings.conv - 1)
        weight_ih = self.layers[0].weight_ih
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            if settings.conv:
                taps = tensors["conv.weight"].transpose(2, 1, 0)[::-1]  # (K, E, E), newest first
                weights_of_taps = taps @ weight_ih
                weight_ih = weights_of_taps[0]
                earlier = self.embedding @ weights_of_taps[1:]
                # Row 0 is no character: (K-1, V+1, G), or more rows with labels.
                self.past_tables = np.pad(earlier, ((0, 0), (1, 0), (0, 0)))
            self.table = self.embedding @ weight_ih + self.layers[0].bias

    def zero_state(self, batch: int) -> State:
        """Return the state before any character: see zero_state below."""
        return zero_state(self, batch)

    def _rounded(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights as float16 holds them. Numbers beyond its range stay at its ends."""
        if not self.half:
            return weights
        most = np.float32(np.finfo(np.float16).max)
        rounded: np.ndarray = np.clip(weights, -most, most).astype(np.float16)
        return rounded.astype(np.float32)

    def _layer(self, k: int, tensors: dict[str, np.ndarray]) -> Layer:
        weight_ih, weight_hh, bias_ih, bias_hh = (
            tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS
        )
        bias_hn = None
        if self.cell == "gru":
            # The reset gate multiplies W_hn h + b_hn: only the r and z parts of b_hh can be folded.
            inner = 2 * self.hidden_size
            bias_hn = bias_hh[inner:]
            bias_hh = np.append(bias_hh[:inner], np.zeros(self.hidden_size, np.float32))
        bias = _gates(self.cell, bias_ih + bias_hh)
        weight_ih = _gates(self.cell, weight_ih)
        weight_hh = self._rounded(_gates(self.cell, weight_hh))
        if k:
            weight_ih = self._rounded(weight_ih)
        return Layer(weight_ih.T, bias, weight_hh.T, bias_hn)

    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return what the head sees (B, W) after ids (B,), and the new state.

        The reference is CharModel.forward in evaluation.
        """
        state, past = without_past(self, state)
        after = tuple(np.empty(part.shape, np.float32) for part in state)
        below = self.embedding.take(ids, axis=0)
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            for k, layer in enumerate(self.layers):
                if k == 0:
                    gates = self.table.take(ids, axis=0)
                    for table, rows in zip(self.past_tables, past, strict=True):
                        gates += table.take(rows, axis=0)
                else:
                    gates = np.dot(below, layer.weight_ih)
                    gates += layer.bias
                layer_before = tuple(part[k] for part in state)
                layer_after = tuple(part[k] for part in after)
                _CELLS[self.cell](gates, layer, layer_before, layer_after)
                outputs = layer_after[0]
                if self.skip == "dense":
                    below = np.concatenate([below, outputs], 1)
                elif self.skip == "residual" and below.shape == outputs.shape:
                    below = outputs + below
                else:
                    below = outputs
        if self.past_size:
            after = (*after, np.concatenate([ids[None] + 1, past[:-1]]))
        return below, after

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            logits: np.ndarray = np.dot(hidden, self.head)
            logits += self.head_bias
        return logits


# The cells. gates (B, G) hold the input product with all folded biases and are overwritten; before
# and after are state parts of (B, H). Gates that pass through the logistic function come first and
# are halved (_gates), since 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2: one tanh for all, and no
# overflow.


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
    r, z, n = _thirds(gates, hidden)
    _logistic(gates[:, : 2 * hidden], products[:, : 2 * hidden])
    h_n = products[:, 2 * hidden :]
    h_n += layer.bias_hn
    h_n *= r
    _update(n, h_n, z, before[0], after[0])


def _gru_before(gates: np.ndarray, layer: Layer, before: State, after: State) -> None:
    hidden = before[0].shape[1]
    r, z, n = _thirds(gates, hidden)
    _logistic(gates[:, : 2 * hidden], np.dot(before[0], layer.weight_hh[:, : 2 * hidden]))
    _update(n, np.dot(r * before[0], layer.weight_hh[:, 2 * hidden :]), z, before[0], after[0])


def _thirds(gates: np.ndarray, hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return views of r, z and n, each (B, H)."""
    return gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]


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
    """Return PyTorch's gate rows (G,) or (G, N) with the logistic ones first, the tanh one last.

    The logistic ones are halved, which is exact in binary.
    """
    parts = np.split(rows, GATES[cell])
    if cell == "lstm":  # i, f, g, o -> i, f, o, g
        parts = [parts[0], parts[1], parts[3], parts[2]]
    halved = [part * np.float32(0.5) for part in parts[:-1]]
    return np.concatenate([*halved, parts[-1]])
