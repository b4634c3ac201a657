"""Settling a dispute by one claim. Specified in docs/spec/dispute.md, section 3. No input or output."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError, VerificationError
from modelreg.format.calibration import Calibration
from modelreg.format.trace_plan import NumericClass
from modelreg_verifier.audit.judge import Ready, Subject, ready
from modelreg_verifier.audit.judge_segments import FLOOR, PASS_UP_TO, Steadiness
from modelreg_verifier.audit.verdict import Ruling, SegmentResult, StopError, Verdict
from modelreg_verifier.receipts.claim import TENSORS_MAX, Claim
from modelreg_verifier.receipts.opening import Opening
from modelreg_verifier.referee.poles import near_pole
from modelreg_verifier.referee.recompute import OperatorFinding, made_by, recompute
from modelreg_verifier.trace.datatypes import to_array
from modelreg_verifier.trace.distance import Comparison, Outcome, batch_of, compare
from modelreg_verifier.trace.segments import Segment

__all__ = ["Settled", "Settlement", "claim_envelope", "settle", "without_dispute"]

_PLAIN = "disabled"


class Settled(Enum):
    """How a dispute ends; the value is its name in reports."""

    FAIL = "fail"
    CLEARED = "cleared"
    UNDECIDABLE = "undecidable"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The ruling, and what decided.

    Attributes:
        ruling: how it ends.
        segment: that was disputed, or that an audit convicted without; None if it was none.
        detail: in words.
        operator: the name of the node that is off, or of which nothing can be told; None if none is.
        kind: the operator's name in ONNX.
        ratio: how far it is off, over what an honest machine can be off; of a node that is cleared the
            greatest. Of ends that differ, their distance over what is allowed.
    """

    ruling: Settled
    segment: int | None
    detail: str
    operator: str | None = None
    kind: str | None = None
    ratio: float | None = None


class _EndError(Exception):
    """Ends a dispute; it never leaves `settle`."""

    def __init__(self, ruling: Settled, detail: str, ratio: float | None = None) -> None:
        super().__init__(detail)
        self.ruling, self.ratio = ruling, ratio


def settle(opening: Opening, claim: Claim | None, segment: int, subject: Subject) -> Settlement:
    """Settle the dispute over a segment of an opened receipt.

    Args:
        opening: of the receipt, whole.
        claim: what the node claims of the segment; None if nothing came in time that can be read.
        segment: its number, from 0.
        subject: what the receipt is judged by.

    Raises:
        VerificationError: the receipt is of another release than the subject.
    """
    try:
        found = ready(opening, subject)
        claimed = _checked(claim, segment, found, opening, subject)
        return _rule(found, segment, claimed)
    except StopError as stop:
        return Settlement(_of_verdict(stop.verdict.ruling), segment, stop.verdict.detail)
    except _EndError as end:
        return Settlement(end.ruling, segment, str(end), ratio=end.ratio)


def without_dispute(verdict: Verdict) -> Settlement | None:
    """What an audit's verdict comes to where there is nothing to settle; None if its segment is disputed."""
    if verdict.ruling in (Ruling.DISPUTE, Ruling.INCONCLUSIVE) and verdict.segment is not None:
        return None
    detail = f"{verdict.reason.value}: {verdict.detail}"
    return Settlement(_of_verdict(verdict.ruling), verdict.segment, detail)


def _of_verdict(ruling: Ruling) -> Settled:
    same = {Ruling.FAIL: Settled.FAIL, Ruling.WITHHELD: Settled.WITHHELD, Ruling.PASS: Settled.CLEARED}
    return same.get(ruling, Settled.UNDECIDABLE)


def _checked(
    claim: Claim | None, number: int, found: Ready, opening: Opening, subject: Subject
) -> dict[str, NDArray[Any]]:
    """Checks 2 to 4."""
    parts = found.bench.replay.segments
    if not 0 <= number < len(parts):
        raise _EndError(Settled.UNDECIDABLE, f"the plan has {len(parts)} segments")
    if found.plan.numeric_class is not NumericClass.FP32:
        raise _EndError(Settled.UNDECIDABLE, f"a plan of class {found.plan.numeric_class.value}")
    if len(made_by(found.bench.program.model, parts[number].nodes)) > TENSORS_MAX:
        raise _EndError(Settled.UNDECIDABLE, f"a segment of more than {TENSORS_MAX} tensors has no claim")
    if claim is None:
        raise _EndError(Settled.WITHHELD, "no claim")
    if (claim.receipt, claim.segment) != (subject.receipt, number):
        raise _EndError(Settled.WITHHELD, f"a claim over segment {claim.segment} of 0x{claim.receipt.hex()}")
    try:
        claim.verify(opening.receipt.receipt.node, subject.domain)
    except (VerificationError, FormatError) as error:
        raise _EndError(Settled.WITHHELD, str(error)) from None
    wanted = set(made_by(found.bench.program.model, parts[number].nodes))
    if claim.tensors.keys() != wanted:
        odd = ascii(sorted(claim.tensors.keys() ^ wanted))[:100]
        raise _EndError(Settled.FAIL, f"tensors of the claim: too many or missing {odd}")
    return _arrays(claim)


def _arrays(claim: Claim) -> dict[str, NDArray[Any]]:
    made = {}
    for name, tensor in claim.tensors.items():
        try:
            made[name] = to_array(tensor)
        except FormatError as error:
            ruling = Settled.FAIL if 0 in tensor.dims else Settled.UNDECIDABLE
            raise _EndError(ruling, f"{name!a}: {error}") from None
    return made


def _rule(found: Ready, number: int, claimed: dict[str, NDArray[Any]]) -> Settlement:
    """Checks 5 to 7."""
    part = found.bench.replay.segments[number]
    given = {**found.opened.inputs, **{name: found.opened.committed[name] for name in part.starts}}
    passed_over: OperatorFinding | None = None
    greatest: OperatorFinding | None = None
    for row in recompute(found.bench.program.model, part.nodes, given, claimed):
        if row.ratio > 1:
            detail = f"{row.operator} {row.name!a} cannot have made {row.tensor!a}: {_how_far(row)}"
            return Settlement(Settled.FAIL, number, detail, row.name, row.operator, row.ratio)
        if row.undecided:
            passed_over = passed_over or row
        elif greatest is None or row.ratio > greatest.ratio:
            greatest = row
    _check_ends(found, number, part, claimed)
    if passed_over is not None:
        detail = (
            f"nothing can be told of {passed_over.operator} {passed_over.name!a}: {passed_over.undecided}"
        )
        return Settlement(Settled.UNDECIDABLE, number, detail, passed_over.name, passed_over.operator)
    detail = "every operator is within its bound, and so are the ends"
    return Settlement(Settled.CLEARED, number, detail, ratio=greatest.ratio if greatest else 0.0)


def _how_far(row: OperatorFinding) -> str:
    return row.detail or f"{row.ratio:.4g} times as far off as an honest machine can be"


def _check_ends(found: Ready, number: int, part: Segment, claimed: dict[str, NDArray[Any]]) -> None:
    ends = {name: claimed[name] for name in part.ends if name in claimed}
    apart = compare(
        found.opened.committed, ends, batch_of(found.opened.inputs), found.bench.program.quantized
    )
    if apart.outcome in (Outcome.NEAR, Outcome.OVERFLOW):
        _check_distance(found, number, part, apart)
    elif apart.outcome is not Outcome.EQUAL:
        result = SegmentResult(number, apart.outcome, apart.distance, tensor=apart.tensor)
        _end_for(found, part, claimed, result)


def _end_for(
    found: Ready, part: Segment, claimed: dict[str, NDArray[Any]], result: SegmentResult
) -> NoReturn:
    """No distance: honest machines can break ties otherwise, and divide by what is nearly 0."""
    fails = Steadiness(found.bench, found.opened).ruling(result) is Ruling.FAIL
    if result.outcome is Outcome.NON_FINITE:
        model = found.bench.program.model
        fails = not near_pole(model, part.nodes, {**found.opened.committed, **found.opened.inputs, **claimed})
    detail = (
        f"what was claimed of {result.tensor!a} is not what was committed to: {result.outcome.name.lower()}"
    )
    raise _EndError(Settled.FAIL if fails else Settled.UNDECIDABLE, detail)


def _check_distance(found: Ready, number: int, part: Segment, apart: Comparison) -> None:
    envelope = claim_envelope(found.trusted, found.runtime.fingerprint, len(found.plan.cuts) + 1)
    if envelope is None:
        raise _EndError(Settled.UNDECIDABLE, "no trusted calibration has the node's runtime")
    ratio = apart.distance / max(envelope[number], FLOOR)
    if ratio > PASS_UP_TO:
        detail = f"what was claimed of {apart.tensor!a} is {ratio:.3g} envelopes from what was committed to"
        ruling = Settled.UNDECIDABLE if _rounds_inside(found, part) else Settled.FAIL
        raise _EndError(ruling, detail, ratio / PASS_UP_TO)
    if apart.outcome is Outcome.OVERFLOW:
        raise _EndError(Settled.UNDECIDABLE, f"{apart.tensor!a} overflows")


def _rounds_inside(found: Ready, part: Segment) -> bool:
    """Whether what a node of the segment rounds to steps is read in it: one step more or less spreads."""
    program = found.bench.program
    made = {name for number in part.nodes for name in program.model.graph.node[number].output}
    return any(made & program.quantized & set(program.reads[number]) for number in part.nodes)


def claim_envelope(
    calibrations: Sequence[Calibration], traced: bytes, count: int
) -> tuple[float, ...] | None:
    """For each segment the greatest distance of the node's runtime from one without optimization.

    From any runtime, if nobody measured that; None if nobody measured the node's at all.

    Args:
        calibrations: of one release and plan, all of them trusted.
        traced: the fingerprint of the node's runtime.
        count: segments of the plan; who measured another number is passed over.
    """
    pairs = [
        (other.optimization == _PLAIN, found)
        for block in calibrations
        for other in block.runtimes
        if (found := block.envelope(traced, other.fingerprint)) is not None and len(found) == count
    ]
    plain = [found for is_plain, found in pairs if is_plain] or [found for _, found in pairs]
    return tuple(np.max(plain, axis=0).tolist()) if plain else None
