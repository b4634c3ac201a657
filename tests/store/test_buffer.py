"""Blocks on their way into a store."""

import threading

import pytest

from modelreg.errors import UnreachableError
from modelreg.store.buffer import BlockBuffer
from tests.store.blocks import leaf, leaves
from tests.store.memory import MemoryStore


class Counting(MemoryStore):
    def __init__(self):
        super().__init__()
        self.batches = []

    def put_many(self, blocks):
        blocks = list(blocks)
        self.batches.append([cid for cid, _ in blocks])
        return super().put_many(blocks)


@pytest.fixture
def store():
    return Counting()


def test_blocks_are_written_64_at_a_time_in_order(store):
    buffer, blocks = BlockBuffer(store), leaves(150)
    for cid, block in blocks:
        buffer.add(cid, block)
    buffer.flush()
    assert list(map(len, store.batches)) == [64, 64, 22]
    assert [cid for batch in store.batches for cid in batch] == [cid for cid, _ in blocks]
    assert store.kept == dict(blocks)


def test_what_waits_is_bounded_by_bytes(store):
    buffer = BlockBuffer(store)
    for cid, block in leaves(40, size=1 << 20):
        buffer.add(cid, block)
    buffer.flush()
    assert list(map(len, store.batches)) == [16, 16, 8]


def test_what_waits_can_be_had(store):
    buffer, (cid, block) = BlockBuffer(store), leaf(b"block")
    assert buffer.get(cid) is None
    buffer.add(cid, block)
    assert buffer.get(cid) == block
    buffer.flush()
    assert buffer.get(cid) is None


def test_others_come_while_some_are_written_and_no_more_than_that(store):
    going, put_many = threading.Event(), store.put_many
    store.put_many = lambda blocks: going.wait(20) and put_many(blocks)
    buffer, blocks = BlockBuffer(store), leaves(128)
    for cid, block in blocks[:-1]:
        buffer.add(cid, block)
    assert store.batches == []
    assert [buffer.get(cid) for cid, _ in blocks[:-1]] == [block for _, block in blocks[:-1]]
    threading.Timer(0.2, going.set).start()
    buffer.add(*blocks[-1])  # the buffer is full again: it waits for the first batch
    assert len(store.batches) >= 1
    buffer.flush()
    assert store.kept == dict(blocks)


def test_a_block_that_comes_again_waits_once(store):
    buffer, (cid, block) = BlockBuffer(store), leaf(bytes(1 << 20))
    for _ in range(100):
        buffer.add(cid, block)
    assert store.batches == []
    buffer.flush()
    assert store.batches == [[cid]]


def test_nothing_is_written_where_nothing_waits(store):
    BlockBuffer(store).flush()
    assert store.batches == []


def test_a_store_that_cannot_take_more_is_told(store):
    buffer, (cid, block) = BlockBuffer(store), leaf(b"block")

    def full(_):
        raise UnreachableError("full")

    store.put_many = full
    buffer.add(cid, block)
    with pytest.raises(UnreachableError):
        buffer.flush()


def test_what_a_write_in_the_background_raised_is_not_lost(store):
    def full(_):
        raise UnreachableError("full")

    store.put_many = full
    buffer, blocks = BlockBuffer(store), leaves(65)
    for cid, block in blocks:
        buffer.add(cid, block)
    with pytest.raises(UnreachableError):
        buffer.flush()
