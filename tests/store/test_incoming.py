"""New blocks on their way into several stores at once."""

import threading

import pytest

from modelreg.errors import NotPermittedError, UnreachableError
from modelreg.store.incoming import incoming
from tests.store.blocks import leaf, leaves
from tests.store.memory import MemoryStore


def nothing():
    pass


def test_every_store_has_all_blocks_after_a_flush():
    first, second, blocks = MemoryStore(), MemoryStore(), leaves(150, size=1 << 19)
    with incoming([first.put_many, second.put_many], nothing) as taking:
        for cid, block in blocks:
            taking.add(cid, block)
        taking.flush()
    assert first.kept == second.kept == dict(blocks)
    assert taking.taken == set(dict(blocks))


def test_a_few_batches_are_under_way_and_no_more(monkeypatch):
    monkeypatch.setattr("modelreg.store.incoming._BATCH_BYTES", 1000)
    sent, go = [], threading.Event()

    def lane(batch):
        sent.append([cid for cid, _ in batch])
        go.wait(10)

    with incoming([lane], nothing) as taking:
        for cid, block in leaves(30):
            taking.add(cid, block)
        assert len(sent) == 3
        assert taking.taken == set()
        feeding = threading.Thread(target=lambda: [taking.add(*block) for block in leaves(20, seed=1)])
        feeding.start()
        feeding.join(0.2)
        assert feeding.is_alive()
        assert len(sent) == 3
        go.set()
        feeding.join()
        taking.flush()
    assert len(sent) == 5


def test_a_block_in_the_batch_is_taken_once():
    store, (cid, block) = MemoryStore(), leaf(b"block")
    lanes = []
    with incoming([lambda batch: lanes.append(len(batch)) or store.put_many(batch)], nothing) as taking:
        taking.add(cid, block)
        taking.add(cid, block)
        taking.flush()
        taking.flush()
    assert lanes == [1]


def test_an_error_of_one_store_is_raised():
    def full(_):
        raise UnreachableError("disk full")

    store = MemoryStore()
    with incoming([store.put_many, full], nothing) as taking, pytest.raises(UnreachableError, match="full"):
        taking.add(*leaf(b"block"))
        taking.flush()
    assert taking.taken == set()


def test_nothing_is_written_without_permission():
    store = MemoryStore()

    def refuse():
        raise NotPermittedError("wrong password")

    with incoming([store.put_many], refuse) as taking:
        for cid, block in leaves(10, size=1 << 20):
            taking.add(cid, block)
        with pytest.raises(NotPermittedError):
            taking.flush()
    assert store.kept == {}
