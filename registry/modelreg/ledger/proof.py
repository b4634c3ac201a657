"""Merkle-Patricia proofs of accounts and storage (EIP-1186). Specified in docs/spec/ledger.md, section 4.

`trie` proves the same but costs 0.3 s to import and takes unused and oversized nodes; the tests compare
with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modelreg.chain import rlp
from modelreg.chain.rlp import Item
from modelreg.errors import VerificationError
from modelreg.format.digest import keccak256

__all__ = [
    "EMPTY_CODE_HASH",
    "NODES_MAX",
    "NODE_BYTES_MAX",
    "Account",
    "prove",
    "prove_account",
    "prove_word",
]

NODES_MAX = 65
NODE_BYTES_MAX = 1024
_EMPTY_ROOT = keccak256(rlp.encode(b""))
EMPTY_CODE_HASH = keccak256(b"")


@dataclass(frozen=True, slots=True)
class Account:
    """A proven account: its nonce, its balance in wei, the root of its storage, the hash of its code."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


_ABSENT = Account(0, 0, _EMPTY_ROOT, EMPTY_CODE_HASH)


def _refused(why: str, expected: object = None, found: object = None) -> VerificationError:
    hint = "the RPC lies or is broken: use another one"
    return VerificationError(f"state proof: {why}", expected=expected, found=found, hint=hint)


class _Nodes:
    """The proof's nodes, handed out in order, each checked against the hash that its parent holds."""

    def __init__(self, nodes: Sequence[bytes]) -> None:
        if len(nodes) > NODES_MAX or any(len(node) > NODE_BYTES_MAX for node in nodes):
            raise _refused("too large", expected=f"at most {NODES_MAX} nodes of {NODE_BYTES_MAX} bytes")
        self._left = list(reversed(nodes))

    def resolve(self, reference: Item) -> Item:
        """The node that a parent refers to, by hash or, below 32 bytes, in place."""
        if isinstance(reference, list):
            self._skip_copy(reference)
            return reference
        if len(reference) != 32:
            raise _refused("a node refers to no hash", found=reference.hex())
        if not self._left:
            raise _refused("truncated", expected=f"the node {reference.hex()}", found="the end")
        node = self._left.pop()
        if keccak256(node) != reference:
            raise _refused(
                "a node is not the one its parent names",
                expected=reference.hex(),
                found=keccak256(node).hex(),
            )
        return rlp.decode(node)

    def _skip_copy(self, inlined: list[Item]) -> None:
        # Some nodes list an inlined node once more.
        if self._left and self._left[-1] == rlp.encode(inlined):
            self._left.pop()

    def finish(self) -> None:
        """Raise if nodes are left over."""
        if self._left:
            raise _refused("nodes that the path does not use", found=len(self._left))


def _nibbles(raw: bytes) -> list[int]:
    return [nibble for byte in raw for nibble in (byte >> 4, byte & 15)]


def _path(encoded: Item) -> tuple[list[int], bool]:
    """The nibbles of a leaf's or extension's path and whether it is a leaf (hex-prefix encoding)."""
    if not isinstance(encoded, bytes) or not encoded or len(encoded) > 33:
        raise _refused("a path in no form")
    flag, *rest = _nibbles(encoded)
    if flag > 3 or (flag & 1 == 0 and rest[0] != 0):
        raise _refused("a path in no form", found=encoded.hex())
    return rest if flag & 1 else rest[1:], flag >= 2


def _value(item: Item) -> bytes:
    if not isinstance(item, bytes):
        raise _refused("a list where a value belongs")
    return item


def prove(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes | None:
    """Look a key up in the trie with that root, given the nodes on its path from the root down.

    Returns the value, or None if the nodes prove that the key is absent. Raises VerificationError.
    """
    if root == _EMPTY_ROOT:
        if list(nodes) not in ([], [rlp.encode(b"")]):
            raise _refused("nodes below an empty root", found=len(nodes))
        return None
    walk = _Nodes(nodes)
    value = _descend(walk, root, _nibbles(keccak256(key)))
    walk.finish()
    return value


def _descend(walk: _Nodes, root: bytes, path: list[int]) -> bytes | None:
    reference: Item = root
    while True:
        node = walk.resolve(reference)
        if not isinstance(node, list) or len(node) not in (2, 17):
            raise _refused("a node that is neither branch, extension nor leaf")
        if len(node) == 17:
            if not path:
                return _value(node[16]) or None
            reference, path = node[path[0]], path[1:]
            if reference == b"":
                return None
            continue
        prefix, is_leaf = _path(node[0])
        if is_leaf:
            return _value(node[1]) if prefix == path else None
        if not prefix:
            raise _refused("an extension without a path")
        if path[: len(prefix)] != prefix:
            return None
        reference, path = node[1], path[len(prefix) :]


def prove_account(state_root: bytes, address: bytes, nodes: Sequence[bytes]) -> Account:
    """The account of a 20-byte address; an absent one is empty. Raises VerificationError."""
    value = prove(state_root, address, nodes)
    if value is None:
        return _ABSENT
    fields = rlp.decode(value)
    if not isinstance(fields, list) or len(fields) != 4:
        raise _refused("an account in no form")
    nonce, balance, storage_root, code_hash = fields
    if len(_value(storage_root)) != 32 or len(_value(code_hash)) != 32:
        raise _refused("an account in no form")
    return Account(rlp.to_int(nonce, 64), rlp.to_int(balance), _value(storage_root), _value(code_hash))


def prove_word(storage_root: bytes, slot: int, nodes: Sequence[bytes]) -> int:
    """The word in a storage slot; 0 if the slot is proven absent. Raises VerificationError."""
    value = prove(storage_root, slot.to_bytes(32, "big"), nodes)
    # anvil keeps zeros in its tries, which Ethereum deletes: they prove the same word.
    return 0 if value is None else rlp.to_int(rlp.decode(value))
