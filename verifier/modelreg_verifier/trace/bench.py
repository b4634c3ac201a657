"""Where an auditor replays: a program, its segments and a runtime. Follows docs/spec/trace.md, section 7."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import MakeRuns, Session, Settings, runtime_info
from modelreg_verifier.trace.segments import Replay

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Bench", "bench_of", "settings_like"]


@dataclass(frozen=True, slots=True)
class Bench:
    """One plan, ready to be replayed by `replay` on `runtime`."""

    program: Program
    replay: Replay
    runtime: RuntimeInfo


def bench_of(model: "ModelProto", plan: TracePlan, settings: Settings, make: MakeRuns = Session) -> Bench:
    """Prepare the replay of a plan that names this model.

    Args:
        model: the verified file of the release, with its external data.
        plan: which of its inputs are fixed, and where it is cut.
        settings: how segments run; sessions are made when they are needed.
        make: makes a session; in this process if nothing else is said.

    Raises:
        VerificationError: the plan is not valid for the file.
    """
    program = Program.of(model, plan.fixed)
    replay = Replay(program, plan.cuts, settings, make)
    return Bench(program, replay, runtime_info(settings, plan.numeric_class))


def settings_like(runtime: RuntimeInfo) -> Settings:
    """This machine's settings with the optimization that a node states: the envelope is narrowest so.

    One thread, whatever the node has: what a receipt claims must not cost the auditor threads.
    """
    return Settings(runtime.optimization)
