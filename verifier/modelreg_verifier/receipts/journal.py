"""A node's durable journal: who signs, in which order, and what is on disk before anybody hears of it.

Specified in docs/spec/openings.md, section 5.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from modelreg.errors import ConflictError, UnreachableError
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import INTEGER_END, SCHEMA, Domain, Receipt, SignedReceipt, sign
from modelreg.format.signature import Signer
from modelreg.store.lock import file_lock
from modelreg_verifier.receipts.database import connect, create, durably, translated, writing
from modelreg_verifier.receipts.records import segments_of
from modelreg_verifier.receipts.segments import Place, Retention, SegmentWriter

__all__ = ["Draft", "Journal"]

_WAITING_MAX = 4096
_GROUP_MAX = 256
_MS = 1000


@dataclass(frozen=True, slots=True)
class Draft:
    """A receipt that lacks its node, place and time.

    Attributes:
        response: what answers a challenge on the ledger, 128 bytes.
        blocks: the plan's and the runtime's, by digest.
        kept: what `kept.write_kept` gave.
    """

    release_id: ReleaseId
    plan_id: bytes
    request_id: bytes
    client: bytes
    input_commit: bytes
    output_commit: bytes
    trace_root: bytes
    runtime_fingerprint: bytes
    response: bytes = field(repr=False)
    blocks: Mapping[bytes, bytes] = field(repr=False)
    kept: list[bytes | memoryview] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return sum(memoryview(part).nbytes for part in self.kept)


_Waiting = tuple[Draft, "Future[SignedReceipt]"]


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
        self._waiting: deque[_Waiting] = deque()
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
        self._next: tuple[int, bytes] | None = (0, bytes(32))

    def _begin(self, anchored_epoch: int | None) -> int:
        with durably(self._connection, self.path):
            [last] = self._connection.execute("SELECT max(epoch) FROM epoch").fetchone()
            known = (-1 if epoch is None else epoch for epoch in (last, anchored_epoch))
            epoch = max(int(self._clock() * _MS), 1 + max(known))
            if epoch >= INTEGER_END:
                raise ConflictError("no epoch is left", expected="one below 2^53", hint="set the clock")
            self._connection.execute("INSERT INTO epoch VALUES (?)", (epoch,))
        return epoch

    def append(self, draft: Draft) -> SignedReceipt:
        """Sign a receipt and write it.

        Of several threads that come at a time one signs for all: handing over to a thread of the journal's
        own would take longer than signing does.

        Raises:
            FullError: there is no room for what opens it.
            ModelregError: the journal is closed, too many wait, or it could not be written.
        """
        future: Future[SignedReceipt] = Future()
        if self._closed:
            raise UnreachableError("the journal is closed")
        if len(self._waiting) >= _WAITING_MAX:
            raise UnreachableError("too many receipts wait", found=_WAITING_MAX)
        self._segments.reserve(draft.size)
        self._waiting.append((draft, future))
        with self._turn:
            while not future.done():
                self._sign_waiting()
        return future.result()

    @property
    def room(self) -> tuple[int, int]:
        """Bytes that are kept of openings, and how many may be."""
        return self._segments.used, self._segments.most

    def recount(self) -> None:
        """See what somebody removed of the openings."""
        self._segments.recount()

    def close(self) -> None:
        """Let others open the journal; what comes from now on is refused."""
        if not self._closed:
            self._closed = True
            with self._turn:
                while self._waiting:
                    self._sign_waiting()
                self._held.close()

    def _sign_waiting(self) -> None:
        """Sign for the first ones that wait; only whoever has the turn does."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _GROUP_MAX))]
        try:
            made = self._write([draft for draft, _ in group])
        except Exception as error:  # noqa: BLE001  those who wait must hear of whatever it was
            self._next = None
            for _, future in group:
                future.set_exception(error)
        else:
            for (_, future), signed in zip(group, made, strict=True):
                future.set_result(signed)
        self._segments.release(sum(draft.size for draft, _ in group))

    def _write(self, drafts: list[Draft]) -> list[SignedReceipt]:
        """One transaction for a group: after it, no kill loses any of them; without it, none was signed."""
        if not drafts:
            return []
        seq, previous = self._next or self._read_next()
        places = [self._segments.append(draft.kept) for draft in drafts]
        made: list[SignedReceipt] = []
        rows = []
        for draft, place in zip(drafts, places, strict=True):
            signed = sign(self._receipt(draft, seq, previous), self.domain, self._signer)
            previous = signed.receipt.digest(self.domain)
            rows.append(_row(signed, previous, draft, place))
            made.append(signed)
            seq += 1
        new = {digest: body for draft in drafts for digest, body in draft.blocks.items()}
        for digest in self._blocks & new.keys():
            del new[digest]
        with writing(self._connection, self.path):
            self._connection.executemany("INSERT OR IGNORE INTO block VALUES (?, ?)", new.items())
            self._connection.executemany("INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._blocks |= new.keys()
        self._next = seq, previous
        return made

    def _read_next(self) -> tuple[int, bytes]:
        """Where the epoch goes on, after a write whose end is not known."""
        query = "SELECT seq + 1, digest FROM receipt WHERE epoch = ? ORDER BY seq DESC LIMIT 1"
        with translated(self.path):
            row = self._connection.execute(query, (self.epoch,)).fetchone()
        return (0, bytes(32)) if row is None else (row[0], row[1])

    def _receipt(self, draft: Draft, seq: int, previous: bytes) -> Receipt:
        return Receipt(
            SCHEMA,
            self.node,
            draft.release_id,
            draft.plan_id,
            draft.request_id,
            draft.client,
            draft.input_commit,
            draft.output_commit,
            draft.trace_root,
            draft.runtime_fingerprint,
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


def _row(signed: SignedReceipt, digest: bytes, draft: Draft, place: Place) -> tuple[object, ...]:
    receipt = signed.receipt
    where = (place.segment, place.start, place.size)
    return receipt.epoch, receipt.seq, digest, bytes(signed), draft.response, *where
