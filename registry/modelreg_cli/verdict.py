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
# `fail` and `withheld`, as the ledger numbers them.
_COSTLY = (2, 5)


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
    cases, passed_over = _with_quorum(session, _cases(_read(session, files)))
    if not cases:
        raise NotPermittedError(
            "no receipt on which a quorum of its policy's auditors said fail or withheld",
            found="; ".join(passed_over)[:300] or "no such verdict",
            hint="get the files of other auditors",
        )
    for text in passed_over:
        session.output.remark(f"passed over: {text}")
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


def _cases(found: "Sequence[tuple[SignedVerdict, bytes]]") -> "list[list[tuple[SignedVerdict, bytes]]]":
    """The verdicts that say the same of one receipt."""
    ordered = sorted(found, key=lambda row: _case(row[0]))
    return [list(rows) for _, rows in groupby(ordered, lambda row: _case(row[0]))]


def _case(found: "SignedVerdict") -> _Case:
    verdict = found.verdict
    return verdict.policy_id, int(verdict.outcome), verdict.receipt


def _with_quorum(
    session: Session, cases: "Sequence[list[tuple[SignedVerdict, bytes]]]"
) -> "tuple[list[list[SignedVerdict]], list[str]]":
    """The cases that the ledger takes, with the votes that count in them, and what is wrong with others."""
    taken, passed_over = [], []
    with receipt_log(session) as log:
        policies = {policy: log.require_policy(policy) for policy in {_case(rows[0][0])[0] for rows in cases}}
        for rows in cases:
            policy, outcome, receipt = _case(rows[0][0])
            auditors = policies[policy].auditors
            known = [row for row in rows if row[1] in auditors and log.holds_batch(row[0].anchored)]
            votes = list({auditor: each for each, auditor in known}.values())
            if outcome in _COSTLY and len(votes) >= policies[policy].quorum:
                taken.append(votes)
            elif outcome in _COSTLY:
                what = f"{len(votes)} of {policies[policy].quorum} verdicts"
                passed_over.append(f"too few auditors agree on receipt 0x{receipt.hex()}: {what}")
    return taken, passed_over


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
