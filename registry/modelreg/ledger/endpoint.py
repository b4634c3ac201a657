"""What sending needs to ask an endpoint. docs/spec/ledger.md, section 8."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelreg.errors import ConflictError, FormatError, ModelregError, NotPermittedError, UnreachableError
from modelreg.ledger.abi import read_revert
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.header import Header
from modelreg.ledger.hexdata import address_text, data, quantity
from modelreg.ledger.pinned import PinnedState, fetch_header
from modelreg.ledger.reverts import error_of
from modelreg.ledger.rpc import Rpc, RpcRefusedError

__all__ = ["Call", "Endpoint", "Receipt"]

_REVERT_MAX = 4096
_CONTRACTS = ("ModelRegistry", "ReceiptLog")
_KNOWN = ("already known", "known transaction", "already imported", "alreadyknown")
_USED = ("nonce too low", "nonce is too low", "oldnonce")
_CHEAP = ("underpriced", "fee too low", "feetoolow", "less than block base fee")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract: where to, its data, the wei that go with it.

    `gas` is the limit where the endpoint cannot foresee what the call will use, 0 where it is asked; `spare`
    is what is added to its estimate.
    """

    to: bytes
    data: bytes
    value: int = 0
    gas: int = 0
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction: its hash, the gas it used, what that cost in wei, the number of its block.

    The endpoint's word, not proven: whoever relies on the effect reads the state.
    """

    transaction: bytes
    gas_used: int
    cost: int
    block: int
    succeeded: bool


class Endpoint:
    """One account's dealings with one endpoint."""

    def __init__(self, rpc: Rpc, account: bytes) -> None:
        self._rpc = rpc
        self._account = account

    def head(self) -> Header:
        """The newest header."""
        header = fetch_header(self._rpc, "latest")
        if header is None:
            raise UnreachableError(f"{self._rpc.name} has no blocks")
        return header

    def nonce(self) -> int:
        """The number of the account's mined transactions, proven."""
        return PinnedState(self._rpc, self._account, self.head()).account.nonce

    def pending_nonce(self) -> int:
        """The same with the transactions that wait, as the endpoint claims."""
        answer = self._rpc.request("eth_getTransactionCount", [address_text(self._account), "pending"])
        return quantity(answer, "transaction count")

    def estimate(self, call: Call) -> int:
        """The gas that a call would use. Raises the error that its revert means."""
        try:
            return quantity(self._rpc.request("eth_estimateGas", [self._request(call)]), "gas estimate")
        except RpcRefusedError as error:
            raise self._meaning(error) from None

    def tip(self) -> int | None:
        """The tip that the endpoint suggests, in wei per gas; None if it knows none."""
        try:
            return quantity(self._rpc.request("eth_maxPriorityFeePerGas", []), "suggested tip")
        except RpcRefusedError:
            return None

    def broadcast(self, raw: bytes) -> bool:
        """Hand over a signed transaction; False if its nonce is used, or it offers too little now.

        Raises NotPermittedError without funds and UnreachableError for any other refusal.
        """
        try:
            self._rpc.request("eth_sendRawTransaction", [f"0x{raw.hex()}"])
        except RpcRefusedError as error:
            text = error.message.lower()
            if any(word in text for word in _KNOWN):
                return True
            if any(word in text for word in _USED + _CHEAP):
                return False
            raise self._meaning(error) from None
        return True

    def receipt(self, transaction: bytes) -> Receipt | None:
        """A mined transaction's receipt; None while it is not mined."""
        answer = self._rpc.request("eth_getTransactionReceipt", [f"0x{transaction.hex()}"])
        if answer is None:
            return None
        if not isinstance(answer, Mapping):
            raise FormatError("receipt", expected="an object", found=type(answer).__name__)
        gas = quantity(answer.get("gasUsed"), "gas used")
        return Receipt(
            transaction=transaction,
            gas_used=gas,
            cost=gas * quantity(answer.get("effectiveGasPrice"), "gas price"),
            block=quantity(answer.get("blockNumber"), "block number"),
            succeeded=quantity(answer.get("status"), "status") == 1,
        )

    def revert_reason(self, call: Call, block: int) -> ModelregError:
        """Why a mined call failed, found by calling again on top of its block."""
        try:
            self._rpc.request("eth_call", [self._request(call), hex(block)])
        except RpcRefusedError as error:
            return self._meaning(error)
        return ConflictError("the transaction failed when it was mined", hint="try again")

    def _request(self, call: Call) -> dict[str, str]:
        request = {
            "from": address_text(self._account),
            "to": address_text(call.to),
            "data": f"0x{call.data.hex()}",
        }
        return request | {"value": hex(call.value)} if call.value else request

    def _meaning(self, error: RpcRefusedError) -> ModelregError:
        raw = _revert_data(error.data)
        if raw:
            return error_of(read_revert(_errors(), raw))
        if "insufficient funds" in error.message.lower():
            account = address_text(self._account)
            return NotPermittedError(f"the account {account} cannot pay for that", hint="send it some funds")
        return error


def _errors() -> list[dict[str, Any]]:
    """Of all contracts, since one passes on what another refuses; an error that two have is the same."""
    return [entry for name in _CONTRACTS for entry in load_artifact(name).abi]


def _revert_data(value: object) -> bytes:
    """The revert data of a JSON-RPC error: in `data`, or, in some nodes, one level deeper."""
    if isinstance(value, Mapping):
        value = value.get("data")
    if not isinstance(value, str) or not value.startswith("0x"):
        return b""
    return data(value, "revert data", most=_REVERT_MAX)
