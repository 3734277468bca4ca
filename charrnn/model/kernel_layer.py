"""One recurrent layer over a whole sequence in the compiled kernel (kernel/training.c).

The kernel sees hidden sizes that are multiples of UNITS. Padding to them happens here and shows
nowhere outside.

Shapes: T time, B batch, V vocabulary, K inputs, G gate rows of a layer, H hidden size; H' and G'
are H and G padded.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.kernel.library import CELLS
from charrnn.layout import GATES, PARAMETERS
from charrnn.model import kernel
from charrnn.model.recurrent import State

UNITS = 16  # the hidden size that the kernel sees is a multiple of it
# Numbers per unit and character that the forward pass keeps for the backward pass, beside h and c.
KEPT = {"rnn": 0, "lstm": 4, "gru": 4, "gru-before": 4}
# Gradients per unit and character that the backward pass holds.
SLOPES = {"rnn": 1, "lstm": 4, "gru": 4, "gru-before": 3}


class _Sequence(ctypes.Structure):
    """A pass over a sequence: Sequence of kernel/training.h. The pointers come last."""

    _fields_ = (
        ("cell", ctypes.c_int32),
        ("level", ctypes.c_int32),
        ("threads", ctypes.c_int64),
        ("time", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("vocabulary", ctypes.c_int64),
        ("ids", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("weight_ih", ctypes.c_void_p),
        ("weight_hh", ctypes.c_void_p),
        ("bias_ih", ctypes.c_void_p),
        ("bias_hh", ctypes.c_void_p),
        ("hs", ctypes.c_void_p),
        ("cs", ctypes.c_void_p),
        ("saved", ctypes.c_void_p),
        ("d_out", ctypes.c_void_p),
        ("d_h", ctypes.c_void_p),
        ("d_c", ctypes.c_void_p),
        ("d_gates", ctypes.c_void_p),
        ("d_x", ctypes.c_void_p),
        ("d_weight_ih", ctypes.c_void_p),
        ("d_weight_hh", ctypes.c_void_p),
        ("d_bias_ih", ctypes.c_void_p),
        ("d_bias_hh", ctypes.c_void_p),
    )


def run_layer(
    cell: str,
    ids: Tensor | None,
    x: Tensor,
    state: State,
    weights: tuple[Tensor, ...],
    bfloat16: bool = False,
) -> tuple[Tensor, State]:
    """Run one layer over time: outputs (T, B, H), last state of (B, H).

    x (T, B, K); or x (V, K) and ids (T, B) int64, whose place (t, b) reads row ids[t, b].
    weights as torch.nn's: weight_ih (G, K), weight_hh (G, H), bias_ih, bias_hh (G).
    bfloat16: whether factors of products are rounded to it.
    Raises TypeError, ValueError, and IndexError for an id without a row.
    """
    weight_ih, weight_hh, *biases = weights
    size = weight_hh.shape[1]
    rows = GATES[cell] * size
    batch = x.shape[1] if ids is None else ids.shape[1]
    x_shape: kernel.Shape = (None, None, None) if ids is None else (None, None)
    kernel.check_shapes(
        torch.float32,
        (x, x_shape),
        *((part, (batch, size)) for part in state),
        (weight_ih, (rows, x.shape[-1])),
        (weight_hh, (rows, size)),
        *((bias, (rows,)) for bias in biases),
    )
    if ids is not None:
        kernel.check_shapes(torch.int64, (ids, (None, None)))
    keeps = torch.is_grad_enabled() and any(part.requires_grad for part in (x, *state, *weights))
    h = state[0]
    c = state[1] if cell == "lstm" else None
    outputs, last_c = _Layer.apply(cell, keeps, bfloat16, ids, x, *weights, h, c)
    if cell == "lstm":
        return outputs, (outputs[-1], last_c)
    return outputs, (outputs[-1],)


class _Layer(torch.autograd.Function):
    """The layer as autograd sees it. Everything that reaches the kernel is dense."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        keeps: bool,
        bfloat16: bool,
        ids: Tensor | None,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        h0: Tensor,
        c0: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return outputs (T, B, H) and an LSTM's last c (B, H).

        keeps: whether a backward pass may follow.
        """
        # 1. Inputs and weights, dense and padded.
        size = h0.shape[1]
        gates = GATES[cell]
        x = x.contiguous()
        places = x
        if ids is not None:
            ids = ids.contiguous()
            places = ids
        time, batch = places.shape[:2]
        weights = [part.contiguous() for part in (weight_ih, weight_hh, bias_ih, bias_hh)]
        if size % UNITS:
            weights = [_padded_rows(part, gates, size) for part in weights]
            weights[1] = _padded(weights[1])
        hidden = len(weights[0]) // gates

        # 2. What the pass writes. Without a backward pass the kernel needs one c only.
        hs = x.new_empty(time + 1, batch, hidden)  # h before each character, and the last one
        hs[0] = _padded(h0)
        cs = saved = None
        if c0 is not None:
            kept_steps = time + 1 if keeps else 1
            cs = x.new_empty(kept_steps, batch, hidden)
            cs[0] = _padded(c0)
        if keeps and KEPT[cell]:
            saved = x.new_empty(time, batch, KEPT[cell] * hidden)

        # 3. The pass.
        _run_pass("charrnn_layer_forward", cell, bfloat16, ids, x, weights, hs, cs, saved)
        if keeps:
            ctx.cell = cell
            ctx.size = size
            ctx.bfloat16 = bfloat16
            ctx.save_for_backward(ids, x, *weights, hs, cs, saved)
        last_c = None if cs is None else _cut(cs[-1], size).clone()
        return _cut(hs[1:], size), last_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return a gradient for each argument of forward. d_out (T, B, H); an LSTM's d_c (B, H)."""
        # 1. What the forward pass kept, and room for the gradients.
        ids, x, *weights, hs, cs, saved = ctx.saved_tensors
        cell = ctx.cell
        size = ctx.size
        gates = GATES[cell]
        time = len(hs) - 1
        batch, hidden = hs.shape[1:]
        needs_d_x = ctx.needs_input_grad[4]
        d_x = torch.empty_like(x) if needs_d_x else None
        d_weights = [torch.empty_like(part) for part in weights]
        d_h = x.new_zeros(batch, hidden)  # the gradient of h0 in the end, and so for d_c
        if d_c is not None:
            d_c = _padded(d_c).clone()

        # 2. The pass.
        gradients = {f"d_{name}": d for name, d in zip(PARAMETERS, d_weights, strict=True)}
        gradients |= {
            "d_out": _padded(d_out).contiguous(),
            "d_h": d_h,
            "d_gates": x.new_empty(time, batch, SLOPES[cell] * hidden),
        }
        _run_pass(
            "charrnn_layer_backward",
            cell,
            ctx.bfloat16,
            ids,
            x,
            weights,
            hs,
            cs,
            saved,
            d_c=d_c,
            d_x=d_x,
            **gradients,
        )

        # 3. The padding away.
        if size % UNITS:
            d_weights = [_cut_rows(part, gates, size) for part in d_weights]
            d_weights[1] = d_weights[1][:, :size]
        d_c0 = None if d_c is None else _cut(d_c, size)
        return None, None, None, None, d_x, *d_weights, _cut(d_h, size), d_c0


def _run_pass(
    name: str,
    cell: str,
    bfloat16: bool,
    ids: Tensor | None,
    x: Tensor,
    weights: list[Tensor],
    hs: Tensor,
    cs: Tensor | None,
    saved: Tensor | None,
    **gradients: Tensor | None,
) -> None:
    """Call a function of the kernel on dense tensors. `arrays` keeps them alive meanwhile."""
    library = kernel.loaded()
    time = len(hs) - 1
    batch, hidden = hs.shape[1:]
    inputs = x.shape[-1]
    rows = len(weights[0])
    arrays = {"ids": ids, "x": x, "hs": hs, "cs": cs, "saved": saved} | gradients
    arrays |= zip(PARAMETERS, weights, strict=True)
    if ids is None:
        products = time * batch * rows * (hidden + inputs)
        vocabulary = 0
    else:
        products = time * batch * rows * hidden
        vocabulary = len(x)
    job = _Sequence(
        cell=CELLS.index(cell),
        level=kernel.level_of(library, bfloat16),
        threads=kernel.threads_for(products, batch),
        time=time,
        batch=batch,
        hidden=hidden,
        inputs=inputs,
        vocabulary=vocabulary,
        **{part: kernel.address(array) for part, array in arrays.items()},
    )
    result = getattr(library, name)(ctypes.byref(job))
    kernel.check_result(result, len(x))


def _padded(values: Tensor) -> Tensor:
    """Return (..., H) as (..., H'), dense, with zeros added."""
    missing = -values.shape[-1] % UNITS
    if missing:
        values = F.pad(values, (0, missing))
    return values.contiguous()


def _cut(values: Tensor, size: int) -> Tensor:
    """Return (..., H') as (..., H), H = size."""
    return values if values.shape[-1] == size else values[..., :size]


def _padded_rows(values: Tensor, gates: int, size: int) -> Tensor:
    """Return (G, ...) as (G', ...): each gate's H rows padded to H' with zeros."""
    by_gate = values.view(gates, size, *values.shape[1:])
    missing = -size % UNITS
    padding = (0, 0, 0, missing) if values.dim() == 2 else (0, missing)
    return F.pad(by_gate, padding).view(-1, *values.shape[1:])


def _cut_rows(values: Tensor, gates: int, size: int) -> Tensor:
    """Return (G', ...) as (G, ...), dense: each gate's first H = size rows."""
    by_gate = values.view(gates, -1, *values.shape[1:])
    return by_gate[:, :size].reshape(gates * size, *values.shape[1:])
