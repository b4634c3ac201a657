"""What goes into an execution and what comes out, without py-evm. docs/spec/chain.md, section 7."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelreg.chain.receipt import Log
from modelreg.chain.transaction import AccessList, intrinsic_gas

__all__ = ["Change", "Environment", "Message", "Outcome"]


@dataclass(frozen=True, slots=True)
class Environment:
    """What a block tells its transaction; `ancestors` are block hashes, the parent's first."""

    chain_id: int
    number: int
    timestamp: int
    prev_randao: bytes
    ancestors: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """A transaction after admission, or a call; the field names are those that py-evm reads."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int
    max_fee_per_gas: int = 0
    max_priority_fee_per_gas: int = 0
    access_list: AccessList = ()
    type_id: int = 2

    @property
    def intrinsic_gas(self) -> int:
        """Gas before the first instruction."""
        return intrinsic_gas(self.to, self.data, self.access_list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened; `peak_gas` is the gas used before refunds, `failure` is empty after success."""

    gas_used: int
    peak_gas: int
    output: bytes
    logs: tuple[Log, ...]
    failure: str
    reverted: bool
    out_of_gas: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The state after a transaction: its root, and the trie nodes and codes that are new, by keccak-256."""

    state_root: bytes
    nodes: Mapping[bytes, bytes]
