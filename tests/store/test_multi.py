"""Several sources: the first good answer counts, and the bad ones are named."""

import pytest

from modelreg.errors import NotFoundError, NotPermittedError, UnreachableError, VerificationError
from modelreg.store.multi import MultiStore
from tests.store.blocks import leaf, leaves
from tests.store.memory import MemoryStore

CID, BLOCK = leaf(b"weights")


class Liar(MemoryStore):
    """A source that does not even check what it gives."""

    def __init__(self, name, answer):
        super().__init__(name)
        self.answer = answer

    def get(self, _):
        return self.answer

    def has(self, _):
        return True


class Failing(MemoryStore):
    def __init__(self, name, error):
        super().__init__(name)
        self.error = error

    def get(self, _):
        raise self.error

    def has(self, _):
        raise self.error


def holding(name, *blocks):
    store = MemoryStore(name)
    store.put_many(blocks)
    return store


def test_the_first_that_has_the_block_gives_it():
    far = Failing("far", AssertionError("asked too early"))
    multi = MultiStore(MemoryStore("own"), [MemoryStore("empty"), holding("near", (CID, BLOCK)), far])
    assert multi.get(CID) == BLOCK
    assert multi.has(CID)
    assert multi.bad_answers == []


@pytest.mark.parametrize("answer", [b"", b"weightS", b"<html>", bytes(3 << 20)], ids=len)
def test_a_malicious_peer_is_named_and_the_next_one_asked(answer):
    own = MemoryStore("own")
    multi = MultiStore(own, [Liar("liar", answer), holding("honest", (CID, BLOCK))])
    assert multi.get(CID) == BLOCK
    ((source, cid, error),) = [(bad.source, bad.cid, bad.error) for bad in multi.bad_answers]
    assert (source, cid) == ("liar", CID)
    assert isinstance(error, VerificationError)
    assert own.kept == {}


@pytest.mark.parametrize("kind", [UnreachableError, NotPermittedError, VerificationError])
def test_a_failing_source_is_named_and_the_next_one_asked(kind):
    error = kind("failed")
    multi = MultiStore(MemoryStore("own"), [Failing("broken", error), holding("honest", (CID, BLOCK))])
    assert multi.has(CID)
    assert multi.get(CID) == BLOCK
    assert [(bad.source, bad.error) for bad in multi.bad_answers] == [("broken", error)]


def test_a_damaged_primary_is_named_and_a_fallback_asked():
    own = MemoryStore("own")
    own.kept[CID] = b"weightS"
    multi = MultiStore(own, [holding("honest", (CID, BLOCK))])
    assert multi.get(CID) == BLOCK
    assert [bad.source for bad in multi.bad_answers] == ["own"]
    assert multi.put_many([(CID, multi.get(CID))]) == len(BLOCK)
    assert own.get(CID) == BLOCK


def test_a_block_that_nobody_has():
    multi = MultiStore(MemoryStore("own"), [MemoryStore("peer")])
    assert not multi.has(CID)
    with pytest.raises(NotFoundError, match="own, peer"):
        multi.get(CID)
    assert multi.bad_answers == []


def test_wrong_bytes_are_reported_before_silence_and_silence_before_absence():
    silent, liar = Failing("silent", UnreachableError("no answer")), Liar("liar", b"weightS")
    with pytest.raises(UnreachableError, match="in silent: no answer"):
        MultiStore(MemoryStore("own"), [silent]).get(CID)
    with pytest.raises(VerificationError, match=r"in liar: .* holds other bytes"):
        MultiStore(MemoryStore("own"), [silent, liar]).get(CID)
    assert not MultiStore(MemoryStore("own"), [silent]).has(CID)


def test_writes_lists_and_counts_concern_the_primary_alone():
    own, peer = MemoryStore("own"), holding("peer", (CID, BLOCK))
    multi = MultiStore(own, [peer])
    assert multi.put_many(leaves(3)) == 300
    assert multi.stat().blocks == 3
    assert {*multi.cids()} == {cid for cid, _ in leaves(3)}
    with pytest.raises(NotFoundError):
        multi.size(CID)
    multi.delete([CID, leaves(3)[0][0]])
    assert len(own.kept) == 2
    assert peer.get(CID) == BLOCK


def test_the_list_of_bad_answers_is_bounded():
    multi = MultiStore(MemoryStore("own"), [Liar("liar", b"x")])
    for cid, _ in leaves(300):
        with pytest.raises(VerificationError):
            multi.get(cid)
    assert len(multi.bad_answers) == 100
