"""Releases that are served no longer, loaded once more for what was answered with them.

Specified in docs/spec/openings.md, section 5.
"""

from collections.abc import Callable
from functools import lru_cache

from modelreg.format.names import AtRelease, ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg.home import Home
from modelreg_verifier.serving.copies import resolve, verified_copy
from modelreg_verifier.serving.engine import Engine
from modelreg_verifier.serving.loader import Loading
from modelreg_verifier.serving.target import Target
from modelreg_verifier.serving.whole_model import whole_model
from modelreg_verifier.trace.plans import PlanTable

__all__ = ["Engines", "released_engines"]

Engines = Callable[[ReleaseId, TracePlan], Engine]
"""The engine that runs a plan of a release; raises ModelregError where it cannot be had."""

_KEPT = 1


def released_engines(loading: Loading) -> Engines:
    """Loads releases, yanked ones too, from their verified copies; the last one stays loaded.

    Args:
        loading: as what is served is loaded; its plans and what the ledger says of the release do not count.
    """

    @lru_cache(_KEPT)
    def engine(release: ReleaseId, plan: TracePlan) -> Engine:
        home = Home(loading.home)
        with loading.ledger() as view:
            source = resolve(home, view, Target(AtRelease(release), None), allow_yanked=True)
        copy = verified_copy(loading.home, source, loading.remark)
        model = copy.model(copy.onnx_file(plan.file))
        if plan.is_bare:
            return Engine(*model, threads=loading.threads)
        traced = PlanTable().trace(release, plan.file, whole_model(*model), (plan,))
        return Engine(traced.raw, threads=loading.threads, cuts=traced.cuts, outputs=traced.outputs)

    return engine
