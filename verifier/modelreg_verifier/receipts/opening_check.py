"""Whether an opening opens its receipt. Specified in docs/spec/openings.md, section 3. No input or output."""

from modelreg.errors import VerificationError
from modelreg.format.commitments import Side, trace_root, verify_cut
from modelreg.format.commitments import check_opening as check_side
from modelreg.format.digest import HashAlgorithm
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg.format.values import values
from modelreg_verifier.receipts.opening import Opening, SetOpening

__all__ = ["check_commitments", "check_opening", "check_plan", "check_runtime", "missing_parts"]


def check_opening(opening: Opening) -> tuple[TracePlan, RuntimeInfo]:
    """Check all that an opening holds against its receipt, whose signature the caller has checked.

    What it does not hold is not missed: see `missing_parts`.

    Raises:
        VerificationError: a block has another hash, or tensors do not open their commitment.
    """
    plan, runtime = check_plan(opening), check_runtime(opening)
    check_commitments(opening, plan)
    return plan, runtime


def check_plan(opening: Opening) -> TracePlan:
    """The plan that the receipt names. Raises VerificationError for another, FormatError for none."""
    _check_block("plan", opening.plan, opening.receipt.receipt.plan_id)
    return TracePlan.from_bytes(opening.plan)


def check_runtime(opening: Opening) -> RuntimeInfo:
    """The runtime that the receipt names. Raises VerificationError for another, FormatError for none."""
    _check_block("runtime", opening.runtime, opening.receipt.receipt.runtime_fingerprint)
    return RuntimeInfo.from_bytes(opening.runtime)


def _check_block(what: str, block: bytes, expected: bytes) -> None:
    found = HashAlgorithm.BLAKE3_256.digest(block).value
    if found != expected:
        raise VerificationError(
            f"{what} of an opening", expected=f"0x{expected.hex()}", found=f"0x{found.hex()}"
        )


def check_commitments(opening: Opening, plan: TracePlan) -> None:
    """Check salts and tensors against the commitments, and cuts by the count that the plan has.

    Raises:
        VerificationError: one of them does not open.
    """
    receipt = opening.receipt.receipt
    _check_side(Side.INPUT, receipt.input_commit, opening.inputs)
    _check_side(Side.OUTPUT, receipt.output_commit, opening.outputs)
    count = len(plan.cuts)
    if not count and receipt.trace_root != trace_root(()):
        raise VerificationError(
            "trace root", expected="that of no cut", found=f"0x{receipt.trace_root.hex()}"
        )
    for cut in opening.cuts:
        verify_cut(receipt.trace_root, count, cut.cut, cut.salt, values(cut.tensors), cut.proof)


def _check_side(side: Side, commitment: bytes, part: SetOpening | None) -> None:
    if part is not None:
        check_side(side, commitment, part.salt, values(part.tensors))


def missing_parts(opening: Opening, plan: TracePlan) -> tuple[str, ...]:
    """What a whole opening has besides: `inputs`, `outputs`, and the numbers of cuts."""
    sides = (("inputs", opening.inputs), ("outputs", opening.outputs))
    there = {cut.cut for cut in opening.cuts}
    cuts = (str(number) for number in range(len(plan.cuts)) if number not in there)
    return (*(name for name, part in sides if part is None), *cuts)
