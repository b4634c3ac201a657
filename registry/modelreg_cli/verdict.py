"""`verdict`: what auditors signed, and bringing it before the ledger."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import FormatError, NotPermittedError
from modelreg_cli.audit_blocks import FILE
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import cost, ether, evidence_writer, receipt_log
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.receipt import Domain
    from modelreg.ledger.receipt_log_evidence import Evidence
    from modelreg.ledger.signed_verdict import SignedVerdict

__all__ = ["verdict_command"]

_Case = tuple[bytes, int, bytes]


@click.group("verdict")
def verdict_command() -> None:
    """Look at verdicts that auditors signed, record them, and have a node pay for what a quorum found.

    FILE is what `modelreg audit --verdicts` writes. Auditors exchange files as they like: each is signed, and
    says nothing of a request's content.
    """


_files = click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")


@verdict_command.command("show")
@_files
@pass_session
def _show(session: Session, files: tuple[Path, ...]) -> None:
    """Show what FILE says, after checking its signatures and proof."""
    rows = [_document(found, auditor) for found, auditor in _read(session, files)]
    lines = [f"{row['outcome']:12}  receipt {row['receipt']}  by {row['auditor']}" for row in rows]
    session.output.result(rows, "\n".join(lines))


@verdict_command.command("record")
@_files
@password_file_option
@pass_session
def _record(session: Session, files: tuple[Path, ...], password_file: Path | None) -> None:
    """Put verdicts on record for everybody to see; no bond moves."""
    rows = []
    found = _read(session, files)
    with evidence_writer(session, password_file) as writer:
        for each, auditor in found:
            receipt = writer.record_verdict(each.verdict, each.signature)
            rows.append(_document(each, auditor) | cost(receipt))
    session.output.result(rows, "\n".join(f"recorded {row['outcome']} on {row['receipt']}" for row in rows))


@verdict_command.command("slash")
@_files
@password_file_option
@pass_session
def _slash(session: Session, files: tuple[Path, ...], password_file: Path | None) -> None:
    """Have nodes pay for receipts on which a quorum of a policy's auditors said fail or withheld.

    FILE... are the verdicts of all auditors that agree, on one receipt or many.
    """
    cases = _cases(_read(session, files))
    _require_quorums(session, cases)
    rows = []
    with evidence_writer(session, password_file) as writer:
        for found in cases:
            receipt = _bring(writer, found)
            rows.append(_document(found[0], None) | {"votes": len(found)} | cost(receipt))
    nodes = {row["node"] for row in rows}
    with receipt_log(session) as log:
        bonds = {node: ether(log.require_node(bytes.fromhex(node[2:])).bond) for node in sorted(nodes)}
    lines = [f"{row['outcome']} by {row['votes']} auditors: receipt {row['receipt']}" for row in rows]
    lines += [f"node {node} is left with a bond of {bond} ETH" for node, bond in bonds.items()]
    session.output.result({"slashed": rows, "bonds": bonds}, "\n".join(lines))


def _read(session: Session, files: Sequence[Path]) -> "list[tuple[SignedVerdict, bytes]]":
    from modelreg.ledger.receipt_log_evidence import receipt_domain

    domain = receipt_domain(session.home.config.chain.chain_id)
    return [_read_one(path, domain) for path in files]


def _read_one(path: Path, domain: "Domain") -> "tuple[SignedVerdict, bytes]":
    """A verdict and its auditor. Raises VerificationError for what does not hold together."""
    from modelreg.ledger.signed_verdict import MAX_BYTES, SignedVerdict
    from modelreg.store.files import os_errors, read_regular

    with os_errors(f"cannot read {path}"):
        raw = read_regular(path, MAX_BYTES)
    try:
        found = SignedVerdict.from_bytes(raw)
    except FormatError as error:
        raise FormatError(f"{path} is not a verdict", found=str(error)[:200]) from None
    return found, found.verify(domain)


def _cases(found: "Sequence[tuple[SignedVerdict, bytes]]") -> "list[list[SignedVerdict]]":
    """The verdicts that say the same of one receipt, those of each auditor once."""
    unique = {(_case(each), auditor): each for each, auditor in found}
    ordered = [unique[key] for key in sorted(unique)]
    return [list(rows) for _, rows in groupby(ordered, _case)]


def _case(found: "SignedVerdict") -> _Case:
    verdict = found.verdict
    return verdict.policy_id, int(verdict.outcome), verdict.receipt


def _require_quorums(session: Session, cases: "Sequence[list[SignedVerdict]]") -> None:
    """Say before anything is sent what the ledger would refuse."""
    policies = {_case(rows[0])[0] for rows in cases}
    with receipt_log(session) as log:
        quorums = {policy: log.require_policy(policy).quorum for policy in policies}
    for rows in cases:
        policy, _, receipt = _case(rows[0])
        if len(rows) < quorums[policy]:
            raise NotPermittedError(
                f"too few auditors agree on receipt 0x{receipt.hex()}",
                expected=f"{quorums[policy]} equal verdicts",
                found=len(rows),
                hint="get the files of other auditors",
            )


def _bring(evidence: "Evidence", rows: "list[SignedVerdict]") -> Any:
    from modelreg.ledger.receipt_log_evidence import Vote

    first = rows[0]
    votes = [Vote(each.verdict.report, each.verdict.issued_at, each.signature) for each in rows]
    verdict = first.verdict
    return evidence.slash_by_quorum(
        verdict.policy_id, verdict.outcome, first.signed.receipt, first.anchored, first.proof, votes
    )


def _document(found: "SignedVerdict", auditor: bytes | None) -> dict[str, Any]:
    verdict = found.verdict
    document = {
        "policy": f"0x{verdict.policy_id.hex()}",
        "node": f"0x{verdict.node.hex()}",
        "receipt": f"0x{verdict.receipt.hex()}",
        "outcome": verdict.outcome.name.lower(),
        "seq": found.signed.receipt.seq,
        "batch": found.anchored.index,
    }
    if auditor is not None:
        document["auditor"] = f"0x{auditor.hex()}"
    return document
