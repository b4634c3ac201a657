"""Releases into which an adapter was merged: their chunks share factors, and everybody decodes the same."""

import numpy as np
import pytest

from modelreg import low_rank
from modelreg.encode import Parent
from modelreg.format.delta import Encoding
from modelreg.store.plaintext import Plaintext
from tests.encode.releases import bf16
from tests.encode.test_variant import Shelf, as_parent

ROWS, COLUMNS, RANK = 1100, 400, 6


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def merged(narrow=False, rank=RANK):
    """The weights before and after."""
    rng = np.random.default_rng(5)
    before = rng.normal(0, 0.05, (ROWS, COLUMNS)).astype("<f4")
    change = rng.normal(0, 0.02, (ROWS, rank)) @ rng.normal(0, 0.05, (rank, COLUMNS))
    after = (before + change.astype("<f4")).astype("<f4")
    norm = rng.normal(1, 0.1, 400).astype("<f4")
    if narrow:
        before, after = (bf16(side).view("<i2") for side in (before, after))
    return {"a.norm": norm, "b.weight": before}, {"a.norm": norm, "b.weight": after}


def stored(encoded):
    """Bytes of payloads and factors, each once."""
    parts = {part for row in encoded.manifest.chunks for part in (row.payload, row.factors) if part}
    return sum(part.size for part in parts)


def test_a_merged_adapter_costs_little_more_than_itself(shelf):
    before, after = merged()
    parent = shelf.encode(before)
    child = shelf.encode(after, as_parent(parent))
    large = [row for row in child.manifest.chunks if row.length > 4096]
    assert {row.encoding for row in large} == {Encoding.LOWRANK}
    assert len({row.factors for row in large}) == 1
    new = [row for row in large if row.base]
    assert sum(row.payload.size for row in new) + new[0].factors.size < 0.08 * after["b.weight"].nbytes
    assert shelf.decoded(child) == shelf.bytes()


def test_a_change_of_full_rank_stays_what_it_was(shelf):
    before, after = merged(rank=COLUMNS)
    child = shelf.encode(after, as_parent(shelf.encode(before)))
    assert Encoding.LOWRANK not in {row.encoding for row in child.manifest.chunks}
    assert shelf.decoded(child) == shelf.bytes()


def test_a_grandchild_takes_over_rows_with_factors(shelf):
    before, after = merged()
    child = shelf.encode(after, as_parent(shelf.encode(before)))
    later = after | {"a.norm": after["a.norm"] + 1}
    grandchild = shelf.encode(later, as_parent(child))
    assert [row for row in grandchild.manifest.chunks if row.encoding == Encoding.LOWRANK]
    assert shelf.decoded(grandchild) == shelf.bytes()


def test_many_matrices_with_factors_of_their_own_can_be_read_back(shelf):
    """A chunk and its factors are two blocks: a shard of 2,048 rows can name 4,096."""
    rng = np.random.default_rng(7)
    names = [f"m{number:04}" for number in range(2060)]
    before = {name: rng.normal(0, 0.05, (132, 132)).astype("<f4") for name in names}
    change = rng.normal(0, 0.02, (132, 2)) @ rng.normal(0, 0.05, (2, 132))
    after = {
        name: (array + change.astype("<f4") * (1 + at % 7)).astype("<f4")
        for at, (name, array) in enumerate(before.items())
    }
    parent = shelf.encode(before)
    child = shelf.encode(after, as_parent(parent))
    assert sum(row.encoding == Encoding.LOWRANK for row in child.manifest.chunks) == len(names)
    assert Plaintext(shelf.store).manifest(child.cid) == child.manifest


def test_a_payload_that_does_not_decode_is_not_published(shelf, monkeypatch):
    """a library that writes what it cannot read"""
    real = low_rank.pack_low_rank
    monkeypatch.setattr(low_rank, "pack_low_rank", lambda *given: real(*given)[:-1] + b"\x55")
    before, after = merged()
    child = shelf.encode(after, as_parent(shelf.encode(before)))
    assert Encoding.LOWRANK not in {row.encoding for row in child.manifest.chunks}
    assert shelf.decoded(child) == shelf.bytes()


def test_a_parent_that_is_partly_gone_stops_no_publish(shelf):
    """What is only looked at, to see whether the change is of low rank."""
    rng = np.random.default_rng(8)
    before = rng.normal(0, 0.05, (2048, 512)).astype("<f4")
    after = before.copy()
    after[:200] += rng.normal(0, 1e-4, (200, 512)).astype("<f4")
    parent = shelf.encode({"w": before})
    kept = {row.payload.block for row in parent.manifest.chunks[:2]}
    shelf.store.delete([row.payload.block for row in parent.manifest.chunks if row.payload.block not in kept])
    ours = Parent(parent.cid, parent.manifest, ours=True)
    assert len(shelf.encode({"w": after}, ours).manifest.chunks) == len(parent.manifest.chunks)


def test_factors_that_are_gone_are_missed(shelf):
    before, after = merged()
    child = shelf.encode(after, as_parent(shelf.encode(before)))
    [factors] = {row.factors for row in child.manifest.chunks if row.factors}
    shelf.store.delete([factors.block])
    row = next(n for n, row in enumerate(child.manifest.chunks) if row.factors)
    with pytest.raises(Exception, match=str(factors.block)):
        Plaintext(shelf.store).chunk(child.manifest, row)
