"""Conversion between precisions, against exact fractions, and chunks that are their sibling's cast."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.errors import InputError
from modelreg.format.delta import MAX_CHUNK_BYTES, Encoding, WordType, decode, encode_cast
from modelreg.format.delta.casts import CASTABLE, convert
from tests.format.delta.strategies import specials
from tests.reference.delta import reference_convert, reference_decode

PAIRS = [(a, b) for a in sorted(CASTABLE) for b in sorted(CASTABLE) if a != b]
NUMPY = {
    WordType.F16: np.float16,
    WordType.BF16: ml_dtypes.bfloat16,
    WordType.F32: np.float32,
    WordType.F64: float,
}


def converted(patterns, source, target):
    words = np.array(patterns, np.uint64).astype(f"<u{source.width}").view(f"<i{source.width}")
    return convert(words, source, target).view(f"<u{target.width}").tolist()


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_conversion_equals_exact_fractions(source, target, data):
    patterns = specials(source) + data.draw(
        st.lists(st.integers(0, (1 << 8 * source.width) - 1), max_size=60)
    )
    expected = [reference_convert(pattern, source, target) for pattern in patterns]
    assert converted(patterns, source, target) == expected


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversion_equals_exact_fractions_at_every_rounding_border(source, target):
    middle = 1 << max(source.mantissa_bits - target.mantissa_bits - 1, 0)
    exponents = sorted(
        {*range(0, 1 << source.exponent_bits, 13), *range(100, 140), *range(870, 900), *range(996, 1040)}
    )
    fields = [e for e in exponents if e < (1 << source.exponent_bits) - 1]
    patterns = [
        (field << source.mantissa_bits) + odd * 2 * middle + middle + off
        for field in fields
        for odd in (0, 1)
        for off in (-1, 0, 1)
        if (field << source.mantissa_bits) + odd * 2 * middle + middle + off >= 0
    ]
    assert converted(patterns, source, target) == [reference_convert(p, source, target) for p in patterns]


@pytest.mark.parametrize("target", [WordType.F32, WordType.F64, WordType.BF16])
def test_every_half_equals_the_library(target):
    check_all(WordType.F16, target)


@pytest.mark.parametrize("target", [WordType.F32, WordType.F64, WordType.F16])
def test_every_bfloat_equals_the_library(target):
    check_all(WordType.BF16, target)


def check_all(source, target):
    patterns = np.arange(1 << 16, dtype="<u2")
    values = patterns.view(NUMPY[source])
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = ~np.isnan(values)
        expected = values.astype(NUMPY[target]).view(f"<u{target.width}")
    found = convert(patterns.view("<i2"), source, target).view(f"<u{target.width}")
    assert np.array_equal(found[numbers], expected[numbers])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_cast_of_a_sibling_is_tiny(source, target):
    values = np.random.default_rng(1).normal(0, 0.02, 3000).astype(NUMPY[source])
    chunk, sibling = values.astype(NUMPY[target]).tobytes(), values.tobytes()
    encoded = encode_cast(chunk, target, sibling, source)
    assert encoded.encoding is Encoding.CAST and len(encoded.payload) == 3
    assert decode(encoded.encoding, encoded.payload, sibling, len(chunk)) == chunk


def test_exceptions_are_listed():
    values = np.random.default_rng(1).normal(0, 0.02, 3000).astype("<f4")
    chunk = values.astype(ml_dtypes.bfloat16).view("<u2").copy()
    chunk[[0, 17, 2999]] = [0x7FC1, 0xFF81, 0x8000]
    encoded = encode_cast(chunk.tobytes(), WordType.BF16, values.tobytes(), WordType.F32)
    assert len(encoded.payload) < 20
    assert decode(7, encoded.payload, values.tobytes(), chunk.nbytes) == chunk.tobytes()
    assert reference_decode(7, encoded.payload, values.tobytes(), chunk.nbytes) == chunk.tobytes()


@pytest.mark.parametrize(
    ("chunk", "word", "sibling", "sibling_word"),
    [
        (np.random.default_rng(1).bytes(6000), WordType.BF16, bytes(12000), WordType.F32),
        (bytes(6000), WordType.F32, bytes(6000), WordType.F32),
        (bytes(6000), WordType.I16, bytes(12000), WordType.F32),
        (bytes(6000), WordType.BF16, bytes(12004), WordType.F32),
        (bytes(6001), WordType.BF16, bytes(12002), WordType.F32),
        (b"", WordType.BF16, b"", WordType.F32),
        (b"\x01\x02", WordType.BF16, bytes(4), WordType.F32),
    ],
    ids=[
        "other values",
        "same type",
        "integers",
        "other count",
        "broken word",
        "nothing",
        "too short to gain",
    ],
)
def test_no_cast(chunk, word, sibling, sibling_word):
    assert encode_cast(chunk, word, sibling, sibling_word) is None


def test_too_much_is_an_input_error():
    with pytest.raises(InputError):
        encode_cast(bytes(MAX_CHUNK_BYTES + 2), WordType.BF16, bytes(4), WordType.F32)
