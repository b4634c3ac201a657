"""The programs of plans, made from the verified files of releases that a home has or can fetch."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

from modelreg.format.names import AtRelease, ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg.home import Home
from modelreg.ledger.view import View
from modelreg_verifier.serving.copies import resolve, verified_copy
from modelreg_verifier.serving.target import Target
from modelreg_verifier.serving.whole_model import whole_model
from modelreg_verifier.trace.program import Program

__all__ = ["released_programs"]

_KEPT = 2


def released_programs(
    root: Path, ledger: Callable[[], AbstractContextManager[View]], remark: Callable[[str], None]
) -> Callable[[ReleaseId, TracePlan], Program]:
    """Makes the program of a plan of a release; the function that is returned raises ModelregError.

    Args:
        root: the home.
        ledger: opens the ledger at its trusted head.
        remark: told if another process works at the same place, and this one waits for it.
    """

    @lru_cache(_KEPT)
    def program(release: ReleaseId, plan: TracePlan) -> Program:
        home = Home(root)
        with ledger() as view:
            source = resolve(home, view, Target(AtRelease(release), None), allow_yanked=True)
        copy = verified_copy(root, source, remark)
        return Program.of(whole_model(*copy.model(copy.onnx_file(plan.file))), plan.fixed)

    return program
