"""Bringing a whole DAG of blocks into a store."""

from collections.abc import Iterator

from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import BlockSource, BlockStore

__all__ = ["fetch_dag"]

_Node = tuple[Cid, bytes, Iterator[Cid]]
"""A block, and those of its links that were not followed yet."""


def fetch_dag(root: Cid, source: BlockSource, store: BlockStore, *, mend: bool = False) -> int:
    """Copy the blocks that a root reaches into `store`; no block comes before those that it links.

    Memory grows with the number of blocks by about 100 bytes each, and with the depth by a block.

    Args:
        root: where to begin.
        source: gives every block, those of `store` too.
        store: takes them.
        mend: read the leaves that `store` has as well, and replace those that are damaged.

    Returns:
        The bytes that were copied.

    Raises:
        NotFoundError: the source lacks a block.
        FormatError: a node is not canonical DAG-CBOR.
    """
    return store.put_many(_reached(root, source, None if mend else store))


def _reached(root: Cid, source: BlockSource, held: BlockStore | None) -> Iterator[tuple[Cid, bytes]]:
    seen = {bytes(root)}
    path = [_node(root, source)]
    while path:
        cid, block, links = path[-1]
        link = next((link for link in links if bytes(link) not in seen), None)
        if link is None:
            path.pop()
            yield cid, block
            continue
        seen.add(bytes(link))
        if link.codec is Codec.DAG_CBOR:
            path.append(_node(link, source))
        elif held is None or not held.has(link):
            yield link, source.get(link)


def _node(cid: Cid, source: BlockSource) -> _Node:
    block = source.get(cid)
    return cid, block, canonical.links(canonical.decode(block) if cid.codec is Codec.DAG_CBOR else None)
