"""What accounts attached to a release, and what strict terms make of it."""

from dataclasses import replace

import pytest

from modelreg.errors import NotFoundError
from modelreg.format import canonical
from modelreg.format.digest import HashAlgorithm
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.verdict import Reason, Ruling
from modelreg_verifier.terms.attached import Attached, attached_to, block_of
from modelreg_verifier.terms.duty import Breach, Duty
from modelreg_verifier.trace.runtime import Settings, runtime_info
from tests.verifier import auditing

RELEASE = auditing.RELEASE


class Blocks:
    """A source of blocks, some of which are not there."""

    name = "blocks"

    def __init__(self, *blocks):
        self._blocks = {block_of(digest_of(block)): block for block in blocks}

    def get(self, cid):
        if cid not in self._blocks:
            raise NotFoundError(f"block {cid}")
        return self._blocks[cid]


def digest_of(block):
    return HashAlgorithm.BLAKE3_256.digest(block).value


def read(*blocks, files=("m.onnx",), kept=None, said=None):
    digests = [digest_of(block) for block in blocks]
    source = Blocks(*(blocks if kept is None else kept))
    return attached_to(RELEASE, files, digests, source, (said if said is not None else []).append)


@pytest.fixture(scope="module")
def world():
    return auditing.early()


def test_plans_and_calibrations_are_told_apart(world):
    plan, calibration = bytes(world.plan), bytes(world.calibrations[0])
    found = read(plan, calibration, plan)
    assert (found.plans, found.calibrations) == ((world.plan,), tuple(world.calibrations))
    assert found.digests == (digest_of(plan), digest_of(calibration))


def test_what_is_of_something_else_is_passed_over(world):
    other = bytes(replace(world.calibrations[0], release=b"\x01" * 32))
    strange = canonical.encode({"kind": "modelreg/other/1"})
    plan = bytes(TracePlan("other.onnx", cuts=(("a",),)))
    found = read(other, strange, plan, canonical.encode([1]), b"\xff")
    assert (found.plans, found.calibrations, found.missing) == ((), (), ())


def test_blocks_that_cannot_be_had_are_said(world):
    said = []
    found = read(bytes(world.plan), bytes(world.calibrations[0]), kept=[bytes(world.plan)], said=said)
    assert (found.plans, found.missing) == ((world.plan,), (world.calibrations[0].digest,))
    assert "cannot be had" in said[0]


def duty(world, plans=True, calibrations=True, missing=()):
    return Duty.of(
        Attached((world.plan.plan_id,) if plans else ()),
        Attached((), (), tuple(world.calibrations) if calibrations else (), tuple(missing)),
    )


def judged(world, found, opening=None):
    opening = opening or world.opening()
    return judge(opening, replace(world.subject(opening), duty=found))


def test_receipt_that_keeps_the_terms(world):
    assert judged(world, duty(world)).ruling is Ruling.PASS


def test_bare_plan_under_strict_terms(world):
    """a node that commits to nothing so that nothing can be judged"""
    bare = TracePlan("m.onnx")
    assert duty(world, missing=[b""]).breach(bare, world.runtime) == Breach("a plan without cuts")


def test_invented_plan_under_strict_terms(world):
    """a node that runs a plan which nobody vouches for"""
    verdict = judged(world, duty(world, plans=False))
    assert (verdict.ruling, verdict.reason) == (Ruling.FAIL, Reason.TERMS)
    assert "not attached" in verdict.detail


def test_invented_runtime_under_strict_terms(world):
    """false fingerprint: a node that states a runtime in which no party traced"""
    verdict = judged(world, duty(world, calibrations=False))
    assert (verdict.ruling, verdict.reason) == (Ruling.FAIL, Reason.TERMS)
    strange = runtime_info(Settings("all", 7))
    assert "no party traced" in duty(world).breach(world.plan, strange).detail
    assert duty(world).breach(world.plan, world.runtime) is None


def test_missing_attachments_convict_nobody(world):
    verdict = judged(world, duty(world, calibrations=False, missing=[bytes(32)]))
    assert (verdict.ruling, verdict.reason) == (Ruling.UNDECIDABLE, Reason.TERMS)


def test_missing_attachments_excuse_no_invented_plan(world):
    """a publisher who attaches what nobody can have, so that its own node is never convicted"""
    verdict = judged(world, duty(world, plans=False, missing=[bytes(32)]))
    assert (verdict.ruling, verdict.reason) == (Ruling.FAIL, Reason.TERMS)


def test_runtime_of_an_auditor_alone_does_not_count(world):
    """a runtime that a row names only as the one that replayed"""
    row = world.calibrations[0].rows[0]
    runtimes = sorted((world.runtime, runtime_info(Settings("disabled", 3))), key=bytes)
    traced = runtimes.index(world.runtime)
    block = replace(
        world.calibrations[0],
        runtimes=tuple(runtimes),
        rows=(replace(row, traced=traced, replayed=1 - traced),),
    )
    found = Duty.of(Attached((world.plan.plan_id,)), Attached((), (), (block,)))
    assert found.breach(world.plan, world.runtime) is None
    assert found.breach(world.plan, runtimes[1 - traced]) is not None


def test_attached_to_another_release(world):
    calibration = bytes(world.calibrations[0])
    digests = [digest_of(calibration)]
    other = ReleaseId(b"\x55" * 32)
    assert attached_to(other, ["m.onnx"], digests, Blocks(calibration), print).calibrations == ()
