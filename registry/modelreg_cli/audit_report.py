"""What `audit` prints and writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelreg.errors import ModelregError, UnreachableError, VerificationError
from modelreg_cli.output import printable
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.ledger.receipt_log_records import AnchoredBatch
    from modelreg_verifier.audit.report import Judged, Report

__all__ = ["show", "write_report"]

_LINES_MAX = 20
_UNDECIDED_SHARE = 0.1


def write_report(path: Path, report: "Report") -> None:
    """Write the page, and the document beside it with `.json` behind the name."""
    from modelreg.store.files import os_errors, replace_file
    from modelreg_verifier.audit.report_page import page

    with os_errors(f"cannot write {path}"):
        replace_file(path, page(report).encode())
        replace_file(path.with_name(path.name + ".json"), bytes(report))


def show(
    session: Session, anchored: "AnchoredBatch", report: "Report", others: int | None
) -> ModelregError | None:
    """Print the outcome, and say what was wrong: VerificationError if the node cheated.

    Args:
        session: prints.
        anchored: where the ledger has the batch.
        report: of the audit.
        others: how many receipts of the batch are of plans that nobody wanted; None if that was not asked.
    """
    failure = _failure(report)
    document: dict[str, Any] = {
        "ok": failure is None,
        "batch": anchored.index,
        "block": anchored.block,
        "other_plans": others,
        "digest": f"0x{report.digest.hex()}",
        "report": report.value,
    }
    session.output.result(document, "\n".join(_lines(anchored, report, others)))
    return failure


def _failure(report: "Report") -> ModelregError | None:
    from modelreg_verifier.audit.verdict import Ruling

    node, found = f"node 0x{report.batch.node.hex()}", report.outcomes
    cheated = found.get(Ruling.FAIL, 0) + found.get(Ruling.DISPUTE, 0)
    withheld = found.get(Ruling.WITHHELD, 0)
    if cheated:
        what = f"{node} did not run what its receipts say"
        return VerificationError(what, found=f"{cheated} of {len(report.judged)} receipts")
    if withheld:
        return UnreachableError(f"{node} withheld {withheld} of {len(report.judged)} openings")
    undecided = found.get(Ruling.UNDECIDABLE, 0) + found.get(Ruling.INCONCLUSIVE, 0)
    if undecided > _UNDECIDED_SHARE * len(report.judged):
        return UnreachableError(
            f"{undecided} of {len(report.judged)} receipts of {node} could not be decided",
            hint="see their reasons: audit by a policy with strict terms, or with another runtime",
        )
    return None


def _lines(anchored: "AnchoredBatch", report: "Report", others: int | None) -> list[str]:
    from modelreg_verifier.audit.verdict import Ruling

    batch = report.batch
    lines = [
        f"batch {anchored.index} of 0x{batch.node.hex()}: {batch.count} receipts of epoch {batch.epoch}"
        f" from seq {batch.first}, in block {anchored.block}",
        f"audited {len(report.judged)}: finds a cheat with probability {report.probability:.4g}"
        f" if {report.false} of the {report.population} are false",
        ", ".join(f"{ruling.value} {count}" for ruling, count in report.outcomes.items()),
    ]
    if others is not None:
        lines.append(f"{others} of the {batch.count} receipts are of other plans")
    odd = [row for row in report.judged if row.verdict.ruling is not Ruling.PASS]
    lines += map(_line, odd[:_LINES_MAX])
    if len(odd) > _LINES_MAX:
        lines.append(f"and {len(odd) - _LINES_MAX} more")
    if Ruling.UNDECIDABLE in report.outcomes or Ruling.INCONCLUSIVE in report.outcomes:
        lines.append(
            "nothing can be told of what is undecidable or inconclusive; the node is not accused of it"
        )
    lines.append(f"report 0x{report.digest.hex()}")
    return lines


def _line(row: "Judged") -> str:
    verdict = row.verdict
    where = "" if verdict.segment is None else f", segment {verdict.segment}"
    return printable(
        f"seq {row.seq}: {verdict.ruling.value}, {verdict.reason.value}{where}: {verdict.detail}"
    )
