"""The blocks in a Kubo repository, and those of its peers. Specified in docs/spec/store.md, section 9."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from modelreg.errors import NotFoundError, VerificationError
from modelreg.format.block import check_block
from modelreg.format.cid import Cid
from modelreg.parallel import map_ordered
from modelreg.store.base import BlockSource, StoreStat
from modelreg.store.kubo_api import KuboApi

__all__ = ["KuboNetwork", "KuboStore"]

_CALLS = 8
_BATCH_BYTES = 16 << 20
_BATCH_BLOCKS = 1024
_ASKED = 64
_PROBED = 4
_NETWORK_SECONDS = 60.0

_Blocks = list[tuple[Cid, bytes]]


class KuboStore:
    """What lies in a daemon's repository; nothing is asked of its peers.

    Kubo keeps blocks by their digest alone: a block is there under every codec, and is listed as `raw`.
    """

    def __init__(self, api: KuboApi) -> None:
        self.api = api

    @property
    def name(self) -> str:
        """For messages."""
        return self.api.name

    def get(self, cid: Cid) -> bytes:
        """See BlockSource."""
        try:
            return self._checked(cid)
        except VerificationError:
            return self._checked(cid)  # wrong on the way here, or wrong there?

    def _checked(self, cid: Cid) -> bytes:
        block = self.api.block(cid)
        check_block(cid, block)
        return block

    def has(self, cid: Cid) -> bool:
        """See BlockSource."""
        try:
            self.api.size(cid)
        except NotFoundError:
            return False
        return True

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]]) -> int:
        """See BlockStore. Holds three batches of 16 MiB at most: one that fills, two that are sent."""
        sent = map_ordered(self._put, _batches(blocks), workers=2, queued=0, together=1)
        return sum(sent)

    def take(self, cids: Iterable[Cid], source: BlockSource) -> int:
        """Copy the blocks out of a source that are not here; what is here is not read. Returns bytes."""
        missing = ((cid, source.get(cid)) for cid in self._lacking(cids))
        return sum(map_ordered(self._send, _batches(missing), workers=2, queued=0, together=1))

    def delete(self, cids: Iterable[Cid]) -> None:
        """See BlockStore. Kubo refuses to remove what is pinned there (UnreachableError)."""
        self.api.remove(cids)

    def cids(self) -> Iterator[Cid]:
        """See BlockStore."""
        return self.api.cids()

    def size(self, cid: Cid) -> int:
        """See BlockStore."""
        return self.api.size(cid)

    def stat(self) -> StoreStat:
        """See BlockStore."""
        blocks = size = 0
        with ThreadPoolExecutor(_CALLS) as pool:
            for length in pool.map(self.api.size, self.cids()):
                blocks, size = blocks + 1, size + length
        return StoreStat(blocks, size)

    def _put(self, batch: _Blocks) -> int:
        """Where Kubo has none of a few blocks, the others are taken for new, too; it skips what it has."""
        some = batch[:: -(-len(batch) // _PROBED)]
        with ThreadPoolExecutor(_CALLS) as pool:
            if len(some) < len(batch) and not any(pool.map(self.has, [cid for cid, _ in some])):
                return self._send(batch)
            held = list(pool.map(self._holds, batch))
        return self._send([block for block, is_held in zip(batch, held, strict=True) if not is_held])

    def _send(self, blocks: _Blocks) -> int:
        if blocks:
            self.api.add(blocks)
        return sum(len(block) for _, block in blocks)

    def _lacking(self, cids: Iterable[Cid]) -> Iterator[Cid]:
        with ThreadPoolExecutor(_CALLS) as pool:
            for group in _groups(cids):
                for cid, is_here in zip(group, pool.map(self.has, group), strict=True):
                    if not is_here:
                        yield cid

    def _holds(self, block: tuple[Cid, bytes]) -> bool:
        """Whether the block is there, whole. Kubo never replaces what it has: damaged bytes are removed."""
        cid, data = block
        if not self.has(cid):
            return False
        try:
            if self.get(cid) == data:
                return True
        except VerificationError:
            pass
        self.api.remove([cid])
        return False


class KuboNetwork:
    """The blocks that Kubo's peers have; Kubo keeps what they give until its own garbage collection."""

    def __init__(self, api: KuboApi, *, seconds: float = _NETWORK_SECONDS) -> None:
        self._api = api
        self._seconds = seconds
        self.name = f"peers of {api.name}"

    def get(self, cid: Cid) -> bytes:
        """See BlockSource; NotFoundError where no peer gives it in time."""
        block = self._api.block(cid, network_seconds=self._seconds)
        check_block(cid, block)
        return block

    def has(self, cid: Cid) -> bool:  # noqa: ARG002  of the protocol
        """Nobody knows what peers have before they give it."""
        return False


def _groups(cids: Iterable[Cid]) -> Iterator[list[Cid]]:
    rest = iter(cids)
    while group := list(islice(rest, _ASKED)):
        yield group


def _batches(blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[_Blocks]:
    batch: dict[Cid, bytes] = {}
    size = 0
    for cid, block in blocks:
        check_block(cid, block)
        if cid in batch:
            continue
        batch[cid] = block
        size += len(block)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_BLOCKS:
            yield list(batch.items())
            batch, size = {}, 0
    if batch:
        yield list(batch.items())
