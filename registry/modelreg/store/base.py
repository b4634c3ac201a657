"""What every block store does. Specified in docs/spec/store.md, section 1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from modelreg.errors import ModelregError
from modelreg.format.cid import Cid

__all__ = ["BadAnswer", "BlockSource", "BlockStore", "StoreStat"]


@dataclass(frozen=True, slots=True)
class StoreStat:
    """How much a store holds: `blocks` of them, `size` bytes together."""

    blocks: int
    size: int


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """A source that failed on a block which it should have given: which one, on what, and how."""

    source: str
    cid: Cid
    error: ModelregError


class BlockSource(Protocol):
    """Where blocks can be fetched from. Every method may be called from several threads at once."""

    @property
    def name(self) -> str:
        """What a person calls this source, for messages."""

    def get(self, cid: Cid) -> bytes:
        """Give a block whose bytes hash to its CID.

        Raises:
            NotFoundError: the block is not here.
            VerificationError: what is kept under this CID are other bytes, too many, or no file.
            UnreachableError: the source cannot serve now.
            NotPermittedError: the operating system refuses.
        """

    def has(self, cid: Cid) -> bool:
        """Whether something is kept under this CID; only `get` tells whether it is the block."""


class BlockStore(BlockSource, Protocol):
    """A source that also keeps blocks."""

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]]) -> int:
        """Keep blocks, durably once this returns; the iterable is consumed piece by piece.

        What is there already is not written again, unless it is damaged: then it is replaced. If an error
        ends the call early, blocks before it may have been kept, each of them whole.

        Returns:
            How many bytes were written.

        Raises:
            VerificationError: a block's bytes do not hash to its CID, or are over 1 MiB (FormatError).
            UnreachableError: the store cannot take more: disk full, no free file descriptors.
            NotPermittedError: the store is read-only.
        """

    def delete(self, cids: Iterable[Cid]) -> None:
        """Remove blocks; those that are not here are passed over."""

    def cids(self) -> Iterator[Cid]:
        """Everything that is kept, in no order. What others add or delete meanwhile may be missed."""

    def size(self, cid: Cid) -> int:
        """The bytes that are kept under a CID, unverified. Raises NotFoundError."""

    def stat(self) -> StoreStat:
        """Count everything that is kept."""
