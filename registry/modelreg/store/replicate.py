"""Bringing a whole DAG of blocks into a store."""

from collections.abc import Iterator

from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import BlockSource, BlockStore

__all__ = ["fetch_dag"]


def fetch_dag(root: Cid, source: BlockSource, store: BlockStore, *, mend: bool = False) -> int:
    """Copy the blocks that a root reaches into `store`; the root is written last.

    Args:
        root: where to begin.
        source: gives every block, those of `store` too.
        store: takes them.
        mend: read the leaves that `store` has as well, and replace those that are damaged.

    Returns:
        The bytes that were copied.

    Raises:
        NotFoundError: the source lacks a block.
    """
    return store.put_many(_reached(root, source, None if mend else store))


def _reached(root: Cid, source: BlockSource, held: BlockStore | None) -> Iterator[tuple[Cid, bytes]]:
    nodes: list[Cid] = []
    seen = {root}
    rest = [root]
    while rest:
        cid = rest.pop()
        if cid.codec is Codec.RAW:
            if held is None or not held.has(cid):
                yield cid, source.get(cid)
            continue
        block = source.get(cid)
        nodes.append(cid)
        below = [link for link in canonical.links(canonical.decode(block)) if link not in seen]
        seen.update(below)
        rest += below
    yield from ((cid, source.get(cid)) for cid in reversed(nodes))
