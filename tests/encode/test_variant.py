"""A variant of a release: chunks that are exact casts of its sibling's."""

import numpy as np
import pytest
from safetensors.numpy import save

from modelreg.encode import Parent, encode_release
from modelreg.format.delta import Encoding
from modelreg.source import find_sources
from modelreg.store.plaintext import Plaintext
from tests.store.memory import MemoryStore


def weights(rng, dtype):
    return {
        "b.bias": rng.normal(size=384).astype("<f4").astype(dtype),
        "a.weight": rng.normal(size=(1024, 300)).astype("<f4").astype(dtype),
    }


class Shelf:
    """Encodes files into one store."""

    def __init__(self, tmp_path):
        self.store = MemoryStore()
        self._path = tmp_path / "model.safetensors"

    def encode(self, tensors, parent=None, sibling=None):
        self._path.write_bytes(save(tensors))
        return encode_release(
            find_sources(self._path),
            parent,
            self.store,
            lambda cid, block: self.store.put_many([(cid, block)]),
            effort=1,
            sibling=sibling,
        )

    def decoded(self, encoded):
        plaintext = Plaintext(self.store)
        rows = range(len(encoded.manifest.chunks))
        return b"".join(plaintext.chunk(encoded.manifest, row) for row in rows)

    def bytes(self):
        return self._path.read_bytes()


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def as_parent(encoded):
    return Parent(encoded.cid, encoded.manifest)


def test_a_cast_of_the_sibling_costs_almost_nothing(shelf):
    wide = shelf.encode(weights(np.random.default_rng(1), "<f4"))
    narrow = shelf.encode(weights(np.random.default_rng(1), "<f2"), sibling=as_parent(wide))
    assert {row.encoding for row in narrow.manifest.chunks if row.length > 4096} == {Encoding.CAST}
    assert narrow.stored_bytes < 0.01 * narrow.manifest.size
    assert [base.manifest for base in narrow.manifest.bases] == [wide.cid]
    assert shelf.decoded(narrow) == shelf.bytes()


def test_a_sibling_that_is_no_cast_is_no_base(shelf):
    wide = shelf.encode(weights(np.random.default_rng(1), "<f4"))
    narrow = shelf.encode(weights(np.random.default_rng(2), "<f2"), sibling=as_parent(wide))
    assert not narrow.manifest.bases
    assert shelf.decoded(narrow) == shelf.bytes()


def test_the_parent_and_the_sibling_are_bases_side_by_side(shelf):
    old = weights(np.random.default_rng(1), "<f2")
    parent = shelf.encode(old)
    wide = weights(np.random.default_rng(3), "<f4")
    sibling = shelf.encode(wide)
    # One tensor is a cast of the sibling, the other a small step from the parent.
    new = {"a.weight": wide["a.weight"].astype("<f2"), "b.bias": old["b.bias"] + np.float16(0.001)}
    child = shelf.encode(new, as_parent(parent), as_parent(sibling))
    cast = next(row for row in child.manifest.chunks if row.encoding == Encoding.CAST)
    assert child.manifest.bases[cast.base.base].manifest == sibling.cid
    assert shelf.decoded(child) == shelf.bytes()


def test_a_sibling_whose_blocks_are_gone_is_passed_over(shelf):
    wide = shelf.encode(weights(np.random.default_rng(1), "<f4"))
    shelf.store.delete([row.payload.block for row in wide.manifest.chunks])
    narrow = shelf.encode(weights(np.random.default_rng(1), "<f2"), sibling=as_parent(wide))
    assert not narrow.manifest.bases
    assert shelf.decoded(narrow) == shelf.bytes()
