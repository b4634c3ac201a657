"""Bringing whole DAGs of blocks into a store."""

import tracemalloc

import pytest

from modelreg.errors import FormatError, NotFoundError
from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.replicate import fetch_dag
from tests.store.blocks import BLAKE3, dag, leaf, node
from tests.store.memory import MemoryStore


class Recording(MemoryStore):
    def __init__(self):
        super().__init__()
        self.order = []
        self.asked = []

    def put_many(self, blocks):
        def noted():
            for cid, block in blocks:
                self.order.append(cid)
                yield cid, block

        return super().put_many(noted())

    def get(self, cid):
        self.asked.append(cid)
        return super().get(cid)


@pytest.fixture
def source():
    return Recording()


@pytest.fixture
def store():
    return Recording()


def put(source, blocks):
    source.put_many(blocks)
    return blocks[-1][0]


def test_all_blocks_come_and_none_before_those_it_links(source, store):
    root = put(source, dag(1))
    assert fetch_dag(root, source, store) == sum(len(block) for _, block in dag(1))
    assert store.kept == dict(dag(1))
    assert store.order[-1] == root
    for cid in store.order:
        if cid.codec is Codec.DAG_CBOR:
            below = canonical.links(canonical.decode(store.kept[cid]))
            assert all(store.order.index(link) < store.order.index(cid) for link in below)


def test_leaves_that_are_here_are_not_asked_for(source, store):
    blocks = dag(1)
    root = put(source, blocks)
    store.put_many(blocks[:7])
    missing = sum(len(block) for _, block in blocks[7:])
    assert fetch_dag(root, source, store) == missing
    assert not {cid for cid, _ in blocks[:7]} & set(source.asked)


def test_leaves_that_are_damaged_are_mended_if_asked_for(source, store):
    root = put(source, dag(1))
    store.put_many(dag(1))
    damaged = dag(1)[0][0]
    store.kept[damaged] = b"damaged"
    assert fetch_dag(root, source, store) == 0
    assert fetch_dag(root, source, store, mend=True) == len(dag(1)[0][1])
    assert store.kept == dict(dag(1))


def test_blocks_that_are_shared_come_once(source, store):
    first, second = dag(1), dag(2)
    root = node({"bases": [first[-1][0], second[-1][0], first[-1][0]], "again": first[0][0]})
    put(source, [*first, *second, root])
    fetch_dag(root[0], source, store)
    assert len(store.order) == len(set(store.order)) == len(first) + len(second) + 1
    assert len(source.asked) == len(set(source.asked))


@pytest.mark.parametrize("number", [0, 9, 10, 12])
def test_a_block_that_the_source_lacks_is_told_and_the_root_not_kept(source, store, number):
    blocks = dag(1)
    root = put(source, blocks)
    source.delete([blocks[number][0]])
    with pytest.raises(NotFoundError):
        fetch_dag(root, source, store)
    assert not store.has(root)


def test_a_leaf_as_root(source, store):
    cid, block = leaf(b"alone")
    source.put_many([(cid, block)])
    assert fetch_dag(cid, source, store) == 5


@pytest.mark.parametrize(
    "block", [b"", b"\xa1\x61b\x00\x61a\x00", b"\x81" * 100], ids=["empty", "order", "deep"]
)
def test_a_node_that_is_no_canonical_dag_cbor_is_refused(source, store, block):
    cid = Cid.of(Codec.DAG_CBOR, block, BLAKE3)
    root = put(source, [(cid, block), node([cid])])
    with pytest.raises(FormatError):
        fetch_dag(root, source, store)
    assert store.kept == {}


def test_memory_of_a_wide_dag_is_bounded(source):
    """200 nodes of 200 kB each, none of which may wait for the others."""
    wide = [node({"n": n, "pad": bytes(200_000)}) for n in range(200)]
    root = put(source, [*wide, node([cid for cid, _ in wide])])

    class Sink(MemoryStore):
        def put_many(self, blocks):
            return sum(len(block) for _, block in blocks)

    source.get = lambda cid: bytes(bytearray(source.kept[cid]))
    tracemalloc.start()
    try:
        assert fetch_dag(root, source, Sink()) > 40_000_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_long_lineage_is_followed_to_its_end(source, store):
    below = dag(1)[-1][0]
    source.put_many(dag(1))
    for number in range(3000):
        cid, block = node({"n": number, "base": below})
        source.put_many([(cid, block)])
        below = cid
    fetch_dag(below, source, store)
    assert len(store.kept) == 3000 + len(dag(1))
