"""Sums of products, and how far they can be from the truth. docs/spec/dispute.md, section 4.

The rigorous bound is that of Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from modelreg_verifier.referee.expected import (
    TINY,
    Array,
    Floats,
    Rounded,
    U,
    UndecidableError,
    gamma,
    room,
)

__all__ = ["AGAIN", "LAMBDA", "Products", "likely", "summed"]

LAMBDA = 4.0
AGAIN = 4.0
_STEPS_MAX = 1 << 35


@dataclass(frozen=True, slots=True)
class Products:
    """Sums of n products, as stacks of matrices whose products are added up.

    Attributes:
        parts: gives the pairs of matrices; called more than once.
        shape: of the result, with the two axes of the matrices last.
        terms: n.
        bias: added to each sum, of a shape that fits; None for none.
    """

    parts: Callable[[], Iterator[tuple[Floats, Floats]]] = field(repr=False)
    shape: tuple[int, ...]
    terms: int
    bias: Floats | None = field(default=None, repr=False)


def summed(made: Products, back: Callable[[Array], Array] = lambda array: array) -> Rounded:
    """The sums with their bounds; `back` gives each array the shape of the operator's output."""
    room(made.shape)
    value, sizes, squares = (np.zeros(made.shape) for _ in range(3))
    for a, b in made.parts():
        value += a @ b
        sizes += np.abs(a) @ np.abs(b)
        squares += (a * a) @ (b * b)
    terms = made.terms
    if made.bias is not None:
        value += made.bias
        sizes += np.abs(made.bias)
        squares += made.bias**2
        terms += 1
    hard = gamma(terms + 2) * sizes + (terms + 1) * TINY
    soft = LAMBDA * U * np.sqrt(terms * (squares + value**2)) + math.sqrt(terms) * TINY
    final = value

    def again() -> Floats:
        return back(AGAIN * np.abs(_in_order(made) - final))

    return Rounded(back(value), back(hard), back(soft), again)


def likely(x: Floats, axes: tuple[int, ...]) -> Floats:
    """How far off sums over some axes, which are kept, are in practice: `soft` of section 4 with b = 1."""
    terms = math.prod(x.shape[axis] for axis in axes)
    total, squares = (part.sum(axis=axes, keepdims=True) for part in (x, x * x))
    return np.asarray(LAMBDA * U * np.sqrt(terms * (squares + total**2)) + math.sqrt(terms) * TINY)


def _in_order(made: Products) -> Floats:
    """The sums in FP32, one product after the other: what biased data does to them shows here."""
    if math.prod(made.shape) * made.terms > _STEPS_MAX:
        raise UndecidableError("a sum too long for a second opinion")
    total = np.zeros(made.shape, np.float32)
    for a, b in made.parts():
        a32, b32 = a.astype(np.float32), b.astype(np.float32)
        for k in range(a.shape[-1]):
            total += a32[..., :, k, None] * b32[..., None, k, :]
    if made.bias is not None:
        total += made.bias.astype(np.float32)
    return total.astype(np.float64)
