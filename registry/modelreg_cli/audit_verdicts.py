"""The signed verdicts of an audit, one file each."""

import time
from pathlib import Path

from modelreg.errors import FormatError, NotPermittedError
from modelreg.format.batch import BatchTree
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.ledger.receipt_log_policy import Outcome, Policy, Verdict
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg.ledger.signed_verdict import MAX_BYTES, SignedVerdict
from modelreg.store.files import os_errors, read_regular, replace_file
from modelreg_verifier.audit.auditor import Shown
from modelreg_verifier.audit.report import Report

__all__ = ["require_auditor", "write_verdicts"]


def write_verdicts(
    directory: Path,
    signer: Signer,
    policy: Policy,
    anchored: AnchoredBatch,
    shown: Shown,
    report: Report,
    domain: Domain,
) -> None:
    """Sign a verdict on each receipt that was judged, but for disputes, which a referee has to settle first.

    A file is named for the receipt and the auditor. One that says fail stays, whatever comes later: a node
    that was caught may show nothing any more.
    """
    batch = anchored.batch
    tree = BatchTree(batch.node, batch.epoch, batch.first, shown.digests)
    now, name, digest = int(time.time()), signer.address.hex(), report.digest
    with os_errors(f"cannot write to {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        for row in report.judged:
            code = row.verdict.ruling.ledger_code
            if code is None:
                continue
            verdict = Verdict(policy.policy_id, row.receipt, batch.node, Outcome(code), digest, now)
            signed, proof = shown.signed(row.seq - batch.first), tree.prove(row.seq)
            made = SignedVerdict.sign(signer, verdict, signed, anchored, proof, domain)
            path = directory / f"{row.receipt.hex()}.{name}.verdict"
            if not _says_fail(path):
                replace_file(path, bytes(made))


def require_auditor(account: bytes, policy: Policy) -> None:
    """Raise NotPermittedError unless an account is one of a policy's auditors."""
    if account not in policy.auditors:
        raise NotPermittedError(
            f"0x{account.hex()} is no auditor of the policy",
            expected=", ".join(f"0x{auditor.hex()}" for auditor in policy.auditors)[:200],
        )


def _says_fail(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        return SignedVerdict.from_bytes(read_regular(path, MAX_BYTES)).verdict.outcome is Outcome.FAIL
    except FormatError:
        return False
