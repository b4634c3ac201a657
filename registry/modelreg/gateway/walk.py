"""The blocks of a DAG in the order of an archive. Specified in docs/spec/gateway.md, section 3."""

from collections.abc import Iterator

from modelreg.errors import FormatError
from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.gateway.request import Scope
from modelreg.store.base import BlockSource

__all__ = ["walk"]


def walk(root: Cid, scope: Scope, source: BlockSource) -> Iterator[tuple[Cid, bytes]]:
    """Give a root and what it reaches, each block once, depth first, links in the order of their node.

    A node that is not canonical has no links for us. Memory grows by about 100 bytes a block.

    Raises:
        NotFoundError: a block is not here.
    """
    seen = {bytes(root)}
    rest: list[Iterator[Cid]] = [iter([root])]
    while rest:
        cid = next(rest[-1], None)
        if cid is None:
            rest.pop()
            continue
        block = source.get(cid)
        yield cid, block
        if scope is Scope.ALL:
            rest.append(_unseen(_links(cid, block), seen))


def _unseen(links: Iterator[Cid], seen: set[bytes]) -> Iterator[Cid]:
    for link in links:
        if bytes(link) not in seen:
            seen.add(bytes(link))
            yield link


def _links(cid: Cid, block: bytes) -> Iterator[Cid]:
    if cid.codec is not Codec.DAG_CBOR:
        return iter(())
    try:
        return iter(list(canonical.links(canonical.decode(block))))
    except FormatError:
        return iter(())
