"""Collecting the chunk rows of a release and packing its payloads into blocks."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from modelreg.format.cid import Cid, Codec
from modelreg.format.delta import Encoded, Encoding
from modelreg.format.digest import Digest, HashAlgorithm
from modelreg.format.manifest import OWN_BLOCK_BYTES, Base, BaseRange, Chunk, Payload

__all__ = ["ChunkTable", "Sink", "used_bases"]

# Payloads that have no block of their own share blocks of at most this size, so that a node that wants few
# tensors fetches little else.
_PACK_BYTES = 256 << 10

Sink = Callable[[Cid, bytes], None]
"""Takes a block. The same block may come again."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    length: int
    digest: bytes
    encoded: Encoded
    base: BaseRange | None
    factors: Payload | None


class ChunkTable:
    """The rows of a release in the making. Equal chunks share one payload."""

    def __init__(self, algorithm: HashAlgorithm, sink: Sink) -> None:
        self._algorithm = algorithm
        self._sink = sink
        self._order: list[bytes] = []
        self._rows: dict[bytes, Chunk] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._waiting_bytes = 0
        self._factors: set[Cid] = set()
        self.stored_bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def holds(self, digest: bytes) -> bool:
        """Whether some row has this digest already."""
        return digest in self._rows or digest in self._waiting

    def add_existing(self, row: Chunk) -> None:
        """Append a row whose payload is in a block already, or that needs none; no other has its digest."""
        self._order.append(row.digest)
        self._rows[row.digest] = row

    def add_encoded(
        self,
        length: int,
        digest: bytes,
        encoded: Encoded,
        base: BaseRange | None,
        factors: bytes | None = None,
    ) -> None:
        """Append a row with a new payload; no other has its digest. `factors` is shared with other rows."""
        self._order.append(digest)
        waiting = _Waiting(length, digest, encoded, base, self._shared(factors) if factors else None)
        size = len(encoded.payload)
        if size >= OWN_BLOCK_BYTES:
            self._write([waiting])
            return
        if self._waiting_bytes + size > _PACK_BYTES:
            self._flush()
        self._waiting[digest] = waiting
        self._waiting_bytes += size

    def repeat(self, digest: bytes) -> None:
        """Append a row equal to one that is held."""
        self._order.append(digest)

    def rows(self) -> tuple[Chunk, ...]:
        """All rows in order; what was waiting is written first."""
        self._flush()
        return tuple(self._rows[digest] for digest in self._order)

    def _shared(self, factors: bytes) -> Payload:
        """What several rows share has a block of its own, written once."""
        cid = Cid.of(Codec.RAW, factors, self._algorithm)
        if cid not in self._factors:
            self._factors.add(cid)
            self._sink(cid, factors)
            self.stored_bytes += len(factors)
        return Payload(cid, 0, len(factors))

    def _flush(self) -> None:
        if self._waiting:
            self._write(list(self._waiting.values()))
        self._waiting = {}
        self._waiting_bytes = 0

    def _write(self, items: list[_Waiting]) -> None:
        block = b"".join(item.encoded.payload for item in items)
        if len(items) == 1 and items[0].encoded.encoding is Encoding.RAW:
            cid = Cid(Codec.RAW, Digest(self._algorithm, items[0].digest))
        else:
            cid = Cid.of(Codec.RAW, block, self._algorithm)
        self._sink(cid, block)
        self.stored_bytes += len(block)
        offset = 0
        for item in items:
            payload = Payload(cid, offset, len(item.encoded.payload))
            encoding = int(item.encoded.encoding)
            self._rows[item.digest] = Chunk(
                item.length, item.digest, encoding, payload, item.base, item.factors
            )
            offset += payload.size


def used_bases(
    rows: tuple[Chunk, ...], bases: tuple[Base, ...]
) -> tuple[tuple[Chunk, ...], tuple[Base, ...]]:
    """Leave out the bases that no row names, and renumber."""
    used = sorted({row.base.base for row in rows if row.base})
    numbers = {old: new for new, old in enumerate(used)}
    renumbered = tuple(
        replace(row, base=replace(row.base, base=numbers[row.base.base])) if row.base else row for row in rows
    )
    return renumbered, tuple(bases[old] for old in used)
