"""Reductions over axes."""

import math

import numpy as np

from modelreg_verifier.referee.expected import (
    TINY,
    Call,
    Exact,
    Expected,
    Floats,
    Rounded,
    U,
    UndecidableError,
    as_floats,
    gamma,
)
from modelreg_verifier.referee.sums import AGAIN, LAMBDA

__all__ = ["REDUCE", "averaged"]


def _axes(call: Call, since: int, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, which are an input from opset `since` on; None for no reduction at all."""
    given = call.optional(1)
    axes = list(call.get("axes", [])) if call.opset < since else [] if given is None else call.integers(1)
    if not axes:
        return None if call.get("noop_with_empty_axes", 0) else tuple(range(rank))
    if any(not -rank <= axis < rank for axis in axes):
        raise UndecidableError("axes that the tensor lacks")
    return tuple(sorted({axis % rank for axis in axes}))


def averaged(x: Floats, axes: tuple[int, ...], *, keep: bool, whole: bool = False) -> Rounded:
    """The mean over some axes, or the sum; the products of section 4 have 1 for a factor."""
    terms = math.prod(x.shape[axis] for axis in axes)
    if not terms:
        raise UndecidableError("a reduction of nothing")
    over = 1 if whole else terms
    total = x.sum(axis=axes, keepdims=keep)
    sizes = np.abs(x).sum(axis=axes, keepdims=keep)
    squares = (x * x).sum(axis=axes, keepdims=keep)
    hard = gamma(terms + 2) * sizes / over + terms * TINY
    soft = LAMBDA * U * np.sqrt(terms * (squares + total**2)) / over + math.sqrt(terms) * TINY

    def again() -> Floats:
        kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
        rows = x.transpose(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), terms)
        in_order = np.cumsum(rows.astype(np.float32), axis=-1, dtype=np.float32)[..., -1]
        off = np.abs(in_order.astype(np.float64) - rows.sum(axis=-1))
        return np.asarray(AGAIN * off / over).reshape(total.shape)

    return Rounded(np.asarray(total / over), np.asarray(hard), np.asarray(soft), again)


def _sum(call: Call) -> Expected:
    x = call.input(0)
    axes, keep = _axes(call, 13, x.ndim), bool(call.get("keepdims", 1))
    if axes is None:
        return Exact(x)
    if x.dtype.kind in "iu":
        return Exact(np.asarray(x.sum(axis=axes, keepdims=keep, dtype=x.dtype)))
    return averaged(as_floats(x), axes, keep=keep, whole=True)


def _mean(call: Call) -> Expected:
    x = call.input(0)
    axes = _axes(call, 18, x.ndim)
    return Exact(x) if axes is None else averaged(as_floats(x), axes, keep=bool(call.get("keepdims", 1)))


def _max(call: Call) -> Expected:
    x = call.input(0)
    axes = _axes(call, 18, x.ndim)
    if not x.size:
        raise UndecidableError("a reduction of nothing")
    return Exact(x if axes is None else np.asarray(x.max(axis=axes, keepdims=bool(call.get("keepdims", 1)))))


REDUCE = {"ReduceSum": _sum, "ReduceMean": _mean, "ReduceMax": _max}
"""By the operator's name in ONNX; each has one output."""
