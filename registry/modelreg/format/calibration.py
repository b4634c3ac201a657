"""How far honest machines lie apart. Specified in docs/spec/trace.md, section 6.

Distances are kept as integers: a mantissa of 24 bits and an exponent of two, which are those of an IEEE 754
binary32 without subnormals.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.digest import HashAlgorithm
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import MAX_CUTS

__all__ = ["MAX_BATCH", "MAX_ROWS", "MAX_RUNTIMES", "Calibration", "Distance", "Row"]

MAX_BATCH = 1 << 20
MAX_ROWS = 4096
MAX_RUNTIMES = 256
_KIND = "modelreg/calibration/1"
_BITS = 24
_LEAST, _MOST = -149, 104


@dataclass(frozen=True, slots=True)
class Distance:
    """`mantissa * 2**exponent`: zero as (0, 0), anything else with a mantissa of exactly 24 bits.

    Raises:
        FormatError: another form.
    """

    mantissa: int
    exponent: int

    def __post_init__(self) -> None:
        whole = self.mantissa.bit_length() == _BITS and self.mantissa > 0 and _LEAST <= self.exponent <= _MOST
        if not whole and (self.mantissa, self.exponent) != (0, 0):
            raise FormatError(
                "distance",
                expected=f"0, 0 or {_BITS} bits and an exponent from {_LEAST} to {_MOST}",
                found=f"{self.mantissa}, {self.exponent}",
            )

    def __float__(self) -> float:
        return math.ldexp(self.mantissa, self.exponent)

    @classmethod
    def above(cls, value: float) -> Self:
        """The least distance that is not below `value`. Raises FormatError for what is not 0 to 2^128."""
        if not 0 <= value <= math.ldexp((1 << _BITS) - 1, _MOST):
            raise FormatError("distance", expected="0 to 2^128", found=value)
        if value == 0:
            return cls(0, 0)
        fraction, exponent = math.frexp(value)
        mantissa, exponent = math.ceil(math.ldexp(fraction, _BITS)), exponent - _BITS
        if mantissa >> _BITS:
            mantissa, exponent = mantissa >> 1, exponent + 1
        return cls(mantissa, exponent) if exponent >= _LEAST else cls(1 << (_BITS - 1), _LEAST)


@dataclass(frozen=True, slots=True)
class Row:
    """The greatest distance seen in each segment, between the runtimes numbered `traced` and `replayed`."""

    traced: int
    replayed: int
    batch: int
    distances: tuple[Distance, ...]

    @property
    def key(self) -> tuple[int, int, int]:
        """What it was measured on; rows stand in this order."""
        return self.traced, self.replayed, self.batch


@dataclass(frozen=True, slots=True)
class Calibration:
    """The envelope of one release and plan, as one party measured it.

    `release` and `plan` are 32 bytes; `samples` is how many inputs were tried for each row.

    Raises:
        FormatError: a count, number or order that section 6 does not allow.
    """

    release: bytes
    plan: bytes
    samples: int
    runtimes: tuple[RuntimeInfo, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        schema.digest(self.release)
        schema.digest(self.plan)
        if schema.uint(self.samples) < 1:
            raise FormatError("samples of a calibration", expected="at least 1", found=self.samples)
        _check_order("runtimes", [bytes(runtime) for runtime in self.runtimes], MAX_RUNTIMES)
        _check_order("rows", [row.key for row in self.rows], MAX_ROWS)
        _check_rows(self)

    def envelope(self, traced: bytes, replayed: bytes) -> tuple[float, ...] | None:
        """For each segment the greatest distance seen between two runtimes, given by their fingerprints.

        All batch sizes count together. None if no row has this pair: then there is no verdict.
        """
        numbers = {runtime.fingerprint: number for number, runtime in enumerate(self.runtimes)}
        pair = numbers.get(traced), numbers.get(replayed)
        rows = [row.distances for row in self.rows if (row.traced, row.replayed) == pair]
        return tuple(max(map(float, segment)) for segment in zip(*rows, strict=True)) if rows else None

    def __bytes__(self) -> bytes:
        return canonical.encode(
            {
                "kind": _KIND,
                "release": self.release,
                "plan": self.plan,
                "samples": self.samples,
                "runtimes": [runtime.value for runtime in self.runtimes],
                "rows": [[*row.key, [[d.mantissa, d.exponent] for d in row.distances]] for row in self.rows],
            }
        )

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Read a canonical block. Raises FormatError."""
        names = ("release", "plan", "samples", "runtimes", "rows")
        release, plan, samples, runtimes, rows = schema.fields(canonical.decode(block), _KIND, names)
        return cls(
            schema.digest(release),
            schema.digest(plan),
            schema.uint(samples),
            tuple(map(RuntimeInfo.from_value, schema.array(runtimes, MAX_RUNTIMES))),
            tuple(map(_read_row, schema.array(rows, MAX_ROWS))),
        )

    @property
    def digest(self) -> bytes:
        """The blake3 digest of the block, 32 bytes."""
        return HashAlgorithm.BLAKE3_256.digest(bytes(self)).value


def _check_order(what: str, keys: list[Any], most: int) -> None:
    if not 1 <= len(keys) <= most or any(a >= b for a, b in pairwise(keys)):
        raise FormatError(
            f"{what} of a calibration", expected=f"1 to {most}, strictly ascending", found="others"
        )


def _check_rows(calibration: Calibration) -> None:
    named = {number for row in calibration.rows for number in (row.traced, row.replayed)}
    if named != set(range(len(calibration.runtimes))):
        raise FormatError("runtimes of a calibration", expected="the numbers that rows name", found="others")
    if not all(1 <= row.batch <= MAX_BATCH for row in calibration.rows):
        raise FormatError("batch of a calibration", expected=f"1 to {MAX_BATCH}", found="another")
    lengths = {len(row.distances) for row in calibration.rows}
    if len(lengths) != 1 or not 1 <= lengths.pop() <= MAX_CUTS + 1:
        raise FormatError(
            "distances of a calibration", expected=f"1 to {MAX_CUTS + 1}, as many in each row", found="others"
        )


def _read_row(value: Any) -> Row:
    traced, replayed, batch, distances = schema.array(value, 4, exactly=(4,))
    return Row(
        schema.uint(traced, MAX_RUNTIMES - 1),
        schema.uint(replayed, MAX_RUNTIMES - 1),
        schema.uint(batch, MAX_BATCH),
        tuple(map(_read_distance, schema.array(distances, MAX_CUTS + 1))),
    )


def _read_distance(value: Any) -> Distance:
    mantissa, exponent = schema.array(value, 2, exactly=(2,))
    if type(exponent) is not int:
        raise FormatError("exponent of a distance", expected="an integer", found=type(exponent).__name__)
    return Distance(schema.uint(mantissa, (1 << _BITS) - 1), exponent)
