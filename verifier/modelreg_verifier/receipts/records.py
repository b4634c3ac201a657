"""What a journal holds, for whoever reads it or anchors it. Specified in docs/spec/openings.md, section 5."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from modelreg.errors import ConflictError, NotFoundError, NotPermittedError, UnreachableError
from modelreg.format.batch import MAX_RECEIPTS, Batch, BatchTree
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg_verifier.receipts.database import connect, durably, translated, writing
from modelreg_verifier.receipts.kept import Kept, read_kept
from modelreg_verifier.receipts.log import index_log, segments_of
from modelreg_verifier.receipts.segments import Place, Retention, read_segment, remove_segments, sync_segments

__all__ = ["KEEP_SECONDS", "Anchored", "Record", "Records"]

KEEP_SECONDS = 14 * 86_400
"""How long receipts outlive their anchor: 13 days in which a policy can judge them, and one more."""

_SLICE = 2000


@dataclass(frozen=True, slots=True)
class Record:
    """A receipt in the journal; `response` are the 128 bytes that answer a challenge on the ledger."""

    signed: SignedReceipt
    response: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Anchored:
    """A batch, and where the ledger has it: position among the node's, block, and the block's Unix time."""

    batch: Batch
    position: int | None = None
    block: int | None = None
    at: int | None = None


class Records:
    """An open journal. Threads may share it; other processes may write meanwhile.

    Raises, on construction: NotFoundError without a journal at `path`, or what else is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect(path)
        self._lock = Lock()
        [[self.node, chain, contract]] = self._rows("SELECT node, chain_id, contract FROM journal")
        self.domain = Domain(chain, contract)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    def _rows(self, query: str, *values: Any, newest: bool = False) -> list[Any]:
        """Rows of a query; with `newest` not without what the log has more."""
        with self._lock, translated(self.path):
            try:
                index_log(self._connection, self.path)
            except (NotPermittedError, UnreachableError):
                if newest:
                    raise  # what is indexed can be read on a full disk, too
            return self._connection.execute(query, values).fetchall()

    def find(self, digest: bytes) -> Record:
        """The receipt of a digest. Raises NotFoundError."""
        query = "SELECT signed, response, epoch, segment, start, size FROM receipt WHERE digest = ?"
        rows = self._rows(query, digest) or self._rows(query, digest, newest=True)
        if not rows:
            raise NotFoundError(f"no receipt 0x{digest.hex()} in the journal")
        [(signed, response, *place)] = rows
        return Record(SignedReceipt.from_bytes(signed), response, Place(*place))

    def knows(self, digest: bytes) -> bool:
        """Whether the receipt of a digest is here."""
        return bool(self._rows("SELECT 1 FROM receipt WHERE digest = ?", digest))

    def block(self, digest: bytes) -> bytes:
        """A plan or runtime block by its digest. Raises NotFoundError."""
        rows = self._rows("SELECT body FROM block WHERE digest = ?", digest)
        if not rows:
            raise NotFoundError(f"no block 0x{digest.hex()} in the journal")
        return bytes(rows[0][0])

    def kept(self, record: Record) -> Kept:
        """The tensors of an inference. Raises NotFoundError where they are no longer kept."""
        return read_kept(read_segment(segments_of(self.path), record.place))

    def page(self, epoch: int, first: int, count: int) -> list[bytes]:
        """Signed receipts from seq `first` on without gaps, `count` or as many as there are."""
        query = "SELECT seq, signed FROM receipt WHERE epoch = ? AND seq >= ? AND seq < ? ORDER BY seq"
        rows = self._rows(query, epoch, first, first + count)
        return [signed for place, (seq, signed) in enumerate(rows) if seq == first + place]

    def holds(self, epoch: int, seq: int) -> bool:
        """Whether a receipt is here; one that is not, but was anchored, shows that this is an old copy."""
        query = "SELECT 1 FROM receipt WHERE epoch = ? AND seq = ?"
        return bool(self._rows(query, epoch, seq) or self._rows(query, epoch, seq, newest=True))

    def batch(self, epoch: int, first: int) -> Anchored:
        """The batch that begins with a receipt. Raises NotFoundError."""
        query = "SELECT count, root, position, block, anchored_at FROM batch WHERE epoch = ? AND first = ?"
        rows = self._rows(query, epoch, first)
        if not rows:
            raise NotFoundError(f"no batch of epoch {epoch} begins with seq {first}")
        [(count, root, *where)] = rows
        return Anchored(Batch(self.node, epoch, first, count, root), *where)

    def batch_of(self, epoch: int, seq: int) -> Anchored | None:
        """The batch that has a receipt's place."""
        return self._batch_where("epoch = ? AND first <= ? AND first + count > ?", epoch, seq, seq)

    def batch_at(self, position: int) -> Anchored | None:
        """The batch that the ledger has at a position, as far as that was noted."""
        return self._batch_where("position = ?", position)

    def _batch_where(self, condition: str, *values: int) -> Anchored | None:
        rows = self._rows(f"SELECT epoch, first FROM batch WHERE {condition}", *values)  # noqa: S608
        return self.batch(*rows[0]) if rows else None

    def batches(self) -> list[Anchored]:
        """All batches, in the order in which they must be anchored."""
        rows = self._rows("SELECT epoch, first FROM batch ORDER BY epoch, first")
        return [self.batch(*row) for row in rows]

    def tree(self, epoch: int, first: int, count: int) -> BatchTree:
        """The tree over receipts that are here. Raises NotFoundError, FormatError."""
        return BatchTree(self.node, epoch, first, self.digests(epoch, first, count))

    def digests(self, epoch: int, first: int, count: int) -> list[bytes]:
        """The digests of receipts in the order of seq. Raises NotFoundError unless all are here."""
        query = "SELECT digest FROM receipt WHERE epoch = ? AND seq >= ? AND seq < ? ORDER BY seq"
        digests = [row[0] for row in self._rows(query, epoch, first, first + count)]
        if len(digests) != count:
            raise NotFoundError(f"receipts of epoch {epoch}", expected=count, found=len(digests))
        return digests

    def unbatched(self) -> tuple[int, int, int] | None:
        """Epoch, first seq and count of what to make a batch of next; None if every receipt is in one.

        An epoch comes before a later one, since the ledger takes no batch of an epoch that it has left.
        """
        query = """
            SELECT epoch, first, next - first FROM (
                SELECT e.epoch,
                  coalesce((SELECT max(first + count) FROM batch WHERE epoch = e.epoch), 0) AS first,
                  coalesce((SELECT max(seq) + 1 FROM receipt WHERE epoch = e.epoch), 0) AS next
                FROM epoch AS e WHERE e.epoch >= coalesce((SELECT max(epoch) FROM batch), 0))
            WHERE next > first ORDER BY epoch LIMIT 1"""
        rows = self._rows(query, newest=True)
        return (rows[0][0], rows[0][1], min(rows[0][2], MAX_RECEIPTS)) if rows else None

    def add_batch(self, batch: Batch) -> None:
        """Note a batch before it is anchored; its receipts and their openings are on the disk on return.

        Raises:
            ConflictError: it is not what `unbatched` says.
        """
        sync_segments(segments_of(self.path))
        expected = self.unbatched()
        if expected is None or (batch.epoch, batch.first) != expected[:2] or batch.count > expected[2]:
            found = (batch.epoch, batch.first, batch.count)
            raise ConflictError("not the next batch", expected=expected, found=found)
        row = (batch.epoch, batch.first, batch.count, batch.root)
        with self._lock, durably(self._connection, self.path):
            self._insert("INSERT INTO batch (epoch, first, count, root) VALUES (?, ?, ?, ?)", row)

    def _insert(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(statement, row)
        except sqlite3.IntegrityError as error:
            raise ConflictError("another process made this batch") from error

    def note_anchor(self, anchored: Anchored) -> None:
        """Note where the ledger has a batch; again after a reorganisation."""
        batch = anchored.batch
        statement = (
            "UPDATE batch SET position = ?, block = ?, anchored_at = ?"
            " WHERE epoch = ? AND first = ? AND root = ?"
        )
        where = (anchored.position, anchored.block, anchored.at, batch.epoch, batch.first, batch.root)
        with self._lock, durably(self._connection, self.path):
            if not self._connection.execute(statement, where).rowcount:
                raise NotFoundError(f"no such batch: epoch {batch.epoch}, first {batch.first}")

    def prune(self, now: float, retention: Retention) -> int:
        """Remove receipts that nobody can challenge or judge any more, and their tensors; returns how many.

        Tensors of receipts that were never anchored go by their age.

        `now` should be the earlier of clock and ledger, so that a clock that jumps ahead removes nothing.
        """
        since = int(now) - KEEP_SECONDS
        needed = self._needed(since)
        remove_segments(segments_of(self.path), needed, now - retention.seconds_max)
        removed = 0
        for row in self._rows("SELECT epoch, first, count FROM batch WHERE anchored_at < ?", since):
            removed += sum(self._remove(row[0], slice_) for slice_ in _slices(row[1], row[2]))
        return removed

    def _needed(self, since: int) -> dict[int, int]:
        """By epoch, the number of the first file with a receipt that was, or may be, anchored since then.

        A node's batches are anchored in the order of seq, and its files are written in it.
        """
        query = "SELECT epoch, min(first) FROM batch WHERE coalesce(anchored_at, ?1) >= ?1 GROUP BY epoch"
        found = {}
        for epoch, first in self._rows(query, since):
            [*rows] = self._rows("SELECT segment FROM receipt WHERE epoch = ? AND seq = ?", epoch, first)
            found[epoch] = rows[0][0] if rows else 0
        return found

    def _remove(self, epoch: int, seqs: range) -> int:
        """Remove receipts, but for the newest: the node that signs reads in it where its epoch goes on."""
        statement = (
            "DELETE FROM receipt WHERE epoch = ?1 AND seq >= ?2 AND seq < ?3"
            " AND seq < (SELECT max(seq) FROM receipt WHERE epoch = ?1)"
        )
        with self._lock, writing(self._connection, self.path):
            return self._connection.execute(statement, (epoch, seqs.start, seqs.stop)).rowcount


def _slices(first: int, count: int) -> Iterator[range]:
    """Few receipts at a time, so that the node that answers meanwhile waits for milliseconds."""
    end = first + count
    return (range(at, min(at + _SLICE, end)) for at in range(first, end, _SLICE))
