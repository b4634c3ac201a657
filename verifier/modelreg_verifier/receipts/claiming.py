"""From what a node keeps to a claim. Specified in docs/spec/dispute.md, sections 1 and 2."""

from collections.abc import Callable
from dataclasses import dataclass

from modelreg.format.names import ReleaseId
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.assembly import Parts, Remake, assemble
from modelreg_verifier.receipts.claim import Claim, sign_claim
from modelreg_verifier.receipts.claim_values import claim_values
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.segments import segments

__all__ = ["Claims", "Programs"]

Programs = Callable[[ReleaseId, TracePlan], Program]
"""The program of a plan, from the verified files of a release; raises ModelregError."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Computes claims and signs them.

    Args:
        records: what the node has.
        remake: computes again what was not kept.
        programs: what the receipts' plans name.
        signer: the node's key.
    """

    records: Records
    remake: Remake
    programs: Programs
    signer: Signer

    def make(self, digest: bytes, segment: int) -> Claim:
        """The claim over a segment of a receipt, given by its digest.

        Raises:
            NotFoundError: no such receipt or segment, or its tensors are no longer kept.
            VerificationError: what is kept does not open the receipt.
            InputError: the runtime refuses the segment.
            FormatError: the segment has more tensors than a claim, or others than the protocol has.
        """
        before = frozenset({segment - 1}) if segment else frozenset[int]()
        opening = assemble(self.records, digest, Parts(outputs=False, cuts=before), self.remake)
        plan = TracePlan.from_bytes(opening.plan)
        program = self.programs(opening.receipt.receipt.release_id, plan)
        part = segments(program, plan.cuts)[segment]
        start = opening.cuts[0].tensors if opening.cuts else {}
        inputs = opening.inputs.tensors if opening.inputs else {}
        made = claim_values(program, part, start, inputs)
        return sign_claim(digest, segment, made, self.records.domain, self.signer)
