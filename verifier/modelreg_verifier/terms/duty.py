"""What a policy's terms ask of the receipts of one release. Specified in docs/spec/terms.md. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from modelreg.format.calibration import Calibration
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.terms.attached import Attached

__all__ = ["Duty"]


@dataclass(frozen=True, slots=True)
class Duty:
    """The plans that count, and in which runtimes parties traced them.

    `plans` are ids, `traced` pairs of a plan's id and a runtime's fingerprint, 32 bytes each. `complete` says
    whether all attachments could be had.
    """

    plans: frozenset[bytes]
    traced: frozenset[tuple[bytes, bytes]]
    complete: bool = True

    @classmethod
    def of(cls, plans: Attached, calibrations: Attached) -> Self:
        """From what publisher and parties attached (plans), and what parties did (calibrations)."""
        return cls(
            frozenset(plan.plan_id for plan in plans.plans),
            frozenset(_traced(calibrations.calibrations)),
            not plans.missing and not calibrations.missing,
        )

    def breach(self, plan: TracePlan, runtime: RuntimeInfo) -> str | None:
        """What a receipt of this plan and runtime breaks (sections 3 and 4); None if it is good."""
        if not plan.cuts:
            return "a plan without cuts"
        if plan.plan_id not in self.plans:
            return f"plan 0x{plan.plan_id.hex()} is not attached"
        if (plan.plan_id, runtime.fingerprint) not in self.traced:
            return f"no party traced in {runtime.runtime} {runtime.version} {runtime.optimization}"
        return None


def _traced(calibrations: Iterable[Calibration]) -> Iterable[tuple[bytes, bytes]]:
    for block in calibrations:
        for row in block.rows:
            yield block.plan, block.runtimes[row.traced].fingerprint
