"""The receipts of `serve`: whose key signs them, for which ledger, and how long they are kept."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelreg.errors import InputError, ModelregError, NotFoundError
from modelreg_cli.receipt_log import receipt_log
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg_verifier.receipts.service import ReceiptService
    from modelreg_verifier.trace.plans import PlanTable

__all__ = ["open_receipts", "parse_auditor", "prune_receipts"]

_ADDRESS_DIGITS = 40
_GIB = 1 << 30


def open_receipts(
    session: Session,
    password_file: Path | None,
    auditors: Collection[bytes],
    token: bytes | None,
    plans: "PlanTable",
    openings: int | None,
) -> "ReceiptService":
    """Open the journal of the home's key.

    Args:
        session: with a home that has a key.
        password_file: holds the key's password.
        auditors: addresses that may see openings, of 20 bytes each; there may be more of them later.
        token: the operator's own, for openings.
        plans: by which files are served.
        openings: GiB that may be kept of them; None for half of what the disk has free, and what is kept.

    Raises:
        InputError: the home has no key.
        ConflictError: another process signs with this key.
    """
    from modelreg.format.signature import Signer
    from modelreg.keys import KeyStore
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.receipts.segments import Retention
    from modelreg_verifier.receipts.service import ReceiptService, journal_of
    from modelreg_verifier.serving.programs import released_programs

    home = session.home
    account = KeyStore(home.keystore).load(home.key, session.password(password_file))
    return ReceiptService(
        journal_of(home.root, home.key),
        Signer(bytes(account.key)),
        receipt_domain(home.config.chain.chain_id),
        auditors=auditors,
        token=token,
        plans=plans.plan_of,
        programs=released_programs(home.root, session.ledger, session.output.remark),
        anchored_epoch=_anchored_epoch(session),
        retention=Retention(bytes_max=openings * _GIB if openings else _room_for(home.root, home.key)),
    )


def _room_for(root: Path, key: bytes) -> int:
    """Half of what is free on the disk, and what the journal has of it already."""
    from modelreg.store.files import os_errors
    from modelreg_verifier.receipts.log import segments_of
    from modelreg_verifier.receipts.segments import bytes_of
    from modelreg_verifier.receipts.service import journal_of

    with os_errors(f"cannot use {root}"):
        return shutil.disk_usage(root).free // 2 + bytes_of(segments_of(journal_of(root, key)))


def _anchored_epoch(session: Session) -> int | None:
    """The epoch in which this node last anchored: a home made anew for the key must go on behind it."""
    try:
        with receipt_log(session) as log:
            node = log.node(session.home.key)
    except NotFoundError:
        return None  # the chain has no receipt log
    return node.epoch if node and node.batches else None


def prune_receipts(
    session: Session, service: "ReceiptService", log: Callable[[dict[str, Any]], None]
) -> None:
    """Remove what need not be kept by the ledger's time; what goes wrong is a line of the log."""
    try:
        with session.ledger() as view:
            service.prune(view.header.time)
    except ModelregError as error:
        log({"event": "prune", "error": str(error)})


def parse_auditor(text: str) -> bytes:
    """Read an address. Raises InputError."""
    digits = text.removeprefix("0x")
    if len(digits) != _ADDRESS_DIGITS or digits.lower().strip("0123456789abcdef"):
        raise InputError("not an address", expected="0x and 40 hexadecimal digits", found=ascii(text)[:60])
    return bytes.fromhex(digits)
