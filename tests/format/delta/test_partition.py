"""Words parted by group: NumPy and numba give the same, and the payloads of both are equal."""

import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.format.delta import WordType, decode, encode, exponent, partition
from modelreg.format.delta.compiled import CompiledPartition
from modelreg.format.delta.partition import SortedPartition
from modelreg.format.delta.words import ordered
from tests.encode.releases import bf16, normal

BOTH = (SortedPartition, CompiledPartition)
WIDTHS = st.sampled_from([(np.uint8, 8), (np.uint16, 11), (np.uint16, 5), (np.uint8, 4)])


@st.composite
def cases(draw):
    """Exponents, a table from them to groups, and words of 1 to 8 bytes."""
    kind, bits = draw(WIDTHS)
    groups = draw(st.integers(1, min(255, 1 << bits)))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    table = np.sort(chance.integers(0, groups, 1 << bits)).astype(np.uint8)
    count = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 1000, 4099]))
    words = chance.integers(-100, 100, count).astype(draw(st.sampled_from(["<i1", "<i2", "<i4", "<i8"])))
    return chance.integers(0, 1 << bits, count).astype(kind), table, groups, words


@given(cases())
def test_numba_gives_what_numpy_gives(case):
    exponents, table, groups, words = case
    by_numpy, by_numba = (make(exponents, table, groups) for make in BOTH)
    assert by_numpy.sizes.tolist() == by_numba.sizes.tolist()
    grouped = by_numpy.gather(words)
    assert grouped.tolist() == by_numba.gather(words).tolist()
    group_of = table[exponents]
    assert grouped.tolist() == [word for g in range(groups) for word in words[group_of == g].tolist()]


FLOATS = [word for word in WordType if word.exponent_bits]


@given(st.sampled_from(FLOATS), st.data(), st.integers(0, 1 << 32))
def test_words_are_restored_alike(word, data, seed):
    """All bit patterns, all shifts, sums that wrap around."""
    chance = np.random.default_rng(seed)
    shift = data.draw(st.integers(0, 8 * word.width - 1))
    base = np.frombuffer(chance.bytes(257 * word.width), f"<i{word.width}")
    grouped = np.frombuffer(chance.bytes(257 * word.width), f"<i{word.width}")
    exponents = exponent.exponents_of(base, word)
    table = np.sort(chance.integers(0, 9, 1 << word.exponent_bits)).astype(np.uint8)
    made = [make(exponents, table, 9).restore(grouped, base, word, shift) for make in BOTH]
    assert made[0].dtype == made[1].dtype
    assert made[0].tolist() == made[1].tolist()
    kept = made[0] >> shift << shift
    difference = ordered(kept, word, shift) - ordered(base, word, shift)
    for make in BOTH:
        parted = make(exponents, table, 9)
        assert parted.restore(parted.gather(difference), base, word, shift).tolist() == kept.tolist()


@pytest.mark.parametrize("word", [WordType.F32, WordType.BF16, WordType.F8_E4M3])
def test_payloads_are_equal_and_each_reads_the_other(word, monkeypatch):
    old, new = normal(1, 200, 300), normal(1, 200, 300) + normal(2, 200, 300, scale=1e-4)
    if word is WordType.BF16:
        old, new = bf16(old), bf16(new)
    payloads = []
    for make in BOTH:
        monkeypatch.setattr(partition._choice, "make", make)
        payloads.append(encode(new.tobytes(), word, old.tobytes()))
    assert payloads[0] == payloads[1]
    for make in BOTH:
        monkeypatch.setattr(partition._choice, "make", make)
        found = decode(payloads[0].encoding, payloads[0].payload, old.tobytes(), new.nbytes)
        assert bytes(found) == new.tobytes()


def test_numba_is_used_when_much_was_coded(monkeypatch):
    choice = partition._Choice()
    choice.words_left = 1000
    monkeypatch.setattr(partition, "_choice", choice)
    table = np.zeros(256, np.uint8)
    assert isinstance(partition.part(np.zeros(999, np.uint8), table, 1), SortedPartition)
    assert isinstance(partition.part(np.zeros(1, np.uint8), table, 1), CompiledPartition)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, MemoryError])
def test_without_numba_numpy_goes_on(monkeypatch, error):
    def fail(name, *rest):
        if name == "modelreg.format.delta.compiled":
            raise error
        return real(name, *rest)

    choice, real = partition._Choice(), builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    choice.compile()
    assert choice.make is SortedPartition
