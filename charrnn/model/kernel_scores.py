"""Matrix products, logits and nats in the compiled kernel (kernel/training.c).

Shapes: M, K, N of a matrix product; for logits M characters, K inputs of the head, N = V, the
vocabulary.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model import kernel


class _Product(ctypes.Structure):
    """A matrix product c = a b [+ bias]: Product of kernel/training.h. Strides are in numbers."""

    _fields_ = (
        ("level", ctypes.c_int32),
        ("adds", ctypes.c_int32),  # whether c is added to, and not overwritten
        ("threads", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("a", ctypes.c_void_p),
        ("a_row", ctypes.c_int64),
        ("a_inner", ctypes.c_int64),
        ("b", ctypes.c_void_p),
        ("b_inner", ctypes.c_int64),
        ("b_column", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("c", ctypes.c_void_p),
        ("c_row", ctypes.c_int64),
    )


class _Scores(ctypes.Structure):
    """Nats of targets under logits, and the logits' gradients: Scores of kernel/training.h."""

    _fields_ = (
        ("level", ctypes.c_int32),
        ("threads", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("vocabulary", ctypes.c_int64),
        ("x", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("nats", ctypes.c_void_p),
        ("slopes", ctypes.c_void_p),
    )


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, bfloat16: bool = False) -> Tensor:
    """Return a (M, K) @ b (K, N) [+ bias (N)]. a and b are each dense in one direction."""
    rows, inner = a.shape
    columns = b.shape[1]
    result = a.new_empty(rows, columns)
    library = kernel.loaded()
    a_row, a_inner = a.stride()
    b_inner, b_column = b.stride()
    job = _Product(
        level=kernel.level_of(library, bfloat16),
        adds=0,
        threads=kernel.threads_for(rows * inner * columns, rows),
        rows=rows,
        columns=columns,
        inner=inner,
        a=kernel.address(a),
        a_row=a_row,
        a_inner=a_inner,
        b=kernel.address(b),
        b_inner=b_inner,
        b_column=b_column,
        bias=kernel.address(bias),
        c=kernel.address(result),
        c_row=columns,
    )
    kernel.check_result(library.charrnn_product(ctypes.byref(job)))
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return torch.nn.functional.linear: x (..., K), weight (N, K), bias (N) -> (..., N).

    Raises TypeError, ValueError.
    """
    _check(x, weight, bias)
    logits: Tensor = _Linear.apply(x, weight, bias)
    return logits


def summed_nats(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, bfloat16: bool = False
) -> Tensor:
    """Return the sum of -ln P(target), float64, under the logits linear(x, weight, bias).

    x (..., K), weight (V, K), bias (V), targets (...) int64. Targets of -100 count for nothing, as
    in torch's cross_entropy. bfloat16: whether the gradients' factors are rounded to it. Raises
    TypeError, ValueError, IndexError.
    """
    needs_gradients = x.requires_grad or weight.requires_grad or bias.requires_grad
    keeps = torch.is_grad_enabled() and needs_gradients
    _check(x, weight, bias)
    kernel.check_shapes(torch.int64, (targets, tuple(x.shape[:-1])))
    total: Tensor = _SummedNats.apply(keeps, bfloat16, x, weight, bias, targets)
    return total


def each_nats(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return -ln P(target) of each target (...), float64, whose sum summed_nats returns.

    Ignored ones have 0. A number depends on no other row of x. Without gradients.
    """
    _check(x, weight, bias)
    kernel.check_shapes(torch.int64, (targets, tuple(x.shape[:-1])))
    rows = x.detach().reshape(-1, x.shape[-1]).contiguous()
    return _nats(rows, weight.detach().contiguous(), bias, targets, None).view(targets.shape)


def _check(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    any_shape: kernel.Shape = (None,) * x.dim()
    weight_shape = (None, x.shape[-1])
    bias_shape = (len(weight),)
    kernel.check_shapes(torch.float32, (x, any_shape), (weight, weight_shape), (bias, bias_shape))


def _nats(
    rows: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, slopes: Tensor | None
) -> Tensor:
    """Return -ln P(target) of each row, (M,) float64. rows (M, K) and weight (V, K), dense.

    slopes (M, V): where the gradients of the logits are written.
    """
    bias = bias.contiguous()
    targets = targets.reshape(-1).contiguous()
    count, inputs = rows.shape
    vocabulary = len(weight)
    nats = torch.empty(count, dtype=torch.float64)
    library = kernel.loaded()
    job = _Scores(
        level=kernel.level_of(library, bfloat16=False),
        threads=kernel.threads_for(rows.numel() * vocabulary, count),
        rows=count,
        inputs=inputs,
        vocabulary=vocabulary,
        x=kernel.address(rows),
        weight=kernel.address(weight),
        bias=kernel.address(bias),
        targets=kernel.address(targets),
        nats=kernel.address(nats),
        slopes=kernel.address(slopes),
    )
    kernel.check_result(library.charrnn_scores(ctypes.byref(job)), vocabulary)
    return nats


class _Linear(torch.autograd.Function):
    """linear as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()  # (M, K)
        weight = weight.contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.shape = x.shape
        logits = product(rows, weight.t(), bias.contiguous())
        return logits.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        d_out = d_out.reshape(len(rows), -1).contiguous()  # (M, N)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = product(d_out, weight).view(ctx.shape)
        d_weight = product(d_out.t(), rows)
        return d_x, d_weight, d_out.sum(0)


class _SummedNats(torch.autograd.Function):
    """summed_nats as autograd sees it.

    The forward pass makes the logits' gradients too (slopes), and never the logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        keeps: bool,
        bfloat16: bool,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()  # (M, K)
        weight = weight.contiguous()
        slopes = x.new_empty(len(rows), len(weight)) if keeps else None
        nats = _nats(rows, weight, bias, targets, slopes)
        if keeps:
            ctx.shape = x.shape
            ctx.bfloat16 = bfloat16
            ctx.save_for_backward(rows, weight, slopes)
        return nats.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, slopes = ctx.saved_tensors
        slopes = slopes * float(d_out)
        d_x = None
        if ctx.needs_input_grad[2]:
            d_x = product(slopes, weight, None, ctx.bfloat16).view(ctx.shape)
        d_weight = product(slopes.t(), rows, None, ctx.bfloat16)
        return None, None, d_x, d_weight, slopes.sum(0), None
