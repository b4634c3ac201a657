"""Proven words of a contract's storage in one block. Specified in docs/spec/ledger.md, section 4."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from modelreg.errors import FormatError, NotFoundError, UnreachableError, VerificationError
from modelreg.ledger.artifact import Artifact
from modelreg.ledger.header import Header, parse_header
from modelreg.ledger.hexdata import address_text, data, quantity
from modelreg.ledger.proof import (
    EMPTY_CODE_HASH,
    NODE_BYTES_MAX,
    NODES_MAX,
    Account,
    prove_account,
    prove_word,
)
from modelreg.ledger.rpc import Rpc

__all__ = ["PinnedState", "fetch_header"]

# Public endpoints refuse more than 1024 keys in one request.
_KEYS_MAX = 256
_PAUSES = (0.05, 0.2, 0.8)
_T = TypeVar("_T")


def fetch_header(rpc: Rpc, block: str | int) -> Header | None:
    """The verified header of a block, given its number or a tag; None if the endpoint has no such block."""
    tag = hex(block) if isinstance(block, int) else block
    answer = rpc.request("eth_getBlockByNumber", [tag, False])
    if answer is None:
        return None
    header = parse_header(answer)
    if isinstance(block, int) and header.number != block:
        raise VerificationError("the RPC gave another block", expected=block, found=header.number)
    return header


def _nodes(value: object) -> list[bytes]:
    if not isinstance(value, list) or len(value) > NODES_MAX:
        raise FormatError("state proof", expected=f"a list of at most {NODES_MAX} nodes")
    return [data(node, "a proof's node", most=NODE_BYTES_MAX) for node in value]


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FormatError("state proof", expected="an object", found=type(value).__name__)
    return value


def _word(storage_root: bytes, slot: int, entry: Mapping[str, Any]) -> int:
    if (key := quantity(entry.get("key"), "a proof's key")) != slot:
        raise VerificationError("state proof: for another slot", expected=hex(slot), found=hex(key))
    word = prove_word(storage_root, slot, _nodes(entry.get("proof")))
    if (claimed := quantity(entry.get("value"), "a proof's value")) != word:
        raise VerificationError("state proof: proves another value", expected=hex(claimed), found=hex(word))
    return word


class PinnedState:
    """Proven words of one contract's storage in the block of `header`, a verified header."""

    def __init__(self, rpc: Rpc, address: bytes, header: Header) -> None:
        self.rpc = rpc
        self.address = address
        self.header = header
        self.account = self.account_of(address)
        self._read: tuple[list[int], list[int]] = [], []

    def beside(self, address: bytes) -> "PinnedState":
        """Another contract's storage in the same block."""
        return PinnedState(self.rpc, address, self.header)

    def require_code(self, contract: Artifact, hint: str) -> None:
        """Raise NotFoundError if there is no contract here, VerificationError if it is another one."""
        found, expected = self.account.code_hash, contract.code_hash
        if found == EMPTY_CODE_HASH:
            place = f"{address_text(self.address)} in block {self.header.number}"
            raise NotFoundError(f"there is no contract at {place}", hint=hint)
        if found != expected:
            raise VerificationError(
                f"the contract at {address_text(self.address)} is not this version's {contract.name}",
                expected=f"code 0x{expected.hex()}",
                found=f"0x{found.hex()}",
                hint="check the address, or use the modelreg version that deployed it",
            )

    def account_of(self, address: bytes) -> Account:
        """Any account in this block: its nonce, balance and code hash."""
        return self._patiently(lambda: self._account(address))

    def words(self, slots: Sequence[int]) -> list[int]:
        """The words in these storage slots, in their order; an absent one is 0."""
        # One question after another is often about the same record.
        if self._read[0] != list(slots):
            found: list[int] = []
            for start in range(0, len(slots), _KEYS_MAX):
                found += self._patiently(partial(self._words, slots[start : start + _KEYS_MAX]))
            self._read = list(slots), found
        return list(self._read[1])

    def _account(self, address: bytes) -> Account:
        nodes = _nodes(self._ask(address, ()).get("accountProof"))
        return prove_account(self.header.state_root, address, nodes)

    def _words(self, slots: Sequence[int]) -> list[int]:
        entries = self._ask(self.address, slots).get("storageProof")
        if not isinstance(entries, list) or len(entries) != len(slots):
            raise FormatError("state proof", expected=f"{len(slots)} storage proofs")
        root = self.account.storage_root
        return [_word(root, slot, _object(entry)) for slot, entry in zip(slots, entries, strict=True)]

    def _patiently(self, step: Callable[[], _T]) -> _T:
        """Take a step, again if its proof is wrong: anvil mixes two blocks' states while it mines one."""
        for pause in _PAUSES:
            with contextlib.suppress(VerificationError):
                return step()
            time.sleep(pause)
        try:
            return step()
        except VerificationError as error:
            raise self._explained(error) from None

    def _ask(self, address: bytes, slots: Sequence[int]) -> Mapping[str, Any]:
        keys = [f"0x{slot:064x}" for slot in slots]
        params = [address_text(address), keys, hex(self.header.number)]
        return _object(self.rpc.request("eth_getProof", params))

    def _explained(self, error: VerificationError) -> Exception:
        """The same error, unless the chain dropped the pinned block in the meantime."""
        now = fetch_header(self.rpc, self.header.number)
        if now is not None and now.hash == self.header.hash:
            if self.header.number == 0:
                error.hint = "block 0 of a development chain may not commit to its state: mine a block first"
            return error
        return UnreachableError(
            f"the chain reorganised while it was read: block {self.header.number} is another one now",
            hint="run the command again, or read finalized blocks",
        )
