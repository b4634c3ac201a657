"""What the commands for nodes, policies and anchors share."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.config import parse_address
from modelreg.errors import ConflictError, InputError, NotFoundError
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.receipt_log_challenges import Challenges
    from modelreg.ledger.receipt_log_evidence import Evidence
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg.ledger.receipt_log_writer import ReceiptLogWriter
    from modelreg.ledger.writer import Writer
    from modelreg_verifier.receipts.records import Records

__all__ = [
    "ADDRESS",
    "ETHER",
    "WORD",
    "challenge_writer",
    "cost",
    "ether",
    "evidence_writer",
    "log_writer",
    "own_records",
    "receipt_log",
    "utc",
]

_WEI = 10**18
_ETHER = re.compile(r"(\d{1,12})(?:\.(\d{1,18}))?")


class _AddressType(click.ParamType[bytes]):
    name = "ADDRESS"

    def convert(self, value: object, *_: object) -> bytes:
        return value if isinstance(value, bytes) else parse_address(str(value))


class _WordType(click.ParamType[bytes]):
    name = "0x…"

    def convert(self, value: object, *_: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if re.fullmatch(r"0x[0-9a-fA-F]{64}", str(value)) is None:
            raise InputError(
                "not 32 bytes in hexadecimal", expected="0x and 64 digits", found=ascii(value)[:80]
            )
        return bytes.fromhex(str(value)[2:])


class _EtherType(click.ParamType[int]):
    name = "ETHER"

    def convert(self, value: object, *_: object) -> int:
        if isinstance(value, int):
            return value
        match = _ETHER.fullmatch(str(value))
        if match is None:
            raise InputError("not an amount of ether", expected="such as 2 or 0.5", found=ascii(value)[:80])
        whole, part = match.groups()
        return int(whole) * _WEI + int((part or "").ljust(18, "0"))


ADDRESS = _AddressType()
WORD = _WordType()
ETHER = _EtherType()


def ether(wei: int) -> str:
    """An amount of wei in ether, exactly."""
    whole, part = divmod(wei, _WEI)
    return f"{whole}.{part:018}".rstrip("0").rstrip(".")


@contextmanager
def receipt_log(session: Session) -> "Iterator[ReceiptLogView]":
    """The receipt log at the ledger's trusted head."""
    from modelreg.ledger.receipt_log_view import ReceiptLogView

    with session.ledger() as view:
        yield ReceiptLogView.beside(view)


@contextmanager
def log_writer(session: Session, password_file: Path | None) -> "Iterator[ReceiptLogWriter]":
    """What nodes and those who appoint auditors write."""
    from modelreg.ledger.receipt_log_writer import ReceiptLogWriter

    with _sender(session, password_file) as sender:
        yield ReceiptLogWriter(sender)


@contextmanager
def evidence_writer(session: Session, password_file: Path | None) -> "Iterator[Evidence]":
    """What auditors and clients bring before the receipt log."""
    from modelreg.ledger.receipt_log_evidence import Evidence

    with _sender(session, password_file) as sender:
        yield Evidence(sender, session.home.config.chain.chain_id)


@contextmanager
def _sender(session: Session, password_file: Path | None) -> "Iterator[Writer]":
    """The ledger's writer. On an embedded chain that has no receipt log yet, it is deployed first."""
    from modelreg.ledger.receipt_log_writer import ReceiptLogWriter

    with session.writer(password_file) as sender:
        if session.home.config.chain.file is not None and _is_missing(session):
            ReceiptLogWriter(sender).deploy()
            session.output.remark("deployed the receipt log, which this chain did not have")
        yield sender


@contextmanager
def challenge_writer(session: Session, password_file: Path | None) -> "Iterator[Challenges]":
    """Opens and answers challenges with this home's key."""
    from modelreg.ledger.receipt_log_challenges import Challenges

    with session.writer(password_file) as writer:
        yield Challenges(writer, session.home.config.chain.chain_id)


@contextmanager
def own_records(session: Session) -> "Iterator[Records]":
    """The journal of this home's key. Raises NotFoundError without one, ConflictError if it is another's."""
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.receipts.records import Records
    from modelreg_verifier.receipts.service import journal_of

    home = session.home
    domain = receipt_domain(home.config.chain.chain_id)
    with closing(Records(journal_of(home.root, home.key))) as records:
        if (records.node, records.domain) != (home.key, domain):
            raise ConflictError(
                f"the journal {records.path} is of another node or ledger",
                expected=f"0x{home.key.hex()} on chain {domain.chain_id}",
                found=f"0x{records.node.hex()} on chain {records.domain.chain_id}",
            )
        yield records


def utc(seconds: int) -> str:
    """A Unix time as people read it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _is_missing(session: Session) -> bool:
    try:
        with receipt_log(session):
            return False
    except NotFoundError:
        return True


def cost(receipt: "Receipt | None") -> dict[str, Any]:
    """What a transaction cost, for a document."""
    if receipt is None:
        return {"tx": None, "gas": None}
    return {"tx": "0x" + receipt.transaction.hex(), "gas": receipt.gas_used}
