"""All that `serve` needs for receipts, opened and closed as one. Specified in docs/spec/openings.md."""

import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.access import Access
from modelreg_verifier.receipts.assembly import Tensors
from modelreg_verifier.receipts.claiming import Claims, Programs
from modelreg_verifier.receipts.halving import Halves
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.pages import ReceiptPages
from modelreg_verifier.receipts.recorder import Plans, ReceiptRecorder, bare_plan
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.receipts.segments import Retention
from modelreg_verifier.serving.engine import Engine, Stop
from modelreg_verifier.serving.models import ServedModels
from modelreg_verifier.serving.reloading import Engines
from modelreg_verifier.serving.server import Page

__all__ = ["ReceiptService", "journal_of"]


def journal_of(home: Path, node: bytes) -> Path:
    """Where a home has the journal of a node, given by its address."""
    return home / "receipts" / f"0x{node.hex()}.sqlite"


class ReceiptService:
    """A journal, the recorder that writes it, and the pages that show it.

    Args:
        path: the journal, as `journal_of` gives it.
        signer: the node's key.
        domain: of the receipts.
        auditors: addresses, 20 bytes each, that may see openings.
        token: the operator's own, for openings; None for none.
        plans: the plan by which a file of a release runs.
        programs: of the plans that receipts name, for claims; None for a node that makes none.
        anchored_epoch: the last that the ledger has of this node, if it was asked.
        retention: what is kept of openings.

    Attributes:
        journal: signs.
        recorder: for the server.
        domain: of the receipts.

    Raises, on construction: what `Journal` raises.
    """

    def __init__(
        self,
        path: Path,
        signer: Signer,
        domain: Domain,
        *,
        auditors: Collection[bytes] = (),
        token: bytes | None = None,
        plans: Plans = bare_plan,
        programs: Programs | None = None,
        anchored_epoch: int | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention or Retention()
        self._signer, self._programs, self._plans = signer, programs, plans
        self._access = Access(domain, auditors, token, time.time)
        with ExitStack() as held:
            self.journal = Journal(
                path, signer, domain, anchored_epoch=anchored_epoch, retention=self._retention
            )
            held.callback(self.journal.close)
            self._records = Records(path)
            held.callback(self._records.close)
            hashing = Halves()
            held.callback(hashing.close)
            self._held = held.pop_all()
        self.recorder = ReceiptRecorder(self.journal, plans, hashing=hashing)

    def pages(self, models: ServedModels, engines: Engines) -> dict[str, Page]:
        """What else the server answers.

        Outputs and cuts that were not kept are computed by what `models` then serve, or else by the engine
        that `engines` has for the receipt's release and plan.
        """

        def remake(release: ReleaseId, plan: TracePlan, inputs: Tensors) -> tuple[Tensors, Sequence[Tensors]]:
            engine = self._serving(models, release, plan) or engines(release, plan)
            found = engine.run(engine.feed(inputs), Stop())
            return found.outputs, found.cuts

        claim = None
        if self._programs is not None:
            claim = Claims(self._records, remake, self._programs, self._signer).make
        pages = ReceiptPages(self._records, self._access, remake, claim)
        return {
            "/receipts": pages.receipts,
            "/batches": pages.batches,
            "/proofs": pages.proofs,
            "/openings": pages.openings,
            "/claims": pages.claims,
        }

    def _serving(self, models: ServedModels, release: ReleaseId, plan: TracePlan) -> Engine | None:
        found = (served.engine for served in models if (served.release, served.file) == (release, plan.file))
        return next(found, None) if self._plans(release, plan.file) == plan else None

    def prune(self, ledger_time: float) -> None:
        """Remove what need not be kept; `ledger_time` is that of the newest block, in Unix seconds."""
        self._records.prune(min(time.time(), ledger_time), self._retention)
        self.journal.recount()

    def close(self) -> None:
        """Write what waits, and close."""
        self._held.close()
