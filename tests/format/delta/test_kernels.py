"""Loops over words: NumPy and numba give the same, and the payloads of both are equal."""

import builtins
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.format.delta import WordType, decode, encode, kernels, streams
from modelreg.format.delta.compiled import CompiledPartition, spread_compiled, subtract_compiled
from modelreg.format.delta.partition import SortedPartition
from modelreg.format.delta.words import exponents_of, ordered
from tests.encode.releases import bf16, normal

BOTH = (SortedPartition, CompiledPartition)
FLOATS = [word for word in WordType if word.exponent_bits]


@st.composite
def cases(draw):
    """A base and its type, where groups start, and a seed of words."""
    word = draw(st.sampled_from(FLOATS))
    groups = draw(st.integers(1, min(255, 1 << word.exponent_bits)))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    starts = 1 + chance.permutation((1 << word.exponent_bits) - 1)[: groups - 1]
    count = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 1000, 4099]))
    base = np.frombuffer(chance.bytes(count * word.width), f"<i{word.width}")
    return base, word, [0, *sorted(starts.tolist())], chance


@given(cases())
def test_numba_gives_what_numpy_gives(case):
    base, word, starts, chance = case
    words = np.frombuffer(chance.bytes(base.nbytes), base.dtype)
    by_numpy, by_numba = (make(base, word, starts) for make in BOTH)
    assert by_numpy.sizes.tolist() == by_numba.sizes.tolist()
    grouped = by_numpy.gather(words)
    assert grouped.tolist() == by_numba.gather(words).tolist()
    group_of = np.searchsorted(starts, exponents_of(base, word), "right") - 1
    assert grouped.tolist() == [word for g in range(len(starts)) for word in words[group_of == g].tolist()]


@given(cases(), st.data())
def test_words_are_restored_alike(case, data):
    """All bit patterns, all shifts, sums that wrap around."""
    base, word, starts, chance = case
    shift = data.draw(st.integers(0, 8 * word.width - 1))
    grouped = np.frombuffer(chance.bytes(base.nbytes), base.dtype)
    made = [make(base, word, starts).restore(grouped, shift) for make in BOTH]
    assert made[0].dtype == made[1].dtype
    assert made[0].tolist() == made[1].tolist()
    kept = made[0] >> shift << shift
    difference = ordered(kept, word, shift) - ordered(base, word, shift)
    for make in BOTH:
        parted = make(base, word, starts)
        assert parted.restore(parted.gather(difference), shift).tolist() == kept.tolist()


@given(st.sampled_from(WordType), st.integers(1, 300), st.data())
def test_words_are_subtracted_alike(word, count, data):
    """All bit patterns, all shifts, differences that wrap around."""
    shift = data.draw(st.integers(0, 8 * word.width - 1))
    chance = np.random.default_rng(count)
    sides = [np.frombuffer(chance.bytes(count * word.width), f"<i{word.width}") for _ in range(2)]
    made = [subtract(*sides, word, shift) for subtract in (kernels.subtract_by_numpy, subtract_compiled)]
    assert made[0].dtype == made[1].dtype
    assert made[0].tolist() == made[1].tolist()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99)), min_size=1),
    st.sampled_from([None, -1, -2, -(1 << 31), 200, (1 << 31) - 1]),
    st.integers(1, 200),
    st.sampled_from("1248"),
)
def test_values_are_spread_alike(pairs, wrong, length, width):
    """And those that do not fit are refused alike."""
    dense = [number for gap, value in pairs for number in [*[0] * gap, value]]
    gaps, values = (np.array(column) for column in zip(*pairs, strict=True))
    if wrong is not None:
        gaps[len(gaps) // 2] = wrong
    fits = wrong is None and len(dense) <= length
    for spread in (kernels.spread_by_numpy, spread_compiled):
        out = np.full(length, -1, f"<i{width}")
        assert spread(gaps.astype(np.int32), values.astype(out.dtype), out) == fits
        assert not fits or out.tolist() == dense + [0] * (length - len(dense))


@pytest.mark.parametrize("word", [WordType.F32, WordType.BF16, WordType.F8_E4M3])
def test_payloads_are_equal_and_each_reads_the_other(word, monkeypatch):
    old, new = normal(1, 200, 300), normal(1, 200, 300) + normal(2, 200, 300, scale=1e-4)
    if word is WordType.BF16:
        old, new = bf16(old), bf16(new)
    payloads = []
    for make in BOTH:
        monkeypatch.setattr(kernels._choice, "part", make)
        payloads.append(encode(new.tobytes(), word, old.tobytes()))
    assert payloads[0] == payloads[1]
    for make in BOTH:
        monkeypatch.setattr(kernels._choice, "part", make)
        found = decode(payloads[0].encoding, payloads[0].payload, old.tobytes(), new.nbytes)
        assert bytes(found) == new.tobytes()


def test_numba_is_used_when_much_was_coded(monkeypatch):
    monkeypatch.setattr(kernels, "_NUMPY_WORDS", 1000)
    monkeypatch.setattr(kernels, "_PCODEC_WORDS", 2000)
    choice = kernels._Choice()
    monkeypatch.setattr(kernels, "_FEW_WORDS", 500)
    monkeypatch.setattr(kernels, "_choice", choice)
    zeros = memoryview(bytes(1))
    found = [
        (kernels.read_streams(zeros, 0, np.array([count]), np.empty(count, "<i4")), choice.part)
        for count in (500, 500, 500, 500, 499)
    ]
    assert [part is CompiledPartition for _, part in found] == [False, True, True, True, True]
    assert [end for end, _ in found] == [kernels.UNREAD, kernels.UNREAD, kernels.UNREAD, 1, kernels.UNREAD]


@pytest.mark.parametrize("count", [kernels._FEW_WORDS - 1, kernels._FEW_WORDS])
def test_few_words_are_not_worth_compiling_for(count, monkeypatch):
    """There may be no more of their width."""
    choice, asked = kernels._Choice(), []
    for name in ("part", "spread", "subtract"):
        monkeypatch.setattr(choice, name, lambda *_, name=name: asked.append(name))
    monkeypatch.setattr(kernels, "_choice", choice)
    words, gaps = np.zeros(count, "<i4"), np.zeros(1, np.int32)
    kernels.part(words, WordType.F32, [0])
    kernels.spread(gaps, words[:1] + 1, words)
    kernels.subtract(words, words, WordType.F32, 0)
    assert asked == ([] if count < kernels._FEW_WORDS else ["part", "spread", "subtract"])


def test_each_begins_once_however_many_count(monkeypatch):
    begun, choice = [], kernels._Choice()
    choice._rest = [(10 * step, lambda step=step: begun.append(step)) for step in range(1, 50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(choice.count, [1] * 2000))
    assert sorted(begun) == list(range(1, 50))


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, MemoryError])
def test_without_numba_numpy_goes_on(monkeypatch, error):
    def fail(name, *rest):
        if name.startswith("modelreg.format.delta.compiled"):
            raise error
        return real(name, *rest)

    choice, real = kernels._Choice(), builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    choice.compile_loops()
    choice.compile_streams()
    assert choice.part is SortedPartition
    assert choice.read_streams is kernels._read_nothing


def test_without_a_compiler_numpy_goes_on(monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    choice = kernels._Choice()
    choice.compile_loops()
    choice.compile_streams()
    assert choice.part is SortedPartition
    assert choice.read_streams is kernels._read_nothing


def test_a_compiler_that_fails_is_not_asked_again(monkeypatch):
    def fail(*_):
        raise MemoryError

    choice = kernels._Choice()
    choice.read_streams = fail
    monkeypatch.setattr(kernels, "_FEW_WORDS", 0)
    monkeypatch.setattr(kernels, "_choice", choice)
    zeros = np.ones(8, "<i4")
    assert streams.unpack_streams(memoryview(bytes(1)), 0, np.array([8]), zeros) == 1
    assert not zeros.any()
    assert choice.read_streams is kernels._read_nothing
