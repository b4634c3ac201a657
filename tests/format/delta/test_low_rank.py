"""LOWRANK against a slow reference, on words that weights could be and that they could not."""

import contextlib
import json
import random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.delta import Encoding, WordType, decode, lowrank
from modelreg.format.delta.factoring import change_of, factors_of, inverse_of, left_of
from modelreg.format.delta.lowrank import (
    Factors,
    LowRankChunk,
    estimate_low_rank,
    pack_factors,
    pack_low_rank,
    rows_of,
    values_of,
)
from modelreg.format.delta.words import signed_words
from tests.format.delta.strategies import fill
from tests.reference import delta, low_rank

TYPES = (WordType.F16, WordType.BF16, WordType.F32)


def load(name):
    return {row["name"]: row for row in json.loads((delta.VECTORS / name).read_text())}


VALID, REFUSED = load("low-rank.json"), load("refused-low-rank.json")


def parts(row):
    return [
        None if row[name] is None else bytes.fromhex(row[name]) for name in ("payload", "base", "factors")
    ]


def run(row, **changes):
    payload, base, factors = parts(row | changes)
    return decode(row["encoding"], payload, base, row["length"], factors)


@pytest.mark.parametrize("name", VALID)
def test_valid_vector_decodes(name):
    assert run(VALID[name]) == bytes.fromhex(VALID[name]["chunk"])


@pytest.mark.parametrize("name", REFUSED)
def test_refused_vector_is_refused(name):
    with pytest.raises(FormatError):
        run(REFUSED[name])


@pytest.mark.parametrize("file", list(low_rank.DOCUMENTS))
def test_vectors_are_what_the_reference_writes(file):
    assert delta.render(low_rank.DOCUMENTS[file]()) == (delta.VECTORS / file).read_text()


@pytest.mark.parametrize("name", VALID)
def test_payload_and_factors_cut_at_any_byte_are_refused(name):
    row = VALID[name]
    for part in ("payload", "factors"):
        for end in range(0, len(row[part]), 2):
            with pytest.raises(FormatError):
                run(row, **{part: row[part][:end]})


@pytest.mark.parametrize("name", VALID)
def test_flipped_bit_is_refused_or_gives_the_right_length(name):
    row, rng = VALID[name], random.Random(3)
    for part in ("payload", "factors"):
        raw = bytes.fromhex(row[part])
        for flip in rng.sample(range(8 * len(raw)), 120):
            broken = bytearray(raw)
            broken[flip // 8] ^= 1 << flip % 8
            with contextlib.suppress(FormatError):
                assert len(run(row, **{part: broken.hex()})) == row["length"]


def test_factors_belong_to_low_rank_alone():
    with pytest.raises(FormatError, match="factors for RAW"):
        decode(Encoding.RAW, b"abcd", None, 4, b"factors")


def test_factors_that_claim_more_than_there_is_take_no_memory():
    """a few bytes that stand for a large matrix"""
    row = VALID["one row of float32"]
    head = b"\x40" + b"\x80\x80\x01" + b"\x84\x07"
    with pytest.raises(FormatError):
        run(row, factors=(head + b"\x00").hex())


@st.composite
def changes(draw):
    """A matrix of words, the factors of a change, and a range of its words."""
    word = draw(st.sampled_from(TYPES))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(4, 40))
    rank = draw(st.integers(1, min(4, columns)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kind = draw(st.sampled_from(["normal", "random", "special", "subnormal", "constant"]))
    base = fill(kind, rng, word, rows * columns).tobytes()
    largest = 1 << draw(st.integers(1, 23))
    right = rng.integers(1 - largest, largest, (rank, columns)).astype(np.int32)
    start = draw(st.integers(0, rows * columns - 1))
    count = draw(st.integers(1, rows * columns - start))
    column = start % columns
    left = rng.integers(1 - largest, largest, (rows_of(column, count, columns), rank)).astype(np.int32)
    scale = draw(st.one_of(st.integers(-60, 0), st.integers(-900, 900)))
    noise = fill(draw(st.sampled_from(["random", "constant"])), rng, word, count).tobytes()
    used = base[start * word.width : (start + count) * word.width]
    return word, noise, used, column, left, Factors(right, scale)


def coded(chunk, base, word, *rest):
    return LowRankChunk(signed_words(chunk, word), signed_words(base, word), word, *rest)


@settings(max_examples=150)
@given(changes(), st.sampled_from([1, 16]))
def test_any_chunk_comes_back_and_the_reference_agrees(case, phases):
    word, chunk, base, column, left, factors = case
    packed = pack_factors(factors, 8)
    with patch.object(lowrank, "_PHASES", (phases,)):
        payload = pack_low_rank(coded(chunk, base, word, column, left, factors), 8)
    assert low_rank.reference_low_rank(payload, base, packed) == chunk
    if len(payload) <= len(chunk):
        assert decode(Encoding.LOWRANK, payload, base, len(chunk), packed) == chunk


def merged(word, rank):
    """A matrix of 200 rows and 96 columns, and itself with an adapter."""
    rng = np.random.default_rng(rank)
    matrix, adapter = (
        rng.normal(0, 0.05, (200, 96)),
        rng.normal(0, 0.02, (200, rank)) @ rng.normal(0, 0.1, (rank, 96)),
    )
    return (_words(values, word) for values in (matrix, matrix + adapter))


@pytest.mark.parametrize("word", TYPES)
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_an_adapter_is_found(word, rank):
    base, child = merged(word, rank)
    difference = _values(child, word) - _values(base, word)
    change = change_of(difference.reshape(200, 96))
    assert change is not None and change.rank == rank
    factors = factors_of(change, difference.reshape(200, 96), 20)
    left = left_of(factors, change, inverse_of(factors), difference[30:7000], 30)
    width = word.width
    chunk, used = child[30 * width : 7000 * width], base[30 * width : 7000 * width]
    payload = pack_low_rank(coded(chunk, used, word, 30, left, factors), 8)
    assert decode(Encoding.LOWRANK, payload, used, len(chunk), pack_factors(factors, 8)) == chunk
    assert len(payload) < (0.6 if rank == 16 else 0.3) * len(chunk)


@pytest.mark.parametrize("word", TYPES)
@pytest.mark.parametrize("phases", [1, 16])
def test_the_least_estimate_is_of_a_payload_near_the_least(word, phases, monkeypatch):
    monkeypatch.setattr(lowrank, "_PHASES", (phases,))
    base, child = merged(word, 3)
    difference = _values(child, word) - _values(base, word)
    change = change_of(difference.reshape(200, 96))
    sizes, estimates = [], []
    for bits in (23, 16, 11, 7, 4):
        factors = factors_of(change, difference.reshape(200, 96), bits)
        left = left_of(factors, change, inverse_of(factors), difference, 0)
        one = coded(child, base, word, 0, left, factors)
        sizes.append(len(pack_low_rank(one, 8)))
        estimates.append(estimate_low_rank(one, 8))
    assert sizes[estimates.index(min(estimates))] <= 1.02 * min(sizes)
    assert all(0.7 < estimate / size < 1.3 for estimate, size in zip(estimates, sizes, strict=True))


def test_a_change_of_full_rank_has_no_factors():
    rng = np.random.default_rng(1)
    assert change_of(rng.normal(0, 1e-5, (200, 96))) is None
    assert change_of(np.zeros((200, 96))) is None
    assert change_of(np.full((200, 96), np.inf)) is None
    assert change_of(np.ones((1, 96))) is None


def _words(values, word):
    if word is WordType.F16:
        return values.astype("<f2").tobytes()
    single = values.astype("<f4")
    return single.tobytes() if word is WordType.F32 else (single.view("<u4") >> 16).astype("<u2").tobytes()


def _values(raw, word):
    return values_of(signed_words(raw, word), word)
