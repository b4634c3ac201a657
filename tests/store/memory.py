"""A store in memory: the simplest that passes the conformance suite, and a double for other tests."""

from modelreg.errors import NotFoundError
from modelreg.format.block import check_block
from modelreg.store.base import StoreStat


class MemoryStore:
    def __init__(self, name="memory"):
        self.name = name
        self.kept = {}

    def get(self, cid):
        if cid not in self.kept:
            raise NotFoundError(f"block {cid}")
        check_block(cid, self.kept[cid])
        return self.kept[cid]

    def has(self, cid):
        return cid in self.kept

    def put_many(self, blocks):
        written = 0
        for cid, block in blocks:
            check_block(cid, block)
            if self.kept.get(cid) != block:
                self.kept[cid] = block
                written += len(block)
        return written

    def delete(self, cids):
        for cid in cids:
            self.kept.pop(cid, None)

    def cids(self):
        return iter(list(self.kept))

    def size(self, cid):
        if cid not in self.kept:
            raise NotFoundError(f"block {cid}")
        return len(self.kept[cid])

    def stat(self):
        return StoreStat(len(self.kept), sum(map(len, self.kept.values())))
