"""Nodes that blocks may be had from, by what the ledger says. Specified in docs/spec/store.md, section 10."""

import random

from modelreg.errors import InputError, ModelregError
from modelreg.ledger.receipt_log_records import Status
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.view import View
from modelreg.store.gateway import Gateway

__all__ = ["node_urls"]

_MOST = 16


def node_urls(view: View, mine: bytes | None) -> tuple[str, ...]:
    """The endpoints of some active nodes, drawn anew each time so that the load spreads.

    Endpoints are words of strangers: what they give is verified, and what cannot be a URL is passed over.

    Args:
        view: the ledger.
        mine: the address of this node, which is left out.
    """
    try:
        nodes = ReceiptLogView.beside(view).sample_nodes(_MOST, random.Random())
    except ModelregError:  # no receipt log, or none that can be read: there are other sources
        return ()
    urls = {node.endpoint for node in nodes if node.status is Status.ACTIVE and node.address != mine}
    return tuple(sorted(filter(_is_usable, urls)))


def _is_usable(url: str) -> bool:
    if not url.isascii() or not url.isprintable():
        return False
    try:
        # A path would let a stranger choose what is asked of a machine beside this one.
        return not Gateway(url).path
    except InputError:
        return False
