"""The report of an audit as a document. Specified in docs/spec/audit.md, section 7. No input or output."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from modelreg.errors import InputError
from modelreg.format.batch import Batch
from modelreg.format.digest import DIGEST_BYTES, HashAlgorithm
from modelreg.format.runtime_info import RuntimeInfo
from modelreg_verifier.audit.detection import detection
from modelreg_verifier.audit.verdict import Ruling, SegmentResult, Verdict

__all__ = ["Judged", "Report"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A receipt of the sample, by its seq and digest, and what was found."""

    seq: int
    receipt: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """An audit of one batch.

    Args:
        batch: what was anchored.
        seed: of the sample, 32 bytes.
        runtime: the auditor's.
        draws: how many of the receipts were drawn uniformly.
        judged: all receipts that were drawn, those that cover strata behind the others.
        false: how many false receipts of the batch the probability is stated for.
        rate: how many of the false ones that are audited are taken to be recognised.
        judgeable: how many of the receipts could be drawn; all of the batch, if nothing else is said.

    Raises:
        InputError: numbers that cannot be of this batch, or hashes of other lengths.
    """

    batch: Batch
    seed: bytes
    runtime: RuntimeInfo
    draws: int
    judged: tuple[Judged, ...] = field(repr=False)
    false: int = 1
    rate: Fraction = Fraction(1)
    judgeable: int | None = None

    def __post_init__(self) -> None:
        batch, seqs = self.batch, [row.seq for row in self.judged]
        inside = all(batch.first <= seq < batch.first + batch.count for seq in seqs)
        if not inside or len(set(seqs)) != len(seqs) or not 0 <= self.draws <= len(seqs):
            raise InputError(
                "receipts of a report", expected="some of the batch, none twice", found=ascii(seqs[:20])
            )
        if {len(self.seed), *(len(row.receipt) for row in self.judged)} != {DIGEST_BYTES}:
            raise InputError("hashes of a report", expected=f"{DIGEST_BYTES} bytes each")
        detection(self.population, self.false, self.draws, self.rate)

    @property
    def population(self) -> int:
        """How many receipts could be drawn."""
        return self.batch.count if self.judgeable is None else self.judgeable

    @property
    def probability(self) -> float:
        """With which the sample finds something if so many receipts are false."""
        return float(detection(self.population, self.false, self.draws, self.rate))

    @property
    def outcomes(self) -> dict[Ruling, int]:
        """How many receipts have which outcome; only those that one has."""
        counted = Counter(row.verdict.ruling for row in self.judged)
        return {ruling: counted[ruling] for ruling in Ruling if counted[ruling]}

    @property
    def value(self) -> dict[str, Any]:
        """The document as JSON's values."""
        batch = self.batch
        return {
            "kind": "modelreg/audit/1",
            "node": _hex(batch.node),
            "epoch": batch.epoch,
            "first": batch.first,
            "count": batch.count,
            "root": _hex(batch.root),
            "seed": _hex(self.seed),
            "sample": {
                "of": self.population,
                "draws": self.draws,
                "covering": len(self.judged) - self.draws,
                "false": self.false,
                "rate": float(self.rate),
                "probability": self.probability,
            },
            "runtime": self.runtime.value,
            "outcomes": {ruling.value: count for ruling, count in self.outcomes.items()},
            "receipts": [_judged(row) for row in self.judged],
        }

    def __bytes__(self) -> bytes:
        """The document; its blake3 digest is `report` in signed verdicts."""
        return json.dumps(self.value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @property
    def digest(self) -> bytes:
        """The blake3 digest of the document, 32 bytes."""
        return HashAlgorithm.BLAKE3_256.digest(bytes(self)).value


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _judged(row: Judged) -> dict[str, Any]:
    verdict = row.verdict
    return {
        "seq": row.seq,
        "receipt": _hex(row.receipt),
        "outcome": verdict.ruling.value,
        "reason": verdict.reason.value,
        "detail": verdict.detail,
        "segment": verdict.segment,
        "segments": [_segment(result) for result in verdict.segments],
    }


def _segment(result: SegmentResult) -> dict[str, Any]:
    return {
        "segment": result.segment,
        "outcome": result.outcome.name.lower().replace("_", "-"),
        "distance": _finite(result.distance),
        "envelope": _finite(result.envelope),
        "ratio": _finite(result.ratio),
        "tensor": result.tensor,
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
