"""MatMul, Gemm and Conv."""

from collections.abc import Iterator

import numpy as np

from modelreg_verifier.referee.expected import (
    Array,
    Call,
    Exact,
    Expected,
    Floats,
    UndecidableError,
    as_floats,
    room,
)
from modelreg_verifier.referee.sums import Products, summed
from modelreg_verifier.referee.windows import Windows

__all__ = ["LINEAR"]


def _matmul(call: Call) -> Expected:
    a, b = call.input(0), call.input(1)
    if not a.ndim or not b.ndim:
        raise UndecidableError("MatMul of scalars")
    wide, tall = a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b
    if wide.shape[-1] != tall.shape[-2]:
        raise UndecidableError("shapes that do not fit")
    try:
        stack = np.broadcast_shapes(wide.shape[:-2], tall.shape[:-2])
    except ValueError:
        raise UndecidableError("shapes that do not fit") from None
    shape = room((*stack, wide.shape[-2], tall.shape[-1]))
    final = (*stack, *wide.shape[-2:-1] * (a.ndim > 1), *tall.shape[-1:] * (b.ndim > 1))
    if a.dtype.kind in "iu":
        return Exact(np.matmul(a, b))
    left, right = as_floats(wide), as_floats(tall)
    return summed(
        Products(lambda: iter([(left, right)]), shape, left.shape[-1]), lambda array: array.reshape(final)
    )


def _gemm(call: Call) -> Expected:
    a, b = call.floats(0), call.floats(1)
    alpha, beta = (float(np.float32(call.get(name, 1.0))) for name in ("alpha", "beta"))
    a = alpha * (a.T if call.get("transA", 0) else a)
    b = b.T if call.get("transB", 0) else b
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise UndecidableError("shapes that do not fit")
    shape = (a.shape[0], b.shape[1])
    bias = None if call.optional(2) is None else _fitted(beta * call.floats(2), shape)
    return summed(Products(lambda: iter([(a, b)]), shape, a.shape[1] + 2, bias))


def _fitted(bias: Floats, shape: tuple[int, ...]) -> Floats:
    try:
        return np.broadcast_to(bias, shape)
    except ValueError:
        raise UndecidableError("a bias that does not fit") from None


def _conv(call: Call) -> Expected:
    x, w = call.floats(0), call.floats(1)
    groups = int(call.get("group", 1))
    if x.ndim < 3 or x.ndim != w.ndim or groups < 1 or w.shape[0] % groups:
        raise UndecidableError("shapes that do not fit")
    batch, channels, made = x.shape[0], w.shape[1], w.shape[0]
    if x.shape[1] != channels * groups:
        raise UndecidableError("channels that do not fit")
    windows = Windows.of(call, x.shape[2:], w.shape[2:])
    kernels = w.reshape(groups, made // groups, channels, *w.shape[2:])
    by_place = np.moveaxis(kernels, (0, 1, 2), (-3, -2, -1))
    shape = (batch, groups, made // groups, int(np.prod(windows.size)))

    def parts() -> Iterator[tuple[Floats, Floats]]:
        for place, seen in windows.over(x, 0.0):
            moved = seen.reshape(batch, groups, channels, shape[3])
            yield by_place[place][None], moved

    bias = call.optional(2)
    if bias is not None and bias.shape != (made,):
        raise UndecidableError("a bias that does not fit")
    shifted = None if bias is None else as_floats(bias).reshape(groups, made // groups, 1)

    def back(array: Array) -> Array:
        return array.reshape(batch, made, *windows.size)

    return summed(Products(parts, shape, channels * int(np.prod(windows.kernel)), shifted), back)


LINEAR = {"MatMul": _matmul, "Gemm": _gemm, "Conv": _conv}
"""By the operator's name in ONNX; each has one output."""
