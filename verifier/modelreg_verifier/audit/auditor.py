"""An audit of one anchored batch. Specified in docs/spec/audit.md. What it reads is handed in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from tempfile import SpooledTemporaryFile
from typing import IO

from modelreg.errors import ModelregError, UnreachableError, VerificationError
from modelreg.format.batch import Batch, BatchTree
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SIGNED_BYTES, Domain, SignedReceipt
from modelreg.ledger.header import Header
from modelreg_verifier.audit.dispute import Settled, Settlement, settle
from modelreg_verifier.audit.evidence import Evidence
from modelreg_verifier.audit.judge import Subject, judge
from modelreg_verifier.audit.node_client import KeepingError
from modelreg_verifier.audit.report import Judged, Report
from modelreg_verifier.audit.sampling import Sample, stratum_of
from modelreg_verifier.audit.verdict import Reason, Ruling, Verdict
from modelreg_verifier.receipts.claim import Claim
from modelreg_verifier.receipts.opening import Opening
from modelreg_verifier.trace.runtime import Settings, runtime_info

__all__ = ["Auditor", "Shown", "block_after", "shown_by"]

_IN_MEMORY = 16 << 20
_RELEASE_BYTES, _PLAN_BYTES = 32, 32
_WORSE = (Settled.FAIL, Settled.WITHHELD, Settled.UNDECIDABLE, Settled.CLEARED)
_SETTLED = {
    Settled.FAIL: (Ruling.FAIL, Reason.OPERATOR),
    Settled.CLEARED: (Ruling.PASS, Reason.CLEARED),
    Settled.WITHHELD: (Ruling.WITHHELD, Reason.CLAIM),
    Settled.UNDECIDABLE: (Ruling.INCONCLUSIVE, Reason.DISTANCE),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """The receipts of a batch, in order of seq, by digest and stratum; they lead to the anchored root.

    Whole ones lie in a file, as a batch can have a million.
    """

    digests: list[bytes] = field(repr=False)
    strata: list[bytes] = field(repr=False)
    file: IO[bytes] = field(repr=False)

    def signed(self, place: int) -> SignedReceipt:
        """A receipt, given by its place from 0."""
        self.file.seek(place * SIGNED_BYTES)
        return SignedReceipt.from_bytes(self.file.read(SIGNED_BYTES))

    def release(self, place: int) -> ReleaseId:
        """The release that a receipt names, given by its place from 0."""
        return ReleaseId(self.strata[place][:_RELEASE_BYTES])

    def plan(self, place: int) -> bytes:
        """The id of the plan that a receipt names."""
        return self.strata[place][_RELEASE_BYTES : _RELEASE_BYTES + _PLAN_BYTES]


def shown_by(receipts: Iterable[SignedReceipt], batch: Batch, domain: Domain) -> Shown:
    """Check that a node shows what it anchored.

    Args:
        receipts: as they come; no more are taken than the batch has.
        batch: as it is on the ledger.
        domain: of the receipts.

    Raises:
        VerificationError: they do not lead to the root, or one stands at another's place.
        UnreachableError: there are too few.
    """
    digests: list[bytes] = []
    strata: list[bytes] = []
    file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - it ends with what is returned
    for signed in receipts:
        receipt, place = signed.receipt, (batch.node, batch.epoch, batch.first + len(digests))
        if (receipt.node, receipt.epoch, receipt.seq) != place:
            raise VerificationError(
                f"receipt {place[2]} of the batch",
                expected=f"epoch {batch.epoch}, seq {place[2]} of 0x{batch.node.hex()}",
                found=f"epoch {receipt.epoch}, seq {receipt.seq} of 0x{receipt.node.hex()}",
            )
        file.write(bytes(signed))
        digests.append(receipt.digest(domain))
        strata.append(stratum_of(receipt))
        if len(digests) == batch.count:
            break
    if len(digests) != batch.count:
        raise UnreachableError("the node withholds receipts", expected=batch.count, found=len(digests))
    found = BatchTree(batch.node, batch.epoch, batch.first, digests).batch.root
    if found != batch.root:
        raise VerificationError(
            "the receipts that the node shows are not those that it anchored",
            expected=f"root 0x{batch.root.hex()}",
            found=f"0x{found.hex()}",
        )
    return Shown(digests, strata, file)


def block_after(number: int, head: Header, header: Callable[[int], Header]) -> Header:
    """The header of the block after `number`, linked to a trusted head by every header between them.

    Anything less would let the endpoint choose the block, and with it the sample.

    Raises:
        UnreachableError: there is no such block yet.
        VerificationError: the headers are not of one chain, or not of the head's.
    """
    if number >= head.number:
        raise UnreachableError(
            f"no block after block {number} yet, so no sample can be drawn",
            hint="wait for the next block; on an embedded chain each transaction makes one",
        )
    upper = head
    for below in range(head.number - 1, number, -1):
        upper = _linked(header(below), upper, head)
    _linked(header(number), upper, head)
    return upper


def _linked(lower: Header, upper: Header, head: Header) -> Header:
    if upper.parent_hash != lower.hash:
        raise VerificationError(
            f"block {lower.number} is not on the chain of block {head.number}",
            hint="the RPC lies, or the chain reorganised: try again",
        )
    return lower


@dataclass(frozen=True, slots=True)
class Auditor:
    """Judges a sample.

    Args:
        ask: gets the whole opening of a receipt, given by its digest, or raises ModelregError.
        subject: what a receipt is judged by, given its release and digest, or raises ModelregError.
        tell: told how many receipts are judged.
        claim: gets what the node claims of a segment, or raises ModelregError; without it disputes stay open.
        keep: takes what settled a dispute against the node.
    """

    ask: Callable[[bytes], Opening]
    subject: Callable[[ReleaseId, bytes], Subject]
    tell: Callable[[int], None] = lambda _: None
    claim: Callable[[bytes, int], Claim] | None = None
    keep: Callable[[Evidence], None] = lambda _: None

    def audit(
        self, batch: Batch, shown: Shown, seed: bytes, sample: Sample, false: int, of: int | None = None
    ) -> Report:
        """Ask for the openings of a sample, and judge each.

        Args:
            batch: as it is on the ledger.
            shown: its receipts.
            seed: of the sample.
            sample: the places that were drawn.
            false: how many false receipts the probability is stated for.
            of: how many receipts could be drawn; all of the batch, if nothing else is said.
        """
        judged = []
        for place in sample.places:
            verdict = self._judge(shown.release(place), shown.digests[place])
            judged.append(Judged(batch.first + place, shown.digests[place], verdict))
            self.tell(len(judged))
        runtime = runtime_info(Settings())
        return Report(batch, seed, runtime, len(sample.drawn), tuple(judged), false, judgeable=of)

    def _judge(self, release: ReleaseId, digest: bytes) -> Verdict:
        try:
            opening = self.ask(digest)
        except KeepingError:
            raise
        except ModelregError as error:
            return Verdict(Ruling.WITHHELD, Reason.PART, str(error)[:400])
        try:
            subject = self.subject(release, digest)
        except ModelregError as error:
            return Verdict(Ruling.UNDECIDABLE, Reason.REFUSED, str(error)[:400])
        verdict = judge(opening, subject)
        return self._settled(opening, subject, verdict) if self.claim and verdict.disputed else verdict

    def _settled(self, opening: Opening, subject: Subject, verdict: Verdict) -> Verdict:
        """docs/spec/audit.md, section 5: what a referee makes of all segments that are too far off."""
        worst: Settlement | None = None
        for segment in verdict.disputed:
            claim = self._claimed(subject.receipt, segment)
            found = settle(opening, claim, segment, subject)
            if worst is None or _WORSE.index(found.ruling) < _WORSE.index(worst.ruling):
                worst = found
            if found.ruling is Settled.FAIL:
                if claim is not None:
                    self.keep(Evidence(opening, claim))
                break
        assert worst is not None and verdict.otherwise is not None  # noqa: S101 - something was disputed
        if worst.ruling is Settled.CLEARED and verdict.otherwise.ruling is not Ruling.PASS:
            return verdict.otherwise
        ruling, reason = _SETTLED[worst.ruling]
        return replace(verdict, ruling=ruling, reason=reason, detail=worst.detail, segment=worst.segment)

    def _claimed(self, digest: bytes, segment: int) -> Claim | None:
        assert self.claim is not None  # noqa: S101 - the caller looked
        try:
            return self.claim(digest, segment)
        except KeepingError:
            raise
        except ModelregError:
            return None
