"""Block headers of the Prague fork and what is constant in them. Specified in docs/spec/chain.md, section 3.

Sources: EIP-1559 (base fee), EIP-3675 and EIP-4399 (after the merge), EIP-4895 (withdrawals), EIP-4788 and
EIP-4844 (beacon root, blobs), EIP-7685 (requests).
"""

import hashlib
from dataclasses import dataclass
from typing import Self

from modelreg.chain import rlp
from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = [
    "BASE_FEE",
    "COINBASE",
    "EMPTY_BLOOM",
    "EMPTY_REQUESTS",
    "EMPTY_ROOT",
    "EMPTY_UNCLES",
    "GAS_LIMIT",
    "TRANSACTION_GAS_LIMIT",
    "Header",
    "root_of_one",
]

GAS_LIMIT = 120_000_000
# EIP-1559's target is half the block's limit: as long as no block uses more, a base fee of zero stays zero.
TRANSACTION_GAS_LIMIT = GAS_LIMIT // 2 - 1
BASE_FEE = 0
COINBASE = bytes(20)
EMPTY_BLOOM = bytes(256)
EMPTY_ROOT = keccak256(rlp.encode(b""))
EMPTY_UNCLES = keccak256(rlp.encode([]))
EMPTY_REQUESTS = hashlib.sha256(b"").digest()
_ZERO = rlp.uint(0)
_NONCE = bytes(8)
_NO_BEACON = bytes(32)
_FIELDS = 21


@dataclass(frozen=True, slots=True)
class Header:
    """What changes from block to block: hashes of 32 bytes, gas in units, `timestamp` in unix seconds."""

    parent_hash: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    bloom: bytes
    number: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    prev_randao: bytes

    def encode(self) -> bytes:
        """The 21 fields of a Prague header as RLP."""
        return rlp.encode(self._items())

    @property
    def hash(self) -> bytes:
        """The block's hash: keccak-256 of the encoded header."""
        return keccak256(self.encode())

    def _items(self) -> list[rlp.Item]:
        before: list[rlp.Item] = [self.parent_hash, EMPTY_UNCLES, COINBASE, self.state_root]
        roots: list[rlp.Item] = [self.transactions_root, self.receipts_root, self.bloom, _ZERO]
        gas = [rlp.uint(value) for value in (self.number, GAS_LIMIT, self.gas_used, self.timestamp)]
        merge: list[rlp.Item] = [self.extra_data, self.prev_randao, _NONCE, rlp.uint(BASE_FEE), EMPTY_ROOT]
        return [*before, *roots, *gas, *merge, _ZERO, _ZERO, _NO_BEACON, EMPTY_REQUESTS]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a header of this chain. Raises FormatError when a constant field has another value."""
        items = rlp.to_list(rlp.decode(data, max_depth=1), _FIELDS)
        header = cls(
            parent_hash=rlp.to_bytes(items[0], 32),
            state_root=rlp.to_bytes(items[3], 32),
            transactions_root=rlp.to_bytes(items[4], 32),
            receipts_root=rlp.to_bytes(items[5], 32),
            bloom=rlp.to_bytes(items[6], len(EMPTY_BLOOM)),
            number=rlp.to_int(items[8], 64),
            gas_used=rlp.to_int(items[10], 64),
            timestamp=rlp.to_int(items[11], 64),
            extra_data=rlp.to_bytes(items[12]),
            prev_randao=rlp.to_bytes(items[13], 32),
        )
        if header.encode() != data:
            raise FormatError("block header", expected="this chain's constant fields", found=data.hex()[:80])
        return header


def root_of_one(value: bytes) -> bytes:
    """The root of a trie that holds `value` under index 0: the transactions and receipts root of a block."""
    leaf_path = b"\x20\x80"  # hex-prefix of an even leaf with the nibbles of RLP(0)
    return keccak256(rlp.encode([leaf_path, value]))
