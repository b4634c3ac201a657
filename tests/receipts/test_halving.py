"""Hashing in two threads gives what hashing in one gives, whatever the sizes."""

from contextlib import closing

import pytest
from blake3 import blake3

from modelreg.format.values import lay_out, values, values_of
from modelreg_verifier.receipts import halving
from tests.receipts.making import CUTS, INPUTS, floats


@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 5], [5], [1] * 9, [100, 1, 1], [1, 1, 100], [7, 0, 7]])
@pytest.mark.parametrize("least", [0, 10, 1000])
def test_each_tensor_has_its_own_hash(monkeypatch, sizes, least):
    monkeypatch.setattr(halving, "_BYTES_MIN", least)
    data = [memoryview(bytes([number]) * size) for number, size in enumerate(sizes)]
    with closing(halving.Halves()) as hashing:
        assert hashing(data) == [blake3(each).digest() for each in data]


def test_both_halves_are_used(monkeypatch):
    monkeypatch.setattr(halving, "_BYTES_MIN", 1)
    parts = []
    monkeypatch.setattr(halving, "hash_each", lambda data: (parts.append(len(data)), [b""] * len(data))[1])
    with closing(halving.Halves()) as hashing:
        assert len(hashing([memoryview(bytes(10))] * 8)) == 8
    assert sorted(parts) == [4, 4]


def test_sets_have_the_same_values(monkeypatch):
    monkeypatch.setattr(halving, "_BYTES_MIN", 1)
    sets = [INPUTS, *CUTS, {"a": floats(1.0), "b": floats()}, {}]
    laid = lay_out(sets)
    with closing(halving.Halves()) as hashing:
        assert values_of(*laid, hashing) == values_of(*laid) == [values(each) for each in sets]
