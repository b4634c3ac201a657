"""Operators that work on each element alone. Allowances: docs/spec/dispute.md, section 5."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from modelreg_verifier.referee.erf import erf
from modelreg_verifier.referee.expected import (
    TINY,
    Array,
    Call,
    Exact,
    Expected,
    Floats,
    Rounded,
    U,
    UndecidableError,
    as_floats,
    room,
    rounded,
)

__all__ = ["ELEMENTWISE"]

_Function = Callable[[Call], Expected]
_UNARY: dict[str, tuple[Callable[..., Any], float, float]] = {
    "Sqrt": (np.sqrt, 16, 0.0),
    "Reciprocal": (np.reciprocal, 8, 0.0),
    "Exp": (np.exp, 16, 0.0),
    "Log": (np.log, 8, 1.0),
    "Erf": (erf, 8, 2.0**-4),
    "Tanh": (np.tanh, 16, 2.0**-4),
}
"""The function in float64; roundings; and what is added to the result's size for them."""


def _pair(call: Call) -> tuple[Array, Array]:
    a, b = call.input(0), call.input(1)
    room(_shape(a, b))
    return a, b


def _shape(*arrays: Array) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        raise UndecidableError("shapes that do not fit") from None


def _arithmetic(function: Callable[..., Any]) -> _Function:
    def run(call: Call) -> Expected:
        a, b = _pair(call)
        if a.dtype.kind in "iu":
            return Exact(np.asarray(function(a, b), a.dtype))
        return rounded(np.asarray(function(as_floats(a), as_floats(b))), 2)

    return run


def _divide(call: Call) -> Expected:
    a, b = _pair(call)
    if a.dtype.kind in "iu":
        if not b.all():
            raise UndecidableError("an integer over 0")
        least = np.iinfo(a.dtype).min
        if a.dtype.kind == "i" and ((a == least) & (b == -1)).any():
            raise UndecidableError("an integer that overflows")
        quotient = a // b
        return Exact(quotient + ((quotient < 0) & (quotient * b != a)))  # ONNX rounds towards 0
    return rounded(as_floats(a) / as_floats(b), 4)


def _power(call: Call) -> Expected:
    a, b = _pair(call)
    exponent = b.astype(np.float64)
    return rounded(np.power(as_floats(a), exponent), 4)


def _unary(function: Callable[..., Any], roundings: float, beside: float) -> _Function:
    def run(call: Call) -> Expected:
        return rounded(np.asarray(function(call.floats(0))), roundings, beside=beside)

    return run


def _sigmoid(call: Call) -> Expected:
    x = call.floats(0)
    value = np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))
    # The runtime's rational function is as good near 0 as near 1, and not better.
    return rounded(value, 12, beside=1.0)


def _hard_sigmoid(call: Call) -> Expected:
    product = np.float32(call.get("alpha", 0.2)).astype(np.float64) * call.floats(0)
    shift = float(np.float32(call.get("beta", 0.5)))
    return Rounded(np.clip(product + shift, 0, 1), 2 * U * (np.abs(product) + abs(shift)) + TINY)


def _clip(call: Call) -> Expected:
    x = call.input(0)
    if call.opset < 11:
        low, high = (None if name not in call.attributes else call.get(name, None) for name in ("min", "max"))
        bounds = [None if bound is None else np.asarray(bound, x.dtype) for bound in (low, high)]
    else:
        bounds = [call.optional(1), call.optional(2)]
    if bounds[0] is not None:
        x = np.maximum(x, bounds[0])
    return Exact(x if bounds[1] is None else np.minimum(x, bounds[1]))


def _relu(call: Call) -> Expected:
    x = call.input(0)
    return Exact(np.maximum(x, x.dtype.type(0)))


def _leaky(call: Call) -> Expected:
    x, slope = call.floats(0), float(np.float32(call.get("alpha", 0.01)))
    return rounded(np.where(x < 0, slope * x, x), 2)


def _chosen(function: Callable[..., Any]) -> _Function:
    def run(call: Call) -> Expected:
        arrays = [call.input(place) for place in range(len(call.inputs))]
        room(_shape(*arrays))
        return Exact(np.asarray(reduce(function, arrays)))

    return run


def _exact(function: Callable[..., Any]) -> _Function:
    def run(call: Call) -> Expected:
        return Exact(np.asarray(function(call.input(0))))

    return run


def _compared(function: Callable[..., Any]) -> _Function:
    def run(call: Call) -> Expected:
        return Exact(np.asarray(function(*_pair(call))))

    return run


def _where(call: Call) -> Expected:
    condition, a, b = (call.input(place) for place in range(3))
    room(_shape(condition, a, b))
    return Exact(np.where(condition, a, b))


def _cast(call: Call) -> Expected:
    from onnx import helper

    x, to = call.input(0), int(call.get("to", 0))
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    except (KeyError, ValueError):
        raise UndecidableError(f"Cast to type {to}") from None
    if dtype.kind not in "biuf" or x.dtype.kind not in "biuf":
        raise UndecidableError(f"Cast from {x.dtype} to {dtype}")
    if dtype.kind in "iu" and x.dtype.kind == "f":
        _check_range(x, dtype)
    with np.errstate(over="ignore"):
        return Exact(x.astype(dtype))


def _check_range(x: Array, dtype: "np.dtype[Any]") -> None:
    limits = np.iinfo(dtype)
    whole: Floats = np.trunc(x.astype(np.float64))
    if not ((whole >= float(limits.min)) & (whole < float(limits.max) + 1)).all():
        raise UndecidableError("Cast of a number that is out of range")


ELEMENTWISE: dict[str, _Function] = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _divide,
    "Pow": _power,
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "Max": _chosen(np.maximum),
    "Min": _chosen(np.minimum),
    "Neg": _exact(np.negative),
    "Abs": _exact(np.abs),
    "Not": _exact(np.logical_not),
    "Floor": _exact(np.floor),
    "Ceil": _exact(np.ceil),
    "Equal": _compared(np.equal),
    "Less": _compared(np.less),
    "LessOrEqual": _compared(np.less_equal),
    "Greater": _compared(np.greater),
    "GreaterOrEqual": _compared(np.greater_equal),
    "And": _compared(np.logical_and),
    "Or": _compared(np.logical_or),
    "Where": _where,
    "Cast": _cast,
    **{name: _unary(*row) for name, row in _UNARY.items()},
}
"""By the operator's name in ONNX; each has one output."""
