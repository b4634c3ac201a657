"""What a node serves by: attached plans, and the terms that it agreed to. Follows docs/spec/terms.md."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from modelreg.errors import NotFoundError
from modelreg.home import Home
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.view import View
from modelreg_verifier.serving.copies import Source
from modelreg_verifier.serving.loader import Vouched
from modelreg_verifier.terms.duty import Duty
from modelreg_verifier.terms.rules import Rules, attachments

__all__ = ["vouching"]


def vouching(
    root: Path,
    ledger: Callable[[], AbstractContextManager[View]],
    node: bytes | None,
    remark: Callable[[str], None],
    allow: Callable[[Iterable[bytes]], None] = lambda _: None,
) -> Callable[[Source, frozenset[str]], Vouched]:
    """Makes the look-up of what the ledger says of a release with these paths.

    Args:
        root: the home, which gets attached blocks.
        ledger: opens the ledger at its trusted head.
        node: the address, 20 bytes, that signs receipts; None for nobody.
        remark: told what cannot be had.
        allow: told the accounts that may judge the node, who have to see what opens its receipts.
    """

    def vouch(source: Source, files: frozenset[str]) -> Vouched:
        blocks, release = Home(root).blocks, source.release
        with ledger() as view:
            try:
                log = ReceiptLogView.beside(view)
            except NotFoundError:
                return Vouched()  # a chain without the receipt log has no attachments
            found = attachments(log, release, [release.publisher], files, blocks, remark)
            duties: list[Duty] = []
            for policy in _agreed(log, release.model, node):
                rules = Rules.read(log, policy, blocks)
                allow(rules.policy.auditors)
                duty = rules.vouched(log, release, files, blocks, remark)[1]
                duties += [duty] if duty else []
        return Vouched(found.plans, tuple(duties))

    return vouch


def _agreed(log: ReceiptLogView, model: bytes, node: bytes | None) -> Iterator[bytes]:
    """The policies of a model under which a node's next batch is judged."""
    for policy in log.policies(model) if node else ():
        enrolled = log.enrolment(node, policy) if node else None
        if enrolled is not None and enrolled.covers(log.header.time):
            yield policy
