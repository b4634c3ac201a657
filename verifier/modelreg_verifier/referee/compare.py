"""Whether what was claimed can have been made by an operator. docs/spec/dispute.md, section 4."""

import math
from dataclasses import dataclass

import numpy as np

from modelreg_verifier.referee.expected import Array, Exact, Expected, Floats, Rounded, U

__all__ = ["Finding", "compare"]

_NEAR_OVERFLOW = float(np.finfo(np.float32).max) * 2.0**-8


@dataclass(frozen=True, slots=True)
class Finding:
    """One tensor that an operator made.

    Attributes:
        ratio: how far it is off, over what an honest machine can be off; above 1 no honest machine made it.
        undecided: why nothing can be told of it, or of a part; empty if all can.
        detail: what is wrong besides.
    """

    ratio: float
    undecided: str = ""
    detail: str = ""


def compare(claimed: Array, expected: Expected) -> Finding:
    """Compare a claimed tensor with what its operator makes of the claimed inputs."""
    wanted = expected.array if isinstance(expected, Exact) else expected.value
    dtype = wanted.dtype if isinstance(expected, Exact) else np.dtype(np.float32)
    if claimed.dtype != dtype:
        return Finding(math.inf, detail=f"datatype {claimed.dtype} instead of {dtype}")
    if claimed.shape != wanted.shape:
        return Finding(math.inf, detail=f"dims {list(claimed.shape)} instead of {list(wanted.shape)}")
    if not claimed.size:
        return Finding(0.0)
    return _exact(claimed, expected) if isinstance(expected, Exact) else _rounded(claimed, expected)


def _exact(claimed: Array, expected: Exact) -> Finding:
    good = _equal(claimed, expected.array)
    if expected.other is not None:
        good |= _equal(claimed, expected.other)
    wrong = int(good.size - np.count_nonzero(good))
    return Finding(math.inf, detail=f"{wrong} of {good.size} elements differ") if wrong else Finding(0.0)


def _equal(a: Array, b: Array) -> Array:
    same = np.asarray(a == b)
    return np.asarray(same | ((a != a) & (b != b))) if a.dtype.kind == "f" else same


def _rounded(claimed: Array, expected: Rounded) -> Finding:
    found, value, hard = claimed.astype(np.float64), expected.value, expected.hard
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(found - value)
        same = _equal(found, value)
        # Sums so large that honest machines differ in what overflows: hard is at least u times their size.
        known = np.isfinite(value) & (np.abs(value) < _NEAR_OVERFLOW) & (hard < _NEAR_OVERFLOW * U)
        shares = np.where(same, 0.0, off / hard)
    shares = np.where(np.isnan(shares), np.inf, shares)
    undecided = "" if (known | (shares <= 1)).all() else "a value overflows, or lost all its digits"
    ratio = float(np.where(known, shares, 0.0).max())
    if ratio <= 1 and expected.soft is not None:
        ratio = max(ratio, _soft(np.where(known & ~same, off, 0.0), expected, np.asarray(known)))
    return Finding(ratio, undecided)


def _soft(off: Floats, expected: Rounded, known: Array) -> float:
    """The second test; asks for a second opinion before it convicts."""
    assert expected.soft is not None  # noqa: S101 - the caller has looked
    limits = _norms(np.where(known, expected.soft, 0.0))
    lengths = _norms(off)
    if expected.again is not None and (lengths > limits).any():
        limits = np.maximum(limits, _norms(np.where(known, expected.again(), 0.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(lengths > 0, lengths / limits, 0.0).max())


def _norms(array: Floats) -> Floats:
    """The length of each row along the first axis; of a vector or scalar the whole length."""
    rows = array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(1, -1)
    return np.asarray(np.sqrt((rows * rows).sum(axis=1)))
