"""From what a node keeps to an opening. Specified in docs/spec/openings.md, sections 2 and 5."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelreg.errors import FormatError, NotFoundError, VerificationError
from modelreg.format.commitments import Tensor, cut_leaves, prove_cut
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg.format.values import lay_out, values_of
from modelreg_verifier.receipts.opening import CutOpening, Opening, SetOpening
from modelreg_verifier.receipts.opening_check import check_opening
from modelreg_verifier.receipts.records import Records

__all__ = ["Parts", "Remake", "assemble", "parse_parts"]

Tensors = Mapping[str, Tensor]
Remake = Callable[[ReleaseId, TracePlan, Tensors], tuple[Tensors, Sequence[Tensors]]]
"""Computes outputs, and the cuts of a plan, again from the inputs; raises ModelregError where it cannot."""

_PARTS_MAX = 256


@dataclass(frozen=True, slots=True)
class Parts:
    """What of an opening is wanted; None for all cuts."""

    inputs: bool = True
    outputs: bool = True
    cuts: frozenset[int] | None = None

    def has_cut(self, number: int) -> bool:
        """Whether this cut is wanted."""
        return self.cuts is None or number in self.cuts


def parse_parts(text: str) -> Parts:
    """Read `inputs`, `outputs`, `cuts` and numbers of cuts with commas between. Raises FormatError."""
    words = text.split(",")
    numbers = {word for word in words if word.isascii() and word.isdigit() and len(word) <= 3}
    if len(words) > _PARTS_MAX or set(words) - numbers - {"inputs", "outputs", "cuts"}:
        expected = "inputs, outputs, cuts, or numbers of cuts, with commas between"
        raise FormatError("parts", expected=expected, found=ascii(text)[:90])
    cuts = None if "cuts" in words else frozenset(map(int, numbers))
    return Parts("inputs" in words, "outputs" in words, cuts)


def assemble(records: Records, digest: bytes, parts: Parts, remake: Remake) -> Opening:
    """Make the opening of a receipt, and check it as whoever gets it will.

    Raises:
        NotFoundError: no such receipt, cut, or its tensors are no longer kept.
        VerificationError: what is kept, or was computed again, does not open the receipt.
    """
    record = records.find(digest)
    receipt, kept = record.signed.receipt, records.kept(record)
    plan_block, runtime = records.block(receipt.plan_id), records.block(receipt.runtime_fingerprint)
    plan = TracePlan.from_bytes(plan_block)
    absent = {number for number in parts.cuts or () if number >= len(plan.cuts)}
    if absent:
        raise NotFoundError(f"cut {min(absent)}", expected=f"one of {len(plan.cuts)}")
    wanted = [number for number in range(len(plan.cuts)) if parts.has_cut(number)]
    outputs, cuts = kept.outputs, kept.cuts
    if (parts.outputs and outputs is None) or (wanted and cuts is None):
        made = remake(receipt.release_id, plan, kept.inputs)
        outputs, cuts = made[0] if outputs is None else outputs, made[1] if cuts is None else cuts
    opening = Opening(
        record.signed,
        plan_block,
        runtime,
        SetOpening(kept.salts[0], kept.inputs) if parts.inputs else None,
        SetOpening(kept.salts[1], outputs or {}) if parts.outputs else None,
        _cuts(plan, kept.salts[2:], cuts or (), wanted) if wanted else (),
    )
    check_opening(opening)
    return opening


def _cuts(
    plan: TracePlan, salts: Sequence[bytes], cuts: Sequence[Tensors], wanted: Sequence[int]
) -> tuple[CutOpening, ...]:
    if not len(cuts) == len(salts) == len(plan.cuts):
        raise VerificationError("cuts that are kept", expected=len(plan.cuts), found=[len(cuts), len(salts)])
    leaves = cut_leaves(salts, values_of(*lay_out(cuts)))
    return tuple(CutOpening(n, salts[n], prove_cut(leaves, n), cuts[n]) for n in wanted)
