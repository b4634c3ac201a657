"""Bringing a whole DAG of blocks into a store."""

from collections.abc import Iterator

from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import BlockSource, BlockStore

__all__ = ["fetch_dag"]


def fetch_dag(root: Cid, source: BlockSource, store: BlockStore) -> int:
    """Copy the blocks that a root reaches and `store` lacks; the root is written last.

    Returns:
        The bytes that were copied.

    Raises:
        NotFoundError: the source lacks a block.
    """
    return store.put_many(_missing(root, source, store))


def _missing(root: Cid, source: BlockSource, store: BlockStore) -> Iterator[tuple[Cid, bytes]]:
    nodes: list[tuple[Cid, bytes]] = []
    seen = {root}
    rest = [root]
    while rest:
        cid = rest.pop()
        if cid.codec is Codec.RAW:
            if not store.has(cid):
                yield cid, source.get(cid)
            continue
        block = source.get(cid)
        nodes.append((cid, block))
        below = [link for link in canonical.links(canonical.decode(block)) if link not in seen]
        seen.update(below)
        rest += below
    yield from reversed(nodes)
