"""Replaying the segments of an opened trace: docs/spec/audit.md, sections 4 and 5."""

from collections.abc import Sequence
from dataclasses import replace

from modelreg.errors import ModelregError, UnreachableError
from modelreg.format.calibration import Calibration
from modelreg_verifier.audit.judge_tensors import Opened
from modelreg_verifier.audit.verdict import Reason, Ruling, SegmentResult, Verdict
from modelreg_verifier.trace.bench import Bench
from modelreg_verifier.trace.distance import Outcome, batch_of, compare, is_float
from modelreg_verifier.trace.exactness import is_exact, is_unsteady

__all__ = ["DISPUTE_ABOVE", "FLOOR", "PASS_UP_TO", "Steadiness", "envelope_of", "rule"]

FLOOR = 3e-7
PASS_UP_TO = 10.0
DISPUTE_ABOVE = 20.0
_BADNESS = (Ruling.FAIL, Ruling.DISPUTE, Ruling.INCONCLUSIVE)

_MEASURED = frozenset({Outcome.EQUAL, Outcome.NEAR, Outcome.OVERFLOW})
_WRONG = {
    Outcome.UNEQUAL: Reason.UNEQUAL,
    Outcome.NON_FINITE: Reason.NON_FINITE,
    Outcome.SHAPE: Reason.SHAPE,
    Outcome.DATATYPE: Reason.DATATYPE,
    Outcome.MISSING: Reason.MISSING,
}
# What the next segment must not be fed with.
_UNFIT = frozenset({Outcome.SHAPE, Outcome.DATATYPE, Outcome.MISSING})


def envelope_of(
    calibrations: Sequence[Calibration], traced: bytes, replayed: bytes, count: int
) -> tuple[float, ...] | None:
    """For each segment the greatest distance that any of several parties saw between two runtimes.

    Args:
        calibrations: of one release and plan, all of them trusted.
        traced: the fingerprint of the node's runtime.
        replayed: the fingerprint of the auditor's.
        count: segments of the plan; who measured another number is passed over.

    None if no party has the pair.
    """
    found = [block.envelope(traced, replayed) for block in calibrations]
    known = [envelope for envelope in found if envelope is not None and len(envelope) == count]
    return tuple(map(max, zip(*known, strict=True))) if known else None


def rule(bench: Bench, opened: Opened, envelope: Sequence[float] | None) -> Verdict:
    """Replay all segments in their order, and rule on what came of them.

    Args:
        bench: where they are replayed.
        opened: tensors that passed all checks before.
        envelope: of the two runtimes, a number for each segment; None if nobody has measured it.
    """
    results: list[SegmentResult] = []
    refused: tuple[int, str] | None = None
    for number in range(len(bench.replay.segments)):
        try:
            results.append(_result(bench, opened, envelope, number))
        except ModelregError as error:
            refused = refused or (number, str(error))
            if isinstance(error, UnreachableError):
                break
        else:
            if results[-1].outcome in _UNFIT:
                break
    found = tuple(results)
    if envelope is None:
        return _without_envelope(found, refused)
    return _verdict(found, refused, Steadiness(bench, opened))


def _result(bench: Bench, opened: Opened, envelope: Sequence[float] | None, number: int) -> SegmentResult:
    made = bench.replay.run(number, opened.committed, opened.inputs)
    found = compare(opened.committed, made, batch_of(opened.inputs), bench.program.quantized)
    bound = None if envelope is None else max(envelope[number], FLOOR)
    measured = found.outcome in _MEASURED and bound is not None
    ratio = found.distance / bound if measured and bound is not None else None
    return SegmentResult(number, found.outcome, found.distance, bound, ratio, found.tensor)


class Steadiness:
    """Tells what only a cheat explains from what operators that choose, or divide by zero, do too."""

    def __init__(self, bench: Bench, opened: Opened) -> None:
        self._bench = bench
        known = {**opened.committed, **opened.inputs}
        self._floats = {name for name, array in known.items() if is_float(array)} | bench.program.quantized

    def ruling(self, result: SegmentResult) -> Ruling:
        """FAIL or DISPUTE for an outcome that is none of equal, near and overflow."""
        segment, program = self._bench.replay.segments[result.segment], self._bench.program
        name = result.tensor or ""
        if result.outcome is Outcome.NON_FINITE:
            return Ruling.DISPUTE
        if result.outcome is Outcome.UNEQUAL:
            exact = is_exact(program, segment, name, self._floats)
            return Ruling.FAIL if exact else Ruling.DISPUTE
        if result.outcome is Outcome.SHAPE and is_unsteady(program, segment, name):
            return Ruling.DISPUTE
        return Ruling.FAIL


def _without_envelope(results: tuple[SegmentResult, ...], refused: tuple[int, str] | None) -> Verdict:
    """Equal bits need no envelope; nothing else can be told without one."""
    if refused:
        return Verdict(Ruling.UNDECIDABLE, Reason.REFUSED, refused[1], segments=results)
    if all(result.outcome is Outcome.EQUAL for result in results):
        return Verdict(Ruling.PASS, Reason.EQUAL, "all bits are equal", segments=results)
    detail = "no trusted calibration has the two runtimes"
    return Verdict(Ruling.UNDECIDABLE, Reason.CALIBRATION, detail, segments=results)


def _verdict(
    results: tuple[SegmentResult, ...], refused: tuple[int, str] | None, steadiness: Steadiness
) -> Verdict:
    """The first of the worst segments decides: each began from what the node itself committed to."""
    far = [found for result in results if (found := _far(result, results, steadiness)) is not None]
    otherwise = _near(results, refused)
    if not far:
        return otherwise
    worst = min(far, key=lambda found: _BADNESS.index(found.ruling))
    if worst.ruling is Ruling.FAIL:
        return worst
    disputed = tuple(found.segment for found in far if found.segment is not None)
    return replace(worst, disputed=disputed, otherwise=otherwise)


def _far(result: SegmentResult, results: tuple[SegmentResult, ...], steadiness: Steadiness) -> Verdict | None:
    """What a segment comes to that no honest machine should make; None for others."""
    if result.outcome in _WRONG:
        reason = _WRONG[result.outcome]
        detail = f"{reason.value} at {result.tensor!a}"
        return Verdict(steadiness.ruling(result), reason, detail, result.segment, results)
    ratio = result.ratio or 0.0
    if ratio <= PASS_UP_TO:
        return None
    ruling = Ruling.DISPUTE if ratio > DISPUTE_ABOVE else Ruling.INCONCLUSIVE
    detail = f"{ratio:.3g} envelopes apart at {result.tensor!a}"
    return Verdict(ruling, Reason.DISTANCE, detail, result.segment, results)


def _near(results: tuple[SegmentResult, ...], refused: tuple[int, str] | None) -> Verdict:
    for result in results:
        if result.outcome is Outcome.OVERFLOW and not (refused and refused[0] < result.segment):
            detail = f"overflow at {result.tensor!a}"
            return Verdict(Ruling.UNDECIDABLE, Reason.OVERFLOW, detail, result.segment, results)
    if refused:
        return Verdict(Ruling.UNDECIDABLE, Reason.REFUSED, refused[1], refused[0], results)
    if all(result.outcome is Outcome.EQUAL for result in results):
        return Verdict(Ruling.PASS, Reason.EQUAL, "all bits are equal", segments=results)
    return Verdict(Ruling.PASS, Reason.NEAR, "all segments are near", segments=results)
