"""Garbage collection: what it keeps, removes and refuses."""

import pytest

from modelreg.errors import UnreachableError, VerificationError
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.cid import Cid, Codec
from modelreg.store.gc import GcReport, collect
from modelreg.store.local import LocalStore
from modelreg.store.lock import StoreLock
from modelreg.store.pins import Pins
from tests.store.blocks import BLAKE3, dag, leaf, leaves, node
from tests.store.memory import MemoryStore


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


@pytest.fixture
def lock(tmp_path):
    return StoreLock(tmp_path, timeout=0)


def sizes(blocks):
    return sum(len(data) for _, data in blocks)


def test_keeps_what_roots_reach_and_removes_the_rest(store, lock):
    kept, garbage = dag(1), dag(2)
    store.put_many([*kept, *garbage])
    report = collect(store, lock, lambda: [kept[-1][0]])
    assert report == GcReport(len(kept), len(garbage), sizes(garbage), 0, ())
    assert {*store.cids()} == {cid for cid, _ in kept}
    assert [store.get(cid) for cid, _ in kept] == [data for _, data in kept]


def test_no_roots_remove_everything(lock):
    store = MemoryStore()
    store.put_many(leaves(300))
    assert collect(store, lock, list) == GcReport(0, 300, 30_000, 0, ())
    assert store.stat().blocks == 0


def test_a_dry_run_removes_nothing_and_says_the_same(store, lock):
    kept, garbage = dag(1), leaves(7)
    store.put_many([*kept, *garbage])
    said = collect(store, lock, lambda: [kept[-1][0]], dry_run=True)
    assert store.stat().blocks == len(kept) + 7
    assert collect(store, lock, lambda: [kept[-1][0]]) == said


def test_blocks_that_two_roots_share_stay_until_both_are_gone(store, lock):
    shared = leaf(b"shared")
    one, two = node({"one": shared[0]}), node({"two": [shared[0]]})
    store.put_many([shared, one, two])
    collect(store, lock, lambda: [two[0]])
    assert {*store.cids()} == {shared[0], two[0]}


def test_missing_blocks_of_a_pinned_dag_are_counted_and_not_fatal(store, lock):
    blocks = dag(1)
    store.put_many(blocks)
    store.delete([blocks[5][0], blocks[10][0]])
    garbage = leaves(3, seed=9)
    store.put_many(garbage)
    report = collect(store, lock, lambda: [blocks[-1][0]])
    assert report.missing == 2
    assert set(report.examples) == {blocks[5][0], blocks[10][0]}
    assert report.kept == 6
    assert report.removed == 3 + 5


def test_examples_of_missing_blocks_are_few(store, lock):
    root = node([cid for cid, _ in leaves(500)])
    store.put_many([root])
    report = collect(store, lock, lambda: [root[0]])
    assert report.missing == 500
    assert len(report.examples) == 10


def test_a_root_that_is_missing_is_counted(store, lock):
    assert collect(store, lock, lambda: [dag(1)[-1][0]]).missing == 1


def test_a_damaged_node_stops_gc_before_anything_is_removed(store, lock, tmp_path):
    blocks = dag(1)
    garbage = leaves(3, seed=9)
    store.put_many([*blocks, *garbage])
    cid = blocks[10][0]
    (tmp_path / "blocks" / str(cid)[-3:-1] / str(cid)).write_bytes(b"\xf6")
    with pytest.raises(VerificationError, match="nothing was removed"):
        collect(store, lock, lambda: [blocks[-1][0]])
    assert store.stat().blocks == len(blocks) + 3
    store.put_many(blocks)
    assert collect(store, lock, lambda: [blocks[-1][0]]).removed == 3


def test_a_damaged_leaf_does_not_stop_gc(store, lock, tmp_path):
    blocks = dag(1)
    store.put_many(blocks)
    cid = blocks[0][0]
    (tmp_path / "blocks" / str(cid)[-3:-1] / str(cid)).write_bytes(b"")
    assert collect(store, lock, lambda: [blocks[-1][0]]).kept == len(blocks)


def test_a_true_block_that_is_no_node_of_ours_is_a_leaf(store, lock):
    float_node = b"\xfb" + bytes(8)
    cid = Cid.of(Codec.DAG_CBOR, float_node, BLAKE3)
    root = node([cid])
    store.put_many([(cid, float_node), root])
    assert collect(store, lock, lambda: [root[0]]).kept == 2


def test_links_in_raw_blocks_are_bytes(store, lock):
    _, data = root = node([leaf(b"target")[0]])
    raw = leaf(data)
    store.put_many([raw, root, leaf(b"target")])
    collect(store, lock, lambda: [raw[0]])
    assert {*store.cids()} == {raw[0]}


def test_a_long_chain_of_nodes_is_followed_without_recursion(lock):
    store = MemoryStore()
    blocks = [node(None)]
    for _ in range(1200):
        blocks.append(node(blocks[-1][0]))
    store.put_many(blocks)
    assert collect(store, lock, lambda: [blocks[-1][0]]).kept == 1201


def test_a_node_of_links_as_large_as_a_block_is_followed(lock):
    store = MemoryStore()
    cids = [Cid.of(Codec.RAW, bytes([i % 256, i // 256]), BLAKE3) for i in range(25_000)]
    root = node(cids)
    assert len(root[1]) > 0.9 * MAX_BLOCK_BYTES
    store.put_many([root])
    assert collect(store, lock, lambda: [root[0]]).missing == 25_000


def test_pins_are_read_only_once_the_lock_is_held(store, lock, tmp_path):
    def roots():
        with pytest.raises(UnreachableError), StoreLock(tmp_path, timeout=0).shared():
            pytest.fail("a publisher came in between")
        return []

    collect(store, lock, roots)


def test_concurrent_publishers_are_not_swept(store, lock, tmp_path):
    with StoreLock(tmp_path).shared():
        store.put_many(dag(1))
        with pytest.raises(UnreachableError, match="in use"):
            collect(store, lock, list)
    assert store.stat().blocks == 13


def test_a_damaged_pin_stops_gc(store, lock, tmp_path):
    pins = Pins(tmp_path / "pins")
    store.put_many(dag(1))
    pins.add("name", dag(1)[-1][0])
    for path in (tmp_path / "pins").glob("[0-9a-f]*"):
        path.write_bytes(b"")
    with pytest.raises(VerificationError, match="damaged pin"):
        collect(store, lock, lambda: pins.list().values())
    assert store.stat().blocks == 13
