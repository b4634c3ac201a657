"""What this home has challenged, kept so that it can claim what a missed deadline costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import FormatError, ModelregError, UnreachableError
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg.ledger.endpoint import Receipt
from modelreg.ledger.receipt_log_batches import find_batch_at
from modelreg.ledger.receipt_log_challenges import Challenges
from modelreg.ledger.receipt_log_open import shown_receipt
from modelreg.ledger.receipt_log_records import place_id
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.store.files import os_errors, read_regular, replace_file
from modelreg.store.lock import file_lock

__all__ = ["ChallengeFiles", "Place", "Target"]

_PLACE_BYTES = 36
_MAX_BYTES = 4096
_LOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a batch of a node, which is an address."""

    node: bytes
    index: int
    seq: int


@dataclass(frozen=True, slots=True)
class Target:
    """A receipt or place that was challenged; `id` is what the ledger calls it."""

    id: bytes
    what: SignedReceipt | Place

    @property
    def node(self) -> bytes:
        """The address of whoever has to answer."""
        return self.what.node if isinstance(self.what, Place) else self.what.receipt.node

    def slash(self, challenges: Challenges) -> Receipt | None:
        """Have the missed deadline cost the bond."""
        if isinstance(self.what, Place):
            return challenges.slash_place_timeout(self.what.node, self.what.index, self.what.seq)
        return challenges.slash_timeout(self.what.receipt)


class ChallengeFiles:
    """One file a challenge below `root`, named by its id: a signed receipt, or a place in 36 bytes.

    Args:
        root: a directory, which is made when it is needed.
        domain: of the receipts.
    """

    def __init__(self, root: Path, domain: Domain) -> None:
        self._root, self._domain = root, domain

    def add(self, what: SignedReceipt | Place) -> Target:
        """Keep a challenge, before it is sent; it is on the disk on return."""
        target = self._target(what)
        self._write(self._path(target), _bytes(what))
        return target

    @contextmanager
    def keeping(self, what: SignedReceipt | Place) -> Iterator[Target]:
        """Keep a challenge that is about to be sent; one that the ledger refuses is forgotten."""
        target = self.add(what)
        try:
            yield target
        except UnreachableError:
            # It may have arrived.
            raise
        except ModelregError:
            self.remove(target)
            raise

    def _write(self, path: Path, raw: bytes) -> None:
        with os_errors(f"cannot write to {self._root}"):
            self._root.mkdir(exist_ok=True)
            with file_lock(self._root / "lock", exclusive=True, timeout=_LOCK_SECONDS):
                replace_file(path, raw)

    def show(self, log: ReceiptLogView, target: Target) -> Path | None:
        """Write the receipt that answered the challenge of a place to a file; None for that of a receipt.

        Raises UnreachableError if the endpoint does not show it.
        """
        if not isinstance(target.what, Place):
            return None
        place = target.what
        anchored = find_batch_at(log, place.node, place.index)
        signed = shown_receipt(log, anchored, place.seq, self._domain)
        path = self._root / f"receipt-{signed.receipt.digest(self._domain).hex()}"
        self._write(path, bytes(signed))
        return path

    def remove(self, target: Target) -> None:
        """Forget a challenge that has ended."""
        self._path(target).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Target]:
        """All that is kept. Raises FormatError for a file of something else."""
        for path in sorted(self._root.glob("0x*")):
            yield self._read(path)

    def _path(self, target: Target) -> Path:
        return self._root / f"0x{target.id.hex()}"

    def _target(self, what: SignedReceipt | Place) -> Target:
        if isinstance(what, Place):
            return Target(place_id(what.node, what.index, what.seq), what)
        return Target(what.receipt.digest(self._domain), what)

    def _read(self, path: Path) -> Target:
        with os_errors(f"cannot read {path}"):
            raw = read_regular(path, _MAX_BYTES)
        what = _place(raw) if len(raw) == _PLACE_BYTES else SignedReceipt.from_bytes(raw)
        target = self._target(what)
        if self._path(target) != path:
            raise FormatError(f"the file {path}", expected=f"the name 0x{target.id.hex()}", hint="remove it")
        return target


def _place(raw: bytes) -> Place:
    return Place(raw[:20], int.from_bytes(raw[20:28], "big"), int.from_bytes(raw[28:], "big"))


def _bytes(what: SignedReceipt | Place) -> bytes:
    if isinstance(what, Place):
        return what.node + what.index.to_bytes(8, "big") + what.seq.to_bytes(8, "big")
    return bytes(what)
