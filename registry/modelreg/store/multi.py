"""Several sources behind one store. Specified in docs/spec/store.md, section 7."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from modelreg.errors import ModelregError, NotFoundError, VerificationError
from modelreg.format.block import check_block
from modelreg.format.cid import Cid
from modelreg.store.base import BadAnswer, BlockSource, BlockStore, StoreStat
from modelreg.store.remote import AsyncSource

if TYPE_CHECKING:
    from modelreg.store.swarm import Swarm

__all__ = ["MultiStore"]

_MAX_BAD_ANSWERS = 100


class MultiStore:
    """A store, and sources to fall back on where it has no good block. What they give is not kept here.

    Args:
        primary: asked first.
        near: asked next, one after the other.
        far: asked last, all at once.

    Attributes:
        bad_answers: what sources got wrong, about the first 100; an absent block is no wrong answer.
    """

    def __init__(
        self, primary: BlockStore, near: Sequence[BlockSource], far: Sequence[AsyncSource] = ()
    ) -> None:
        self._primary = primary
        self._near = (primary, *near)
        self._swarm = _swarm(far, lambda answer: self._note([answer])) if far else None
        self._fallbacks: tuple[BlockSource, ...] = (*near, self._swarm) if self._swarm else tuple(near)
        self.bad_answers: list[BadAnswer] = []

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join(source.name for source in (self._primary, *self._fallbacks))

    def get(self, cid: Cid) -> bytes:
        """See BlockSource: the first good answer, or if there is none, the error of the worst answer."""
        return self.find(cid)[0]

    def find(self, cid: Cid, seconds: float | None = None) -> tuple[bytes, bool]:
        """As `get`, and whether it was the primary that had the block; `seconds` bound what is far."""
        failures: list[BadAnswer] = []
        for source in (self._primary, *self._fallbacks):
            try:
                is_far = self._swarm is not None and source is self._swarm
                block = self._swarm.get(cid, seconds) if self._swarm and is_far else source.get(cid)
                check_block(cid, block)
            except NotFoundError:
                continue
            except ModelregError as error:
                if source is self._swarm and not failures:
                    raise
                failures.append(BadAnswer(source.name, cid, error))
            else:
                self._note(failures)
                return block, source is self._primary
        # The swarm tells by itself which of its sources failed.
        self._note([bad for bad in failures if not self._swarm or bad.source != self._swarm.name])
        raise _no_block(cid, self.name, failures)

    def ahead(self, cids: Iterable[Cid]) -> AbstractContextManager[None]:
        """Within it, fetch blocks in this order before they are asked for, as memory allows."""
        if self._swarm is None:
            return nullcontext()
        return self._swarm.ahead(cid for cid in cids if not any(_has(source, cid) for source in self._near))

    def has(self, cid: Cid) -> bool:
        """See BlockSource; a source that cannot answer has it not."""
        return any(_has(source, cid) for source in (self._primary, *self._fallbacks))

    def holds(self, cid: Cid) -> bool:
        """Whether the primary store has it."""
        return _has(self._primary, cid)

    def length(self, cid: Cid) -> int | None:
        """How long a block is, if a source can tell without giving it."""
        for source in (self._primary, *self._fallbacks):
            size = getattr(source, "size", None)
            try:
                if size is not None:
                    return int(size(cid))
            except ModelregError:
                continue
        return None

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]]) -> int:
        """See BlockStore; this and all below concerns the primary store alone."""
        return self._primary.put_many(blocks)

    def delete(self, cids: Iterable[Cid]) -> None:
        """See BlockStore."""
        self._primary.delete(cids)

    def cids(self) -> Iterator[Cid]:
        """See BlockStore."""
        return self._primary.cids()

    def size(self, cid: Cid) -> int:
        """See BlockStore."""
        return self._primary.size(cid)

    def stat(self) -> StoreStat:
        """See BlockStore."""
        return self._primary.stat()

    def _note(self, failures: list[BadAnswer]) -> None:
        if len(self.bad_answers) < _MAX_BAD_ANSWERS:
            self.bad_answers.extend(failures)


def _swarm(far: Sequence[AsyncSource], note: Callable[[BadAnswer], None]) -> "Swarm":
    # Most commands have nobody far to ask, and need not pay for asyncio.
    from modelreg.store.swarm import Swarm

    return Swarm(far, note)


def _has(source: BlockSource, cid: Cid) -> bool:
    try:
        return source.has(cid)
    except ModelregError:
        return False


def _no_block(cid: Cid, names: str, failures: list[BadAnswer]) -> ModelregError:
    """Wrong bytes are worse than no answer, and that is worse than an absent block."""
    if not failures:
        return NotFoundError(f"block {cid}", expected=f"in one of: {names}")
    worst = next((bad for bad in failures if isinstance(bad.error, VerificationError)), failures[0])
    return type(worst.error)(f"no source has a good block {cid}", found=f"in {worst.source}: {worst.error}")
