"""A slow, independent decoder of docs/spec/delta.md, section 10: exact fractions, word by word.

`python -m tests.reference.low_rank` writes tests/vectors/delta/low-rank.json and refused-low-rank.json again.
"""

import itertools
import random
import struct
from fractions import Fraction
from math import floor

from tests.reference.delta import (
    EXPONENT_BITS,
    VECTORS,
    WIDTHS,
    _ordered,
    _signed,
    _stream,
    _varint,
    _word_bytes,
    _words,
    reference_convert,
    render,
    stream,
    varint,
)

F16, BF16, F32, F64 = 8, 9, 10, 11
LOWRANK = 8


def value_of(word, kind):
    """The exact number, or None for an infinity or a NaN."""
    bits = struct.unpack("<d", struct.pack("<q", _signed(reference_convert(word, kind, F64), 64)))[0]
    return None if bits != bits or bits in (float("inf"), float("-inf")) else Fraction(bits)


def rounded(number, kind):
    """A finite binary64 to binary32 and on to the type."""
    word = struct.unpack("<q", struct.pack("<d", number))[0]
    single = reference_convert(word, F64, F32)
    return _signed(single if kind == F32 else reference_convert(single, F32, kind), WIDTHS[kind])


def predict(word, total, scale, kind):
    """The predicted word, and t of section 10."""
    start = value_of(word, kind)
    if start is None:
        return word, Fraction(0)
    # Python divides fractions to the nearest binary64.
    exact = float(start + total * Fraction(2) ** scale)
    found = rounded(exact, kind)
    nearest = value_of(found, kind)
    if nearest is None:
        return word, Fraction(0)
    exponents = EXPONENT_BITS[kind]
    mantissas = WIDTHS[kind] - 1 - exponents
    field = max((found >> mantissas) % (1 << exponents), 1)
    unit = Fraction(2) ** (field - (1 << (exponents - 1)) + 1 - mantissas)
    # -0.0 + 0.0 is 0.0
    return found if exact or start or total else rounded(0.0, kind), (Fraction(exact) - nearest) / unit


def phase_of(t, count):
    return min(max(floor((t + Fraction(1, 2)) * count), 0), count - 1)


def read_factors(factors):
    rank = factors[0]
    columns, at = _varint(factors, 1)
    scale, at = _varint(factors, at)
    numbers, end = _stream(factors, at, rank * columns)
    assert end == len(factors)
    return [numbers[k * columns : (k + 1) * columns] for k in range(rank)], scale - 900


def predictions(base, kind, column, left, right, scale):
    rank, columns = len(right), len(right[0])
    for i, word in enumerate(_words(base, WIDTHS[kind])):
        r, c = divmod(column + i, columns)
        total = sum(left[r * rank + k] * right[k][c] for k in range(rank))
        yield predict(word, total, scale, kind)


def reference_low_rank(payload, base, factors):
    kind = payload[0]
    right, scale = read_factors(factors)
    rank, columns = len(right), len(right[0])
    column, at = _varint(payload, 1)
    count = len(base) * 8 // WIDTHS[kind]
    left, at = _stream(payload, at, -(-(column + count) // columns) * rank)
    guesses = list(predictions(base, kind, column, left, right, scale))
    phases, groups = payload[at], payload[at + 1]
    starts, at = [0], at + 2
    for _ in range(groups - 1):
        step, at = _varint(payload, at)
        starts.append(starts[-1] + step)
    differences = [0] * count
    for group, phase in ((g, p) for g in range(groups) for p in range(phases)):
        cell = [i for i, (w, t) in enumerate(guesses)
                if group_of(w, starts, kind) == group and phase_of(t, phases) == phase]  # fmt: skip
        if cell:
            values, at = _stream(payload, at, len(cell))
            for i, value in zip(cell, values, strict=True):
                differences[i] = value
    assert at == len(payload)
    rows = zip(guesses, differences, strict=True)
    return b"".join(_word_bytes(_ordered(w, kind, 0) + d, kind, 0) for (w, _), d in rows)


def group_of(word, starts, kind):
    mantissas = WIDTHS[kind] - 1 - EXPONENT_BITS[kind]
    field = (word >> mantissas) % (1 << EXPONENT_BITS[kind])
    return sum(start <= field for start in starts) - 1


# What follows writes.


def write_factors(right, scale, lane=4):
    numbers = [number for row in right for number in row]
    return bytes([len(right)]) + varint(len(right[0])) + varint(scale + 900) + stream(numbers, lane)


def write(chunk, base, kind, column, left, right, scale, phases=1, starts=(0,)):
    """A payload whose streams have one bin."""
    guesses = list(predictions(base, kind, column, left, right, scale))
    words = _words(chunk, WIDTHS[kind])
    made = bytes([kind]) + varint(column) + stream(left, 4) + bytes([phases, len(starts)])
    made += b"".join(varint(b - a) for a, b in itertools.pairwise(starts))
    for group, phase in ((g, p) for g in range(len(starts)) for p in range(phases)):
        cell = [
            _signed(_ordered(w, kind, 0) - _ordered(guess, kind, 0), WIDTHS[kind])
            for w, (guess, t) in zip(words, guesses, strict=True)
            if group_of(guess, starts, kind) == group and phase_of(t, phases) == phase
        ]
        if cell:
            made += stream(cell, 1 if any(cell) else 0)
    return made


def weights(rng, kind, count):
    return b"".join(
        struct.pack("<h", rounded(rng.gauss(0, 0.05), kind)) if kind != F32
        else struct.pack("<f", rng.gauss(0, 0.05)) for _ in range(count)
    )  # fmt: skip


def case(seed, kind, count, columns, rank, column=0, scale=-40, phases=1, starts=(0,), odd=False, zero=False):
    """A chunk near its prediction."""
    rng = random.Random(seed)
    base = bytes(count * WIDTHS[kind] // 8) if zero else weights(rng, kind, count)
    if odd:
        width = WIDTHS[kind] // 8
        mantissas = WIDTHS[kind] - 1 - EXPONENT_BITS[kind]
        infinity = ((1 << EXPONENT_BITS[kind]) - 1) << mantissas
        specials = [
            0,
            1 << (8 * width - 1),
            infinity,
            infinity + 1,
            infinity - 1,
            1,
            infinity | 1 << (8 * width - 1),
        ]
        for place, pattern in enumerate(specials):
            base = (
                base[: place * 3 * width]
                + pattern.to_bytes(width, "little")
                + base[(place * 3 + 1) * width :]
            )
    right = [[rng.randrange(-(1 << 18), 1 << 18) for _ in range(columns)] for _ in range(rank)]
    left = [rng.randrange(-(1 << 17), 1 << 17) for _ in range(-(-(column + count) // columns) * rank)]
    guesses = [w for w, _ in predictions(base, kind, column, left, right, scale)]
    chunk = b"".join(
        _word_bytes(_ordered(w, kind, 0) + rng.choice((0, 0, 0, 1, -1)), kind, 0) for w in guesses
    )
    payload = write(chunk, base, kind, column, left, right, scale, phases, starts)
    return payload, base, write_factors(right, scale), chunk


def valid():
    half, single = (0, 10, 14), (0, 119, 121, 123)
    cases = [
        ("one row of float32", case(1, F32, 40, 40, 1)),
        ("rows of float32", case(2, F32, 96, 8, 2)),
        ("phases of float32", case(3, F32, 160, 16, 2, phases=16)),
        ("groups of float32", case(4, F32, 160, 16, 2, starts=single)),
        ("groups and phases of float32", case(5, F32, 160, 16, 2, phases=16, starts=single)),
        ("a group without a word", case(6, F32, 96, 8, 2, starts=(0, 119, 250))),
        ("a chunk that begins and ends within rows", case(7, F32, 90, 16, 2, column=5)),
        ("a chunk within one row", case(8, F32, 60, 90, 1, column=20)),
        ("infinities, NaN and zeros of float32", case(9, F32, 96, 8, 1, odd=True, phases=16)),
        ("a sum that overflows", case(10, F32, 96, 8, 1, scale=100)),
        ("a scale of -900", case(11, F32, 96, 8, 1, scale=-900)),
        ("a scale of 900", case(12, F32, 96, 8, 1, scale=900)),
        ("sums next to nothing, of float32", case(17, F32, 96, 8, 1, scale=-900, phases=16, zero=True)),
        ("sums next to nothing, of bfloat16", case(18, BF16, 800, 40, 1, scale=-220, phases=16, zero=True)),
        ("sums next to nothing, of float16", case(19, F16, 800, 40, 1, scale=-90, phases=16, zero=True)),
        ("bfloat16", case(13, BF16, 800, 40, 2, scale=-42, phases=16, starts=single)),
        ("infinities, NaN and zeros of bfloat16", case(14, BF16, 800, 40, 1, odd=True, phases=16)),
        ("float16", case(15, F16, 800, 40, 2, scale=-42, phases=16, starts=half)),
        ("infinities, NaN and zeros of float16", case(16, F16, 800, 40, 1, odd=True, phases=16)),
    ]
    rows = []
    for name, (payload, base, factors, chunk) in cases:
        assert reference_low_rank(payload, base, factors) == chunk, name
        assert len(payload) <= len(chunk), (name, len(payload), len(chunk))
        rows.append(_row(name, payload, base, factors, len(chunk)) | {"chunk": chunk.hex()})
    return rows


def refused():
    payload, base, factors, chunk = case(2, F32, 96, 8, 2)
    right, scale = read_factors(factors)
    length = len(chunk)
    head = len(bytes([2]) + varint(8))
    big = [[1 << 23, *row[1:]] for row in right[:1]] + right[1:]
    left, at = _stream(payload, 2, 24)
    wide = bytes([F32, 0]) + stream([1 << 23, *left[1:]], 4) + payload[at:]
    cells = payload[at:]
    cases = [
        ("factors missing", payload, base, None, length),
        ("base missing", payload, None, factors, length),
        ("base too short", payload, base[:-4], factors, length),
        ("base too long", payload, base + bytes(4), factors, length),
        ("no payload", b"", base, factors, length),
        ("payload longer than the chunk", payload + bytes(length), base, factors, length),
        ("words of integers", b"\x05" + payload[1:], base, factors, length),
        ("words of float64", b"\x0b" + payload[1:], base, factors, length),
        ("unknown words", b"\x0e" + payload[1:], base, factors, length),
        ("a broken word", payload, base[:-1], factors, length - 1),
        ("column beyond the row", b"\x0a\x08" + payload[2:], base, factors, length),
        ("rank zero", payload, base, b"\x00" + factors[1:], length),
        ("rank 65", payload, base, b"\x41" + factors[1:], length),
        ("rank above the columns", payload, base, bytes([9]) + factors[1:], length),
        ("no columns", payload, base, b"\x02\x00" + factors[2:], length),
        ("more than 2^18 columns", payload, base, b"\x01" + varint((1 << 18) + 1) + factors[2:], length),
        ("more than 2^20 elements", payload, base, b"\x05" + varint(1 << 18) + varint(860) + b"\x00", length),
        ("scale beyond 900", payload, base, factors[:head] + varint(1801) + factors[head + 2 :], length),
        ("factor of 2^23", payload, base, write_factors(big, scale), length),
        ("left factor of 2^23", wide, base, factors, length),
        ("factors cut short", payload, base, factors[:-1], length),
        ("bytes after the factors", payload, base, factors + b"\x00", length),
        ("no factor bytes", payload, base, b"", length),
        ("two phases", payload[:at] + b"\x02" + cells[1:], base, factors, length),
        ("no group", payload[:at] + b"\x01\x00" + cells[2:], base, factors, length),
        ("group start twice", payload[:at] + b"\x01\x02\x00" + cells[2:], base, factors, length),
        ("group start beyond the exponents", payload[:at] + b"\x01\x02\x80\x02", base, factors, length),
        ("cells missing", payload[:at], base, factors, length),
        ("bytes after the cells", payload + b"\x00", base, factors, length),
    ]
    return [_row(*row) for row in cases]


def _row(name, payload, base, factors, length):
    hexes = [None if part is None else part.hex() for part in (base, payload, factors)]
    return {"name": name, "encoding": LOWRANK, "length": length,
            "base": hexes[0], "payload": hexes[1], "factors": hexes[2]}  # fmt: skip


DOCUMENTS = {"low-rank.json": valid, "refused-low-rank.json": refused}


if __name__ == "__main__":
    for file_name, rows in DOCUMENTS.items():
        (VECTORS / file_name).write_text(render(rows()))
