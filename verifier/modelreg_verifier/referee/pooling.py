"""MaxPool, AveragePool and their global forms."""

import math

import numpy as np

from modelreg_verifier.referee.expected import (
    TINY,
    Call,
    Exact,
    Expected,
    Rounded,
    UndecidableError,
    gamma,
)
from modelreg_verifier.referee.reduce import averaged
from modelreg_verifier.referee.windows import Windows

__all__ = ["POOLING"]


def _windows(call: Call) -> Windows:
    x = call.input(0)
    kernel = call.get("kernel_shape", ())
    if x.ndim < 3 or len(kernel) != x.ndim - 2 or call.outputs > 1 or call.get("storage_order", 0):
        raise UndecidableError("a pooling of another form")
    return Windows.of(call, x.shape[2:], kernel)


def _max(call: Call) -> Expected:
    x = call.input(0)
    if x.dtype.kind != "f":
        raise UndecidableError(f"MaxPool of {x.dtype}")
    windows = _windows(call)
    best = np.full((*x.shape[:2], *windows.size), -np.inf, x.dtype)
    for _, seen in windows.over(x, -np.inf):
        np.maximum(best, seen, out=best)
    return Exact(best)


def _average(call: Call) -> Expected:
    x, windows = call.floats(0), _windows(call)
    padded = bool(call.get("count_include_pad", 0))
    if padded and call.get("ceil_mode", 0):
        raise UndecidableError("AveragePool that counts pads and rounds up")  # versions of ONNX differ
    total, sizes = (np.zeros((*x.shape[:2], *windows.size)) for _ in range(2))
    count = np.zeros((1, 1, *windows.size))
    for _, seen in windows.over(x, 0.0):
        total += seen
        sizes += np.abs(seen)
    for _, there in windows.over(np.ones((1, 1, *x.shape[2:])), float(padded)):
        count += there
    terms = math.prod(windows.kernel)
    return Rounded(total / count, gamma(terms + 2) * sizes / count + terms * TINY)


def _global_max(call: Call) -> Expected:
    x = call.input(0)
    return Exact(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def _global_average(call: Call) -> Expected:
    x = call.floats(0)
    return averaged(x, tuple(range(2, x.ndim)), keep=True)


POOLING = {
    "MaxPool": _max,
    "AveragePool": _average,
    "GlobalMaxPool": _global_max,
    "GlobalAveragePool": _global_average,
}
"""By the operator's name in ONNX; each has one output."""
