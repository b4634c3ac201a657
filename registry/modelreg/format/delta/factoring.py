"""Finding a low-rank change between two matrices: the choice of who writes (docs/spec/delta.md, section 12).

Method: randomized range finder with power iterations (Halko, Martinsson & Tropp 2011, SIAM Review 53(2),
algorithms 4.4 and 5.1), always from the same random numbers. Machines still differ in the last bits of what
they find, and so in the bytes that they write; what is read back is the same.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.lowrank import MAX_COLUMNS, MAX_ELEMENTS, MAX_FACTOR, Factors, rows_of

__all__ = [
    "GLANCE_ROWS",
    "Change",
    "Product",
    "change_of",
    "factors_of",
    "inverse_of",
    "left_of",
    "may_be_low_rank",
    "multiple_of",
    "quantized",
]

_Floats = NDArray[np.float64]
_MOST_RANK = 32
_SPARE = 8
_ITERATIONS = 2
# Singular values of a change of full rank fall slowly; an adapter's end in a step.
_STEP = 2.0
# A few of its rows and columns show a step too, a smaller one where rounding is in it. That is a glance, and
# the singular values of a whole matrix take as long as coding it. The step must leave little of the change's
# energy: 0.7 of it is a quarter of a bit a word.
GLANCE_ROWS, _GLANCE_STEP, _GLANCE_REST = 128, 1.4, 0.7
# Denominators of simple fractions; how many standard errors from one a measured multiple may be; the share of
# a change's energy that may be left.
_SIMPLE, _ERRORS, _UNEXPLAINED = 256, 4, 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """The right singular vectors of a matrix's change, of shape (rank, columns), and their weights.

    A weight is below 1 where rounding noise is part of what was seen of a singular value.
    """

    right: _Floats
    weights: _Floats

    @property
    def rank(self) -> int:
        """How many vectors there are."""
        return len(self.weights)


@dataclass(frozen=True, slots=True)
class Product:
    """`left` of shape (rows, rank) times `right` of shape (rank, columns)."""

    left: _Floats
    right: _Floats


def multiple_of(product: Product, difference: _Floats, step: int) -> Product | None:
    """The multiple of a product that a matrix's change is, but for rounding; None where it is none.

    Args:
        product: of the whole matrix.
        difference: every `step`-th row of its change.
    """
    made = product.left[::step] @ product.right
    square = float((made * made).sum())
    if not square > 0:
        return None
    times = float((made * difference).sum()) / square
    rest = float(((difference - times * made) ** 2).sum())
    if rest > _UNEXPLAINED * float((difference * difference).sum()):
        return None
    # alpha / rank is a simple fraction, which the measured one misses by chance.
    simple = float(Fraction(times).limit_denominator(_SIMPLE))
    if abs(simple - times) < _ERRORS * (rest / square / made.size) ** 0.5:
        times = simple
    return Product(times * product.left, product.right)


def quantized(product: Product, bits: int) -> tuple[Factors, NDArray[np.int32]]:
    """A product in integers of 2 to 23 bits: the right factor, and the left one of shape (rows, rank)."""
    sizes = np.abs(product.right).max(axis=1)
    even = np.exp2(np.floor(np.log2(np.where(sizes > 0, sizes, 1.0))))
    right = product.right / even[:, None]
    integers, up = _integers(right, bits)
    # What is lost of the right factor, the left one makes up for as far as it can.
    exact = right @ np.linalg.pinv(np.ldexp(integers.astype(np.float64), -up))
    left, left_up = _integers(product.left * even @ exact, bits)
    return Factors(integers, -up - left_up), left


def _integers(side: _Floats, bits: int) -> tuple[NDArray[np.int32], int]:
    """A factor times a power of two, in integers of so many bits; the exponent of the power."""
    up = bits - 1 - int(np.floor(np.log2(np.abs(side).max())))
    return np.clip(np.rint(np.ldexp(side, up)), -MAX_FACTOR, MAX_FACTOR).astype(np.int32), up


def may_be_low_rank(rows: _Floats) -> bool:
    """Whether a matrix's change is likely of low rank, by as many of its rows and columns as GLANCE_ROWS.

    A table of which an optimiser touched few rows is no product of thin matrices, and looks like one, unless
    all rows count alike.
    """
    glance = rows[rows.any(axis=1)]
    if len(glance) <= _MOST_RANK or not np.isfinite(glance).all():
        return False
    sizes = np.linalg.norm(glance, axis=1, keepdims=True)
    return _steps_down(glance) and _steps_down(glance / np.where(sizes > 0, sizes, 1.0))


def _steps_down(glance: _Floats) -> bool:
    # Half as exact as the singular values themselves, in two thirds of the time.
    squares = np.maximum(np.linalg.eigvalsh(glance @ glance.T)[::-1], 0.0)
    rank = _step(np.sqrt(squares), _GLANCE_STEP)
    return rank is not None and float(squares[rank:].sum() / squares.sum()) <= _GLANCE_REST


def change_of(difference: _Floats) -> Change | None:
    """The low-rank part of a difference of shape (rows, columns); None where there is no clear one."""
    rows, columns = difference.shape
    most = min(rows, columns, _MOST_RANK + _SPARE)
    if most < 2 or columns > MAX_COLUMNS or not np.isfinite(difference).all():
        return None
    values, vectors = _top(difference, most)
    rank = _step(values, _STEP)
    if rank is None or rank * columns > MAX_ELEMENTS:
        return None
    noise = values[rank] / values[:rank]
    return Change(vectors[:rank], 1.0 - noise * noise)


def _top(matrix: _Floats, count: int) -> tuple[_Floats, _Floats]:
    """The largest singular values and their right vectors."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], count)))[0]
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(matrix.T @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    _, values, vectors = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return values, vectors


def _step(values: _Floats, least: float) -> int | None:
    """Behind how many singular values the greatest step down is, if it is one."""
    if values[0] <= 0:
        return None
    tiny = values[0] * np.finfo(np.float64).tiny
    # The last ones are not found exactly: a step among them would be made by chance.
    end = min(len(values) - 1, _MOST_RANK)
    steps = values[:end] / np.maximum(values[1 : end + 1], tiny)
    at = int(np.argmax(steps))
    return at + 1 if steps[at] >= least else None


def factors_of(change: Change, difference: _Floats, bits: int) -> Factors:
    """The right factor in integers, scaled for left factors of the size that some rows have.

    Args:
        change: of the whole matrix.
        difference: rows of it, of shape (rows, columns); best all, or many of them.
        bits: 2 to 23; fewer make factors smaller and predictions worse.
    """
    limit = float((1 << bits) - 1)
    right = np.rint(change.right * (limit / np.abs(change.right).max(axis=1, keepdims=True)))
    largest = float(np.abs(_left(right, change.weights, difference)).max())
    scale = int(np.ceil(np.log2(largest / limit))) if largest > 0 else 0
    return Factors(right.astype(np.int32), scale)


def inverse_of(factors: Factors) -> _Floats:
    """What gives the left factor of whole rows, computed once for a matrix; of shape (columns, rank)."""
    found: _Floats = np.linalg.pinv(factors.values.astype(np.float64))
    return found


def left_of(
    factors: Factors, change: Change, inverse: _Floats, difference: _Floats, column: int
) -> NDArray[np.int32]:
    """The left factor, of shape (rows, rank), of the rows that some words touch.

    Args:
        factors: the right factor.
        change: what it was made of.
        inverse: `inverse_of` the factors.
        difference: of the words, in one dimension.
        column: where in its row the first of them stands.
    """
    columns, right = factors.columns, factors.values.astype(np.float64)
    rows = rows_of(column, len(difference), columns)
    padded = np.zeros(rows * columns)
    padded[column : column + len(difference)] = difference
    whole = padded.reshape(rows, columns)
    left = whole @ inverse * change.weights
    end = (column + len(difference)) % columns
    if column:
        stop = columns if rows > 1 else column + len(difference)
        left[0] = _left(right[:, column:stop], change.weights, whole[:1, column:stop])
    if end and (rows > 1 or not column):
        left[-1] = _left(right[:, :end], change.weights, whole[-1:, :end])
    return np.clip(np.rint(np.ldexp(left, -factors.scale)), -MAX_FACTOR, MAX_FACTOR).astype(np.int32)


def _left(right: _Floats, weights: _Floats, difference: _Floats) -> _Floats:
    """Least squares, row by row."""
    found: _Floats = difference @ np.linalg.pinv(right) * weights
    return found
