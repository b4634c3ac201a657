"""Samples of docs/spec/audit.md, sections 1 and 2, by hand and slowly.

`python -m tests.reference.audit` writes tests/vectors/audit/ again.
"""

import json
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


def documents():
    return {"samples.json": samples(), "probabilities.json": probabilities(), "sizes.json": sizes()}


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name, rows in documents().items():
        (VECTORS / name).write_text(render(rows))
