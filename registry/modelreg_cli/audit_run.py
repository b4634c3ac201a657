"""One run of `audit`: a batch is found, its receipts are read, a sample is judged, the outcome is kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import ModelregError, NotFoundError, NotPermittedError, UnreachableError
from modelreg.format.calibration import Calibration
from modelreg.format.signature import Signer
from modelreg.keys import KeyStore
from modelreg.ledger.receipt_log_batches import find_batch_at
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.store.files import os_errors, replace_file
from modelreg_cli.audit_report import show, write_report
from modelreg_cli.audit_verdicts import require_auditor, write_verdicts
from modelreg_cli.receipt_log import receipt_log
from modelreg_cli.session import Session
from modelreg_verifier.audit.auditor import Auditor, Shown, block_after, shown_by
from modelreg_verifier.audit.detection import false_receipts, needed_draws
from modelreg_verifier.audit.evidence import Evidence, write_evidence
from modelreg_verifier.audit.node_client import NodeClient, Patience
from modelreg_verifier.audit.sampling import sample_among, seed_of
from modelreg_verifier.audit.subjects import Trusted, subjects
from modelreg_verifier.receipts.access import sign_request_now
from modelreg_verifier.receipts.claim import Claim
from modelreg_verifier.receipts.opening import Opening
from modelreg_verifier.terms.rules import Rules, require_jurisdiction

if TYPE_CHECKING:
    from modelreg.format.batch import Batch
    from modelreg.format.names import ReleaseId
    from modelreg.format.receipt import SignedReceipt
    from modelreg.ledger.header import Header
    from modelreg.ledger.receipt_log_records import AnchoredBatch
    from modelreg_verifier.audit.judge import Subject

__all__ = ["Audit", "Wanted"]

_TELL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be audited, and how; the options of the command."""

    node: bytes
    url: str | None
    policy: bytes | None
    calibrations: tuple[Calibration, ...] = field(repr=False)
    plans: frozenset[bytes]
    draws: int | None
    detect: float
    share: float
    patience: float
    report: Path | None
    report_each: bool
    verdicts: Path | None

    def size(self, count: int) -> tuple[int, int]:
        """How many of `count` receipts to draw, and for how many false ones that is enough."""
        false = false_receipts(count, Fraction(str(self.share)))
        draws = self.draws
        if draws is None:
            draws = needed_draws(count, false, Fraction(str(self.detect)))
        return min(draws or count, count), false


class Audit:
    """Audits batches of one node.

    Raises, on construction: NotFoundError for a node, policy or terms that are not there, InputError for a
    home without a key.
    """

    def __init__(self, session: Session, wanted: Wanted, password_file: Path | None) -> None:
        home = session.home
        self._session, self._wanted = session, wanted
        self._domain = receipt_domain(home.config.chain.chain_id)
        account = KeyStore(home.keystore).load(home.key, session.password(password_file))
        self._signer = Signer(bytes(account.key))
        with receipt_log(session) as log:
            log.require_node(wanted.node)
            self._rules = Rules.read(log, wanted.policy, home.blocks) if wanted.policy else None
        if wanted.verdicts is not None and self._rules is not None:
            require_auditor(self._signer.address, self._rules.policy)
        self._client: NodeClient | None = None

    def newest(self) -> int:
        """The number of the node's newest batch. Raises NotFoundError if it has none."""
        with receipt_log(self._session) as log:
            count = log.require_node(self._wanted.node).batches
        if not count:
            raise NotFoundError(f"node 0x{self._wanted.node.hex()} has anchored no batch yet")
        return count - 1

    def run(self, index: int | None) -> ModelregError | None:
        """Audit a batch, print and keep the outcome; returns what was wrong.

        Raises:
            NotFoundError: there is no such batch.
            UnreachableError: no block came after it yet, or the node shows no receipts.
            VerificationError: what it shows is not what it anchored.
            NotPermittedError: the node had not agreed to the policy.
        """
        wanted, session = self._wanted, self._session
        self._client = NodeClient(wanted.url or self._endpoint())
        anchored, after = self._find(index)
        batch, seed = anchored.batch, seed_of(after.hash, anchored.batch.root)
        patience = Patience(wanted.patience)
        shown = patience.wait_for(lambda _: shown_by(self._receipts(batch), batch, self._domain))
        places = self._places(shown)
        count, false = wanted.size(len(places))
        auditor = Auditor(
            lambda digest: self._ask(patience, digest),
            self._subjects(),
            _telling(session),
            lambda digest, segment: self._claim(patience, digest, segment),
            self._keep,
        )
        drawn = sample_among(seed, shown.strata, places, count)
        report = auditor.audit(batch, shown, seed, drawn, false, len(places))
        if wanted.report is not None:
            stem = f"{wanted.report.stem}-{anchored.index}" if wanted.report_each else wanted.report.stem
            write_report(wanted.report.with_stem(stem), report)
        if wanted.verdicts is not None and self._rules is not None:
            policy = self._rules.policy
            write_verdicts(wanted.verdicts, self._signer, policy, anchored, shown, report, self._domain)
        others = _others(shown, wanted.plans) if wanted.plans else None
        return show(session, anchored, report, others)

    def _places(self, shown: Shown) -> Sequence[int]:
        """The receipts that can be judged: all, or under a policy those of its model's releases."""
        places = range(len(shown.digests))
        if self._rules is None:
            return places
        model, names = self._rules.policy.model, [shown.release(place) for place in places]
        with self._session.ledger() as view:
            found = {release: view.release(release) for release in dict.fromkeys(names)}
        ours = {release for release, row in found.items() if row is not None and row.model == model}
        judged = [place for place in places if names[place] in ours]
        if not judged:
            raise NotPermittedError(
                "no receipt of the batch is of the policy's model", found=f"{len(found)} releases"
            )
        return judged

    def _endpoint(self) -> str:
        """Anew for each batch: nodes move."""
        with receipt_log(self._session) as log:
            return log.require_node(self._wanted.node).endpoint

    def _subjects(self) -> "Callable[[ReleaseId, bytes], Subject]":
        """Anew for each batch: parties attach more and more."""
        session, calibrations = self._session, self._wanted.calibrations
        trusted = Trusted(
            session.root, session.ledger, self._domain, calibrations, session.output.remark, self._rules
        )
        return subjects(trusted)

    @property
    def _node(self) -> NodeClient:
        assert self._client is not None  # noqa: S101 - `run` makes it
        return self._client

    def _ask(self, patience: Patience, digest: bytes) -> Opening:
        return patience.wait_for(lambda most: self._node.opening(digest, self._header(digest), most))

    def _claim(self, patience: Patience, digest: bytes, segment: int) -> Claim:
        return patience.wait_for(lambda most: self._node.claim(digest, segment, self._header(digest), most))

    def _header(self, digest: bytes) -> str:
        return sign_request_now(self._signer, digest, self._domain)

    def _keep(self, evidence: Evidence) -> None:
        """Beside the verdicts, for whoever wants to see for themselves."""
        folder = self._wanted.verdicts
        if folder is not None:
            name = evidence.opening.receipt.receipt.digest(self._domain).hex()
            with os_errors(f"cannot write to {folder}"):
                folder.mkdir(parents=True, exist_ok=True)
                replace_file(folder / f"{name}.evidence", b"".join(write_evidence(evidence)))

    def _find(self, index: int | None) -> "tuple[AnchoredBatch, Header]":
        """The batch, and the block that draws the sample."""
        with self._session.ledger() as view:
            head, log = view.header, ReceiptLogView.beside(view)
            anchored = _batch(log, self._wanted.node, index)
            if self._rules is not None:
                require_jurisdiction(log, self._rules.policy, anchored)
        with self._session.home.reader() as reader:
            return anchored, block_after(anchored.block, head, reader.header)

    def _receipts(self, batch: "Batch") -> "Iterator[SignedReceipt]":
        try:
            yield from self._node.receipts(batch.epoch, batch.first, batch.count)
        except NotFoundError as error:
            raise UnreachableError("the node withholds receipts", found=str(error)) from None


def _telling(session: Session) -> Callable[[int], None]:
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TELL_SECONDS:
            last = time.monotonic()
            session.output.remark(f"{done} receipts judged")

    return tell


def _batch(log: ReceiptLogView, node: bytes, index: int | None) -> "AnchoredBatch":
    count = log.require_node(node).batches
    if not count:
        hint = "nodes anchor with `modelreg anchor`"
        raise NotFoundError(f"node 0x{node.hex()} has anchored no batch", hint=hint)
    return find_batch_at(log, node, count - 1 if index is None else index)


def _others(shown: Shown, wanted: frozenset[bytes]) -> int:
    return sum(shown.plan(place) not in wanted for place in range(len(shown.digests)))
