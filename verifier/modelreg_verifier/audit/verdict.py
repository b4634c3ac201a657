"""What an audit of one receipt came to. Specified in docs/spec/audit.md, section 4. No input or output."""

from dataclasses import dataclass
from enum import Enum

from modelreg_verifier.trace.distance import Outcome

__all__ = ["Reason", "Ruling", "SegmentResult", "StopError", "Verdict"]


class Ruling(Enum):
    """The outcome; the value is its name in reports."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNDECIDABLE = "undecidable"
    WITHHELD = "withheld"
    DISPUTE = "dispute"

    @property
    def ledger_code(self) -> int | None:
        """The number in signed verdicts; None for a dispute, which has to be settled first."""
        return _CODES.get(self)


_CODES = {
    Ruling.PASS: 1,
    Ruling.FAIL: 2,
    Ruling.INCONCLUSIVE: 3,
    Ruling.UNDECIDABLE: 4,
    Ruling.WITHHELD: 5,
}


class Reason(Enum):
    """What decided; the value is its name in reports."""

    RECEIPT = "receipt"
    PLAN_BLOCK = "plan block"
    RUNTIME_BLOCK = "runtime block"
    COMMITMENT = "commitment"
    TERMS = "terms"
    PART = "part"
    PLAN = "plan"
    RUNTIME = "runtime"
    NAMES = "names"
    TWO_VALUES = "two values"
    INPUTS = "inputs"
    BARE = "bare plan"
    CALIBRATION = "calibration"
    REFUSED = "refused"
    OVERFLOW = "overflow"
    UNEQUAL = "unequal"
    NON_FINITE = "non-finite"
    SHAPE = "shape"
    DATATYPE = "datatype"
    MISSING = "missing"
    DISTANCE = "distance"
    EQUAL = "equal"
    NEAR = "near"
    CLAIM = "claim"
    OPERATOR = "operator"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """One segment that was replayed.

    `tensor` decided about it, and is None if all bits are equal. `envelope` is at least the floor, and None
    if no calibration has the two runtimes; `ratio` is the distance over it, and None where there is none.
    """

    segment: int
    outcome: Outcome
    distance: float
    envelope: float | None = None
    ratio: float | None = None
    tensor: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, what decided, the segment that did if one did, and all segments that were replayed.

    `disputed` are the numbers of all segments for a referee, `otherwise` the verdict where they are cleared.
    """

    ruling: Ruling
    reason: Reason
    detail: str = ""
    segment: int | None = None
    segments: tuple[SegmentResult, ...] = ()
    disputed: tuple[int, ...] = ()
    otherwise: "Verdict | None" = None


class StopError(Exception):
    """Ends an audit inside the judge; it never leaves `judge`."""

    def __init__(self, ruling: Ruling, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.verdict = Verdict(ruling, reason, detail)
