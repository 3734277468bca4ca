"""The cells of equations.py for a whole sequence at full speed, and torch.nn's, behind one face.

One autograd.Function per cell. What does not depend on the state is done for all T at once: input
products before the loop, derivatives of the gates and the product for dW_hh around it. The loop
over time keeps only what must be there, in place. Gradients of gradients are not offered
(equations.py has them).

gates_x is the input's part of the gates, biases included, except the GRU's b_hn, which stands
inside the reset product.

Shapes: T time, B batch, E inputs, H hidden size, G gate rows (H, 3H or 4H). Time comes first.
Names in a backward pass: d_x is the gradient of x. k_x is a gate's derivative times what the gate
multiplies: the gradient of the gate's sum is k_x times the gradient that arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

State = tuple[Tensor, ...]  # of a layer: (h,) or (h, c), each (B, H)


def emptied(state: State, is_kept: Tensor) -> State:
    """Return a state (L, B, H) each with zeros in the rows that are not kept. is_kept (B,) bool."""
    return tuple(part * is_kept.to(part.device)[:, None] for part in state)


class RNNSequence(torch.autograd.Function):
    """The plain RNN: h_t = tanh(gates_x_t + W h_{t-1}).

    gates_x (T, B, H); h0 (B, H); W (H, H) -> outputs (T, B, H).
    """

    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor) -> Tensor:
        hs = torch.cat([h0.unsqueeze(0), gates_x])  # (T+1, B, H)
        weight = weight_hh.t()
        steps = hs.unbind()
        for h, h_next in zip(steps, steps[1:], strict=False):
            h_next.addmm_(h, weight).tanh_()
        ctx.save_for_backward(hs, weight_hh)
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        hs, weight_hh = ctx.saved_tensors
        slopes = 1 - hs[1:].square()  # (T, B, H)
        d_gates = torch.empty_like(slopes)
        d_h = torch.zeros_like(hs[0])
        for d_y, slope, d in _backwards(d_out, slopes, d_gates):
            torch.mul(d_h.add_(d_y), slope, out=d)
            torch.mm(d, weight_hh, out=d_h)
        return d_gates, d_h, _product(d_gates, hs[:-1])


class LSTMSequence(torch.autograd.Function):
    """The LSTM.

    gates_x (T, B, 4H) in the order i, f, g, o; h0, c0 (B, H); W (4H, H) -> outputs (T, B, H) and
    the last c (B, H).
    """

    @staticmethod
    def forward(
        ctx: Any, gates_x: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor
    ) -> tuple[Tensor, Tensor]:
        time = len(gates_x)
        batch, hidden = h0.shape
        gates = torch.empty_like(gates_x)  # after their nonlinearities
        hs = gates_x.new_empty(time + 1, batch, hidden)
        cs = gates_x.new_empty(time + 1, batch, hidden)
        tanh_c = gates_x.new_empty(time, batch, hidden)
        hs[0] = h0
        cs[0] = c0
        weight = weight_hh.t()
        h = h0
        c = c0
        for x, gate, h_next, c_next, tanh_next in _forwards(gates_x, gates, hs[1:], cs[1:], tanh_c):
            torch.addmm(x, h, weight, out=gate)
            i_f, g, o = gate.split([2 * hidden, hidden, hidden], 1)
            i, f = i_f.sigmoid_().chunk(2, 1)
            torch.mul(f, c, out=c_next).addcmul_(i, g.tanh_())
            torch.tanh(c_next, out=tanh_next)
            torch.mul(o.sigmoid_(), tanh_next, out=h_next)
            h = h_next
            c = c_next
        ctx.save_for_backward(gates, hs, cs, tanh_c, weight_hh)
        return hs[1:], c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_c_last: Tensor) -> tuple[Tensor, ...]:
        gates, hs, cs, tanh_c, weight_hh = ctx.saved_tensors
        time, batch, hidden = tanh_c.shape
        i, f, g, o = gates.chunk(4, 2)
        # k times d_c for i, f and g, and times d_h for o. d_c grows by d_h * slope_c.
        k = torch.empty_like(gates).view(time, batch, 4, hidden)
        torch.mul(g * i, 1 - i, out=k[:, :, 0])
        torch.mul(cs[:-1] * f, 1 - f, out=k[:, :, 1])
        torch.mul(i, 1 - g.square(), out=k[:, :, 2])
        torch.mul(tanh_c * o, 1 - o, out=k[:, :, 3])
        slope_c = o * (1 - tanh_c.square())
        d_gates = torch.empty_like(gates)
        d_by_gate = d_gates.view(time, batch, 4, hidden)
        d_h = torch.zeros_like(hs[0])
        d_c = d_c_last.clone()
        steps = _backwards(d_out, slope_c, k, d_by_gate, d_gates, f)
        for d_y, slope, k_t, d_by_gate_t, d, f_t in steps:
            d_h.add_(d_y)
            d_c.addcmul_(d_h, slope)
            torch.mul(k_t[:, :3], d_c.unsqueeze(1), out=d_by_gate_t[:, :3])
            torch.mul(k_t[:, 3], d_h, out=d_by_gate_t[:, 3])
            d_c.mul_(f_t)
            torch.mm(d, weight_hh, out=d_h)
        return d_gates, d_h, d_c, _product(d_gates, hs[:-1])


class GRUSequence(torch.autograd.Function):
    """The GRU that resets after the product, as torch.nn.GRU.

    gates_x (T, B, 3H) in the order r, z, n; h0 (B, H); W (3H, H); b_hn (H) -> outputs (T, B, H).
    """

    @staticmethod
    def forward(
        ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor, bias_hn: Tensor
    ) -> Tensor:
        time = len(gates_x)
        batch, hidden = h0.shape
        r_z = gates_x[:, :, : 2 * hidden].clone()
        n = gates_x[:, :, 2 * hidden :].clone()
        h_n = gates_x.new_empty(time, batch, hidden)  # W_hn h + b_hn, which r multiplies
        hs = gates_x.new_empty(time + 1, batch, hidden)
        hs[0] = h0
        w_rz = weight_hh[: 2 * hidden].t()
        w_n = weight_hh[2 * hidden :].t()
        h = h0
        for rz_t, n_t, product, h_next in _forwards(r_z, n, h_n, hs[1:]):
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
        time, batch, hidden = n.shape
        r, z = r_z.chunk(2, 2)
        k_z = (hs[:-1] - n) * z * (1 - z)
        k_n = (1 - z) * (1 - n.square())
        k_r = h_n * r * (1 - r)
        d_gates_h = n.new_empty(time, batch, 3 * hidden)  # of r, z and W_hn h + b_hn
        d_n = torch.empty_like(n)
        d_h = torch.zeros_like(hs[0])
        steps = _backwards(d_out, k_z, k_n, k_r, r, z, d_n, d_gates_h)
        for d_y, k_z_t, k_n_t, k_r_t, r_t, z_t, d_n_t, d in steps:
            d_r_t, d_z_t, d_product = d.chunk(3, 1)
            d_h.add_(d_y)
            torch.mul(d_h, k_z_t, out=d_z_t)
            torch.mul(d_h, k_n_t, out=d_n_t)
            torch.mul(d_n_t, k_r_t, out=d_r_t)
            torch.mul(d_n_t, r_t, out=d_product)
            d_h.mul_(z_t).addmm_(d, weight_hh)
        d_gates_x = torch.cat([d_gates_h[:, :, : 2 * hidden], d_n], 2)
        d_weight_hh = _product(d_gates_h, hs[:-1])
        d_bias_hn = d_gates_h[:, :, 2 * hidden :].sum((0, 1))
        return d_gates_x, d_h, d_weight_hh, d_bias_hn


class GRUBeforeSequence(torch.autograd.Function):
    """The lecture's GRU, which resets before the product.

    gates_x (T, B, 3H) in the order r, z, n; h0 (B, H); W (3H, H) -> outputs (T, B, H).
    """

    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, h0: Tensor, weight_hh: Tensor) -> Tensor:
        time = len(gates_x)
        batch, hidden = h0.shape
        r_z = gates_x[:, :, : 2 * hidden].clone()
        n = gates_x[:, :, 2 * hidden :].clone()
        reset_h = gates_x.new_empty(time, batch, hidden)
        hs = gates_x.new_empty(time + 1, batch, hidden)
        hs[0] = h0
        w_rz = weight_hh[: 2 * hidden].t()
        w_n = weight_hh[2 * hidden :].t()
        h = h0
        for rz_t, n_t, reset, h_next in _forwards(r_z, n, reset_h, hs[1:]):
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
        time, batch, hidden = n.shape
        w_rz = weight_hh[: 2 * hidden]
        w_n = weight_hh[2 * hidden :]
        r, z = r_z.chunk(2, 2)
        k_z = (hs[:-1] - n) * z * (1 - z)
        k_n = (1 - z) * (1 - n.square())
        k_r = hs[:-1] * r * (1 - r)
        d_gates = n.new_empty(time, batch, 3 * hidden)
        d_h = torch.zeros_like(hs[0])
        d_reset = torch.empty_like(hs[0])
        steps = _backwards(d_out, k_z, k_n, k_r, r, z, d_gates)
        for d_y, k_z_t, k_n_t, k_r_t, r_t, z_t, d in steps:
            d_rz_t, d_n_t = d.split([2 * hidden, hidden], 1)
            d_r_t, d_z_t = d_rz_t.chunk(2, 1)
            d_h.add_(d_y)
            torch.mul(d_h, k_z_t, out=d_z_t)
            torch.mul(d_h, k_n_t, out=d_n_t)
            torch.mm(d_n_t, w_n, out=d_reset)
            torch.mul(d_reset, k_r_t, out=d_r_t)
            d_h.mul_(z_t).addcmul_(d_reset, r_t).addmm_(d_rz_t, w_rz)
        d_w_rz = _product(d_gates[:, :, : 2 * hidden], hs[:-1])
        d_w_n = _product(d_gates[:, :, 2 * hidden :], reset_h)
        return d_gates, d_h, torch.cat([d_w_rz, d_w_n])


def run_own(
    cell: str, gates_x: Tensor, state: State, weight_hh: Tensor, bias_hn: Tensor | None
) -> tuple[Tensor, State]:
    """Run one layer over time: outputs (T, B, H) and the last state. gates_x (T, B, G)."""
    if cell == "lstm":
        h, c = state
        outputs, c = LSTMSequence.apply(gates_x, h, c, weight_hh)
        return outputs, (outputs[-1], c)
    (h,) = state
    if cell == "gru":
        outputs = GRUSequence.apply(gates_x, h, weight_hh, bias_hn)
    else:
        sequence = {"rnn": RNNSequence, "gru-before": GRUBeforeSequence}[cell]
        outputs = sequence.apply(gates_x, h, weight_hh)
    return outputs, (outputs[-1],)


def folded_bias(cell: str, bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the bias of the input product, and the GRU's b_hn, which r multiplies."""
    if cell != "gru":
        return bias_ih + bias_hh, None
    hidden = len(bias_hh) // 3
    bias_hn = bias_hh[2 * hidden :]
    folded = torch.cat([bias_hh[: 2 * hidden], torch.zeros_like(bias_hn)])
    return bias_ih + folded, bias_hn


def torch_layer(cell: str, input_size: int, hidden_size: int) -> nn.RNNBase:
    """Return torch.nn's layer for a cell, time-major. Raises KeyError for gru-before."""
    kinds: dict[str, Callable[[int, int], nn.RNNBase]] = {
        "rnn": nn.RNN,
        "lstm": nn.LSTM,
        "gru": nn.GRU,
    }
    # Its own initial weights are thrown away: they must not move the generator.
    with torch.random.fork_rng(devices=[]):
        return kinds[cell](input_size, hidden_size)


def run_torch_as(
    dtype: torch.dtype,
    cell: str,
    inputs: Tensor,
    state: State,
    weights: tuple[Tensor, ...],
    train: bool,
) -> tuple[Tensor, State]:
    """Compute what torch_layer computes, in another type: outputs (T, B, H) and the last state.

    inputs (T, B, E) and the outputs are in dtype, state and weights in their own type.
    torch.autocast will not do: it runs cuDNN's RNNs in float16, whatever type is asked for
    (ATen/cudnn/AutocastRNN.cpp).
    """
    # One piece of memory in cuDNN's order (weight_ih, weight_hh, bias_ih, bias_hh): otherwise it
    # repacks them and warns.
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


def _forwards(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    """Return the tensors' steps in time, together."""
    return zip(*(tensor.unbind() for tensor in tensors), strict=True)


def _backwards(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    """Return the tensors' steps in time together, the last one first."""
    return zip(*(reversed(tensor.unbind()) for tensor in tensors), strict=True)


def _product(d_gates: Tensor, inputs: Tensor) -> Tensor:
    """Sum d_gates^T inputs over time and batch: (T, B, G), (T, B, H) -> (G, H)."""
    return d_gates.flatten(0, 1).t() @ inputs.flatten(0, 1)
