"""Many GRU networks of one shape as one: every product of all networks is one batched product.

A recurrent step of a small network leaves a GPU almost idle. Side by side, M networks take little
more time for a step than one. They share no number: each reads its own ids and learns by itself.

Not to the bit what each network is alone: a batched product may sum in another order than a single
one. tests/model/test_stacked.py holds the bound.

Shapes: M networks, B lanes, T time, V vocabulary, L layers, H hidden size, K inputs of a layer, W
numbers that the head sees. Inside, everything is time-major: (T, M, B, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charrnn.layout import PARAMETERS
from charrnn.model.charmodel import IGNORED, CharModel
from charrnn.model.dropout import mask


class StackedGRU(torch.autograd.Function):
    """The GRU of recurrent.GRUSequence for M networks.

    gates_x (T, M, B, 3H) in the order r, z, n; h0 (M, B, H); W (M, 3H, H); b_hn (M, 1, H) ->
    outputs (T, M, B, H).
    """

    @staticmethod
    def forward(
        ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor, bias_hn: Tensor
    ) -> Tensor:
        time = len(gates_x)
        hidden = h0.shape[2]
        r_z = gates_x[..., : 2 * hidden].clone()
        n = gates_x[..., 2 * hidden :].clone()
        h_n = torch.empty_like(n)  # W_hn h + b_hn, which r multiplies
        hs = gates_x.new_empty(time + 1, *h0.shape)
        hs[0] = h0
        w_rz = weight_hh[:, : 2 * hidden].transpose(1, 2)
        w_n = weight_hh[:, 2 * hidden :].transpose(1, 2)
        h = hs[0]
        for t in range(time):
            r, z = r_z[t].baddbmm_(h, w_rz).sigmoid_().chunk(2, 2)
            torch.baddbmm(bias_hn, h, w_n, out=h_n[t])
            n[t].addcmul_(r, h_n[t]).tanh_()
            h = torch.lerp(n[t], h, z, out=hs[t + 1])
        ctx.save_for_backward(r_z, n, h_n, hs, weight_hh)
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        r_z, n, h_n, hs, weight_hh = ctx.saved_tensors
        time, members, batch, hidden = n.shape
        r, z = r_z.chunk(2, 3)
        k_z = (hs[:-1] - n) * z * (1 - z)
        k_n = (1 - z) * (1 - n.square())
        k_r = h_n * r * (1 - r)
        d_gates_h = n.new_empty(time, members, batch, 3 * hidden)  # of r, z and W_hn h + b_hn
        d_n = torch.empty_like(n)
        d_h = torch.zeros_like(hs[0])
        for t in reversed(range(time)):
            d_r_t, d_z_t, d_product = d_gates_h[t].chunk(3, 2)
            d_h.add_(d_out[t])
            torch.mul(d_h, k_z[t], out=d_z_t)
            torch.mul(d_h, k_n[t], out=d_n[t])
            torch.mul(d_n[t], k_r[t], out=d_r_t)
            torch.mul(d_n[t], r[t], out=d_product)
            d_h.mul_(z[t]).baddbmm_(d_gates_h[t], weight_hh)
        d_gates_x = torch.cat([d_gates_h[..., : 2 * hidden], d_n], 3)
        d_weight_hh = _by_member(d_gates_h).transpose(1, 2) @ _by_member(hs[:-1])
        d_bias_hn = d_gates_h[..., 2 * hidden :].sum((0, 2)).unsqueeze(1)
        return d_gates_x, d_h, d_weight_hh, d_bias_hn


class StackedModel(nn.Module):
    """M networks of one shape, with copies of their weights as they are.

    Raises ValueError for networks that differ in shape, or that are no GRU with untied weights and
    without a convolution or residual skips.

    dtype: in which layers and head compute; weights, state and nats are float32.
    """

    def __init__(self, networks: Sequence[CharModel], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        first = networks[0]
        settings = first.settings
        is_able = settings.cell == "gru" and settings.skip != "residual"
        if not is_able or settings.conv or settings.tie_weights:
            raise ValueError("networks side by side: a GRU, untied, without --conv and residual")
        names = list(first.tensors())
        shapes = [[tuple(value.shape) for value in one.tensors().values()] for one in networks]
        if any(one.settings != settings for one in networks) or shapes.count(shapes[0]) != len(
            shapes
        ):
            raise ValueError("networks side by side must have one shape")
        self.settings = settings
        self.members = len(networks)
        self.hidden_size = first.hidden_size
        self.num_layers = first.num_layers
        self.dtype = dtype
        self._names = names
        for name in names:
            stacked = torch.stack([one.tensors()[name].detach() for one in networks])
            self.register_parameter(_key(name), nn.Parameter(stacked))
        self._generators: list[torch.Generator] | None = None

    def network(self, member: int) -> dict[str, Tensor]:
        """Return the weights of one network by the names of CharModel, sharing their memory."""
        return {name: self._weight(name).detach()[member] for name in self._names}

    def zero_state(self, lanes: int) -> Tensor:
        """Return the state before any character, (L, M, B, H)."""
        shape = (self.num_layers, self.members, lanes, self.hidden_size)
        return self._weight("head.bias").new_zeros(shape)

    def seed_masks(self, seeds: Sequence[int]) -> None:
        """Draw what the next step leaves out from these seeds, one a network.

        On the processor each network gets the masks that it would get alone. On a GPU the device's
        generator draws for all at once, from the first seed.
        """
        device = self._weight("head.bias").device
        if device.type == "cpu":
            self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        elif device.type == "cuda":
            torch.cuda.manual_seed(seeds[0])

    def nats(self, ids: Tensor, targets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return each network's sum of -ln P(target), (M,), and the state after ids.

        ids, targets (M, B, T); state (L, M, B, H). IGNORED targets count for nothing.
        """
        hidden, after = self._read(ids.permute(2, 0, 1), state)
        weight = self._weight("head.weight").to(self.dtype)
        bias = self._weight("head.bias").to(self.dtype).unsqueeze(1)
        logits = torch.baddbmm(bias, _by_member(hidden), weight.transpose(1, 2))  # (M, T B, V)
        nats = F.cross_entropy(
            logits.float().flatten(0, 1),
            targets.transpose(1, 2).flatten(),
            ignore_index=IGNORED,
            reduction="none",
        )
        return nats.view(self.members, -1).sum(1), after

    def _read(self, ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head sees (T, M, B, W) and the state after ids (T, M, B)."""
        time, members, batch = ids.shape
        is_dense = self.settings.skip == "dense"
        dropout = self.settings.dropout if self.training else 0.0

        # Rows of all networks' tables, one after the other
        embedding = self._weight("embedding.weight").to(self.dtype)  # (M, V, E)
        offsets = torch.arange(members, device=ids.device).unsqueeze(1) * embedding.shape[1]
        rows = ids + offsets
        seen = [F.embedding(rows, embedding.flatten(0, 1))] if is_dense else []
        below = embedding
        last = []
        for k in range(self.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = self._layer(k)
            bias_hn = bias_hh[:, 2 * self.hidden_size :]
            folded = torch.cat([bias_hh[:, : 2 * self.hidden_size], torch.zeros_like(bias_hn)], 1)
            bias = (bias_ih + folded).unsqueeze(1)
            if k == 0:  # a table of V input products, as in CharModel
                table = torch.baddbmm(bias, embedding, weight_ih.transpose(1, 2))
                gates_x = F.embedding(rows, table.flatten(0, 1))
            else:
                inputs = torch.cat(seen, 3) if is_dense else below
                product = torch.baddbmm(bias, _by_member(inputs), weight_ih.transpose(1, 2))
                gates_x = product.view(members, time, batch, -1).transpose(0, 1)
            h0 = state[k].to(self.dtype)
            outputs = StackedGRU.apply(gates_x, h0, weight_hh, bias_hn.unsqueeze(1))
            last.append(outputs[-1].to(state))
            if dropout:
                outputs = outputs * self._mask((time, batch, self.hidden_size), dropout, 1)
            below = outputs
            seen.append(below)
        return (torch.cat(seen, 3) if is_dense else below), torch.stack(last)

    def _layer(self, k: int) -> list[Tensor]:
        """Return a layer's weights in the order of PARAMETERS, in training after weight_drop."""
        weights = [self._weight(f"recurrent.{name}_l{k}").to(self.dtype) for name in PARAMETERS]
        dropped = self.settings.weight_drop
        if self.training and dropped:
            weights[1] = weights[1] * self._mask(tuple(weights[1].shape[1:]), dropped, 0)
        return weights

    def _mask(self, shape: tuple[int, ...], dropped: float, dim: int) -> Tensor:
        """Return a mask of this shape for each network, stacked along dim."""
        device = self._weight("head.bias").device
        if device.type != "cpu":
            whole = (*shape[:dim], self.members, *shape[dim:])
            return mask(whole, dropped, device).to(self.dtype)
        assert self._generators is not None, "seed_masks comes first"
        masks = [mask(shape, dropped, device, generator) for generator in self._generators]
        return torch.stack(masks, dim).to(self.dtype)

    def _weight(self, name: str) -> Tensor:
        weight: Tensor = getattr(self, _key(name))
        return weight


def _key(name: str) -> str:
    """Return a tensor's name without dots, which a module's parameter may not have."""
    return name.replace(".", "_")


def _by_member(values: Tensor) -> Tensor:
    """Return values (T, M, B, N) as (M, T B, N)."""
    return values.transpose(0, 1).flatten(1, 2)
