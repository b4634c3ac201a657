"""QuantizeLinear and DequantizeLinear."""

import numpy as np

from modelreg_verifier.referee.expected import (
    Array,
    Call,
    Exact,
    Expected,
    Floats,
    U,
    UndecidableError,
    as_floats,
    rounded,
)

__all__ = ["QUANTIZED"]

_TYPES = frozenset({"int8", "uint8", "int16", "uint16"})


def _spread(call: Call, array: Array, like: Array) -> Array:
    """Scale or zero point, along its axis."""
    if array.size == 1:
        return array.reshape(())
    axis = int(call.get("axis", 1))
    if not -like.ndim <= axis < like.ndim or array.shape != (like.shape[axis],):
        raise UndecidableError("a scale of another form")
    return array.reshape([-1 if place == axis % like.ndim else 1 for place in range(like.ndim)])


def _quantize(call: Call) -> Expected:
    x = call.floats(0)
    scale = as_floats(_spread(call, call.input(1), x))
    zero = call.optional(2)
    zero = np.zeros((), np.uint8) if zero is None else _spread(call, zero, x)
    if zero.dtype.name not in _TYPES or call.get("block_size", 0) or call.get("output_dtype", 0):
        raise UndecidableError("QuantizeLinear of another form")
    steps = x / scale
    if not np.isfinite(steps).all():
        raise UndecidableError("QuantizeLinear of what is not finite")
    below = np.floor(steps)
    near = np.abs(steps - below - 0.5) <= 4 * U * np.abs(steps)
    nearest = np.rint(steps)
    other = np.where(near, 2 * below + 1 - nearest, nearest)
    return Exact(_saturated(nearest, zero), _saturated(other, zero))


def _saturated(steps: Floats, zero: Array) -> Array:
    limits = np.iinfo(zero.dtype)
    return np.clip(steps + zero.astype(np.float64), limits.min, limits.max).astype(zero.dtype)


def _dequantize(call: Call) -> Expected:
    x = call.input(0)
    if x.dtype.name not in _TYPES | {"int32"} or call.get("block_size", 0):
        raise UndecidableError("DequantizeLinear of another form")
    scale = as_floats(_spread(call, call.input(1), x))
    zero = call.optional(2)
    steps = x.astype(np.float64) - (0.0 if zero is None else _spread(call, zero, x).astype(np.float64))
    return rounded(steps * scale, 3)


QUANTIZED = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
"""By the operator's name in ONNX; each has one output."""
