"""Fetching what this machine lacks."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelreg.errors import NotFoundError, UnreachableError
from modelreg.store.multi import MultiStore
from modelreg_verifier.fetch import FetchingSource
from tests.store.blocks import leaf, leaves
from tests.store.memory import MemoryStore

BLOCKS = leaves(200)
CID, BLOCK = BLOCKS[0]


@pytest.fixture
def local():
    return MemoryStore("local")


@pytest.fixture
def peer():
    store = MemoryStore("peer")
    store.put_many(BLOCKS)
    return store


@pytest.fixture
def source(local, peer):
    return FetchingSource(MultiStore(local, [peer]))


def test_a_block_that_is_here_is_not_fetched(source, local, peer):
    local.put_many([(CID, BLOCK)])
    peer.kept.clear()
    assert source.get(CID) == BLOCK
    assert source.fetched_bytes == 0


def test_a_block_that_is_not_here_is_looked_for_once(source, local, monkeypatch):
    asked = []
    monkeypatch.setattr(local, "get", lambda cid: asked.append(cid) or MemoryStore().get(cid))
    assert source.get(CID) == BLOCK
    assert asked == [CID]


def test_a_fetched_block_is_kept_after_a_flush(source, local):
    assert source.get(CID) == BLOCK
    assert source.get(CID) == BLOCK
    source.flush()
    assert local.kept == {CID: BLOCK}
    assert source.fetched_bytes == len(BLOCK)


def test_what_waits_to_be_written_is_not_fetched_again(source, peer):
    source.get(CID)
    peer.kept.clear()
    assert source.get(CID) == BLOCK


def test_a_block_that_will_lie_in_a_file_is_not_kept(source, local):
    source.in_files = frozenset({CID})
    assert [source.get(CID), source.get(CID)] == [BLOCK, BLOCK]
    source.flush()
    assert local.kept == {}
    assert source.fetched_bytes == len(BLOCK)


def test_a_damaged_block_is_fetched_and_mended(source, local):
    local.kept[CID] = b"damaged"
    assert source.get(CID) == BLOCK
    source.flush()
    assert local.get(CID) == BLOCK


def test_a_block_that_nobody_has_is_not_found(source):
    absent, _ = leaf(b"absent")
    with pytest.raises(NotFoundError):
        source.get(absent)
    assert not source.has(absent)
    assert source.has(CID)


def test_many_blocks_are_written_as_they_come(source, local):
    for cid, _ in BLOCKS:
        source.get(cid)
    assert len(local.kept) >= 128
    source.flush()
    assert local.kept == dict(BLOCKS)


def test_a_store_that_cannot_take_more_is_told(source, local):
    def full(_):
        raise UnreachableError("full")

    local.put_many = full
    with pytest.raises(UnreachableError):
        for cid, _ in BLOCKS:
            source.get(cid)


def test_threads_count_each_block_once(source, local):
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(source.get, [cid for cid, _ in BLOCKS] * 4))
    assert given == [block for _, block in BLOCKS] * 4
    source.flush()
    assert source.fetched_bytes == sum(len(block) for _, block in BLOCKS)
    assert local.kept == dict(BLOCKS)


class Slow:
    """Somebody far who takes a while for each block."""

    name = "slow"

    def __init__(self, seconds):
        self.seconds = seconds

    async def fetch(self, cid, _session):
        await asyncio.sleep(self.seconds)
        return dict(BLOCKS)[cid]


def test_only_waiting_for_what_is_far_is_limited(local):
    """Whoever decodes for long between two blocks, or finds them here, is not at fault."""
    local.put_many(BLOCKS[:50])
    source = FetchingSource(MultiStore(local, [], [Slow(0.01)]))
    with source.within(0.5):
        assert source.get(BLOCKS[100][0]) == BLOCKS[100][1]
        time.sleep(0.6)
        assert source.get(BLOCKS[101][0]) == BLOCKS[101][1]
    source = FetchingSource(MultiStore(local, [], [Slow(0.2)]))
    with source.within(0.3):
        source.get(BLOCKS[102][0])
        with pytest.raises(UnreachableError, match="fast enough") as caught:
            source.get(BLOCKS[103][0])
        assert source.get(BLOCKS[3][0]) == BLOCKS[3][1]
    assert caught.value in source.failures
    assert source.get(BLOCKS[103][0]) == BLOCKS[103][1]


def test_those_who_wait_together_wait_once(local):
    source = FetchingSource(MultiStore(local, [], [Slow(0.2)]))
    with source.within(1.0), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.get, [cid for cid, _ in BLOCKS[:2]])) == [b for _, b in BLOCKS[:2]]
        assert source._left > 0.6
