"""What `receipt verify` and `receipt bundle` look at: a ledger or a bundle of it, and an inclusion proof."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import InputError, ModelregError, NotFoundError, UnreachableError, VerificationError
from modelreg_cli.receipt_file import own_domain, read_file
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.format.receipt import Domain, SignedReceipt
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg.ledger.view import View
    from modelreg_verifier.receipts.bundle import ReceiptBundle
    from modelreg_verifier.receipts.checks import LedgerChecks
    from modelreg_verifier.receipts.inclusion import Inclusion

__all__ = ["Wanted", "domain_of", "ledger_checks", "opened_view", "proof_of", "read_bundle_file"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where the user says that the inclusion proof is; None for the node's endpoint on the ledger."""

    proof: Path | None = None
    url: str | None = None
    bundle: "ReceiptBundle | None" = None

    @property
    def is_said(self) -> bool:
        """Whether the user named a place, so that a proof must come from it."""
        return self.proof is not None or self.url is not None or self.bundle is not None


def read_bundle_file(file: Path) -> "ReceiptBundle":
    """A receipt's bundle. Raises NotFoundError, FormatError."""
    from modelreg.store.files import os_errors
    from modelreg_verifier.receipts.bundle import read_receipt_bundle

    with os_errors(f"cannot read the bundle {file}"), file.open("rb") as opened:
        return read_receipt_bundle(opened)


def domain_of(session: Session, bundle: "ReceiptBundle | None") -> "Domain":
    """The domain that receipts must have: that of the home's chain; without a home that of the bundle's."""
    from modelreg.ledger.receipt_log_evidence import receipt_domain

    if bundle is None:
        return own_domain(session)
    try:
        domain = own_domain(session)
    except NotFoundError:
        return receipt_domain(bundle.evidence.chain_id)
    if domain.chain_id != bundle.evidence.chain_id:
        raise VerificationError(
            "the bundle is of another chain", expected=domain.chain_id, found=bundle.evidence.chain_id
        )
    return domain


@contextmanager
def opened_view(session: Session, bundle: "ReceiptBundle | None", block: str | None) -> "Iterator[View]":
    """The ledger at its trusted head, or in the block of a bundle."""
    from modelreg_verifier.trust import open_evidence

    if bundle is None:
        if block is not None:
            raise InputError("--block goes with --offline", hint="leave it out, or name a bundle")
        with session.ledger() as view:
            yield view
    else:
        yield open_evidence(bundle.evidence, session.root / "trusted-head.json", block)


def proof_of(log: "ReceiptLogView", signed: "SignedReceipt", digest: bytes, wanted: Wanted) -> "Inclusion":
    """The inclusion proof, from where the user says, else from the node; nothing of it is checked.

    Raises:
        NotFoundError: the node is not registered, or has none, or none yet.
        ModelregError: as whoever is asked.
    """
    from modelreg_verifier.audit.node_client import NodeClient
    from modelreg_verifier.receipts.inclusion import Inclusion

    if wanted.bundle is not None:
        return wanted.bundle.inclusion
    if wanted.proof is not None:
        return Inclusion.from_json(read_file(wanted.proof))
    url = wanted.url or log.require_node(signed.receipt.node).endpoint
    return NodeClient(url).inclusion(digest)


def ledger_checks(
    session: Session, view: "View", signed: "SignedReceipt", domain: "Domain", wanted: Wanted
) -> "LedgerChecks":
    """Checks 8 to 10 of docs/spec/receipt.md, section 7. A node that gives no proof leaves some unknown."""
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.receipts.checks import LedgerChecks, check_inclusion, check_release

    release = check_release(view, signed.receipt, history=wanted.bundle is None)
    try:
        log = ReceiptLogView.beside(view)
        found = proof_of(log, signed, signed.receipt.digest(domain), wanted)
    except ModelregError as error:
        if wanted.is_said or not isinstance(error, NotFoundError | UnreachableError):
            raise
        session.output.remark(f"no inclusion proof: {error}")
        return LedgerChecks(*release)
    replaceable = 0 if wanted.bundle is not None else session.home.config.chain.replaceable
    return LedgerChecks(*release, *check_inclusion(log, signed.receipt, domain, found, replaceable))
