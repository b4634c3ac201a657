"""The signed verdicts of an audit, one file each."""

import time
from pathlib import Path

from modelreg.errors import NotPermittedError
from modelreg.format.batch import BatchTree
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.ledger.receipt_log_policy import Outcome, Policy, Verdict
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg.ledger.signed_verdict import SignedVerdict
from modelreg.store.files import os_errors, replace_file
from modelreg_verifier.audit.auditor import Shown
from modelreg_verifier.audit.report import Report

__all__ = ["write_verdicts"]


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

    A file is named for the receipt and the auditor.

    Raises:
        NotPermittedError: the account is no auditor of the policy.
    """
    if signer.address not in policy.auditors:
        raise NotPermittedError(
            f"0x{signer.address.hex()} is no auditor of the policy",
            expected=", ".join(f"0x{auditor.hex()}" for auditor in policy.auditors)[:200],
        )
    batch = anchored.batch
    tree = BatchTree(batch.node, batch.epoch, batch.first, shown.digests)
    now, name = int(time.time()), signer.address.hex()
    with os_errors(f"cannot write to {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        for row in report.judged:
            code = row.verdict.ruling.ledger_code
            if code is None:
                continue
            verdict = Verdict(policy.policy_id, row.receipt, batch.node, Outcome(code), report.digest, now)
            signed, proof = shown.signed(row.seq - batch.first), tree.prove(row.seq)
            made = SignedVerdict.sign(signer, verdict, signed, anchored, proof, domain)
            replace_file(directory / f"{row.receipt.hex()}.{name}.verdict", bytes(made))
