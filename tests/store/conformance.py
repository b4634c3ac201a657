"""What every block store must do: docs/spec/store.md, section 1. Subclass it once for each kind of store."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelreg.errors import FormatError, NotFoundError, VerificationError
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import StoreStat
from tests.store.blocks import BLAKE3, SHA2, leaf, leaves, node

CID, BLOCK = leaf(b"weights")


class BlockStoreConformance:
    """Needs a fixture `store`, empty, and `plant(cid, data)`, which puts any bytes under a CID of it.

    `keyed_by_digest`: the store forgets codecs (docs/spec/store.md, section 9).
    """

    keyed_by_digest = False

    def plant(self, cid, data):
        raise NotImplementedError

    def test_has_a_name(self, store):
        assert store.name

    @pytest.mark.parametrize("algorithm", [BLAKE3, SHA2])
    @pytest.mark.parametrize("data", [b"", b"weights", bytes(MAX_BLOCK_BYTES)], ids=len)
    def test_gives_back_what_was_put(self, store, data, algorithm):
        cid, block = leaf(data, algorithm)
        assert store.put_many([(cid, block)]) == len(data)
        assert store.get(cid) == data
        assert store.has(cid)
        assert store.size(cid) == len(data)

    def test_an_absent_block_is_not_found(self, store):
        assert not store.has(CID)
        with pytest.raises(NotFoundError):
            store.get(CID)
        with pytest.raises(NotFoundError):
            store.size(CID)

    def test_a_block_under_another_codec_or_hash_is_another_block(self, store):
        cid, block = node({"a": 1})
        store.put_many([(cid, block)])
        assert not store.has(Cid.of(Codec.DAG_CBOR, block, SHA2))
        if not self.keyed_by_digest:
            assert not store.has(Cid(Codec.RAW, cid.digest))
            with pytest.raises(NotFoundError):
                store.get(Cid(Codec.RAW, cid.digest))

    def test_wrong_bytes_are_not_kept(self, store):
        with pytest.raises(VerificationError):
            store.put_many([(CID, b"weightS")])
        assert not store.has(CID)
        assert store.stat() == StoreStat(0, 0)

    def test_a_block_over_the_limit_is_not_kept(self, store):
        cid, block = leaf(bytes(MAX_BLOCK_BYTES + 1))
        with pytest.raises(FormatError):
            store.put_many([(cid, block)])
        assert not store.has(cid)

    def test_what_is_there_is_not_written_again(self, store):
        assert store.put_many([(CID, BLOCK), (CID, BLOCK)]) == len(BLOCK)
        assert store.put_many([(CID, BLOCK)]) == 0
        assert store.stat() == StoreStat(1, len(BLOCK))

    def test_many_blocks_come_through_a_generator(self, store):
        blocks = leaves(200)
        assert store.put_many(block for block in blocks) == 200 * 100
        assert [store.get(cid) for cid, _ in blocks] == [data for _, data in blocks]
        assert store.put_many(iter(blocks)) == 0

    def test_nothing_put_is_nothing_written(self, store):
        assert store.put_many([]) == 0
        assert list(store.cids()) == []

    def test_an_error_of_the_callers_own_passes_and_leaves_whole_blocks(self, store):
        def fail():
            yield from leaves(100)
            raise KeyError("the caller's")

        with pytest.raises(KeyError, match="the caller's"):
            store.put_many(fail())
        for cid in store.cids():
            store.get(cid)
        store.put_many(leaves(100))
        assert store.stat().blocks == 100

    @pytest.mark.parametrize(
        "data", [b"", b"weight", b"weightS", b"weights\x00", bytes(MAX_BLOCK_BYTES)], ids=len
    )
    def test_damaged_bytes_are_not_given_and_a_put_mends_them(self, store, data):
        self.plant(CID, data)
        with pytest.raises(VerificationError):
            store.get(CID)
        assert store.put_many([(CID, BLOCK)]) == len(BLOCK)
        assert store.get(CID) == BLOCK

    def test_too_many_bytes_under_a_name_are_not_given(self, store):
        self.plant(CID, BLOCK + bytes(MAX_BLOCK_BYTES))
        with pytest.raises(VerificationError):
            store.get(CID)

    def test_a_leaf_replayed_as_a_node_is_not_given(self, store):
        cid, _ = node({"a": 1})
        self.plant(cid, BLOCK)
        with pytest.raises(VerificationError):
            store.get(cid)

    def test_deleted_blocks_are_gone_and_can_be_put_again(self, store):
        blocks = leaves(5)
        store.put_many(blocks)
        store.delete(cid for cid, _ in blocks[:3])
        assert {*store.cids()} == {cid for cid, _ in blocks[3:]}
        assert store.put_many(blocks) == 300
        assert store.get(blocks[0][0]) == blocks[0][1]

    def test_deleting_what_is_absent_does_nothing(self, store):
        store.put_many([(CID, BLOCK)])
        store.delete([leaf(b"other")[0], leaf(b"another")[0]])
        assert store.get(CID) == BLOCK

    def test_lists_and_counts_everything(self, store):
        blocks = [*leaves(10), node([1]), leaf(b"", SHA2)]
        store.put_many(blocks)
        assert sorted(cid.digest.value for cid in store.cids()) == sorted(
            cid.digest.value for cid, _ in blocks
        )
        if not self.keyed_by_digest:
            assert {*store.cids()} == {cid for cid, _ in blocks}
        assert store.stat() == StoreStat(12, sum(len(data) for _, data in blocks))

    def test_several_threads_use_it_at_once(self, store):
        parts = [leaves(40, seed=seed % 3) for seed in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(store.put_many, parts))
            given = list(pool.map(store.get, [cid for part in parts for cid, _ in part]))
        assert given == [data for part in parts for _, data in part]
        assert store.stat().blocks == 120
