"""Accounts, storage and EIP-1186 proofs, read straight from trie nodes. docs/spec/chain.md, section 2.

No EVM is imported here. The walk is own code because the node table returns exactly the nodes that a proof
lists, and because importing `trie` would cost each reading command 0.25 s (ADR 0004); the tests compare it
with `trie`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from modelreg.chain import rlp
from modelreg.chain.header import EMPTY_ROOT
from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import keccak256

__all__ = ["EMPTY_CODE", "Account", "NodeSource", "Proof", "account_at", "code_of", "look_up", "storage_at"]

EMPTY_CODE = keccak256(b"")
NodeSource = Callable[[bytes], bytes | None]  # by keccak-256, already checked against it
Proof = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """An account's four fields; the defaults are those of an account that does not exist."""

    nonce: int = 0
    balance: int = 0
    storage_root: bytes = EMPTY_ROOT
    code_hash: bytes = EMPTY_CODE


def _present(digest: bytes, nodes: NodeSource) -> bytes:
    body = nodes(digest)
    if body is None:
        raise VerificationError(
            "the chain file is damaged: trie node or code", expected=digest.hex(), found="nothing"
        )
    return body


def _path(compact: rlp.Item) -> tuple[str, bool]:
    """Hex-prefix decoding: the nibbles, and whether the node is a leaf (yellow paper, appendix C)."""
    if not isinstance(compact, bytes) or not compact or compact[0] > 0x3F:
        raise FormatError("trie node", expected="a hex-prefix path")
    digits = compact.hex()
    return digits[1 if compact[0] & 0x10 else 2 :], bool(compact[0] & 0x20)


def _step(node: list[rlp.Item], rest: str) -> tuple[rlp.Item, str]:
    """From a node to the child (or the value, when no nibble is left) that `rest` leads to."""
    if len(node) == 17:
        return (node[int(rest[0], 16)], rest[1:]) if rest else (node[16], "")
    if len(node) != 2:
        raise FormatError("trie node", expected="2 or 17 items", found=len(node))
    path, is_leaf = _path(node[0])
    if is_leaf:
        return (node[1], "") if rest == path else (b"", "")
    return (node[1], rest[len(path) :]) if rest.startswith(path) else (b"", "")


def look_up(root: bytes, key: bytes, nodes: NodeSource) -> tuple[bytes, Proof]:
    """The value under `key` (empty if there is none) and the nodes that prove it, from the root down."""
    rest, proof = keccak256(key).hex(), []
    reference: rlp.Item = root if root != EMPTY_ROOT else b""
    at_value = False
    while not at_value and reference:
        if isinstance(reference, bytes):
            proof.append(_present(reference, nodes))
            reference = rlp.decode(proof[-1])
        if isinstance(reference, bytes):
            raise FormatError("trie node", expected="a list")
        at_value = not rest or (len(reference) == 2 and _path(reference[0])[1])
        reference, rest = _step(reference, rest)
    if not isinstance(reference, bytes):
        raise FormatError("trie value", expected="bytes")
    return reference, tuple(proof)


def account_at(root: bytes, address: bytes, nodes: NodeSource) -> tuple[Account, Proof]:
    """The account at an address of 20 bytes under a state root, with its proof."""
    value, proof = look_up(root, address, nodes)
    if not value:
        return Account(), proof
    nonce, balance, storage_root, code_hash = rlp.to_list(rlp.decode(value), 4)
    account = Account(
        nonce=rlp.to_int(nonce, 64),
        balance=rlp.to_int(balance),
        storage_root=rlp.to_bytes(storage_root, 32),
        code_hash=rlp.to_bytes(code_hash, 32),
    )
    return account, proof


def storage_at(account: Account, slot: int, nodes: NodeSource) -> tuple[int, Proof]:
    """The word in a storage slot, with its proof (empty where the account has no storage)."""
    value, proof = look_up(account.storage_root, slot.to_bytes(32, "big"), nodes)
    return (rlp.to_int(rlp.decode(value)) if value else 0), proof


def code_of(account: Account, nodes: NodeSource) -> bytes:
    """The account's bytecode; empty for an account that is no contract."""
    return b"" if account.code_hash == EMPTY_CODE else _present(account.code_hash, nodes)
