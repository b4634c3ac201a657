"""What nodes and those who appoint auditors do in the receipt log, each so that a retry does it once.

Specified in docs/spec/receipt-log.md, section 11.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelreg.errors import ConflictError, InputError, UnreachableError
from modelreg.format.batch import Batch
from modelreg.format.digest import DIGEST_BYTES, keccak256
from modelreg.format.names import ModelName, ReleaseId, label_word
from modelreg.format.receipt import Receipt as NodeReceipt
from modelreg.ledger.abi import encode_call
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.endpoint import Call, Receipt
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.receipt_log_batches import batch_of_block, find_batch
from modelreg.ledger.receipt_log_policy import Policy
from modelreg.ledger.receipt_log_records import (
    ATTACHMENTS_MAX,
    ENDPOINT_BYTES_MAX,
    AnchoredBatch,
    Node,
    Status,
)
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.view import View
from modelreg.ledger.writer import Writer

__all__ = ["Anchoring", "ReceiptLogWriter", "apply_to_log", "receipt_struct"]

_WEI_END = 1 << 128
# Enough for `exit` and the timeouts: contracts/gas-snapshot.json.
_GAS = 300_000
_Test = Callable[[ReceiptLogView], bool]


@dataclass(frozen=True, slots=True)
class Anchoring:
    """A batch that is on the ledger, proven.

    `receipt` is None if it was there already and this outbox knows no transaction for it.
    """

    anchored: AnchoredBatch
    receipt: Receipt | None


def apply_to_log(
    writer: Writer,
    function: str,
    arguments: Sequence[Any],
    is_done: _Test,
    *,
    value: Callable[[ReceiptLogView], int] | int = 0,
    due: Callable[[ReceiptLogView], int | None] | None = None,
    spare: int = 0,
) -> Receipt | None:
    """Send a call to the receipt log unless its effect is there; None if it is and no such call was sent.

    Args:
        writer: sends.
        function: of the contract.
        arguments: of the function.
        is_done: whether a state shows the effect.
        value: the wei that go with it, or what computes them from the state.
        due: from when on the contract takes the call, in Unix seconds. Where blocks come on demand, the
            newest one can be older than that, and an estimate on top of it would say that it is too early.
        spare: gas beyond the estimate.
    """
    contract = load_artifact("ReceiptLog")
    data = encode_call(contract.abi, function, arguments)

    def call(view: View) -> Call:
        log = ReceiptLogView.beside(view)
        wei = value if isinstance(value, int) else value(log)
        start = due(log) if due else None
        ripe = start is not None and log.header.time < start <= time.time()
        return Call(contract.address, data, wei, _GAS if ripe else 0, spare)

    return writer.apply(
        call, f"{function} 0x{keccak256(data).hex()}", lambda view: is_done(ReceiptLogView.beside(view))
    )


def receipt_struct(receipt: NodeReceipt) -> tuple[Any, ...]:
    """A node's receipt as the contract takes it."""
    return tuple(
        f"0x{value.hex()}" if isinstance(value, bytes) and len(value) == 20 else value
        for value in receipt.values
    )


class ReceiptLogWriter:
    """One account's writing side of the receipt log; `writer` sends, and knows the account and the chain."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.account = writer.account

    def deploy(self) -> Receipt | None:
        """Deploy the contract at the address that it has on every chain, unless it is there.

        Raises NotFoundError if the chain lacks the deployment proxy.
        """
        return self._writer.deploy_other(load_artifact("ReceiptLog"), "deploy ReceiptLog")

    def register(self, endpoint: str, bond: int = 0) -> Receipt | None:
        """Be an active node at an endpoint, with at least `bond` wei locked.

        The amount is what the bond should be, not what is added, so that a retry pays once. A node that is
        Exiting stays so. Raises InputError for an endpoint that is not 1 to 256 bytes of UTF-8.
        """
        size = len(endpoint.encode("utf-8", "surrogatepass"))
        if not 0 < size <= ENDPOINT_BYTES_MAX or not endpoint.isprintable():
            expected = f"1 to {ENDPOINT_BYTES_MAX} printable bytes of UTF-8"
            raise InputError("the endpoint", expected=expected, found=f"{size} bytes")
        _require_amount(bond)

        def is_done(log: ReceiptLogView) -> bool:
            node = log.node(self.account)
            listens = node is not None and node.endpoint == endpoint and node.bond >= bond
            return listens and _status(node) in (Status.ACTIVE, Status.EXITING)

        return self._apply(
            "register", [endpoint], is_done, value=lambda log: _lacking(log, self.account, bond)
        )

    def raise_bond(self, node: bytes, bond: int) -> Receipt | None:
        """Have at least `bond` wei locked for a node, an address of 20 bytes, whoever's it is."""
        _require_amount(bond)
        return self._apply(
            "topUp",
            [address_text(node)],
            lambda log: _lacking(log, node, bond) == 0,
            value=lambda log: _lacking(log, node, bond),
        )

    def request_exit(self) -> Receipt | None:
        """Anchor no more, and have the bond freed in 14 days."""
        return self._apply("requestExit", [], lambda log: self._has(log, Status.EXITING))

    def cancel_exit(self) -> Receipt | None:
        """Stay a node."""
        return self._apply("cancelExit", [], lambda log: self._has(log, Status.ACTIVE))

    def exit(self) -> Receipt | None:
        """Move the bond to the account's balance, 14 days after it was asked for."""

        def due(log: ReceiptLogView) -> int | None:
            node = log.node(self.account)
            return node.exitable_at if node else None

        return apply_to_log(self._writer, "exit", [], lambda log: self._has(log, Status.EXITED), due=due)

    def withdraw(self) -> Receipt | None:
        """Have the account's balance sent to it."""
        return self._apply("withdraw", [], lambda log: log.balance(self.account) == 0)

    def anchor(self, batch: Batch) -> Anchoring:
        """Have a batch of this node on the ledger, and where.

        Raises InputError for a batch of another node, ConflictError if the ledger has another batch in its
        place or is past it.
        """
        if batch.node != self.account:
            raise InputError(
                "a batch of another node", expected=address_text(self.account), found=address_text(batch.node)
            )
        receipt = self._apply(
            "anchor",
            [batch.epoch, batch.first, batch.count, batch.root],
            lambda log: _is_past(log.node(self.account), batch),
        )
        return Anchoring(self._find(batch, receipt), receipt)

    def create_policy(self, model: ModelName, policy: Policy) -> Receipt | None:
        """Lay down a policy for a model. Raises NotPermittedError without the role ADMIN in its namespace."""
        arguments = [label_word(model.namespace), model.name, policy.arguments]
        return self._apply("createPolicy", arguments, lambda log: log.policy(policy.policy_id) is not None)

    def enrol(self, policy: bytes) -> Receipt | None:
        """Agree to be judged under a policy."""
        return self._apply("enrol", [policy], lambda log: self._enrolled(log, policy, resigned=False))

    def resign(self, policy: bytes) -> Receipt | None:
        """From 14 days on, be judged no more for what is anchored then."""
        return self._apply("resign", [policy], lambda log: self._enrolled(log, policy, resigned=True))

    def attach(self, release: ReleaseId, digest: bytes) -> Receipt | None:
        """Say that a block, given by its blake3 digest of 32 bytes, belongs to a release.

        Raises NotFoundError for an unknown release, InputError for what is no digest, ConflictError if there
        are as many as readers look at.
        """
        if len(digest) != DIGEST_BYTES:
            raise InputError("digest of a block", expected=f"{DIGEST_BYTES} bytes", found=len(digest))

        def is_done(log: ReceiptLogView) -> bool:
            known = log.attachments(release, self.account)
            if digest not in known and len(known) == ATTACHMENTS_MAX:
                most = f"at most {ATTACHMENTS_MAX} attachments of an account"
                raise ConflictError(f"release {release} is full", expected=most, found="as many")
            return digest in known

        return self._apply("attach", [bytes(release), digest], is_done)

    def _enrolled(self, log: ReceiptLogView, policy: bytes, *, resigned: bool) -> bool:
        found = log.enrolment(self.account, policy)
        return found is not None and (found.until is not None) == resigned

    def _has(self, log: ReceiptLogView, status: Status) -> bool:
        return _status(log.node(self.account)) is status

    def _find(self, batch: Batch, receipt: Receipt | None) -> AnchoredBatch:
        """Where a batch is: in its transaction's block, or wherever the events say."""
        if receipt is not None:
            # An endpoint may have forgotten the state of an old block.
            with suppress(UnreachableError):
                there = ReceiptLogView.beside(self._writer.view_of(receipt))
                if (found := batch_of_block(there, batch)) is not None:
                    return found
        log = ReceiptLogView.beside(self._writer.at_head())
        other = find_batch(log, batch.node, batch.epoch, batch.first)
        if other is None or other.batch != batch:
            raise ConflictError(
                f"the ledger has another batch in the place of epoch {batch.epoch}, seq {batch.first}",
                expected=f"root 0x{batch.root.hex()}",
                found=f"root 0x{other.batch.root.hex()}" if other else "none, and batches after it",
                hint="another journal of this node was anchored, or this one is an old copy",
            )
        return other

    def _apply(
        self,
        function: str,
        arguments: Sequence[Any],
        is_done: _Test,
        *,
        value: Callable[[ReceiptLogView], int] | int = 0,
    ) -> Receipt | None:
        return apply_to_log(self._writer, function, arguments, is_done, value=value)


def _status(node: Node | None) -> Status:
    return node.status if node else Status.UNKNOWN


def _lacking(log: ReceiptLogView, node: bytes, bond: int) -> int:
    found = log.node(node)
    return max(0, bond - (found.bond if found else 0))


def _is_past(node: Node | None, batch: Batch) -> bool:
    """Whether the node's sequence has gone beyond a batch's end, or begun a later epoch."""
    return node is not None and (
        node.batches > 0 and (node.epoch, node.next_seq) >= (batch.epoch, batch.first + batch.count)
    )


def _require_amount(wei: int) -> None:
    if not 0 <= wei < _WEI_END:
        raise InputError("amount", expected="0 to 2^128 - 1 wei", found=wei)
