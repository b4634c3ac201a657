"""The encoder finds what fits, and publishes nothing that it cannot read."""

import itertools

import numpy as np
import pytest
import zstandard

from modelreg.errors import FormatError
from modelreg.format.delta import (
    Encoded,
    Encoding,
    WordType,
    decode,
    encode,
    encoder,
    exponent,
    grouping,
    pages,
    streams,
)

RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(0, 0.02, 40_000).astype("<f4")
STEPPED = (WEIGHTS + RNG.normal(0, 1e-5, 40_000).astype("<f4")).astype("<f4")
TEXT = b"".join(b'{"id": %d, "content": "token %d"}, ' % (i, i * 7) for i in range(1500))


def encoded(chunk, word, base=None, effort=1):
    result = encode(chunk, word, base, effort=effort)
    used = base if result.encoding.needs_base else None
    assert decode(result.encoding, result.payload, used, len(chunk)) == chunk
    return result


def test_effort_0_stores():
    assert encode(bytes(100), WordType.U8, bytes(100), effort=0) == Encoded(Encoding.RAW, bytes(100))


def test_random_bytes_are_stored():
    noise = RNG.bytes(5000)
    assert encoded(noise, WordType.U8) == Encoded(Encoding.RAW, noise)


def test_whole_weights_are_entropy_coded():
    result = encoded(WEIGHTS.tobytes(), WordType.F32)
    assert result.encoding is Encoding.SOLO
    assert len(result.payload) < 0.86 * WEIGHTS.nbytes


def test_weights_stored_wide_cost_what_the_narrow_ones_do():
    wide = (WEIGHTS.view("<u4") & 0xFFFF0000).tobytes()
    narrow = (WEIGHTS.view("<u4") >> 16).astype("<u2").tobytes()
    assert len(encoded(wide, WordType.F32).payload) <= len(encoded(narrow, WordType.BF16).payload) + 40


def test_step_of_an_optimiser_is_grouped_by_exponent():
    result = encoded(STEPPED.tobytes(), WordType.F32, WEIGHTS.tobytes())
    assert result.encoding is Encoding.EXP
    assert len(result.payload) < 0.5 * WEIGHTS.nbytes
    one_group = streams.pack_integers(STEPPED.view("<i4") - WEIGHTS.view("<i4"), 10)
    assert len(result.payload) < 0.97 * len(one_group)


@pytest.mark.parametrize(
    ("share", "first"), [(0.0, 0), (1e-4, 16), (0.1, 16), (0.45, 16), (0.6, 1), (1.0, 1)]
)
def test_many_zeros_become_gaps(share, first):
    values = np.where(RNG.random(100_000) < share, RNG.integers(1, 4, 100_000), 0).astype("<i2")
    stream, page = streams.pack_integers(values, 9), pages.pack_page(values, 9)
    assert stream[0] == first
    assert len(stream) < 1.01 * len(page) + 30
    found = np.empty_like(values)
    assert streams.unpack_integers(memoryview(stream), 0, found) == len(stream)
    assert found.tolist() == values.tolist()


def test_few_integers_take_what_is_smaller():
    for changed in range(1, 500, 7):
        values = np.arange(1000, dtype="<i4") * (np.arange(1000) < changed)
        stream = streams.pack_integers(values, 9)
        assert len(stream) <= len(pages.pack_page(values, 9))


def test_effort_2_is_no_larger():
    chunk, base = STEPPED.tobytes(), WEIGHTS.tobytes()
    assert len(encoded(chunk, WordType.F32, base, 2).payload) <= len(
        encoded(chunk, WordType.F32, base).payload
    )


def test_steps_of_integers_are_differences():
    old = RNG.integers(-128, 128, 30_000).astype("i1")
    new = (old + RNG.choice([0, 0, 0, 1, -1], 30_000)).astype("i1")
    assert encoded(new.tobytes(), WordType.I8, old.tobytes()).encoding is Encoding.DIFF


def test_few_changes_are_listed():
    child = WEIGHTS.copy()
    child[[5, 900, 39_999]] *= 1.5
    result = encoded(child.tobytes(), WordType.F32, WEIGHTS.tobytes())
    assert result.encoding is Encoding.SPARSE
    assert len(result.payload) < 30


def test_equal_chunk_costs_three_bytes():
    assert len(encoded(WEIGHTS.tobytes(), WordType.F32, WEIGHTS.tobytes()).payload) == 3


def test_unrelated_base_is_left_alone():
    other = RNG.normal(0, 0.02, 40_000).astype("<f4").tobytes()
    assert encoded(WEIGHTS.tobytes(), WordType.F32, other).encoding is Encoding.SOLO


def test_text_is_compressed_as_zstd_19_does():
    result = encoded(TEXT, WordType.U8)
    assert result.encoding is Encoding.ZSTD
    assert len(result.payload) <= len(zstandard.ZstdCompressor(level=19).compress(TEXT))


def test_inserted_text_is_patched():
    result = encoded(TEXT[:9000] + b"a new line" + TEXT[9000:], WordType.U8, TEXT)
    assert result.encoding is Encoding.PATCH
    assert len(result.payload) < 200


def test_moved_weights_are_patched():
    moved = np.concatenate((WEIGHTS[:384], WEIGHTS)).tobytes()[: WEIGHTS.nbytes]
    assert encoded(moved, WordType.F32, WEIGHTS.tobytes()).encoding is Encoding.PATCH


def test_moved_integers_are_patched():
    integers = RNG.integers(-100, 100, 40_000).astype("i1")
    assert encoded(np.roll(integers, 3).tobytes(), WordType.I8, integers.tobytes()).encoding is Encoding.PATCH


def narrow_formats():
    """Chunks of formats of less than two bytes a weight, and the next step of each, as files have them."""
    rng = np.random.default_rng(11)
    weights = rng.normal(0, 0.02, 1 << 18).astype("<f4")
    stepped = (weights + rng.normal(0, 1e-4, len(weights))).astype("<f4")

    def fp8(values):
        return (values.astype("<f2").view("<u2") >> 8).astype("<u1").tobytes()  # E5M2 is the upper half

    def packed(values):
        steps = np.clip(np.round(values / 0.01) + 8, 0, 15).astype("<u1")
        return (steps[::2] | steps[1::2] << 4).tobytes()

    def blocks(values, bits):
        """A scale in binary16 for each 32 weights, before them: Q4_0 and Q8_0 of GGUF."""
        rows = values.reshape(-1, 32)
        scale = (np.abs(rows).max(axis=1) / (2 ** (bits - 1) - 1)).astype("<f2")
        steps = np.clip(np.round(rows / np.maximum(scale, 1e-8)[:, None]), -(2 ** (bits - 1)), 127)
        if bits == 4:
            steps = (steps.astype("<i1") + 8).astype("<u1")
            steps = steps[:, :16] | steps[:, 16:] << 4
        return np.hstack([scale.view("<u1").reshape(-1, 2), steps.astype("<i1").view("<u1")]).tobytes()

    forms = {
        "fp8": (WordType.F8_E5M2, fp8),
        "int4": (WordType.U8, packed),
        "q4_0": (WordType.U8, lambda values: blocks(values, 4)),
        "q8_0": (WordType.U8, lambda values: blocks(values, 8)),
    }
    for name, (word, form) in forms.items():
        yield pytest.param(word, form(stepped), form(weights), id=name)


@pytest.mark.parametrize(("word", "chunk", "base"), list(narrow_formats()))
def test_narrow_formats_cost_no_more_than_zstd_alone(word, chunk, base):
    alone = len(zstandard.ZstdCompressor(level=19).compress(chunk))
    assert len(encoded(chunk, word).payload) <= 1.01 * alone
    assert len(encoded(chunk, word, base).payload) <= alone


@pytest.mark.parametrize("word", [WordType.F32, WordType.BF16])
def test_pruned_weights_cost_no_more_than_zstd_alone(word):
    """Against the denser ones a delta is small enough to stand, and without them they are smaller still."""
    chance = np.random.default_rng(1).random(len(WEIGHTS))
    sides = [np.where(chance < kept, WEIGHTS, 0).astype("<f4").tobytes() for kept in (0.02, 0.3)]
    if word is WordType.BF16:
        sides = [(np.frombuffer(side, "<u4") >> 16).astype("<u2").tobytes() for side in sides]
    alone = len(zstandard.ZstdCompressor(level=19).compress(sides[0]))
    assert len(encoded(sides[0], word, sides[1]).payload) <= alone


@pytest.mark.parametrize("written", [b"\x03", b"\x00", b"\x00\x00"], ids=["unreadable", "zeros", "too long"])
@pytest.mark.parametrize("word", [WordType.F32, WordType.I32])
def test_what_does_not_decode_is_stored_instead(monkeypatch, written, word):
    for module in (encoder, exponent):
        monkeypatch.setattr(module, "pack_integers", lambda *_: written)
    chunk = STEPPED.tobytes()
    assert encode(chunk, word, WEIGHTS.tobytes()) == Encoded(Encoding.RAW, chunk)


def stepped_by_exponent(exponents, steps):
    """Words of float64 with these exponents, and their differences to the next: of the size of their step."""
    chance = np.random.default_rng(1)
    base = exponents.astype("<i8") << 52 | chance.integers(0, 1 << 50, len(exponents))
    return base, np.rint(chance.standard_normal(len(exponents)) * steps).astype("<i8")


def test_groups_are_cut_where_the_size_of_differences_changes():
    exponents = np.repeat(np.arange(1000, 1012, dtype=np.uint16), 2000)
    base, difference = stepped_by_exponent(exponents, np.where(exponents < 1005, 30_000, 8))
    assert grouping.choose_starts(difference, base, WordType.F64) == [0, 1005]
    high = exponents > 1005
    assert grouping.choose_starts(difference[high], base[high], WordType.F64) == [0]


def test_groups_are_the_best_of_all():
    """Of a few exponents, by trying every way to cut them."""
    exponents = np.repeat(np.arange(8, dtype=np.uint16), [5, 900, 40, 3000, 1, 700, 700, 20])
    base, difference = stepped_by_exponent(exponents, 4.0 ** (exponents % 5))
    _, table = grouping._histograms(difference, exponents)
    estimate = grouping._Estimate(1)

    def total(cuts):
        return sum(estimate.of(np.add.reduceat(table, cuts)))

    every = [[0, *cuts] for count in range(8) for cuts in itertools.combinations(range(1, 8), count)]
    assert total(grouping.choose_starts(difference, base, WordType.F64)) == min(map(total, every))


def test_many_exponents_are_taken_together_in_pairs():
    exponents = np.repeat(np.arange(400, dtype=np.uint16), 160)
    base, difference = stepped_by_exponent(exponents, np.where(exponents // 16 % 2, 3e6, 8))
    starts = grouping.choose_starts(difference, base, WordType.F64)
    assert 1 < len(starts) <= 64
    assert all(start % 8 == 0 for start in starts)
    chunk, parent = (base + difference).tobytes(), base.tobytes()
    assert encoded(chunk, WordType.F64, parent).encoding is Encoding.EXP


def test_panic_of_the_decoder_is_a_format_error(monkeypatch):
    class PanicException(BaseException):
        """As pyo3 names it."""

    def fail(*_):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(pages, "_unpack_pcodec", fail)
    payload = encode(WEIGHTS.tobytes(), WordType.F32, None, effort=0).payload
    with pytest.raises(FormatError):
        decode(Encoding.SOLO, b"\x0a\x00\x01" + payload[:50], None, 400)


def test_interrupt_is_no_format_error(monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "_unpack_pcodec", fail)
    with pytest.raises(KeyboardInterrupt):
        decode(Encoding.SOLO, b"\x0a\x00\x01", None, 400)


def test_pcodec_still_writes_the_format_that_is_specified():
    from pcodec import wrapped

    assert wrapped.FileCompressor().write_header() == pages._HEADER
