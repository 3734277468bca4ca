"""A network as an ONNX graph: one operator for each layer, batch and time free, state in and out.

    ids (B, T), h (L, B, H), c (L, B, H) of an LSTM, past (B, K-1, E) of a convolution over K
      -> logits (B, T, V), h_out, c_out, past_out

All states are zeros before a text. Letters: B batch, T time, V vocabulary, E embedding, H hidden
size, L layers, G gates, W numbers that the head sees.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from charrnn import __version__
from charrnn.errors import SettingsError
from charrnn.export.named import check_network
from charrnn.layout import GATES, PARAMETERS, sizes
from charrnn.modelfile import ModelFile

OPSET = 17  # of 2022: what reads ONNX today reads it
IR_VERSION = 8  # of the file itself, from the same year
MOST_BYTES = 1 << 31  # a protocol buffer holds no more
END = np.iinfo(np.int64).max
OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "gru-before": "GRU"}
# The places of ONNX's gates among PyTorch's. LSTM: i o f c of i f g o. GRU: z r h of r z n.
ORDERS = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "gru-before": (1, 0, 2)}


def graph(model: ModelFile, card: str) -> bytes:
    """Return the bytes of an ONNX file. N-grams beside the network are left out.

    card: what its metadata says about the model. Raises SettingsError for a model that counts, or
    that is too large for one file.
    """
    check_network(model, "--onnx")
    if sum(tensor.nbytes for tensor in model.tensors.values()) >= MOST_BYTES:
        raise SettingsError("--onnx: an ONNX file holds at most 2 GiB; use --hub")
    writer = _Graph(model)
    writer.write()
    proto = helper.make_model(
        writer.finished(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charrnn",
        producer_version=__version__,
    )
    helper.set_model_props(proto, _metadata(model, card))
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _metadata(model: ModelFile, card: str) -> dict[str, str]:
    """Return what a program needs beside the numbers: which id is which character."""
    vocabulary = model.vocabulary
    spelling = vocabulary.spelling
    about = {
        "card": card,
        "mode": model.mode,
        "start": str(model.start),  # the id before a text
        "unit": vocabulary.unit,  # whether symbols are code points or bytes
        "symbols": json.dumps(vocabulary.symbols),  # by id; above 1,114,112: bytes
    }
    if spelling is not None:
        # Rare characters are bytes. What may follow: after[id] is the state after an id, -1 where
        # it may not follow; inside a character, table[state][i] after id first + i, and no other.
        tables = {
            "first": spelling.first,
            "after": spelling.after.tolist(),
            "table": spelling.table.tolist(),
        }
        about["spelling"] = json.dumps(tables)
    return about


class _Graph:
    """The nodes of a graph as they are written, in the order in which they run."""

    def __init__(self, model: ModelFile) -> None:
        self.settings = model.settings.model
        self.hidden, self.layers, self.embedding = sizes(self.settings)
        self.vocabulary_size = len(model.vocabulary)
        self.tensors = model.tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.parts = ("h", "c") if self.settings.cell == "lstm" else ("h",)
        self.past_size = max(0, self.settings.conv - 1)

    def write(self) -> None:
        """Write the nodes from ids to logits."""
        # 1. The embedding (B, T, E), and what layer 0 reads (T, B, E).
        weight = self.constant("embedding.weight", self.tensors["embedding.weight"])
        embedded = self.node("Gather", [weight, "ids"], "embedded")
        below = self.node("Transpose", [embedded], "x", perm=[1, 0, 2])
        inputs = below
        if self.settings.conv:
            inputs = self.convolution(embedded)

        # 2. The layers, and the skips around them.
        last: dict[str, list[str]] = {part: [] for part in self.parts}
        width = self.embedding
        for k in range(self.layers):
            outputs, states = self.layer(k, inputs)
            for part, state in zip(self.parts, states, strict=True):
                last[part].append(state)
            if self.settings.skip == "dense":
                below = self.node("Concat", [below, outputs], f"dense_l{k}", axis=2)
                width += self.hidden
            elif self.settings.skip == "residual" and width == self.hidden:
                below = self.node("Add", [outputs, below], f"residual_l{k}")
            else:
                below = outputs
                width = self.hidden
            inputs = below
        for part, states in last.items():
            self.node("Concat", states, f"{part}_out", axis=0)

        # 3. The head (T, B, V), and batch first again.
        matrix = "embedding.weight"
        if not self.settings.tie_weights:
            matrix = self.constant("head.weight", self.tensors["head.weight"])
        head = self.node("Transpose", [matrix], "head", perm=[1, 0])  # (W, V)
        products = self.node("MatMul", [below, head], "products")
        bias = self.constant("head.bias", self.tensors["head.bias"])
        scores = self.node("Add", [products, bias], "scores")
        self.node("Transpose", [scores], "logits", perm=[1, 0, 2])

    def convolution(self, embedded: str) -> str:
        """Write the convolution over the embedding (B, T, E). Return what layer 0 reads."""
        view = embedded
        if self.past_size:
            view = self.node("Concat", ["past", embedded], "view", axis=1)  # (B, K-1+T, E)
            newest = [self.whole("newest", -self.past_size), self.whole("end", END)]
            self.node("Slice", [view, *newest, self.whole("time_axis", 1)], "past_out")
        channels = self.node("Transpose", [view], "channels", perm=[0, 2, 1])  # (B, E, K-1+T)
        weight = self.constant("conv.weight", self.tensors["conv.weight"])
        seen = self.node("Conv", [channels, weight], "seen")  # (B, E, T)
        return self.node("Transpose", [seen], "seen_by_time", perm=[2, 0, 1])

    def layer(self, k: int, inputs: str) -> tuple[str, list[str]]:
        """Write layer k. Return its outputs (T, B, H), and its last states (1, B, H)."""
        cell = self.settings.cell
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self.in_order(self.tensors[f"recurrent.{name}_l{k}"]) for name in PARAMETERS
        )
        first_states = []
        for part in self.parts:
            limits = [self.whole(f"layer_{k}", k), self.whole(f"layer_{k + 1}", k + 1)]
            sliced = [part, *limits, self.whole("layer_axis", 0)]
            first_states.append(self.node("Slice", sliced, f"{part}_l{k}"))
        attributes: dict[str, Any] = {"hidden_size": self.hidden}
        if OPERATORS[cell] == "GRU":
            # Whether the reset gate acts before or after the matrix product.
            attributes["linear_before_reset"] = int(cell == "gru")
        names = [
            inputs,
            self.constant(f"W_l{k}", weight_ih[None]),  # (1, GH, inputs)
            self.constant(f"R_l{k}", weight_hh[None]),  # (1, GH, H)
            self.constant(f"B_l{k}", np.concatenate([bias_ih, bias_hh])[None]),  # (1, 2GH)
            "",  # all texts of a batch are equally long
            *first_states,
        ]
        outputs = [f"sequence_l{k}", *(f"{part}_out_l{k}" for part in self.parts)]
        node = helper.make_node(OPERATORS[cell], names, outputs, f"layer_{k}", **attributes)
        self.nodes.append(node)
        squeezed = [outputs[0], self.whole("direction_axis", 1)]  # (T, 1, B, H): one direction
        return self.node("Squeeze", squeezed, f"outputs_l{k}"), outputs[1:]

    def in_order(self, rows: np.ndarray) -> np.ndarray:
        """Return PyTorch's gate rows in ONNX's order."""
        cell = self.settings.cell
        parts = np.split(rows, GATES[cell])
        return np.concatenate([parts[gate] for gate in ORDERS[cell]])

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Write a node with one output, and return the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Write numbers, once, and return their name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def whole(self, name: str, value: int) -> str:
        """Write a whole number as the array (1,) that operators take."""
        return self.constant(name, np.array([value], np.int64))

    def finished(self) -> onnx.GraphProto:
        """Return the graph with its inputs and outputs."""
        inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"])]
        logits: list[str | int] = ["batch", "time", self.vocabulary_size]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)]
        states: dict[str, list[str | int]] = {
            part: [self.layers, "batch", self.hidden] for part in self.parts
        }
        if self.past_size:
            states["past"] = ["batch", self.past_size, self.embedding]
        for name, shape in states.items():
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            outputs.append(helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, shape))
        constants = list(self.constants.values())
        return helper.make_graph(self.nodes, "charrnn", inputs, outputs, constants)
