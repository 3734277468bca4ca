"""The network: embed -> recurrent stack (dropout, skips) -> head. Ids in, logits out, state passed in and returned.

Never touches a disk. Parameters carry torch.nn's names and gate order, whatever the backend, so that weights move
between backends and into nn.LSTM unchanged.
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
from charrnn.model import kernel
from charrnn.model.dropout import mask
from charrnn.model.recurrent import State, folded_bias, run_own, run_torch_as, torch_layer

BACKENDS = ("kernel", "func", "torch")
IGNORED = -100  # torch's number for a target that counts for nothing; text.batches says the same


def summed_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of -ln P(target) over (B, T); logits (B, T, V). IGNORED targets count for nothing."""
    flat = logits.transpose(0, 1).reshape(-1, logits.shape[2])
    return F.cross_entropy(
        flat.float(), targets.t().reshape(-1), ignore_index=IGNORED, reduction="sum"
    )


class CharModel(nn.Module):
    """Next-character logits from a stack of recurrent layers.

    settings must name every size. backend: "kernel" (the own cells, compiled), "func" (the own cells in PyTorch) or
    "torch" (torch.nn's). precision "bfloat16": with torch.nn's cells layers, dropout and head compute in it, and logits
    come back as float32; the kernel, in training only, rounds the factors of its products. Weights and state stay
    float32. Raises SettingsError where sizes do not fit.

    skip "residual": a layer's output is added to its input (from the second layer on, and in the first if the
    embedding is as wide as the layer). skip "dense": each layer and the head see the embedding and all outputs below,
    concatenated.

    In training dropout leaves out numbers of each layer's output, and weight_drop numbers of its weight_hh, the same ones
    for all T (DropConnect: Merity et al. 2018, "Regularizing and Optimizing LSTM Language Models").
    """

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary_size: int,
        backend: str = "func",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.settings, self.backend = settings, backend
        self._is_bfloat16 = precision == "bfloat16" and backend == "torch"
        self._rounds_factors = precision == "bfloat16" and backend == "kernel"
        if backend not in BACKENDS or (precision == "bfloat16" and backend == "func"):
            raise ValueError(f"no backend {backend!r} for {precision}")
        hidden, layers, embedding = sizes(settings)
        self.hidden_size, self.num_layers = hidden, layers
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.recurrent = (
            nn.Module()
        )  # holds weight_ih_l0, weight_hh_l0, bias_ih_l0, ... as nn.LSTM does
        self._torch_layers: list[
            nn.RNNBase
        ] = []  # share those very parameters; kept out of the state_dict
        widths = [embedding]
        for k in range(layers):
            inputs = sum(widths) if settings.skip == "dense" else widths[-1]
            self._add_layer(k, inputs, hidden)
            widths.append(hidden)
        self.head = nn.Linear(sum(widths) if settings.skip == "dense" else hidden, vocabulary_size)
        if settings.tie_weights:
            if self.head.in_features != embedding:
                raise SettingsError(
                    f"--tie-weights: the embedding has {embedding} numbers a character and the head "
                    f"{self.head.in_features}; make --embedding-size equal to --hidden-size, without --skip dense"
                )
            self.head.weight = self.embedding.weight
        self._initialize()

    def zero_state(self, batch_size: int) -> State:
        """The state before any character: (h,) or (h, c), each (L, B, H) of zeros."""
        weight = self.head.bias
        zeros = [
            weight.new_zeros(self.num_layers, batch_size, self.hidden_size)
            for _ in range(1 + (self.settings.cell == "lstm"))
        ]
        return tuple(zeros)

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """ids (B, T), state -> logits (B, T, V), state after the last character."""
        hidden, after = self._read(ids.t(), state)
        return self._run_head(hidden).transpose(0, 1), after

    def nats(self, ids: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Sum of -ln P(target) over ids, targets (B, T); state after the last character. IGNORED targets count for nothing.

        The kernel makes no logits for it, only their gradients.
        """
        if self.backend != "kernel":
            logits, after = self(ids, state)
            return summed_nats(logits, targets), after
        hidden, after = self._read(ids.t(), state)
        rounds = self._rounds_factors and self.training
        return kernel.summed_nats(
            hidden, self.head.weight, self.head.bias, targets.t(), rounds
        ), after

    def advance(self, ids: Tensor, state: State) -> State:
        """The state after ids (B, T)."""
        return self._read(ids.t(), state)[1]

    def trace(self, ids: Tensor, state: State) -> list[tuple[Tensor, Tensor]]:
        """Of each layer its inputs (T, B, K) and outputs (T, B, H), before dropout and skips. ids (B, T)."""
        layers: list[tuple[Tensor, Tensor]] = []
        self._read(ids.t(), state, layers)
        return layers

    def forward_traced(self, ids: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """ids (B, T), state -> logits (B, T, V), h of every layer after each character (L, T, B, H), state after the last."""
        layers: list[tuple[Tensor, Tensor]] = []
        hidden, after = self._read(ids.t(), state, layers)
        return (
            self._run_head(hidden).transpose(0, 1),
            torch.stack([outputs for _, outputs in layers]),
            after,
        )

    def _read(
        self, ids: Tensor, state: State, layers: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, State]:
        """ids (T, B) -> what the head sees (T, B, W), state after the last character. layers: see trace."""
        dense, residual = self.settings.skip == "dense", self.settings.skip == "residual"
        dropout = self.settings.dropout if self.training else 0.0
        seen = [self.embedding(ids)] if dense or residual or self.backend == "torch" else []
        if self._is_bfloat16:
            seen = [seen[0].bfloat16()]
        below: Tensor | None = seen[0] if seen else None
        last = []
        for k in range(self.num_layers):
            layer_state = tuple(part[k] for part in state)
            inputs = torch.cat(seen, 2) if dense and k else below
            outputs, after = self._run_layer(k, ids, inputs, layer_state)
            last.append(after)
            if layers is not None:
                layers.append((self.embedding(ids) if inputs is None else inputs, outputs))
            if residual and below is not None and below.shape == outputs.shape:
                outputs = outputs + below
            below = (
                outputs * mask(outputs.shape, dropout, outputs.device).to(outputs)
                if dropout
                else outputs
            )
            seen.append(below)
        assert below is not None
        hidden = torch.cat(seen, 2) if dense else below
        return hidden, tuple(torch.stack(parts) for parts in zip(*last, strict=True))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moved to another device: cuDNN wants each layer's weights in one piece again."""
        moved = super()._apply(fn, recurse)
        for layer in self._torch_layers:
            layer.flatten_parameters()
        return moved

    @property
    def is_random(self) -> bool:
        """Whether training draws what to leave out."""
        return bool(self.settings.dropout or self.settings.weight_drop)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """The state_dict, a tied output matrix left out: it is the embedding."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not (self.settings.tie_weights and name == "head.weight")
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy weights in. The caller has checked names and shapes (`layout.expected_shapes`)."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])

    def _run_layer(
        self, k: int, ids: Tensor, inputs: Tensor | None, state: State
    ) -> tuple[Tensor, State]:
        """One layer over time: outputs (T, B, H) and its last state of (B, H)."""
        weight_ih, weight_hh, bias_ih, bias_hh = (
            getattr(self.recurrent, f"{name}_l{k}") for name in PARAMETERS
        )
        cell, drops = self.settings.cell, self.training and self.settings.weight_drop
        if drops:
            weight_hh = weight_hh * mask(weight_hh.shape, drops, weight_hh.device).to(weight_hh)
        if self._is_bfloat16 or (self.backend == "torch" and drops):
            assert inputs is not None
            dtype = torch.bfloat16 if self._is_bfloat16 else weight_hh.dtype
            return run_torch_as(
                dtype, cell, inputs, state, (weight_ih, weight_hh, bias_ih, bias_hh), self.training
            )
        if self.backend == "torch":
            hx = tuple(part.unsqueeze(0) for part in state)
            outputs, last = self._torch_layers[k](inputs, hx if cell == "lstm" else hx[0])
            return outputs, tuple(part[0] for part in (last if cell == "lstm" else (last,)))
        # V different characters have V input products: look rows up instead of multiplying, if there are as many places.
        by_table = k == 0 and ids.numel() >= len(self.embedding.weight)
        if k == 0 and inputs is None and not by_table:
            inputs = self.embedding(ids)
        if self.backend == "kernel":
            x = self.embedding.weight if by_table else inputs
            assert x is not None
            weights = (weight_ih, weight_hh, bias_ih, bias_hh)
            rounds = self._rounds_factors and self.training
            return kernel.run_layer(cell, ids if by_table else None, x, state, weights, rounds)
        bias, bias_hn = folded_bias(cell, bias_ih, bias_hh)
        if by_table:
            gates_x = F.embedding(ids, F.linear(self.embedding.weight, weight_ih, bias))
        else:
            assert inputs is not None
            gates_x = F.linear(inputs, weight_ih, bias)
        return run_own(cell, gates_x, state, weight_hh, bias_hn)

    def _run_head(self, hidden: Tensor) -> Tensor:
        if self.backend == "kernel":
            return kernel.linear(hidden, self.head.weight, self.head.bias)
        if self._is_bfloat16:
            return F.linear(hidden, self.head.weight.bfloat16(), self.head.bias.bfloat16()).float()
        return self.head(hidden)

    def _add_layer(self, k: int, inputs: int, hidden: int) -> None:
        cell = self.settings.cell
        if self.backend == "torch":
            layer = torch_layer(cell, inputs, hidden)
            self._torch_layers.append(layer)
            made = [getattr(layer, f"{name}_l0") for name in PARAMETERS]
        else:
            rows = GATES[cell] * hidden
            shapes = ((rows, inputs), (rows, hidden), (rows,), (rows,))
            made = [nn.Parameter(torch.empty(shape)) for shape in shapes]
        for name, parameter in zip(PARAMETERS, made, strict=True):
            self.recurrent.register_parameter(f"{name}_l{k}", parameter)

    def _initialize(self) -> None:
        """Uniform in +-1/sqrt(H), as torch.nn; LSTM forget bias (Jozefowicz et al. 2015); embedding N(0, 0.1...1)."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for name, parameter in self.recurrent.named_parameters():
                parameter.uniform_(-bound, bound)
                if self.settings.cell == "lstm" and name.startswith("bias"):
                    # b_ih and b_hh add up: the whole forget bias goes into b_ih.
                    forget = parameter[self.hidden_size : 2 * self.hidden_size]
                    forget.fill_(self.settings.forget_bias if name.startswith("bias_ih") else 0.0)
            self.embedding.weight.normal_(0.0, 0.1 if self.settings.tie_weights else 1.0)
            head_bound = 1 / math.sqrt(self.head.in_features)
            if not self.settings.tie_weights:
                self.head.weight.uniform_(-head_bound, head_bound)
            self.head.bias.zero_()
