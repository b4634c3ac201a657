"""A signed verdict and what the ledger needs to act on it. Specified in docs/spec/audit.md, section 8."""

from dataclasses import dataclass, field
from typing import Any, Self

from modelreg.errors import FormatError, VerificationError
from modelreg.format import canonical, schema
from modelreg.format.batch import Batch
from modelreg.format.receipt import SIGNED_BYTES, Domain, SignedReceipt
from modelreg.format.signature import SIGNATURE_BYTES, Signer, recover
from modelreg.ledger.receipt_log_policy import Outcome, Verdict
from modelreg.ledger.receipt_log_records import AnchoredBatch

__all__ = ["MAX_BYTES", "SignedVerdict"]

MAX_BYTES = 4096
_KIND = "modelreg/verdict/1"
_NAMES = ("policy", "digest", "outcome", "report", "issuedAt", "signature", "receipt", "batch", "proof")
_MAX_SIBLINGS = 20
_BATCH_WORDS = 7
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class SignedVerdict:
    """A verdict on a receipt in an anchored batch.

    Attributes:
        verdict: what the auditor says.
        signature: the auditor's, 65 bytes.
        signed: the receipt that was judged.
        anchored: the batch in which it stands.
        proof: the siblings that lead to the batch's root.

    Nothing of it is checked before `verify`.
    """

    verdict: Verdict
    signature: bytes
    signed: SignedReceipt
    anchored: AnchoredBatch
    proof: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def sign(
        cls,
        signer: Signer,
        verdict: Verdict,
        signed: SignedReceipt,
        anchored: AnchoredBatch,
        proof: tuple[bytes, ...],
        domain: Domain,
    ) -> Self:
        """Sign a verdict in the receipts' domain."""
        return cls(verdict, signer.sign(verdict.digest(domain)), signed, anchored, proof)

    def verify(self, domain: Domain) -> bytes:
        """Check that all of it is about one receipt; returns the auditor's address, 20 bytes.

        Whether the batch is on the ledger and the auditor one of the policy's is for the ledger to say.

        Raises:
            VerificationError: the receipt is not signed by its node, not in the batch, or not the one that
                is judged; or nobody signed the verdict.
        """
        digest = self.signed.verify(domain)
        found = self.verdict.receipt, self.verdict.node
        wanted = digest, self.signed.receipt.node
        if found != wanted:
            raise VerificationError(
                "the receipt of a verdict",
                expected=f"0x{wanted[0].hex()} of node 0x{wanted[1].hex()}",
                found=f"0x{found[0].hex()} of node 0x{found[1].hex()}",
            )
        self.anchored.batch.verify_receipt(self.signed.receipt, domain, self.proof)
        return recover(self.verdict.digest(domain), self.signature)

    def __bytes__(self) -> bytes:
        verdict = self.verdict
        values = (
            verdict.policy_id,
            verdict.receipt,
            int(verdict.outcome),
            verdict.report,
            verdict.issued_at,
            self.signature,
            bytes(self.signed),
            list(self.anchored.words),
            list(self.proof),
        )
        return canonical.encode({"kind": _KIND, **dict(zip(_NAMES, values, strict=True))})

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Read a canonical block. Raises FormatError."""
        if len(block) > MAX_BYTES:
            raise FormatError("verdict", expected=f"at most {MAX_BYTES} bytes", found=len(block))
        policy, digest, outcome, report, issued_at, signature, receipt, batch, proof = schema.fields(
            canonical.decode(block), _KIND, _NAMES
        )
        signed = SignedReceipt.from_bytes(_bytes(receipt, SIGNED_BYTES))
        verdict = Verdict(
            schema.digest(policy),
            schema.digest(digest),
            signed.receipt.node,
            _outcome(outcome),
            schema.digest(report),
            schema.uint(issued_at),
        )
        return cls(
            verdict,
            _bytes(signature, SIGNATURE_BYTES),
            signed,
            _anchored(batch, signed),
            tuple(map(schema.digest, schema.array(proof, _MAX_SIBLINGS))),
        )


def _outcome(value: Any) -> Outcome:
    found = _OUTCOMES.get(schema.uint(value))
    if found is None:
        raise FormatError("outcome of a verdict", expected=f"1 to {max(_OUTCOMES)}", found=value)
    return found


def _anchored(value: Any, signed: SignedReceipt) -> AnchoredBatch:
    words = schema.array(value, _BATCH_WORDS, exactly=(_BATCH_WORDS,))
    index, epoch, first, count, root, block, at = words
    place = schema.uint(epoch), schema.uint(first), schema.uint(count)
    batch = Batch(signed.receipt.node, *place, schema.digest(root))
    return AnchoredBatch(batch, schema.uint(index), schema.uint(block), schema.uint(at))


def _bytes(value: Any, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise FormatError("bytes of a verdict", expected=size, found=repr(value)[:40])
    return value
