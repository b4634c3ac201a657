"""Garbage collection: mark what pins reach, remove the rest. Specified in docs/spec/store.md, section 6."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from modelreg.errors import FormatError, NotFoundError, VerificationError
from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import BlockStore
from modelreg.store.lock import StoreLock

__all__ = ["GcReport", "collect"]

_EXAMPLES = 10
_SWEEP = 256


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection did, or would do.

    Attributes:
        kept: blocks that roots reach and that are here.
        removed: blocks that no root reaches.
        freed: the bytes of those.
        missing: blocks that roots reach and that are not here, as after `sync --only`.
        examples: the first few of the missing.
    """

    kept: int
    removed: int
    freed: int
    missing: int
    examples: tuple[Cid, ...]


def collect(
    store: BlockStore,
    lock: StoreLock,
    roots: Callable[[], Iterable[Cid]],
    *,
    dry_run: bool = False,
    remark: Callable[[str], None] = lambda _: None,
) -> GcReport:
    """Remove every block that no root reaches through DAG-CBOR links.

    Memory grows with the number of blocks that are reached, by about 100 bytes each.

    Args:
        store: where to collect.
        lock: taken exclusively throughout.
        roots: gives the pinned CIDs; called once the lock is held, so that no pin is overlooked.
        dry_run: only say what would be removed.
        remark: told if others are waited for.

    Raises:
        VerificationError: a reachable node is damaged. Its links are unknown, so nothing is removed.
        UnreachableError: another process adds blocks, or collects, for too long.
    """
    with lock.exclusive(remark):
        mark = _Mark(store)
        for root in roots():
            mark.reach(root)
        removed, freed = _sweep(store, mark.reached, dry_run=dry_run)
    return GcReport(mark.kept, removed, freed, mark.missing, tuple(mark.examples))


class _Mark:
    """The blocks that were reached, and what is known of them."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self.reached: set[bytes] = set()
        self.kept = 0
        self.missing = 0
        self.examples: list[Cid] = []

    def reach(self, root: Cid) -> None:
        """Mark a block and all below it."""
        rest = [root]
        while rest:
            cid = rest.pop()
            if bytes(cid) not in self.reached:
                self.reached.add(bytes(cid))
                rest.extend(self._visit(cid))

    def _visit(self, cid: Cid) -> Iterator[Cid]:
        try:
            # Leaves are not read: damaged ones are found when they are used, and gc must stay fast.
            links = self._links(cid) if cid.codec is Codec.DAG_CBOR else self._leaf(cid)
        except NotFoundError:
            self.missing += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(cid)
            return
        self.kept += 1
        yield from (link for link in links if bytes(link) not in self.reached)

    def _leaf(self, cid: Cid) -> Iterable[Cid]:
        self._store.size(cid)
        return ()

    def _links(self, cid: Cid) -> Iterable[Cid]:
        try:
            block = self._store.get(cid)
        except VerificationError as error:
            raise VerificationError(
                "a pinned release is damaged, nothing was removed",
                expected=f"block {cid}",
                found=error,
                hint="sync it again to mend it, or unpin it",
            ) from error
        try:
            return canonical.links(canonical.decode(block))
        except FormatError:
            # The block is what its CID names, so it will never be a node that we can read.
            return ()


def _sweep(store: BlockStore, reached: set[bytes], *, dry_run: bool) -> tuple[int, int]:
    removed = freed = 0
    garbage = (cid for cid in store.cids() if bytes(cid) not in reached)
    while piece := list(islice(garbage, _SWEEP)):
        removed += len(piece)
        freed += sum(map(store.size, piece))
        if not dry_run:
            store.delete(piece)
    return removed, freed
