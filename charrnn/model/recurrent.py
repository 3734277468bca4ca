"""The cells of equations.py for a whole sequence at full speed, and torch.nn's, behind one face.

One autograd.Function per cell. What does not depend on the state is done for all T at once (input products before
the loop, derivatives of the gates and the product for dW_hh around it); the loop over time keeps only what must be
there, in place. Everything is time-major: (T, B, .). Gradients of gradients are not offered (equations.py has them).

gates_x is the input's part of the gates, biases included, except the GRU's b_hn, which sits inside the reset product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

State = tuple[Tensor, ...]


class RNNSequence(torch.autograd.Function):
    """h_t = tanh(gates_x_t + W h_{t-1}).  gates_x (T, B, H), h0 (B, H), W (H, H) -> outputs (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor) -> Tensor:
        hs = torch.cat([h0.unsqueeze(0), gates_x])
        weight = weight_hh.t()
        steps = hs.unbind()
        for before, after in zip(steps, steps[1:], strict=False):
            after.addmm_(before, weight).tanh_()
        ctx.save_for_backward(hs, weight_hh)
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        hs, weight_hh = ctx.saved_tensors
        slope = 1 - hs[1:].square()
        d_gates = torch.empty_like(slope)
        d_h = torch.zeros_like(hs[0])
        for d_y, k, d in zip(
            reversed(d_out.unbind()),
            reversed(slope.unbind()),
            reversed(d_gates.unbind()),
            strict=True,
        ):
            torch.mul(d_h.add_(d_y), k, out=d)
            torch.mm(d, weight_hh, out=d_h)
        return d_gates, d_h, _product(d_gates, hs[:-1])


class LSTMSequence(torch.autograd.Function):
    """gates_x (T, B, 4H) in the order i, f, g, o; h0, c0 (B, H); W (4H, H) -> outputs (T, B, H), last c (B, H)."""

    @staticmethod
    def forward(
        ctx: Any, gates_x: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor
    ) -> tuple[Tensor, Tensor]:
        time, batch, hidden = len(gates_x), *h0.shape
        gates = torch.empty_like(gates_x)
        hs, cs = (
            gates_x.new_empty(time + 1, batch, hidden),
            gates_x.new_empty(time + 1, batch, hidden),
        )
        tanh_c = gates_x.new_empty(time, batch, hidden)
        hs[0], cs[0] = h0, c0
        weight = weight_hh.t()
        h, c = h0, c0
        rows = zip(
            gates_x.unbind(),
            gates.unbind(),
            hs.unbind()[1:],
            cs.unbind()[1:],
            tanh_c.unbind(),
            strict=True,
        )
        for x, gate, h_next, c_next, tanh_next in rows:
            torch.addmm(x, h, weight, out=gate)
            i_f, g, o = gate.split([2 * hidden, hidden, hidden], 1)
            i, f = i_f.sigmoid_().chunk(2, 1)
            torch.mul(f, c, out=c_next).addcmul_(i, g.tanh_())
            torch.tanh(c_next, out=tanh_next)
            torch.mul(o.sigmoid_(), tanh_next, out=h_next)
            h, c = h_next, c_next
        ctx.save_for_backward(gates, hs, cs, tanh_c, weight_hh)
        return hs[1:], c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_c_last: Tensor) -> tuple[Tensor, ...]:
        gates, hs, cs, tanh_c, weight_hh = ctx.saved_tensors
        time, batch, hidden = tanh_c.shape
        i, f, g, o = gates.chunk(4, 2)
        # d(gate before its nonlinearity) = k * dc for i, f, g and k * dh for o; dc += dh * slope_c.
        k = torch.empty_like(gates).view(time, batch, 4, hidden)
        torch.mul(g * i, 1 - i, out=k[:, :, 0])
        torch.mul(cs[:-1] * f, 1 - f, out=k[:, :, 1])
        torch.mul(i, 1 - g.square(), out=k[:, :, 2])
        torch.mul(tanh_c * o, 1 - o, out=k[:, :, 3])
        slope_c = o * (1 - tanh_c.square())
        d_gates = torch.empty_like(gates)
        d_h, d_c = torch.zeros_like(hs[0]), d_c_last.clone()
        rows = (
            tensor.unbind()
            for tensor in (d_out, slope_c, k, d_gates.view(time, batch, 4, hidden), d_gates, f)
        )
        for d_y, slope, k_t, d4, d, f_t in reversed(list(zip(*rows, strict=True))):
            d_h.add_(d_y)
            d_c.addcmul_(d_h, slope)
            torch.mul(k_t[:, :3], d_c.unsqueeze(1), out=d4[:, :3])
            torch.mul(k_t[:, 3], d_h, out=d4[:, 3])
            d_c.mul_(f_t)
            torch.mm(d, weight_hh, out=d_h)
        return d_gates, d_h, d_c, _product(d_gates, hs[:-1])


class GRUSequence(torch.autograd.Function):
    """Reset after the product, as torch.nn.GRU. gates_x (T, B, 3H): r, z, n; h0; W (3H, H); b_hn (H) -> outputs."""

    @staticmethod
    def forward(
        ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor, bias_hn: Tensor
    ) -> Tensor:
        time, batch, hidden = len(gates_x), *h0.shape
        r_z = gates_x[:, :, : 2 * hidden].clone()
        n = gates_x[:, :, 2 * hidden :].clone()
        h_n = gates_x.new_empty(
            time, batch, hidden
        )  # W_hn h + b_hn, what the reset gate multiplies
        hs = gates_x.new_empty(time + 1, batch, hidden)
        hs[0] = h0
        w_rz, w_n = weight_hh[: 2 * hidden].t(), weight_hh[2 * hidden :].t()
        h = h0
        for rz_t, n_t, product, h_next in zip(
            r_z.unbind(), n.unbind(), h_n.unbind(), hs.unbind()[1:], strict=True
        ):
            r, z = rz_t.addmm_(h, w_rz).sigmoid_().chunk(2, 1)
            torch.addmm(bias_hn, h, w_n, out=product)
            n_t.addcmul_(r, product).tanh_()
            torch.lerp(n_t, h, z, out=h_next)
            h = h_next
        ctx.save_for_backward(r_z, n, h_n, hs, weight_hh)
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        r_z, n, h_n, hs, weight_hh = ctx.saved_tensors
        hidden = n.shape[2]
        r, z = r_z.chunk(2, 2)
        k_z = (hs[:-1] - n) * z * (1 - z)
        k_n = (1 - z) * (1 - n.square())
        k_r = h_n * r * (1 - r)
        d_gates_h = torch.empty(
            *n.shape[:2], 3 * hidden, dtype=n.dtype, device=n.device
        )  # r, z, W_hn h
        d_n = torch.empty_like(n)
        d_h = torch.zeros_like(hs[0])
        rows = (tensor.unbind() for tensor in (d_out, k_z, k_n, k_r, r, z, d_n, d_gates_h))
        for d_y, kz, kn, kr, r_t, z_t, dn, d in reversed(list(zip(*rows, strict=True))):
            d_r, d_z, d_product = d.chunk(3, 1)
            d_h.add_(d_y)
            torch.mul(d_h, kz, out=d_z)
            torch.mul(d_h, kn, out=dn)
            torch.mul(dn, kr, out=d_r)
            torch.mul(dn, r_t, out=d_product)
            d_h.mul_(z_t).addmm_(d, weight_hh)
        d_gates_x = torch.cat([d_gates_h[:, :, : 2 * hidden], d_n], 2)
        return (
            d_gates_x,
            d_h,
            _product(d_gates_h, hs[:-1]),
            d_gates_h[:, :, 2 * hidden :].sum((0, 1)),
        )


class GRUBeforeSequence(torch.autograd.Function):
    """Reset before the product, as the lecture. gates_x (T, B, 3H): r, z, n; h0; W (3H, H) -> outputs (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor) -> Tensor:
        time, batch, hidden = len(gates_x), *h0.shape
        r_z = gates_x[:, :, : 2 * hidden].clone()
        n = gates_x[:, :, 2 * hidden :].clone()
        reset_h = gates_x.new_empty(time, batch, hidden)
        hs = gates_x.new_empty(time + 1, batch, hidden)
        hs[0] = h0
        w_rz, w_n = weight_hh[: 2 * hidden].t(), weight_hh[2 * hidden :].t()
        h = h0
        for rz_t, n_t, reset, h_next in zip(
            r_z.unbind(), n.unbind(), reset_h.unbind(), hs.unbind()[1:], strict=True
        ):
            r, z = rz_t.addmm_(h, w_rz).sigmoid_().chunk(2, 1)
            torch.mul(r, h, out=reset)
            n_t.addmm_(reset, w_n).tanh_()
            torch.lerp(n_t, h, z, out=h_next)
            h = h_next
        ctx.save_for_backward(r_z, n, reset_h, hs, weight_hh)
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        r_z, n, reset_h, hs, weight_hh = ctx.saved_tensors
        hidden = n.shape[2]
        w_rz, w_n = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
        r, z = r_z.chunk(2, 2)
        k_z = (hs[:-1] - n) * z * (1 - z)
        k_n = (1 - z) * (1 - n.square())
        k_r = hs[:-1] * r * (1 - r)
        d_gates = torch.empty(*n.shape[:2], 3 * hidden, dtype=n.dtype, device=n.device)
        d_h, d_reset = torch.zeros_like(hs[0]), torch.empty_like(hs[0])
        rows = (tensor.unbind() for tensor in (d_out, k_z, k_n, k_r, r, z, d_gates))
        for d_y, kz, kn, kr, r_t, z_t, d in reversed(list(zip(*rows, strict=True))):
            d_rz, d_n = d.split([2 * hidden, hidden], 1)
            d_r, d_z = d_rz.chunk(2, 1)
            d_h.add_(d_y)
            torch.mul(d_h, kz, out=d_z)
            torch.mul(d_h, kn, out=d_n)
            torch.mm(d_n, w_n, out=d_reset)
            torch.mul(d_reset, kr, out=d_r)
            d_h.mul_(z_t).addcmul_(d_reset, r_t).addmm_(d_rz, w_rz)
        d_weight = torch.cat(
            [
                _product(d_gates[:, :, : 2 * hidden], hs[:-1]),
                _product(d_gates[:, :, 2 * hidden :], reset_h),
            ]
        )
        return d_gates, d_h, d_weight


def run_own(
    cell: str, gates_x: Tensor, state: State, weight_hh: Tensor, bias_hn: Tensor | None
) -> tuple[Tensor, State]:
    """One layer over time. gates_x (T, B, G), state of (B, H) -> outputs (T, B, H), last state of (B, H)."""
    if cell == "lstm":
        outputs, c = LSTMSequence.apply(gates_x, state[0], state[1], weight_hh)
        return outputs, (outputs[-1], c)
    if cell == "gru":
        outputs = GRUSequence.apply(gates_x, state[0], weight_hh, bias_hn)
    else:
        outputs = {"rnn": RNNSequence, "gru-before": GRUBeforeSequence}[cell].apply(
            gates_x, state[0], weight_hh
        )
    return outputs, (outputs[-1],)


def folded_bias(cell: str, bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor | None]:
    """What is added to the input product, and the b_hn that must stay inside the GRU's reset product."""
    if cell != "gru":
        return bias_ih + bias_hh, None
    hidden = len(bias_hh) // 3
    return bias_ih + torch.cat(
        [bias_hh[: 2 * hidden], torch.zeros_like(bias_hh[2 * hidden :])]
    ), bias_hh[2 * hidden :]


def torch_layer(cell: str, input_size: int, hidden_size: int) -> nn.RNNBase:
    """torch.nn's layer for a cell, time-major. gru-before has none (KeyError)."""
    kinds: dict[str, Callable[[int, int], nn.RNNBase]] = {
        "rnn": nn.RNN,
        "lstm": nn.LSTM,
        "gru": nn.GRU,
    }
    with torch.random.fork_rng(
        devices=[]
    ):  # its own initial weights are thrown away: draw no numbers for them
        return kinds[cell](input_size, hidden_size)


def run_torch_as(
    dtype: torch.dtype,
    cell: str,
    inputs: Tensor,
    state: State,
    weights: tuple[Tensor, ...],
    train: bool,
) -> tuple[Tensor, State]:
    """What torch_layer computes, in another type. inputs, outputs (T, B, .) are in it, state (B, H) and weights in theirs.

    Explicitly: under torch.autocast cuDNN's RNNs run in float16, whatever type is asked for (ATen/cudnn/AutocastRNN.cpp).
    """
    # One piece of memory in cuDNN's order (weight_ih, weight_hh, bias_ih, bias_hh), lest it repacks them and warns.
    flat = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    views = flat.split([weight.numel() for weight in weights])
    packed = [view.view(weight.shape) for view, weight in zip(views, weights, strict=True)]
    hx = [part.unsqueeze(0).to(dtype) for part in state]
    if cell == "lstm":
        outputs, *last = torch.lstm(inputs, hx, packed, True, 1, 0.0, train, False, False)
    else:
        run = {"rnn": torch.rnn_tanh, "gru": torch.gru}[cell]
        outputs, *last = run(inputs, hx[0], packed, True, 1, 0.0, train, False, False)
    return outputs, tuple(part[0].to(state[0]) for part in last)


def _product(d_gates: Tensor, inputs: Tensor) -> Tensor:
    """Sum over time and batch of d_gates^T inputs: one matrix product for all steps. (T, B, G), (T, B, H) -> (G, H)."""
    return d_gates.flatten(0, 1).t() @ inputs.flatten(0, 1)
