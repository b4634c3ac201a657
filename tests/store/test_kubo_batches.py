"""Which of many blocks Kubo is asked about, with a repository in memory."""

import threading

import pytest

from modelreg.errors import NotFoundError
from modelreg.store.kubo import KuboStore
from tests.store.blocks import leaf

BLOCKS = [leaf(bytes([number]) * 50) for number in range(40)]


class Repository:
    """As `KuboApi` answers; it notes what it is asked and given."""

    name = "a repository"

    def __init__(self, held):
        self.held, self.asked, self.given = dict(held), [], []
        self._lock = threading.Lock()

    def size(self, cid):
        with self._lock:
            self.asked.append(cid)
        if cid not in self.held:
            raise NotFoundError(f"no {cid}")
        return len(self.held[cid])

    def block(self, cid):
        self.size(cid)
        return self.held[cid]

    def remove(self, cids):
        for cid in cids:
            del self.held[cid]

    def add(self, blocks):
        self.given += [cid for cid, _ in blocks]
        self.held |= dict(blocks)


def put(held, blocks=BLOCKS):
    repository = Repository(held)
    size = KuboStore(repository).put_many(blocks)
    assert dict(blocks).items() <= repository.held.items()
    assert size == sum(len(repository.held[cid]) for cid in repository.given)
    return repository


def test_of_new_blocks_a_few_are_asked_for():
    repository = put([])
    assert len(repository.asked) <= 4
    assert repository.given == [cid for cid, _ in BLOCKS]


@pytest.mark.parametrize("held", [BLOCKS, BLOCKS[:1], BLOCKS[:20], BLOCKS[::2]])
def test_where_one_is_there_each_is_asked_for(held):
    repository = put(held)
    assert set(repository.given) == dict(BLOCKS).keys() - dict(held).keys()


def test_few_blocks_are_asked_for_each():
    for count in (1, 2, 4):
        assert put(BLOCKS[1:2], BLOCKS[:count]).given == [
            cid for cid, _ in BLOCKS[:count] if cid != BLOCKS[1][0]
        ]


def test_what_is_damaged_there_is_replaced():
    cid, block = BLOCKS[0]
    assert put({cid: block[:-1] + b"x"} | dict(BLOCKS[1:3])).held[cid] == block
