"""The error function in float64, by Taylor's series around a grid."""

import math

import numpy as np

from modelreg_verifier.referee.expected import Floats

__all__ = ["erf"]

_STEPS = 64  # a grid point each 1/64: the sixth term of the series is below 1e-14
_END = 6.0  # beyond it erf is 1 in float64
_GRID = np.array([math.erf(number / _STEPS) for number in range(int(_END * _STEPS) + 1)])


def erf(x: Floats) -> Floats:
    """erf(x) of each element, within 1e-13 of itself relative to max(|x|, 2^-60)."""
    size = np.minimum(np.abs(x), _END)
    with np.errstate(invalid="ignore"):
        number = np.nan_to_num(np.rint(size * _STEPS)).astype(np.int64)
    at = number / _STEPS
    d = size - at
    slope = 2 / math.sqrt(math.pi) * np.exp(-at * at)
    # Derivatives are Hermite polynomials times the slope.
    series = d * (
        1
        + d * (-at + d * ((4 * at**2 - 2) / 6 + d * ((12 * at - 8 * at**3) / 24
        + d * (16 * at**4 - 48 * at**2 + 12) / 120)))
    )  # fmt: skip
    return np.asarray(np.copysign(_GRID[number] + slope * series, x))
