"""Judging one opened receipt. Specified in docs/spec/audit.md, section 4. No input or output of its own.

Nothing of an opening is used before it has opened the receipt that was drawn, and no tensor before its name,
shape and datatype are those that the model makes. The first check that fails ends the audit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from modelreg.errors import FormatError, ModelregError, VerificationError
from modelreg.format.calibration import Calibration
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.audit.judge_segments import envelope_of, rule
from modelreg_verifier.audit.judge_tensors import Opened, opened_of
from modelreg_verifier.audit.verdict import Reason, Ruling, StopError, Verdict
from modelreg_verifier.receipts.opening import Opening
from modelreg_verifier.receipts.opening_check import (
    check_commitments,
    check_plan,
    check_runtime,
    missing_parts,
)
from modelreg_verifier.terms.duty import Duty
from modelreg_verifier.trace.bench import Bench

__all__ = ["Prepare", "Ready", "Subject", "judge", "ready"]

_Block = TypeVar("_Block", TracePlan, RuntimeInfo)

Prepare = Callable[[TracePlan, RuntimeInfo], Bench]
"""Makes the replay of a plan, for a node's runtime.

VerificationError means that the plan is not valid for the file of the release, and convicts the node; any
other ModelregError means that this auditor cannot replay it. So a file that it cannot read must not come as a
VerificationError.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged, and by what.

    Args:
        domain: where receipts count.
        receipt: the digest, 32 bytes, that was drawn, and stands in the anchored batch.
        release: the release whose files the auditor has verified.
        files: the paths in that release.
        calibrations: those that the auditor trusts; of other releases and plans they are passed over.
        prepare: makes the replay.
        duty: what strict terms ask of the release's receipts; None where nothing is asked.
    """

    domain: Domain
    receipt: bytes
    release: ReleaseId
    files: frozenset[str]
    calibrations: Sequence[Calibration] = field(repr=False)
    prepare: Prepare = field(repr=False)
    duty: Duty | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """An opening that passed checks 1 to 9, with the calibrations of its release and plan."""

    plan: TracePlan
    runtime: RuntimeInfo
    bench: Bench
    opened: Opened
    trusted: Sequence[Calibration] = field(repr=False)


def judge(opening: Opening | None, subject: Subject) -> Verdict:
    """Judge what a node showed of a receipt; None if nothing came in time that can be read.

    Raises:
        VerificationError: the receipt that was drawn is of another release than the subject. Whatever else is
            wrong with an opening is a verdict.
    """
    if opening is None:
        return Verdict(Ruling.WITHHELD, Reason.PART, "no opening")
    try:
        return _judge(opening, subject)
    except StopError as stop:
        return stop.verdict


def _judge(opening: Opening, subject: Subject) -> Verdict:
    found = ready(opening, subject)
    pair = found.runtime.fingerprint, found.bench.runtime.fingerprint
    return rule(found.bench, found.opened, envelope_of(found.trusted, *pair, len(found.plan.cuts) + 1))


def ready(opening: Opening, subject: Subject) -> Ready:
    """Checks 1 to 9. Raises StopError with the verdict where one fails, and VerificationError as `judge`."""
    plan, runtime = _open(opening, subject)
    if subject.duty is not None:
        _check_duty(subject.duty, plan, runtime)
    known = [block for block in subject.calibrations if block.release == subject.release.value]
    if not known:
        raise StopError(Ruling.UNDECIDABLE, Reason.CALIBRATION, "no trusted calibration of this release")
    if plan.file not in subject.files:
        raise StopError(Ruling.FAIL, Reason.PLAN, f"no file {plan.file!a} in the release")
    if not plan.cuts:
        raise StopError(Ruling.UNDECIDABLE, Reason.BARE, "a plan without cuts shows nothing")
    bench = _prepare(plan, runtime, subject)
    opened = opened_of(opening, plan, bench.program)
    trusted = [block for block in known if block.plan == plan.plan_id]
    if not trusted:
        raise StopError(Ruling.UNDECIDABLE, Reason.CALIBRATION, "no trusted calibration of this plan")
    return Ready(plan, runtime, bench, opened, trusted)


def _open(opening: Opening, subject: Subject) -> tuple[TracePlan, RuntimeInfo]:
    """Checks 1 to 4: the opening is whole, and opens the receipt that was drawn."""
    _check_receipt(opening, subject)
    plan = _block(lambda: check_plan(opening), Reason.PLAN_BLOCK, Reason.PLAN)
    runtime = _block(lambda: check_runtime(opening), Reason.RUNTIME_BLOCK, Reason.RUNTIME)
    missing = missing_parts(opening, plan)
    if missing:
        raise StopError(Ruling.WITHHELD, Reason.PART, f"not opened: {', '.join(missing)[:100]}")
    try:
        check_commitments(opening, plan)
    except VerificationError as error:
        raise StopError(Ruling.WITHHELD, Reason.COMMITMENT, str(error)) from None
    return plan, runtime


def _check_receipt(opening: Opening, subject: Subject) -> None:
    try:
        digest = opening.receipt.verify(subject.domain)
    except VerificationError as error:
        raise StopError(Ruling.WITHHELD, Reason.RECEIPT, str(error)) from None
    if digest != subject.receipt:
        raise StopError(Ruling.WITHHELD, Reason.RECEIPT, f"another receipt, 0x{digest.hex()}")
    found = opening.receipt.receipt.release_id
    if found != subject.release:
        raise VerificationError("release of the receipt", expected=str(subject.release), found=str(found))


def _block(read: Callable[[], _Block], foreign: Reason, bad: Reason) -> _Block:
    """The node signed the digest: bytes with that digest that are no such block are its own doing."""
    try:
        return read()
    except FormatError as error:
        raise StopError(Ruling.FAIL, bad, str(error)) from None
    except VerificationError as error:
        raise StopError(Ruling.WITHHELD, foreign, str(error)) from None


def _check_duty(duty: Duty, plan: TracePlan, runtime: RuntimeInfo) -> None:
    """docs/spec/terms.md, section 4."""
    breach = duty.breach(plan, runtime)
    if breach is not None and not breach.certain:
        raise StopError(Ruling.UNDECIDABLE, Reason.TERMS, f"{breach.detail}, but attachments are missing")
    if breach is not None:
        raise StopError(Ruling.FAIL, Reason.TERMS, breach.detail)


def _prepare(plan: TracePlan, runtime: RuntimeInfo, subject: Subject) -> Bench:
    try:
        return subject.prepare(plan, runtime)
    except VerificationError as error:
        raise StopError(Ruling.FAIL, Reason.PLAN, str(error)) from None
    except ModelregError as error:
        raise StopError(Ruling.UNDECIDABLE, Reason.REFUSED, str(error)) from None
