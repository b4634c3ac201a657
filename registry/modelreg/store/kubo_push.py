"""Bringing a DAG into a Kubo repository, what is missing there only.

Specified in docs/spec/store.md, section 9.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.store.base import BlockSource
from modelreg.store.kubo import KuboStore

__all__ = ["Pushed", "push"]

_PIN_SECONDS = 20.0
_LOCAL_BLOCKS_A_SECOND = 200


@dataclass(frozen=True, slots=True)
class Pushed:
    """The bytes that were sent, and the seconds that Kubo may take to walk over the whole."""

    size: int
    seconds: float


def push(root: Cid, source: BlockSource, kubo: KuboStore, sent: Collection[Cid] = ()) -> Pushed:
    """Give Kubo what it lacks of a DAG.

    Args:
        root: where to begin.
        source: gives every block.
        kubo: takes them.
        sent: what it has taken before, and need not be asked for.

    Raises:
        NotFoundError: the source lacks a block that Kubo lacks too.
        UnreachableError: Kubo failed.
    """
    plan = _Plan(root, source, kubo)
    size = kubo.take((cid for cid in plan.blocks() if cid not in sent), source)
    return Pushed(size, _PIN_SECONDS + len(plan) / _LOCAL_BLOCKS_A_SECOND)


class _Plan:
    """Which blocks a pin of Kubo's does not hold already. Memory grows by about 100 bytes a block."""

    def __init__(self, root: Cid, source: BlockSource, kubo: KuboStore) -> None:
        self._source, self._kubo = source, kubo
        self._leaves: dict[Cid, list[Cid]] = {}
        self._held: set[Cid] = set()
        self._visit(root)

    def __len__(self) -> int:
        return len(self._leaves) + sum(map(len, self._leaves.values()))

    def blocks(self) -> Iterator[Cid]:
        """The leaves, each once, and then the nodes, those below first."""
        seen = set(self._held)
        for leaves in self._leaves.values():
            for leaf in leaves:
                if leaf not in seen:
                    seen.add(leaf)
                    yield leaf
        yield from (node for node in self._leaves if node not in self._held)

    def _visit(self, root: Cid) -> None:
        """Note the nodes below a root, each after those below it, without recursion: they may be deep."""
        found: dict[Cid, list[Cid]] = {}
        rest = [(root, False, False)]
        while rest:
            cid, held, done = rest.pop()
            if done:
                self._leaves[cid] = found[cid]
                continue
            held = held or self._kubo.api.has_pinned(cid)
            if cid in (self._held if held else found):
                continue
            found[cid], nodes = self._links(cid)
            if held:
                self._held.update([cid, *found[cid]])
            rest.append((cid, held, True))
            rest += [(node, held, False) for node in nodes]

    def _links(self, cid: Cid) -> tuple[list[Cid], list[Cid]]:
        if cid.codec is not Codec.DAG_CBOR:
            return [], []
        links = list(canonical.links(canonical.decode(self._source.get(cid))))
        nodes = [link for link in links if link.codec is Codec.DAG_CBOR]
        return [link for link in links if link.codec is not Codec.DAG_CBOR], nodes
