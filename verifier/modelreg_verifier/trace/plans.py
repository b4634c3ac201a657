"""By which plan a node runs which file. Follows docs/spec/trace.md, section 2."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelreg.errors import InputError, VerificationError
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import NumericClass, TracePlan
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import with_outputs

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["PlanTable", "Traced"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A program graph that gives its cuts back too, as a file; `outputs` are the program's own."""

    raw: bytes
    cuts: tuple[tuple[str, ...], ...]
    outputs: frozenset[str]


class PlanTable:
    """The plans that the operator gave, and which of them each file of a release got when it was loaded.

    Args:
        plans: a file gets the first of those that name it and are valid for it.

    Raises:
        InputError: a plan of another class than fp32, in which nothing is served here.
    """

    def __init__(self, plans: Sequence[TracePlan] = ()) -> None:
        if any(plan.numeric_class is not NumericClass.FP32 for plan in plans):
            raise InputError("class of a plan", expected=NumericClass.FP32.value)
        self._plans = tuple(plans)
        self._chosen: dict[tuple[ReleaseId, str], TracePlan] = {}

    def candidates(self, file: str, attached: Sequence[TracePlan] = ()) -> tuple[TracePlan, ...]:
        """The plans that can be tried for a file: the operator's, else those attached to the release.

        Attached plans that fix inputs are left to the operator, since they change what clients send.
        """
        own = tuple(plan for plan in self._plans if plan.file == file)
        usable = (plan for plan in reversed(attached) if plan.cuts and not plan.fixed)
        return own or tuple(
            plan for plan in usable if plan.file == file and plan.numeric_class is NumericClass.FP32
        )

    def require_used(self, files: Collection[str]) -> None:
        """Raise InputError for a plan of a file that is not among `files`."""
        for plan in self._plans:
            if plan.file not in files:
                raise InputError("a plan of what is not served", expected=", ".join(files), found=plan.file)

    def trace(
        self, release: ReleaseId, file: str, model: "ModelProto", candidates: Sequence[TracePlan]
    ) -> Traced:
        """Choose the plan of a file, and make the graph that runs by it.

        Args:
            release: whose file it is.
            file: its path.
            model: with all its data.
            candidates: the first of these that is valid is taken.

        Raises:
            VerificationError: none is valid for the file.
        """
        wrong: VerificationError | None = None
        for plan in candidates:
            try:
                program = Program.of(model, plan.fixed)
                program.places(plan.cuts)
            except VerificationError as error:
                wrong = wrong or error
                continue
            self._chosen[release, file] = plan
            return _traced(program, plan)
        raise wrong or VerificationError(f"no plan of {file}")

    def plan_of(self, release: ReleaseId, file: str) -> TracePlan:
        """The plan by which a file runs: the one that was chosen, else the bare one."""
        return self._chosen.get((release, file)) or TracePlan(file)


def _traced(program: Program, plan: TracePlan) -> Traced:
    names = [name for cut in plan.cuts for name in cut]
    raw: bytes = with_outputs(program.model, names).SerializeToString()
    return Traced(raw, plan.cuts, frozenset(program.outputs))
