"""Making a block out of its parent and at most one transaction. Specified in docs/spec/chain.md, section 3.

The same function makes a block when it is mined and when it is replayed, so that nothing but the parent, the
transaction and the header's timestamp can influence it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from modelreg.chain.admission import admit
from modelreg.chain.genesis import EXTRA_DATA
from modelreg.chain.header import EMPTY_ROOT, Header, root_of_one
from modelreg.chain.message import Environment, Message
from modelreg.chain.receipt import Receipt, bloom_of
from modelreg.chain.state import NodeSource, account_at
from modelreg.chain.transaction import Transaction
from modelreg.format.digest import keccak256

__all__ = ["NewBlock", "build", "build_empty", "next_timestamp"]


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block that is not stored yet; `nodes` are the state's new trie nodes."""

    header: Header
    tx: Transaction | None
    receipt: Receipt | None
    nodes: dict[bytes, bytes]


def next_timestamp(parent: Header, now: int) -> int:
    """Unix seconds: the clock's, or one more than the parent's where the clock does not say more."""
    return max(parent.timestamp + 1, now)


def build_empty(parent: Header, *, timestamp: int) -> NewBlock:
    """A block in which nothing happens but time."""
    parent_hash = parent.hash
    header = Header(
        parent_hash=parent_hash,
        state_root=parent.state_root,
        transactions_root=EMPTY_ROOT,
        receipts_root=EMPTY_ROOT,
        bloom=bloom_of(()),
        number=parent.number + 1,
        gas_used=0,
        timestamp=timestamp,
        extra_data=EXTRA_DATA,
        prev_randao=keccak256(parent_hash),
    )
    return NewBlock(header, None, None, {})


def build(
    parent: Header,
    tx: Transaction,
    *,
    chain_id: int,
    timestamp: int,
    nodes: NodeSource,
    ancestors: Iterable[bytes],
    seconds: float | None,
) -> NewBlock:
    """Execute `tx` (from `read_transaction`) on the parent's state; `ancestors`: the parent's hash first.

    Raises RpcError where the transaction is not admitted, or runs longer than `seconds`.
    """
    from modelreg.chain.execution import transact

    admit(tx, account_at(parent.state_root, tx.sender, nodes)[0])
    parent_hash = parent.hash
    environment = Environment(chain_id, parent.number + 1, timestamp, keccak256(parent_hash), ancestors)
    message = Message(
        sender=tx.sender,
        to=tx.to,
        value=tx.value,
        data=tx.data,
        gas=tx.gas,
        max_fee_per_gas=tx.max_fee_per_gas,
        max_priority_fee_per_gas=tx.max_priority_fee_per_gas,
        access_list=tx.access_list,
    )
    outcome, change = transact(message, environment, parent.state_root, nodes, seconds)
    receipt = Receipt(tx.type_id, not outcome.failure, outcome.gas_used, outcome.logs)
    header = Header(
        parent_hash=parent_hash,
        state_root=change.state_root,
        transactions_root=root_of_one(tx.raw),
        receipts_root=root_of_one(receipt.encode()),
        bloom=bloom_of(receipt.logs),
        number=environment.number,
        gas_used=outcome.gas_used,
        timestamp=timestamp,
        extra_data=EXTRA_DATA,
        prev_randao=environment.prev_randao,
    )
    return NewBlock(header, tx, receipt, dict(change.nodes))
