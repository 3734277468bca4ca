"""The network: embedding -> recurrent layers (dropout, skips) -> head.

Ids and a state go in; logits and a state come out.

Parameters carry torch.nn's names and gate order, whatever the backend, so that weights move between
backends and into nn.LSTM unchanged.

Shapes: B batch, T time, V vocabulary, L layers, H hidden size, K inputs of a layer, W numbers that
the head sees. Inside, everything is time-major: (T, B, ...).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.layout import GATES, PARAMETERS, sizes
from charrnn.model import kernel_layer, kernel_scores
from charrnn.model.convolution import Convolution
from charrnn.model.dropout import mask
from charrnn.model.recurrent import State, folded_bias, run_own, run_torch_as, torch_layer

BACKENDS = ("kernel", "func", "torch")
CLOSED = -1e30  # a bias of the head that leaves no probability
IGNORED = -100  # torch's number for a target that counts for nothing; text.batches says the same


def summed_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of -ln P(target) over targets (B, T), under logits (B, T, V).

    IGNORED targets count for nothing.
    """
    flat_logits = logits.transpose(0, 1).reshape(-1, logits.shape[2])
    flat_targets = targets.t().reshape(-1)
    return F.cross_entropy(flat_logits.float(), flat_targets, ignore_index=IGNORED, reduction="sum")


class CharModel(nn.Module):
    """Next-character logits from a stack of recurrent layers.

    settings must name every size. backend: "kernel" (the own cells, compiled), "func" (the own
    cells in PyTorch) or "torch" (torch.nn's). Raises SettingsError where sizes do not fit,
    ValueError for a backend without the precision.

    precision "bfloat16": with torch.nn's cells, layers, dropout and head compute in it, and logits
    come back as float32. The kernel rounds the factors of its products, in training only. Weights
    and state stay float32.

    skip "residual": a layer's output is added to its input (from the second layer on, and in the
    first if the embedding is as wide as the layer). skip "dense": each layer and the head see the
    embedding and the outputs of all earlier layers, concatenated.

    conv K: the first layer reads a causal convolution over the last K embedded characters. Skips
    begin at the embedding, not at the convolution.

    labels: how many may stand before a line, with the ids V, V + 1, ... They are embedded as the
    newline with this id, plus a learnt difference that begins as zero: a label that is hardly ever
    seen stays near to none. No output predicts them.

    In training, dropout leaves out numbers of each layer's output. weight_drop leaves out numbers
    of its weight_hh, the same ones for all T (DropConnect: Merity et al. 2018, "Regularizing and
    Optimizing LSTM Language Models").
    """

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary_size: int,
        backend: str = "func",
        precision: str = "float32",
        labels: int = 0,
        newline: int = 0,
    ) -> None:
        super().__init__()
        is_bfloat16 = precision == "bfloat16"
        if backend not in BACKENDS or (is_bfloat16 and backend == "func"):
            raise ValueError(f"no backend {backend!r} for {precision}")
        self.settings = settings
        self.backend = backend
        self._computes_bfloat16 = is_bfloat16 and backend == "torch"
        self._rounds_factors = is_bfloat16 and backend == "kernel"
        self.hidden_size, self.num_layers, embedding_size = sizes(settings)

        # 1. The embedding and the layers. widths: of what each layer may see.
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.labels = nn.Embedding(labels, embedding_size) if labels else None
        self.newline = newline
        self.conv: Convolution | None = None
        if settings.conv:
            self.conv = Convolution(embedding_size, settings.conv)
        # Holds weight_ih_l0, weight_hh_l0, bias_ih_l0, ... as nn.LSTM does.
        self.recurrent = nn.Module()
        # torch.nn's layers share those very parameters. A list keeps them out of the state_dict.
        self._torch_layers: list[nn.RNNBase] = []
        widths = [embedding_size]
        for k in range(self.num_layers):
            inputs = sum(widths) if settings.skip == "dense" else widths[-1]
            self._add_layer(k, inputs)
            widths.append(self.hidden_size)

        # 2. The head.
        head_inputs = sum(widths) if settings.skip == "dense" else self.hidden_size
        self.head = nn.Linear(head_inputs, vocabulary_size)
        if settings.tie_weights:
            if head_inputs != embedding_size:
                raise SettingsError(
                    f"--tie-weights: the embedding has {embedding_size} numbers a character and "
                    f"the head {head_inputs}; make --embedding-size equal to --hidden-size, "
                    "without --skip dense"
                )
            self.head.weight = self.embedding.weight
        self._initialize()

    def zero_state(self, batch_size: int) -> State:
        """Return the state before any character: (h,) or (h, c), each (L, B, H) of zeros.

        With a convolution, what it sees of the past follows: zeros (K-1, B, E).
        """
        shapes = [(self.num_layers, batch_size, self.hidden_size)] * self._layer_parts
        if self.conv is not None:
            shapes.append((self.conv.width - 1, batch_size, self.embedding.embedding_dim))
        return tuple(self.head.bias.new_zeros(shape) for shape in shapes)

    @property
    def _layer_parts(self) -> int:
        """Return how many parts the state of a layer has."""
        return 2 if self.settings.cell == "lstm" else 1

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (B, T, V) and the state after the last character. ids (B, T)."""
        hidden, after = self._read(ids.t(), state)
        return self._run_head(hidden).transpose(0, 1), after

    def nats(
        self, ids: Tensor, targets: Tensor, state: State, *, each: bool = False
    ) -> tuple[Tensor, State]:
        """Return the sum of -ln P(target) over targets (B, T), and the state after ids (B, T).

        IGNORED targets count for nothing. The kernel makes no logits for it, only their gradients.
        each: with the kernel, return what is summed, (T, B), float64, without gradients.
        """
        if self.backend != "kernel":
            logits, after = self(ids, state)
            return summed_nats(logits, targets), after
        hidden, after = self._read(ids.t(), state)
        seen = (hidden, self.head.weight, self.head.bias, targets.t())
        if each:
            return kernel_scores.each_nats(*seen), after
        rounds = self._rounds_factors and self.training
        return kernel_scores.summed_nats(*seen, rounds), after

    def nats_and_logits(
        self, ids: Tensor, targets: Tensor, state: State, closed: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, State]:
        """Return the sum of -ln P(target) as `nats` does, logits (n, V), and the state after ids.

        closed (V,) bool: ids that get no probability in the sum. places (n,): of (B, T), flat,
        whose logits are returned, with all ids. Not for training.
        """
        hidden, after = self._read(ids.t(), state)  # (T, B, W)
        logits = self.head.weight.new_zeros((0, self.head.out_features))
        if len(places):  # the kernel takes no empty tensors
            logits = self._run_head(hidden.transpose(0, 1).flatten(0, 1)[places])
        if self.backend != "kernel":
            every = self._run_head(hidden).transpose(0, 1).masked_fill(closed, -torch.inf)
            return summed_nats(every, targets), logits, after
        bias = self.head.bias.masked_fill(closed, CLOSED)
        nats = kernel_scores.summed_nats(hidden, self.head.weight, bias, targets.t())
        return nats, logits, after

    def advance(self, ids: Tensor, state: State) -> State:
        """Return the state after ids (B, T)."""
        _, after = self._read(ids.t(), state)
        return after

    def trace(self, ids: Tensor, state: State) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's inputs (T, B, K) and outputs (T, B, H). ids (B, T).

        Both are taken before dropout and skips.
        """
        layers: list[tuple[Tensor, Tensor]] = []
        self._read(ids.t(), state, layers)
        return layers

    def forward_traced(self, ids: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Return logits (B, T, V), each layer's outputs h (L, T, B, H) and the last state.

        ids (B, T).
        """
        layers: list[tuple[Tensor, Tensor]] = []
        hidden, after = self._read(ids.t(), state, layers)
        logits = self._run_head(hidden).transpose(0, 1)
        return logits, torch.stack([outputs for _, outputs in layers]), after

    def _read(
        self, ids: Tensor, state: State, layers: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, State]:
        """Return what the head sees (T, B, W) and the state after the last character. ids (T, B).

        layers: where each layer's inputs and outputs are put, for trace.
        """
        skip = self.settings.skip
        dropout = self.settings.dropout if self.training else 0.0

        # 1. The embedding. Own cells without skips may not need it: _run_layer decides (None).
        below: Tensor | None = None  # what the next layer reads (T, B, K)
        rows = self._rows()
        if skip != "none" or self.backend == "torch":
            below = F.embedding(ids, rows)
            if self._computes_bfloat16:
                below = below.bfloat16()
        seen = [] if below is None else [below]
        first = below
        past: State = ()
        if self.conv is not None:
            first, last_past = self.conv(F.embedding(ids, rows), state[-1])
            past = (last_past,)
            if self._computes_bfloat16:
                first = first.bfloat16()

        # 2. The layers.
        last_states = []
        for k in range(self.num_layers):
            layer_state = tuple(part[k] for part in state[: self._layer_parts])
            inputs = first
            if k:
                inputs = torch.cat(seen, 2) if skip == "dense" else below
            outputs, last_state = self._run_layer(k, ids, inputs, layer_state, rows)
            last_states.append(last_state)
            if layers is not None:
                traced_inputs = F.embedding(ids, rows) if inputs is None else inputs
                layers.append((traced_inputs, outputs))
            if skip == "residual" and below is not None and below.shape == outputs.shape:
                outputs = outputs + below
            if dropout:
                outputs = outputs * mask(outputs.shape, dropout, outputs.device).to(outputs)
            below = outputs
            seen.append(below)

        # 3. What the head sees, and the layers' states stacked.
        assert below is not None
        hidden = torch.cat(seen, 2) if skip == "dense" else below
        after = tuple(torch.stack(parts) for parts in zip(*last_states, strict=True))
        return hidden, after + past

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move or convert the weights. cuDNN wants each layer's in one piece again afterwards."""
        moved = nn.Module._apply(self, fn, recurse)
        for layer in self._torch_layers:
            layer.flatten_parameters()
        return moved

    @property
    def is_random(self) -> bool:
        """Say whether training draws what to leave out."""
        return bool(self.settings.dropout or self.settings.weight_drop)

    def parameter_count(self) -> int:
        """Return how many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """Return the state_dict without a tied output matrix, which is the embedding."""
        tensors = dict(self.state_dict())
        if self.settings.tie_weights:
            del tensors["head.weight"]
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy weights in. The caller has checked names and shapes (layout.expected_shapes)."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])

    def _rows(self) -> Tensor:
        """Return the embedding of every id that may be read, of characters and then of labels."""
        rows = self.embedding.weight
        if self.labels is None:
            return rows
        return torch.cat([rows, rows[self.newline] + self.labels.weight])

    def _run_layer(
        self, k: int, ids: Tensor, inputs: Tensor | None, state: State, rows: Tensor
    ) -> tuple[Tensor, State]:
        """Run a layer over time: outputs (T, B, H) and its last state of (B, H).

        inputs (T, B, K); None in the first layer: the embedding of ids (T, B), which are of rows.
        """
        weights = self._layer_weights(k)
        if self.backend == "torch":
            assert inputs is not None
            return self._run_torch_layer(k, inputs, state, weights)
        # V different characters have V input products. The own cells look rows of them up instead
        # of multiplying, if there are as many places as characters.
        by_table = k == 0 and self.conv is None and ids.numel() >= len(rows)
        if by_table:
            return self._run_own_layer(ids, rows, state, weights)
        if inputs is None:
            inputs = F.embedding(ids, rows)
        return self._run_own_layer(None, inputs, state, weights)

    def _layer_weights(self, k: int) -> tuple[Tensor, ...]:
        """Return a layer's parameters in the order of PARAMETERS, in training after weight_drop."""
        weight_ih, weight_hh, bias_ih, bias_hh = (
            getattr(self.recurrent, f"{name}_l{k}") for name in PARAMETERS
        )
        dropped = self.settings.weight_drop
        if self.training and dropped:
            weight_hh = weight_hh * mask(weight_hh.shape, dropped, weight_hh.device).to(weight_hh)
        return weight_ih, weight_hh, bias_ih, bias_hh

    def _run_torch_layer(
        self, k: int, inputs: Tensor, state: State, weights: tuple[Tensor, ...]
    ) -> tuple[Tensor, State]:
        """Run a layer in torch.nn's cells. inputs (T, B, K)."""
        cell = self.settings.cell
        if self._computes_bfloat16:
            return run_torch_as(torch.bfloat16, cell, inputs, state, weights, self.training)
        if self.training and self.settings.weight_drop:
            dtype = weights[1].dtype
            return run_torch_as(dtype, cell, inputs, state, weights, self.training)
        layer = self._torch_layers[k]
        hx = tuple(part.unsqueeze(0) for part in state)
        if cell == "lstm":
            outputs, last = layer(inputs, hx)
            return outputs, tuple(part[0] for part in last)
        outputs, last = layer(inputs, hx[0])
        return outputs, (last[0],)

    def _run_own_layer(
        self, ids: Tensor | None, x: Tensor, state: State, weights: tuple[Tensor, ...]
    ) -> tuple[Tensor, State]:
        """Run a layer in the own cells. x (T, B, K); or x (V, K) and ids (T, B) of its rows."""
        cell = self.settings.cell
        if self.backend == "kernel":
            rounds = self._rounds_factors and self.training
            return kernel_layer.run_layer(cell, ids, x, state, weights, rounds)
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        bias, bias_hn = folded_bias(cell, bias_ih, bias_hh)
        gates_x = F.linear(x, weight_ih, bias)
        if ids is not None:
            gates_x = F.embedding(ids, gates_x)
        return run_own(cell, gates_x, state, weight_hh, bias_hn)

    def _run_head(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V), float32, of what the head sees (..., W)."""
        if self.backend == "kernel":
            return kernel_scores.linear(hidden, self.head.weight, self.head.bias)
        if self._computes_bfloat16:
            return F.linear(hidden, self.head.weight.bfloat16(), self.head.bias.bfloat16()).float()
        logits: Tensor = self.head(hidden)
        return logits

    def _add_layer(self, k: int, inputs: int) -> None:
        """Register layer k's parameters, which read `inputs` numbers a character."""
        cell = self.settings.cell
        hidden = self.hidden_size
        if self.backend == "torch":
            layer = torch_layer(cell, inputs, hidden)
            self._torch_layers.append(layer)
            parameters = [getattr(layer, f"{name}_l0") for name in PARAMETERS]
        else:
            rows = GATES[cell] * hidden
            shapes = ((rows, inputs), (rows, hidden), (rows,), (rows,))
            parameters = [nn.Parameter(torch.empty(shape)) for shape in shapes]
        for name, parameter in zip(PARAMETERS, parameters, strict=True):
            self.recurrent.register_parameter(f"{name}_l{k}", parameter)

    def _initialize(self) -> None:
        """Draw the weights: uniform in +-1/sqrt(H) as torch.nn does, the embedding normal.

        An LSTM's forget bias is set (Jozefowicz et al. 2015). A tied embedding is also the output
        matrix and so is drawn small, with a standard deviation of 0.1 instead of 1.
        """
        bound = 1 / math.sqrt(self.hidden_size)
        is_lstm = self.settings.cell == "lstm"
        with torch.no_grad():
            for name, parameter in self.recurrent.named_parameters():
                parameter.uniform_(-bound, bound)
                if is_lstm and name.startswith("bias"):
                    # b_ih and b_hh add up: the whole forget bias goes into b_ih.
                    forget = self.settings.forget_bias if name.startswith("bias_ih") else 0.0
                    parameter[self.hidden_size : 2 * self.hidden_size].fill_(forget)
            if self.settings.tie_weights:
                self.embedding.weight.normal_(0.0, 0.1)
            else:
                self.embedding.weight.normal_(0.0, 1.0)
                head_bound = 1 / math.sqrt(self.head.in_features)
                self.head.weight.uniform_(-head_bound, head_bound)
            self.head.bias.zero_()
            if self.labels is not None:
                self.labels.weight.zero_()
        if self.conv is not None:
            self.conv.initialize()
