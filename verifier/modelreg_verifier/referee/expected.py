"""What an operator makes, and how far an honest machine can be from it: docs/spec/dispute.md, section 4."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TINY",
    "Array",
    "Call",
    "Exact",
    "Expected",
    "Floats",
    "Rounded",
    "U",
    "UndecidableError",
    "gamma",
    "room",
    "rounded",
]

Array = NDArray[Any]
Floats = NDArray[np.float64]

U = 2.0**-24
"""The unit roundoff of FP32."""
TINY = 2.0**-126
"""Below it machines may flush to zero."""
_ELEMENTS_MAX = 1 << 27


class UndecidableError(Exception):
    """Nothing can be told of this operator; it never leaves the referee."""


@dataclass(frozen=True, slots=True)
class Exact:
    """The one value that each element can have; or one of two, where `other` is another step."""

    array: Array = field(repr=False)
    other: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Rounded:
    """FP32 that lies near `value`.

    Attributes:
        value: in float64.
        hard: how far each element can be off in any order of summation; infinite where nothing is known.
        soft: how far elements are off in practice, as a standard deviation times a factor; the norm over a
            row is compared. None where `hard` is as good.
        again: makes another `soft` from a summation in FP32, asked before anybody is convicted by `soft`.
    """

    value: Floats = field(repr=False)
    hard: Floats = field(repr=False)
    soft: Floats | None = field(default=None, repr=False)
    again: Callable[[], Floats] | None = field(default=None, repr=False)


Expected = Exact | Rounded


@dataclass(frozen=True, slots=True)
class Call:
    """One use of an operator: attributes by name, inputs in order (None for one left out), and its opset."""

    attributes: Mapping[str, Any]
    inputs: Sequence[Array | None] = field(repr=False)
    opset: int
    outputs: int = 1

    def input(self, place: int) -> Array:
        """An input that must be there."""
        found = self.optional(place)
        if found is None:
            raise UndecidableError(f"input {place} is missing")
        return found

    def optional(self, place: int) -> Array | None:
        """An input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def floats(self, place: int) -> Floats:
        """An input of FP32, in float64."""
        return as_floats(self.input(place))

    def integers(self, place: int) -> list[int]:
        """An input of integers, as a list."""
        return [int(item) for item in self.input(place).reshape(-1)]

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        found = self.attributes.get(name, default)
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def as_floats(array: Array) -> Floats:
    """FP32 in float64. Raises UndecidableError for another datatype."""
    if array.dtype != np.float32:
        raise UndecidableError(f"arithmetic in {array.dtype}")
    return array.astype(np.float64)


def gamma(terms: float) -> float:
    """n·u / (1 - n·u): the most that n roundings in a row add to a relative error."""
    share = terms * U
    return share / (1 - share) if share < 0.5 else math.inf


def room(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that may be allocated. Raises UndecidableError beyond 2^27 elements."""
    if any(dim < 0 for dim in shape) or math.prod(shape) > _ELEMENTS_MAX:
        raise UndecidableError(f"a tensor of dims {list(shape)[:16]}")
    return tuple(int(dim) for dim in shape)


def rounded(value: Floats, roundings: float, *, beside: Floats | float = 0.0) -> Rounded:
    """A value of so many roundings, and `beside` for what was added to it and cancels."""
    return Rounded(value, roundings * U * (np.abs(value) + np.abs(beside)) + TINY)
