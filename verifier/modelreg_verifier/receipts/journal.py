"""A node's durable journal: who signs, in which order, and what is on disk before anybody hears of it.

Specified in docs/spec/openings.md, section 5.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from modelreg.errors import ConflictError, UnreachableError
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import INTEGER_END, SCHEMA, Domain, Receipt, SignedReceipt
from modelreg.format.signature import Signer
from modelreg.store.lock import file_lock
from modelreg_verifier.receipts.committing import Committed
from modelreg_verifier.receipts.database import connect, create, durably, translated
from modelreg_verifier.receipts.log import HEAD_BYTES, entry_head, index_log, segments_of
from modelreg_verifier.receipts.segments import Retention, SegmentWriter

__all__ = ["Draft", "Journal", "Ran"]

_UNINDEXED_MAX = 64  # a millisecond's work
_MS = 1000


@dataclass(frozen=True, slots=True)
class Ran:
    """What every receipt of a loaded file says; `blocks` are the plan's and the runtime's, by digest."""

    release_id: ReleaseId
    plan_id: bytes
    runtime_fingerprint: bytes
    blocks: Mapping[bytes, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A receipt that lacks its node, place and time; `kept` is what `kept.write_kept` gave."""

    ran: Ran
    request_id: bytes
    client: bytes
    committed: Committed
    kept: list[bytes | memoryview] = field(repr=False)


class Journal:
    """Signs receipts, each once, and gives them out only when a killed process cannot lose them.

    Every journal that is opened begins a new epoch, later by the clock than all before. So an old copy put
    back, or commits that a power loss undid, lead to no second receipt for one place.

    Args:
        path: the SQLite file; it is made if it is missing.
        signer: the node's key.
        domain: of the receipts.
        clock: Unix seconds.
        anchored_epoch: the last one that the ledger has of this node, if it was asked.
        retention: what is kept of openings.

    Attributes:
        epoch: the one begun.

    Raises, on construction:
        ConflictError: another process has it open, or it is of another node or domain.
        ModelregError: it cannot be read or made.
    """

    def __init__(
        self,
        path: Path,
        signer: Signer,
        domain: Domain,
        *,
        clock: Callable[[], float] = time.time,
        anchored_epoch: int | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.path, self.domain, self.node = path, domain, signer.address
        self._signer, self._clock = signer, clock
        self._turn = Lock()
        self._blocks: set[bytes] = set()
        self._closed = False
        with ExitStack() as held:
            create(path, signer.address, domain)
            _lock(held, path)
            self._connection = connect(path)
            held.callback(self._connection.close)
            self.epoch = self._begin(anchored_epoch)
            self._segments = SegmentWriter(segments_of(path), self.epoch, retention or Retention())
            held.callback(self._segments.close)
            self._held = held.pop_all()
        self._written: tuple[int, bytes] = (0, bytes(32))
        self._next: tuple[int, bytes] | None = self._written
        self._unindexed = 0

    def _begin(self, anchored_epoch: int | None) -> int:
        index_log(self._connection, self.path)  # only that of the last epoch is looked at
        with durably(self._connection, self.path):
            [last] = self._connection.execute("SELECT max(epoch) FROM epoch").fetchone()
            known = (-1 if epoch is None else epoch for epoch in (last, anchored_epoch))
            epoch = max(int(self._clock() * _MS), 1 + max(known))
            if epoch >= INTEGER_END:
                raise ConflictError("no epoch is left", expected="one below 2^53", hint="set the clock")
            self._connection.execute("INSERT INTO epoch VALUES (?)", (epoch,))
        return epoch

    def append(self, draft: Draft) -> tuple[SignedReceipt, bytes]:
        """Sign a receipt and write it: when this returns it and its digest, no kill loses it.

        Raises:
            FullError: there is no room for what opens it.
            ModelregError: the journal is closed, or it could not be written.
        """
        with self._turn:
            if self._closed:
                raise UnreachableError("the journal is closed")
            self._note_blocks(draft.ran.blocks)
            if self._unindexed >= _UNINDEXED_MAX:
                self._index()
            seq, previous = self._next or self._read_next()
            size = sum(map(len, draft.kept))
            self._segments.prepare(HEAD_BYTES + size)
            receipt = self._receipt(draft, seq, previous)
            digest = receipt.digest(self.domain)
            signed = SignedReceipt(receipt, self._signer.sign(digest))
            self._next = None  # until it is known how the write ended
            self._segments.append([entry_head(signed, digest, draft.committed.response, size), *draft.kept])
            self._next = self._written = seq + 1, digest
            self._unindexed += 1
        return signed, digest

    @property
    def room(self) -> tuple[int, int]:
        """Bytes that are kept of openings, and how many may be."""
        return self._segments.used, self._segments.most

    def recount(self) -> None:
        """See what somebody removed of the openings."""
        self._segments.recount()

    def close(self) -> None:
        """Let others open the journal; what comes from now on is refused."""
        with self._turn:
            if not self._closed:
                self._closed = True
                self._held.close()

    def _note_blocks(self, blocks: Mapping[bytes, bytes]) -> None:
        if not self._blocks.issuperset(blocks):
            with durably(self._connection, self.path):  # receipts that outlive a power loss need them
                self._connection.executemany("INSERT OR IGNORE INTO block VALUES (?, ?)", blocks.items())
            self._blocks |= blocks.keys()

    def _index(self) -> None:
        index_log(self._connection, self.path)
        self._unindexed = 0

    def _read_next(self) -> tuple[int, bytes]:
        """Where the epoch goes on, after a write whose end is not known."""
        self._index()
        query = "SELECT seq + 1, digest FROM receipt WHERE epoch = ? ORDER BY seq DESC LIMIT 1"
        with translated(self.path):
            row = self._connection.execute(query, (self.epoch,)).fetchone()
        found: tuple[int, bytes] = (0, bytes(32)) if row is None else (row[0], row[1])
        if found[0] < self._written[0]:
            raise UnreachableError(
                "no receipt can be signed",
                expected=f"{self._written[0]} receipts in the log of this epoch",
                found=found[0],
                hint="somebody removed files of it; start `modelreg serve` again",
            )
        return found

    def _receipt(self, draft: Draft, seq: int, previous: bytes) -> Receipt:
        ran, committed = draft.ran, draft.committed
        return Receipt(
            SCHEMA,
            self.node,
            ran.release_id,
            ran.plan_id,
            draft.request_id,
            draft.client,
            committed.input_commit,
            committed.output_commit,
            committed.trace_root,
            ran.runtime_fingerprint,
            self.epoch,
            seq,
            max(0, int(self._clock())),
            previous,
        )


def _lock(held: ExitStack, path: Path) -> None:
    lock = path.with_name(path.name + "-lock")
    try:
        held.enter_context(file_lock(lock, exclusive=True, timeout=0))
    except UnreachableError as error:
        raise ConflictError(
            f"the journal {path} is in use",
            found=error.found,
            hint="one process at a time signs for a node; end the other `modelreg serve`",
        ) from None
