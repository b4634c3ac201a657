"""What is encoded decodes, whatever it is, by this implementation and by the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.errors import InputError
from modelreg.format.delta import MAX_BASE_BYTES, MAX_CHUNK_BYTES, Encoding, WordType, decode, encode
from modelreg.format.delta.words import common_shift, join, ordered, signed_words
from modelreg.format.dtypes import DType
from tests.format.delta.strategies import WORDS, pairs, specials
from tests.reference.delta import reference_decode


def check(encoded, chunk, base):
    used = base if encoded.encoding.needs_base else None
    assert len(encoded.payload) <= len(chunk)
    assert decode(encoded.encoding, encoded.payload, used, len(chunk)) == chunk
    return used


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from([0, 1, 1, 1, 2]))
def test_pair_round_trips(pair, effort):
    word, chunk, base = pair
    for against in (None, base or None):
        check(encode(chunk, word, against, effort=effort), chunk, against)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_reference_decodes_what_is_encoded(pair):
    word, chunk, base = pair
    encoded = encode(chunk, word, base or None)
    used = check(encoded, chunk, base)
    assert reference_decode(encoded.encoding, encoded.payload, used, len(chunk)) == chunk


@given(pairs(), st.integers(0, 4000))
@settings(max_examples=40, deadline=None)
def test_base_of_any_length_round_trips(pair, cut):
    word, chunk, base = pair
    other = base[cut:] + base[:7]
    check(encode(chunk, word, other or None), chunk, other)


@given(WORDS, st.data())
def test_ordered_integers_sort_as_values_and_come_back(word, data):
    patterns = data.draw(st.lists(st.integers(0, (1 << 8 * word.width) - 1), min_size=1)) + specials(word)
    words = np.array(patterns, np.uint64).astype(f"<u{word.width}").view(f"<i{word.width}")
    shift = data.draw(st.integers(0, 8 * word.width - 1))
    coarse = words >> shift << shift
    assert shift <= common_shift(coarse) or not coarse.any()
    assert np.array_equal(join(ordered(coarse, word, shift), word, shift), coarse)
    assert len(np.unique(ordered(words, word, 0))) == len(np.unique(words))


@pytest.mark.parametrize("word", [WordType.F16, WordType.F32, WordType.F64])
def test_ordered_integers_sort_as_floats_do(word):
    values = np.random.default_rng(5).normal(size=999).astype(f"<f{word.width}")
    integers = ordered(signed_words(values.tobytes(), word), word, 0)
    assert np.array_equal(np.argsort(integers), np.argsort(values))


@pytest.mark.parametrize("word", list(WordType))
def test_largest_chunk_round_trips(word):
    rng = np.random.default_rng(word)
    base = rng.integers(0, 256, MAX_CHUNK_BYTES, dtype=np.uint8)
    chunk = base.copy()
    chunk[rng.integers(0, len(chunk), 50)] ^= 1
    encoded = encode(chunk.tobytes(), word, base.tobytes())
    assert encoded.encoding in (Encoding.SPARSE, Encoding.EXP, Encoding.DIFF) and len(encoded.payload) < 400
    check(encoded, chunk.tobytes(), base.tobytes())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind):
    chunk, base = bytes(range(200)) * 9, bytes(range(1, 201)) * 9
    encoded = encode(kind(chunk), WordType.U8, kind(base))
    assert decode(encoded.encoding, kind(encoded.payload), kind(base), len(chunk)) == chunk


def test_too_much_is_an_input_error():
    with pytest.raises(InputError):
        encode(bytes(MAX_CHUNK_BYTES + 1), WordType.U8, None)
    with pytest.raises(InputError):
        encode(b"abc", WordType.U8, bytes(MAX_BASE_BYTES + 1))
    with pytest.raises(InputError):
        encode(b"abc", WordType.U8, None, effort=3)


@pytest.mark.parametrize("dtype", list(DType))
def test_every_element_type_has_words(dtype):
    assert dtype.word_bytes % WordType.of(dtype).width == 0


def test_known_element_types_keep_their_words():
    assert [WordType.of(t) for t in (DType.BF16, DType.F8_E5M2FNUZ, DType.BOOL, DType.C64)] == [
        WordType.BF16,
        WordType.F8_E5M2,
        WordType.U8,
        WordType.F32,
    ]
