"""What a policy's terms ask of the receipts of one release. Specified in docs/spec/terms.md. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from modelreg.format.calibration import Calibration
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.terms.attached import Attached

__all__ = ["Breach", "Duty"]


@dataclass(frozen=True, slots=True)
class Breach:
    """What terms a receipt breaks, and whether it is certain that it does."""

    detail: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Duty:
    """The plans that count, and in which runtimes parties traced them.

    `plans` are ids, `traced` pairs of a plan's id and a runtime's fingerprint, 32 bytes each. `complete` says
    whether all that parties attached could be had. A plan's id is the digest that is attached: whether it
    counts needs no block.
    """

    plans: frozenset[bytes]
    traced: frozenset[tuple[bytes, bytes]]
    complete: bool = True

    @classmethod
    def of(cls, plans: Attached, calibrations: Attached) -> Self:
        """From what publisher and parties attached (plans), and what parties did (calibrations)."""
        return cls(
            frozenset(plans.digests),
            frozenset(_traced(calibrations.calibrations)),
            not calibrations.missing,
        )

    def breach(self, plan: TracePlan, runtime: RuntimeInfo) -> Breach | None:
        """What a receipt of this plan and runtime breaks (sections 3 and 4); None if it is good."""
        if not plan.cuts:
            return Breach("a plan without cuts")
        if plan.plan_id not in self.plans:
            return Breach(f"plan 0x{plan.plan_id.hex()} is not attached")
        if (plan.plan_id, runtime.fingerprint) not in self.traced:
            where = f"{runtime.runtime} {runtime.version} {runtime.optimization}"
            return Breach(f"no party traced in {where}", self.complete)
        return None


def _traced(calibrations: Iterable[Calibration]) -> Iterable[tuple[bytes, bytes]]:
    for block in calibrations:
        for row in block.rows:
            yield block.plan, block.runtimes[row.traced].fingerprint
