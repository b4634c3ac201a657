"""How far committed tensors lie from replayed ones. Specified in docs/spec/trace.md, section 5."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg_verifier.runtime import Arrays

__all__ = ["Comparison", "Outcome", "batch_of", "compare"]

_TINY = 2.0**-126
_NEAR_OVERFLOW = 2.0**-8
_SAFE = 2.0**400
_FREE_STEPS = 4


class Outcome(Enum):
    """What a comparison of two sets of tensors came to; the worst of its tensors counts.

    In the order of badness: the same bits; a distance that an envelope judges; a replay so near the end of
    its number format that honest machines differ in what overflows; and what no honest machine does.
    """

    EQUAL = 0
    NEAR = 1
    OVERFLOW = 2
    UNEQUAL = 3
    NON_FINITE = 4
    SHAPE = 5
    DATATYPE = 6
    MISSING = 7


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome, the greatest distance of the tensors that have one, and the tensor that decided."""

    outcome: Outcome
    distance: float = 0.0
    tensor: str | None = None


def batch_of(inputs: Arrays) -> int | None:
    """The first dim of the inputs, if all that are no scalars share it: the elements of a batch."""
    firsts = {array.shape[0] for array in inputs.values() if array.ndim}
    return firsts.pop() if len(firsts) == 1 else None


def compare(
    committed: Arrays,
    replayed: Arrays,
    batch: int | None = None,
    quantized: Collection[str] = (),
) -> Comparison:
    """Measure the tensors that were replayed; others of `committed` are passed over.

    Args:
        committed: what a node committed to.
        replayed: what came of the cut before.
        batch: the first dim of a tensor that has an element of the batch in each row (`batch_of`).
        quantized: names of integer tensors that stand for rounded floats (`Program.quantized`).
    """
    worst = Comparison(Outcome.EQUAL)
    for name, ours in replayed.items():
        theirs = committed.get(name)
        if theirs is None:
            found = Comparison(Outcome.MISSING, math.inf)
        else:
            found = _tensor(theirs, ours, batch, in_steps=name in quantized)
        if (found.outcome.value, found.distance) > (worst.outcome.value, worst.distance):
            worst = Comparison(found.outcome, found.distance, name)
    return worst


def _tensor(theirs: NDArray[Any], ours: NDArray[Any], batch: int | None, *, in_steps: bool) -> Comparison:
    if theirs.dtype != ours.dtype:
        return Comparison(Outcome.DATATYPE, math.inf)
    if theirs.shape != ours.shape:
        return Comparison(Outcome.SHAPE, math.inf)
    if _same(theirs, ours):
        return Comparison(Outcome.EQUAL)
    if not (_is_float(ours) or in_steps):
        return Comparison(Outcome.UNEQUAL, math.inf)
    measure = _row if _is_float(ours) else _steps
    split = ours.ndim > 0 and ours.shape[0] == batch
    rows = zip(theirs, ours, strict=True) if split else ((theirs, ours),)
    found = [measure(np.asarray(a), np.asarray(b)) for a, b in rows]
    return max(found, key=lambda row: (row.outcome.value, row.distance))


def _same(theirs: NDArray[Any], ours: NDArray[Any]) -> bool:
    return np.array_equal(theirs, ours) if ours.dtype.kind == "O" else theirs.tobytes() == ours.tobytes()


def _steps(theirs: NDArray[Any], ours: NDArray[Any]) -> Comparison:
    """How far the floats lay apart before they were rounded, by how often they were rounded otherwise."""
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    apart = max(float(np.abs(a - b).sum()) - _FREE_STEPS, 0.0)
    return Comparison(Outcome.NEAR, apart / (a.size * max(float(a.std()), 1.0)))


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _row(theirs: NDArray[Any], ours: NDArray[Any]) -> Comparison:
    a, b = theirs.astype(np.float64).reshape(-1), ours.astype(np.float64).reshape(-1)
    odd = ~(np.isfinite(a) & np.isfinite(b))
    if odd.any():
        if not np.array_equal(a[odd], b[odd], equal_nan=True):
            return Comparison(Outcome.OVERFLOW if _overflows(ours) else Outcome.NON_FINITE, math.inf)
        a, b = a[~odd], b[~odd]
    return Comparison(Outcome.NEAR, _relative(a, b))


def _overflows(ours: NDArray[Any]) -> bool:
    import ml_dtypes

    end = float(ml_dtypes.finfo(ours.dtype).max) * _NEAR_OVERFLOW  # type: ignore[no-untyped-call]
    values = ours.astype(np.float64)
    return not np.isfinite(values).all() or bool((np.abs(values) >= end).any())


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The distance of section 5; scaled by a power of two where squares would overflow."""
    if not a.size:
        return 0.0
    if max(float(np.abs(a).max()), float(np.abs(b).max())) > _SAFE:
        a, b = a / _SAFE / _SAFE, b / _SAFE / _SAFE
    length, apart = float(np.linalg.norm(a)), float(np.linalg.norm(a - b))
    return apart / max(length, _TINY * math.sqrt(a.size))
