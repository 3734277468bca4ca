"""A layer over a whole sequence in the compiled kernel (kernel/training.c): float32 on a CPU, forward and backward.

Same results as the functions of recurrent.py to rounding, and the same bits on any number of threads. With bfloat16 the
factors of matrix products are rounded to it; sums, gates, states, weights and gradients stay float32. Padding to the
kernel's units, memory and the number of threads are decided here; shapes are the caller's business.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.kernel.library import CELLS, lend_openmp, library
from charrnn.layout import GATES
from charrnn.model.recurrent import State

UNITS = 16  # the hidden size that the kernel sees is a multiple
SAVED = {
    "rnn": 0,
    "lstm": 4,
    "gru": 4,
    "gru-before": 4,
}  # numbers a unit kept for the backward pass, beside h and c
SLOPES = {
    "rnn": 1,
    "lstm": 4,
    "gru": 4,
    "gru-before": 3,
}  # gradients a unit that the backward pass holds
BAD_ID = -2  # of kernel/training.h
BFLOAT16 = 3  # its level that multiplies bfloat16
WORK_A_THREAD = 4_000_000  # products; a thread takes some 20 us to begin


class _Sequence(ctypes.Structure):
    """Sequence of kernel/training.h, field by field."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "level")),
        *(
            (name, ctypes.c_int64)
            for name in ("threads", "time", "batch", "hidden", "inputs", "vocabulary")
        ),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "ids",
                "x",
                "weight_ih",
                "weight_hh",
                "bias_ih",
                "bias_hh",
                "hs",
                "cs",
                "saved",
                "d_out",
                "d_h",
                "d_c",
                "d_gates",
                "d_x",
                "d_weight_ih",
                "d_weight_hh",
                "d_bias_ih",
                "d_bias_hh",
            )
        ),
    ]


class _Product(ctypes.Structure):
    """Product of kernel/training.h, field by field."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("level", "adds")),
        *((name, ctypes.c_int64) for name in ("threads", "rows", "columns", "inner")),
        ("a", ctypes.c_void_p),
        ("a_row", ctypes.c_int64),
        ("a_inner", ctypes.c_int64),
        ("b", ctypes.c_void_p),
        ("b_inner", ctypes.c_int64),
        ("b_column", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("c", ctypes.c_void_p),
        ("c_row", ctypes.c_int64),
    ]


class _Scores(ctypes.Structure):
    """Scores of kernel/training.h, field by field."""

    _fields_ = [
        ("level", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("threads", "rows", "inputs", "vocabulary")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "targets", "nats", "slopes")),
    ]


def is_usable() -> bool:
    """Whether there is a compiled kernel here."""
    return library() is not None


def has_bfloat16() -> bool:
    """Whether the kernel and this processor multiply bfloat16 (AVX512-BF16)."""
    kernel = library()
    return kernel is not None and bool(kernel.charrnn_bfloat16())


def _kernel() -> ctypes.CDLL:
    kernel = library()
    assert kernel is not None
    lend_openmp()
    return kernel


def run_layer(
    cell: str,
    ids: Tensor | None,
    x: Tensor,
    state: State,
    weights: tuple[Tensor, ...],
    bfloat16: bool = False,
) -> tuple[Tensor, State]:
    """One layer over time: outputs (T, B, H), last state of (B, H).

    x (T, B, K); or x (V, K) and ids (T, B) int64, whose place (t, b) reads row ids[t, b]. weights as torch.nn's:
    weight_ih (G, K), weight_hh (G, H), bias_ih, bias_hh (G). bfloat16: see has_bfloat16. Raises TypeError, ValueError, and
    IndexError for an id that has no row.
    """
    weight_ih, weight_hh, *biases = weights
    size, rows = weight_hh.shape[1], GATES[cell] * weight_hh.shape[1]
    batch = x.shape[1] if ids is None else ids.shape[1]
    _check(
        torch.float32,
        (x, (None,) * (3 if ids is None else 2)),
        *((part, (batch, size)) for part in state),
    )
    _check(
        torch.float32,
        (weight_ih, (rows, x.shape[-1])),
        (weight_hh, (rows, size)),
        *((part, (rows,)) for part in biases),
    )
    if ids is not None:
        _check(torch.int64, (ids, (None, None)))
    keep = torch.is_grad_enabled() and any(part.requires_grad for part in (x, *state, *weights))
    outputs, c = _Layer.apply(
        cell, keep, bfloat16, ids, x, *weights, *(state if len(state) == 2 else (state[0], None))
    )
    return outputs, (outputs[-1], c) if cell == "lstm" else (outputs[-1],)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """torch.nn.functional.linear: x (..., K), weight (N, K), bias (N) -> (..., N). Raises TypeError, ValueError."""
    _check_rows(x, weight, bias)
    return _Linear.apply(x, weight, bias)


def summed_nats(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, bfloat16: bool = False
) -> Tensor:
    """Sum of -ln P(target), float64, of logits linear(x, weight, bias); x (..., K), targets (...) int64.

    Targets of -100, as for torch's cross_entropy, count for nothing. bfloat16 is for the gradients. Raises TypeError,
    ValueError, IndexError.
    """
    keep = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or bias.requires_grad
    )
    _check_rows(x, weight, bias)
    _check(torch.int64, (targets, tuple(x.shape[:-1])))
    total: Tensor = _SummedNats.apply(keep, bfloat16, x, weight, bias, targets)
    return total


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        keep: bool,
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
        size, gates = h0.shape[1], GATES[cell]
        x, ids = x.contiguous(), None if ids is None else ids.contiguous()
        weights = [part.contiguous() for part in (weight_ih, weight_hh, bias_ih, bias_hh)]
        if size % UNITS:
            weights = [_widened(part, gates, size) for part in weights]
            weights[1] = _pad(weights[1])
        time, batch = (x if ids is None else ids).shape[:2]
        hidden = len(weights[0]) // gates
        hs = x.new_empty(time + 1, batch, hidden)
        hs[0] = _pad(h0)
        cs = saved = None
        if cell == "lstm":
            assert c0 is not None
            cs = x.new_empty((time + 1) if keep else 1, batch, hidden)
            cs[0] = _pad(c0)
        if keep and SAVED[cell]:
            saved = x.new_empty(time, batch, SAVED[cell] * hidden)
        _call("charrnn_layer_forward", cell, bfloat16, ids, x, weights, hs, cs, saved)
        if keep:
            ctx.cell, ctx.size, ctx.bfloat16 = cell, size, bfloat16
            ctx.save_for_backward(ids, x, *weights, hs, cs, saved)
        return _cut(hs[1:], size), _cut(cs[-1], size).clone() if cs is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        ids, x, *weights, hs, cs, saved = ctx.saved_tensors
        cell, size, gates = ctx.cell, ctx.size, GATES[ctx.cell]
        steps, batch, hidden = len(hs) - 1, hs.shape[1], hs.shape[2]
        d_x = torch.empty_like(x) if ctx.needs_input_grad[4] else None
        d_weights = [torch.empty_like(part) for part in weights]
        d_h = x.new_zeros(batch, hidden)
        d_c = _pad(d_c).clone() if d_c is not None else None
        _call(
            "charrnn_layer_backward",
            cell,
            ctx.bfloat16,
            ids,
            x,
            weights,
            hs,
            cs,
            saved,
            d_out=_pad(d_out).contiguous(),
            d_h=d_h,
            d_c=d_c,
            d_gates=x.new_empty(steps, batch, SLOPES[cell] * hidden),
            d_x=d_x,
            **dict(
                zip(
                    ("d_weight_ih", "d_weight_hh", "d_bias_ih", "d_bias_hh"), d_weights, strict=True
                )
            ),
        )
        if size % UNITS:
            d_weights = [_narrowed(part, gates, size) for part in d_weights]
            d_weights[1] = d_weights[1][:, :size]
        return (
            None,
            None,
            None,
            None,
            d_x,
            *d_weights,
            _cut(d_h, size),
            _cut(d_c, size) if d_c is not None else None,
        )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        weight, bias = weight.contiguous(), bias.contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.shape = x.shape
        return product(rows, weight.t(), bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        d_out = d_out.reshape(len(rows), -1).contiguous()
        d_x = product(d_out, weight).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return d_x, product(d_out.t(), rows), d_out.sum(0)


class _SummedNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        keep: bool,
        bfloat16: bool,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
    ) -> Tensor:
        rows, weight, bias = (
            x.reshape(-1, x.shape[-1]).contiguous(),
            weight.contiguous(),
            bias.contiguous(),
        )
        targets = targets.reshape(-1).contiguous()
        nats = torch.empty(len(rows), dtype=torch.float64)
        slopes = x.new_empty(len(rows), len(weight)) if keep else None
        kernel = _kernel()
        job = _Scores(
            kernel.charrnn_level(),
            _threads(rows.numel() * len(weight), len(rows)),
            *rows.shape,
            len(weight),
            *(part.data_ptr() for part in (rows, weight, bias, targets, nats)),
            slopes.data_ptr() if slopes is not None else None,
        )
        _raise(kernel.charrnn_scores(ctypes.byref(job)), len(weight))
        if keep:
            ctx.shape, ctx.bfloat16 = x.shape, bfloat16
            ctx.save_for_backward(rows, weight, slopes)
        return nats.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, slopes = ctx.saved_tensors
        slopes = slopes * float(d_out)
        d_x = (
            product(slopes, weight, None, ctx.bfloat16).view(ctx.shape)
            if ctx.needs_input_grad[2]
            else None
        )
        return None, None, d_x, product(slopes.t(), rows, None, ctx.bfloat16), slopes.sum(0), None


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, bfloat16: bool = False) -> Tensor:
    """a (M, K) @ b (K, N) [+ bias (N)], each of a and b dense in one direction -> (M, N)."""
    (rows, inner), columns = a.shape, b.shape[1]
    result = a.new_empty(rows, columns)
    kernel = _kernel()
    job = _Product(
        _level(kernel, bfloat16),
        0,
        _threads(rows * inner * columns, rows),
        rows,
        columns,
        inner,
        a.data_ptr(),
        *a.stride(),
        b.data_ptr(),
        *b.stride(),
        bias.data_ptr() if bias is not None else None,
        result.data_ptr(),
        columns,
    )
    _raise(kernel.charrnn_product(ctypes.byref(job)))
    return result


def _call(
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
    kernel = _kernel()
    steps, batch, hidden = len(hs) - 1, hs.shape[1], hs.shape[2]
    work = steps * batch * len(weights[0]) * (hidden + (x.shape[-1] if ids is None else 0))
    arrays = {"ids": ids, "x": x, "hs": hs, "cs": cs, "saved": saved} | gradients
    arrays |= zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), weights, strict=True)
    job = _Sequence(
        CELLS.index(cell),
        _level(kernel, bfloat16),
        _threads(work, batch),
        steps,
        batch,
        hidden,
        x.shape[-1],
        len(x) if ids is not None else 0,
        **{name: array.data_ptr() for name, array in arrays.items() if array is not None},
    )
    _raise(getattr(kernel, name)(ctypes.byref(job)), len(x))


def _level(kernel: ctypes.CDLL, bfloat16: bool) -> int:
    if bfloat16 and not kernel.charrnn_bfloat16():
        raise ValueError("this processor or this build of the kernel has no bfloat16")
    return BFLOAT16 if bfloat16 else int(kernel.charrnn_level())


def _raise(result: int, count: int = 0) -> None:
    """What a call of the kernel that did not end well means."""
    if result == BAD_ID:
        raise IndexError(f"an id is not below {count}")
    if result:
        raise MemoryError("no memory for the kernel's weights")


def _check(dtype: torch.dtype, *expected: tuple[Tensor, tuple[int | None, ...]]) -> None:
    """Each tensor has this shape (None: any size but 0): the kernel is told addresses only."""
    for each, shape in expected:
        if each.dtype != dtype or each.device.type != "cpu":
            raise TypeError(
                f"the kernel computes {dtype} on a CPU, not {each.dtype} on {each.device}"
            )
        found = tuple(each.shape)
        if (
            len(found) != len(shape)
            or 0 in found
            or any(a not in (None, b) for a, b in zip(shape, found, strict=True))
        ):
            raise ValueError(
                f"a tensor of shape {found} where the kernel expects {shape}, and none empty"
            )


def _check_rows(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    _check(
        torch.float32, (x, (None,) * x.dim()), (weight, (None, x.shape[-1])), (bias, (len(weight),))
    )


def _threads(work: int, rows: int) -> int:
    """One or all: an OpenMP whose teams grow and shrink ends and begins threads all the time."""
    threads = torch.get_num_threads()
    return threads if rows > 1 and 2 * work >= WORK_A_THREAD * threads else 1


def _pad(values: Tensor) -> Tensor:
    """(..., H) -> (..., H rounded up to UNITS), dense, zeros added."""
    missing = -values.shape[-1] % UNITS
    return (F.pad(values, (0, missing)) if missing else values).contiguous()


def _cut(values: Tensor, size: int) -> Tensor:
    """The other way: the padding away."""
    return values if values.shape[-1] == size else values[..., :size]


def _widened(values: Tensor, gates: int, size: int) -> Tensor:
    """(gates H, ...) -> (gates H', ...): every gate padded to whole units."""
    by_gate = values.view(gates, size, *values.shape[1:])
    missing = -size % UNITS
    padded = F.pad(by_gate, (0, 0, 0, missing) if values.dim() == 2 else (0, missing))
    return padded.view(-1, *values.shape[1:])


def _narrowed(values: Tensor, gates: int, size: int) -> Tensor:
    """The other way."""
    return values.view(gates, -1, *values.shape[1:])[:, :size].reshape(
        gates * size, *values.shape[1:]
    )
