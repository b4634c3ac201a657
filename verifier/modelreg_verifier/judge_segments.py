"""Replaying the segments of an opened trace: docs/spec/audit.md, sections 4 and 5."""

from collections.abc import Iterator, Sequence

from modelreg.errors import ModelregError
from modelreg.format.calibration import Calibration
from modelreg_verifier.bench import Bench
from modelreg_verifier.distance import Outcome, batch_of, compare
from modelreg_verifier.judge_tensors import Opened
from modelreg_verifier.verdict import Reason, Ruling, SegmentResult, Verdict

__all__ = ["DISPUTE_ABOVE", "FLOOR", "PASS_UP_TO", "envelope_of", "rule"]

FLOOR = 3e-7
PASS_UP_TO = 10.0
DISPUTE_ABOVE = 20.0

_HARD = {
    Outcome.OVERFLOW: (Ruling.UNDECIDABLE, Reason.OVERFLOW),
    Outcome.UNEQUAL: (Ruling.FAIL, Reason.UNEQUAL),
    Outcome.NON_FINITE: (Ruling.FAIL, Reason.NON_FINITE),
    Outcome.SHAPE: (Ruling.FAIL, Reason.SHAPE),
    Outcome.DATATYPE: (Ruling.FAIL, Reason.DATATYPE),
    Outcome.MISSING: (Ruling.FAIL, Reason.MISSING),
}


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
    refused = ""
    try:
        for result in _results(bench, opened, envelope):
            results.append(result)  # noqa: PERF402 - those before a refusal are kept
    except ModelregError as error:
        refused = str(error)
    found = tuple(results)
    if envelope is None:
        return _without_envelope(found, refused)
    return _verdict(found, refused)


def _results(bench: Bench, opened: Opened, envelope: Sequence[float] | None) -> Iterator[SegmentResult]:
    """Ends behind a segment whose shapes or values the next one must not be fed with."""
    batch, quantized = batch_of(opened.inputs), bench.program.quantized
    for number in range(len(bench.replay.segments)):
        made = bench.replay.run(number, opened.committed, opened.inputs)
        found = compare(opened.committed, made, batch, quantized)
        bound = None if envelope is None else max(envelope[number], FLOOR)
        hard = found.outcome in _HARD
        ratio = None if hard or bound is None else found.distance / bound
        yield SegmentResult(number, found.outcome, found.distance, bound, ratio, found.tensor)
        if hard:
            return


def _without_envelope(results: tuple[SegmentResult, ...], refused: str) -> Verdict:
    """Equal bits need no envelope; nothing else can be told without one."""
    if refused:
        return Verdict(Ruling.UNDECIDABLE, Reason.REFUSED, refused, segments=results)
    if all(result.outcome is Outcome.EQUAL for result in results):
        return Verdict(Ruling.PASS, Reason.EQUAL, "all bits are equal", segments=results)
    detail = "no trusted calibration has the two runtimes"
    return Verdict(Ruling.UNDECIDABLE, Reason.CALIBRATION, detail, segments=results)


def _verdict(results: tuple[SegmentResult, ...], refused: str) -> Verdict:
    """The first segment that is wrong decides: it began from what was right, those behind it may not have."""
    for result in results:
        if result.outcome in _HARD:
            ruling, reason = _HARD[result.outcome]
            if ruling is Ruling.UNDECIDABLE and _doubtful(results):
                break
            detail = f"{reason.value} at {result.tensor!a}"
            return Verdict(ruling, reason, detail, result.segment, results)
        if (result.ratio or 0.0) > DISPUTE_ABOVE:
            detail = f"{result.ratio:.3g} envelopes apart at {result.tensor!a}"
            return Verdict(Ruling.DISPUTE, Reason.DISTANCE, detail, result.segment, results)
    worst = _doubtful(results)
    if worst:
        detail = f"{worst.ratio:.3g} envelopes apart at {worst.tensor!a}"
        return Verdict(Ruling.INCONCLUSIVE, Reason.DISTANCE, detail, worst.segment, results)
    if refused:
        return Verdict(Ruling.UNDECIDABLE, Reason.REFUSED, refused, len(results), results)
    if all(result.outcome is Outcome.EQUAL for result in results):
        return Verdict(Ruling.PASS, Reason.EQUAL, "all bits are equal", segments=results)
    return Verdict(Ruling.PASS, Reason.NEAR, "all segments are near", segments=results)


def _doubtful(results: Sequence[SegmentResult]) -> SegmentResult | None:
    """The first segment that is too far for a pass."""
    return next((result for result in results if (result.ratio or 0.0) > PASS_UP_TO), None)
