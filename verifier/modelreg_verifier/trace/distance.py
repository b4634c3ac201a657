"""How far committed tensors lie from replayed ones. Specified in docs/spec/trace.md, section 5."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg_verifier.trace.runtime import Arrays

__all__ = ["Comparison", "Outcome", "batch_of", "compare", "is_float"]

_TINY = 2.0**-126
_NEAR_OVERFLOW = 2.0**-8
_FREE_STEPS = 4
_LARGE, _LARGE_FP16 = 2.0**24, 2.0**15


class Outcome(Enum):
    """What a comparison of two sets of tensors came to; the worst of its tensors counts.

    In the order of badness: the same bits; a distance that an envelope judges; a replay so near the end of
    its number format that honest machines differ in what overflows; and what nothing honest explains, or
    only operators that choose or divide by zero.
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
    """The outcome, the greatest distance of any tensor, and the tensor that decided.

    An overflow has the distance of the elements that did not overflow; what is worse is infinitely far.
    """

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
            found = Comparison(Outcome.MISSING, math.inf, name)
        else:
            found = _tensor(name, theirs, ours, batch, in_steps=name in quantized)
        worst = _worse(worst, found)
    return worst


def _worse(one: Comparison, other: Comparison) -> Comparison:
    """The greatest distance counts, whichever of both has the worse outcome."""
    worst = max(one, other, key=lambda found: (found.outcome.value, found.distance))
    return Comparison(worst.outcome, max(one.distance, other.distance), worst.tensor)


def _tensor(
    name: str, theirs: NDArray[Any], ours: NDArray[Any], batch: int | None, *, in_steps: bool
) -> Comparison:
    if theirs.dtype != ours.dtype:
        return Comparison(Outcome.DATATYPE, math.inf, name)
    if theirs.shape != ours.shape:
        return Comparison(Outcome.SHAPE, math.inf, name)
    if _same(theirs, ours):
        return Comparison(Outcome.EQUAL)
    if not (is_float(ours) or in_steps):
        return Comparison(Outcome.UNEQUAL, math.inf, name)
    measure = _row if is_float(ours) else _steps
    split = ours.ndim > 0 and ours.shape[0] == batch
    rows = zip(theirs, ours, strict=True) if split else ((theirs, ours),)
    worst = Comparison(Outcome.NEAR, 0.0, name)
    for a, b in rows:
        outcome, distance = measure(np.asarray(a), np.asarray(b))
        worst = _worse(worst, Comparison(outcome, distance, name))
    return worst


def _same(theirs: NDArray[Any], ours: NDArray[Any]) -> bool:
    return np.array_equal(theirs, ours) if ours.dtype.kind == "O" else theirs.tobytes() == ours.tobytes()


def _steps(theirs: NDArray[Any], ours: NDArray[Any]) -> tuple[Outcome, float]:
    """How far the floats lay apart before they were rounded, by how often they were rounded otherwise."""
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    apart = max(float(np.abs(a - b).sum()) - _FREE_STEPS, 0.0)
    return Outcome.NEAR, apart / (a.size * max(float(a.std()), 1.0))


def is_float(array: NDArray[Any]) -> bool:
    """Whether it is of floats: then a distance can be measured."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _row(theirs: NDArray[Any], ours: NDArray[Any]) -> tuple[Outcome, float]:
    a, b = theirs.astype(np.float64).reshape(-1), ours.astype(np.float64).reshape(-1)
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    odd = b[~finite & ~same]
    if odd.size and not _overflows(odd, ours.dtype):
        return Outcome.NON_FINITE, math.inf
    outcome = Outcome.OVERFLOW if odd.size else Outcome.NEAR
    large = _LARGE_FP16 if ours.dtype == np.float16 else _LARGE
    return outcome, _relative(a[finite], b[finite], large)


def _overflows(odd: NDArray[np.float64], dtype: np.dtype[Any]) -> bool:
    """Whether each of these replayed elements is at the end of its format, or came from there."""
    import ml_dtypes

    end = float(ml_dtypes.finfo(dtype).max) * _NEAR_OVERFLOW  # type: ignore[no-untyped-call]
    return bool((~np.isfinite(odd) | (np.abs(odd) >= end)).all())


def _relative(a: NDArray[np.float64], b: NDArray[np.float64], large: float) -> float:
    """The distance of section 5: large elements one by one, so that they hide nothing, the rest together."""
    each = (np.abs(a) > large) & (np.abs(b) > large)
    halves = a[each] / 2, b[each] / 2  # the difference of two doubles can overflow
    worst = (np.abs(halves[0] - halves[1]) / np.abs(halves[0])).max(initial=0.0)
    return max(float(worst), _by_norm(a[~each], np.abs(a[~each] - b[~each])))


def _by_norm(a: NDArray[np.float64], apart: NDArray[np.float64]) -> float:
    """Scaled by its largest element, as squares could overflow."""
    if not a.size:
        return 0.0
    scale = max(float(np.abs(a).max()), float(apart.max()), _TINY)
    length = max(float(np.linalg.norm(a / scale)), _TINY * math.sqrt(a.size) / scale)
    return float(np.linalg.norm(apart / scale)) / length
