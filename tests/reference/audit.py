"""Samples of docs/spec/audit.md, sections 1 and 2, and distances of trace.md, section 5, by hand and slowly.

`python -m tests.reference.audit` writes tests/vectors/audit/ again.
"""

import json
import math
import struct
from fractions import Fraction
from itertools import combinations
from pathlib import Path

from tests.reference.secp256k1 import keccak256

VECTORS = Path(__file__).parents[1] / "vectors" / "audit"


def number(tag, seed, rest):
    return int(keccak256(bytes([tag]) + seed + rest).hex(), 16)


def draw(seed, strata, draws, cover):
    """The places drawn uniformly, and those that cover strata."""
    a = list(range(len(strata)))
    for j in range(min(draws, len(a))):
        k = j + number(9, seed, j.to_bytes(8, "big")) % (len(a) - j)
        a[j], a[k] = a[k], a[j]
    drawn = a[: min(draws, len(a))]
    left = set(strata) - {strata[place] for place in drawn}
    covering = []
    for key in sorted(left, key=lambda key: keccak256(b"\x0a" + seed + key))[:cover]:
        places = [place for place, other in enumerate(strata) if other == key]
        covering.append(places[number(11, seed, key) % len(places)])
    return drawn, covering


def found(count, false, draws, rate):
    """The probability by going through all samples there are."""
    samples = list(combinations(range(count), draws))
    missed = sum((1 - rate) ** sum(place < false for place in sample) for sample in samples)
    return 1 - Fraction(missed) / len(samples)


def needed(count, false, wanted, rate):
    return next((n for n in range(count + 1) if found(count, false, n, rate) >= wanted), None)


def samples():
    rows = []
    for case, (sizes, draws, cover) in enumerate(
        [([1], 1, 0), ([5], 2, 0), ([5], 9, 3), ([4, 1, 1, 1, 1], 2, 2), ([1] * 9, 3, 20), ([60, 3, 1], 8, 1),
         ([7, 7], 0, 1), ([300], 20, 0)]
    ):  # fmt: skip
        keys = [keccak256(f"stratum {case} {at}".encode()) for at in range(len(sizes))]
        # Interleaved, as clients come.
        left, strata = list(sizes), []
        while any(left):
            for at, key in enumerate(keys):
                if left[at]:
                    left[at] -= 1
                    strata.append(key)
        block, root = keccak256(f"block {case}".encode()), keccak256(f"root {case}".encode())
        seed = keccak256(block + root)
        drawn, covering = draw(seed, strata, draws, cover)
        rows.append(
            {
                "block": block.hex(),
                "root": root.hex(),
                "seed": seed.hex(),
                "strata": [key.hex() for key in strata],
                "draws": draws,
                "cover": cover,
                "drawn": drawn,
                "covering": covering,
            }
        )
    return rows


def probabilities():
    rows = []
    for count in (1, 2, 5, 8):
        for false in sorted({0, 1, count // 2, count}):
            for rate in (Fraction(1), Fraction(3, 4), Fraction(0)):
                rows += [
                    [count, false, draws, str(rate), str(found(count, false, draws, rate))]
                    for draws in sorted({0, 1, count // 2, count})
                ]
    return rows


def sizes():
    rows = []
    for count, false in ((1, 1), (8, 1), (8, 2), (10, 5), (9, 0)):
        for wanted in (Fraction(0), Fraction(1, 2), Fraction(9, 10), Fraction(1)):
            for rate in (Fraction(1), Fraction(2, 3)):
                least = needed(count, false, wanted, rate)
                rows.append([count, false, str(wanted), str(rate), least])
    return rows


FORMATS = {"FP16": "e", "FP32": "f", "FP64": "d", "INT64": "q", "UINT8": "B"}
LARGEST = {"FP16": 65504.0, "FP32": (2 - 2**-23) * 2.0**127, "FP64": (2 - 2**-52) * 2.0**1023}
ORDER = ["equal", "near", "overflow", "unequal", "non-finite", "shape", "datatype", "missing"]


def distance(committed, replayed, batch, quantized):
    """Outcome and distance of two tensors, each a datatype, dims and bytes."""
    (datatype, dims, a), (other, other_dims, b) = committed, replayed
    if datatype != other:
        return "datatype", math.inf
    if dims != other_dims:
        return "shape", math.inf
    if a == b:
        return "equal", 0.0
    if datatype not in LARGEST and not quantized:
        return "unequal", math.inf
    count = math.prod(dims)
    values = [struct.unpack(f"<{count}{FORMATS[datatype]}", data) for data in (a, b)]
    rows = dims[0] if dims and dims[0] == batch else 1
    width = count // rows
    parts = [[side[row * width : (row + 1) * width] for side in values] for row in range(rows)]
    found = [steps(*part) if quantized else floats(datatype, *part) for part in parts]
    return max((outcome for outcome, _ in found), key=ORDER.index), max(far for _, far in found)


def steps(a, b):
    mean = sum(a) / len(a)
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) / len(a))
    return "near", max(0, sum(abs(x - y) for x, y in zip(a, b, strict=True)) - 4) / (len(a) * max(1, spread))


def floats(datatype, a, b):
    large = 2.0**15 if datatype == "FP16" else 2.0**24
    outcome, far, rest = "near", Fraction(0), []
    for x, y in zip(a, b, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            if min(abs(x), abs(y)) > large:
                far = max(far, abs(Fraction(x) - Fraction(y)) / abs(Fraction(x)))
            else:
                rest.append((Fraction(x), Fraction(y)))
        elif not (x == y or (math.isnan(x) and math.isnan(y))):
            if math.isfinite(y) and abs(y) < LARGEST[datatype] / 2**8:
                return "non-finite", math.inf
            outcome = "overflow"
    length = sum(x * x for x, _ in rest)
    apart = sum((x - y) ** 2 for x, y in rest)
    square = apart / max(length, Fraction(2) ** -252 * len(rest)) if rest else Fraction(0)
    return outcome, max(float(far), root(square))


def root(square):
    """Of a fraction that may be outside what a float holds."""
    if not square:
        return 0.0
    shift = 2 * ((square.numerator.bit_length() - square.denominator.bit_length()) // 2)
    return math.ldexp(math.sqrt(square / Fraction(2) ** shift), shift // 2)


def tensor(datatype, *values, dims=None):
    data = struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)
    return datatype, list(dims or [len(values)]), data


def distances():
    """Named by what somebody tries, or what happens to honest machines."""
    inf, nan, mask = math.inf, math.nan, -LARGEST["FP32"]
    ramp = tensor("UINT8", *range(20))
    fp = lambda *values, dims=None: tensor("FP32", *values, dims=dims)  # noqa: E731
    cases = {
        "the same bits": (fp(1, 2), fp(1, 2)),
        "a last bit": (fp(1, 2), fp(1, 2 + 2**-22)),
        "zeros of two signs": (fp(0, 1), fp(-0.0, 1)),
        "a row hides behind another": (fp(1, 1, 100, 100, dims=[2, 2]), fp(1, 2, 100, 100, dims=[2, 2]), 2),
        "a row without a batch": (fp(1, 1, 100, 100, dims=[2, 2]), fp(1, 2, 100, 100, dims=[2, 2])),
        "NaN where none came": (fp(nan, 1), fp(3, 1)),
        "NaN of the client": (fp(nan, 1), fp(nan, 1.5)),
        "infinity of the client": (fp(-inf, 1), fp(-inf, 1.5)),
        "overflow": (fp(inf, 1), fp(3e38, 1)),
        "overflow in the replay": (fp(5, 1), fp(-inf, 1)),
        "NaN beside an overflow": (fp(inf, nan), fp(3e38, 1)),
        "value changed beside an overflow": (fp(inf, 1), fp(3e38, 2)),
        "not quite an overflow": (fp(inf, 1), fp(2.0**119, 1)),
        "overflow of half precision": (tensor("FP16", inf, 1), tensor("FP16", 256, 1)),
        "zero altered beside a mask": (fp(mask, 0, 1), fp(mask, 1, 1)),
        "mask put where none is": (fp(mask, mask, 1), fp(mask, 0, 1)),
        "mask taken away": (fp(mask, 0, 1), fp(mask, mask, 1)),
        "another mask": (fp(-1e9, 0, 1), fp(-2e9, 0, 1)),
        "mask of half precision": (tensor("FP16", -65504, 0, 1), tensor("FP16", -65504, 1, 1)),
        "at the edge of large": (fp(2.0**24, 2.0**24 + 2), fp(2.0**24 + 2, 2.0**24)),
        "zeros that should be something": (fp(0, 0), fp(1, 1)),
        "doubles whose squares overflow": (tensor("FP64", 1e300), tensor("FP64", 1.5e300)),
        "doubles of two signs": (tensor("FP64", 1.7e308), tensor("FP64", -1.7e308)),
        "another integer": (tensor("INT64", 1, 2), tensor("INT64", 1, 3)),
        "rounded otherwise": (ramp, tensor("UINT8", *range(16), 17, 18, 19, 20), None, True),
        "rounded far away": (ramp, tensor("UINT8", *range(19), 255), None, True),
        "another datatype": (fp(1), tensor("FP64", 1)),
        "other dims": (fp(1, 2), fp(1, 2, dims=[2, 1])),
    }
    rows = []
    for name, (committed, replayed, *more) in cases.items():
        batch, quantized = [*more, None, False][:2] if len(more) < 2 else more
        outcome, far = distance(committed, replayed, batch, quantized)
        rows.append(
            {
                "name": name,
                "batch": batch,
                "quantized": bool(quantized),
                "committed": [*committed[:2], committed[2].hex()],
                "replayed": [*replayed[:2], replayed[2].hex()],
                "outcome": outcome,
                "distance": None if math.isinf(far) else far,
            }
        )
    return rows


def documents():
    return {
        "distances.json": distances(),
        "samples.json": samples(),
        "probabilities.json": probabilities(),
        "sizes.json": sizes(),
    }


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name, rows in documents().items():
        (VECTORS / name).write_text(render(rows))
