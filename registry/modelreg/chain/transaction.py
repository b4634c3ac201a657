"""Signed transactions: types 0 (EIP-155), 1 (EIP-2930) and 2 (EIP-1559). docs/spec/chain.md, section 4."""

from dataclasses import dataclass
from functools import cached_property

from modelreg.chain import rlp
from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = [
    "MAX_INITCODE",
    "MAX_TRANSACTION",
    "AccessList",
    "Transaction",
    "decode",
    "floor_gas",
    "intrinsic_gas",
]

MAX_TRANSACTION = 128 << 10  # bytes, as go-ethereum's pool
MAX_INITCODE = 49_152  # bytes, EIP-3860
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_FIRST_PROTECTED_V = 35

AccessList = tuple[tuple[bytes, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Transaction:
    """A decoded transaction; `to` is empty for a creation, `chain_id` None for an unprotected signature."""

    type_id: int
    chain_id: int | None
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas: int
    to: bytes
    value: int
    data: bytes
    access_list: AccessList
    v: int
    r: int
    s: int
    raw: bytes

    @property
    def y_parity(self) -> int:
        """Which of the two points with this r: 0 or 1."""
        if self.type_id:
            return self.v
        return (self.v - (27 if self.chain_id is None else _FIRST_PROTECTED_V)) % 2

    @cached_property
    def hash(self) -> bytes:
        """The transaction's hash, 32 bytes."""
        return keccak256(self.raw)

    @cached_property
    def sender(self) -> bytes:
        """The signer's address, recovered. Raises FormatError for an invalid signature (EIP-2: low s)."""
        if not (0 < self.r < _ORDER and 0 < self.s <= _ORDER // 2 and self.y_parity in (0, 1)):
            raise FormatError("invalid sender", expected="0 < r < n, 0 < s <= n/2, parity 0 or 1")
        return _recover(_signing_hash(self), self.r, self.s, self.y_parity)

    def effective_gas_price(self, base_fee: int) -> int:
        """Wei per gas that the sender pays."""
        return min(self.max_fee_per_gas, base_fee + self.max_priority_fee_per_gas)


def _recover(digest: bytes, r: int, s: int, parity: int) -> bytes:
    import coincurve

    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,))
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception as error:  # coincurve raises a bare Exception here
        raise FormatError("invalid sender", expected="a signature of some key") from error
    return keccak256(key.format(compressed=False)[1:])[12:]


def _signing_hash(tx: Transaction) -> bytes:
    items = rlp.to_list(rlp.decode(tx.raw[1:] if tx.type_id else tx.raw))
    if tx.type_id:
        return keccak256(bytes((tx.type_id,)) + rlp.encode(items[:-3]))
    tail: list[rlp.Item] = [] if tx.chain_id is None else [rlp.uint(tx.chain_id), b"", b""]
    return keccak256(rlp.encode([*items[:6], *tail]))


def _access_list(item: rlp.Item) -> AccessList:
    return tuple(_access_entry(entry) for entry in rlp.to_list(item))


def _access_entry(entry: rlp.Item) -> tuple[bytes, tuple[int, ...]]:
    address, keys = rlp.to_list(entry, 2)
    words = (rlp.to_bytes(key, 32) for key in rlp.to_list(keys))
    return rlp.to_bytes(address, 20), tuple(int.from_bytes(word, "big") for word in words)


def _receiver(item: rlp.Item) -> bytes:
    return rlp.to_bytes(item, 20) if item else b""


def _legacy(raw: bytes) -> Transaction:
    nonce, price, gas, to, value, data, v, r, s = rlp.to_list(rlp.decode(raw), 9)
    parity = rlp.to_int(v, 72)
    if parity not in (27, 28) and parity < _FIRST_PROTECTED_V:
        raise FormatError("invalid sender", expected="v of 27, 28 or at least 35", found=parity)
    return Transaction(
        type_id=0,
        chain_id=(parity - _FIRST_PROTECTED_V) // 2 if parity >= _FIRST_PROTECTED_V else None,
        nonce=rlp.to_int(nonce, 64),
        max_priority_fee_per_gas=rlp.to_int(price),
        max_fee_per_gas=rlp.to_int(price),
        gas=rlp.to_int(gas, 64),
        to=_receiver(to),
        value=rlp.to_int(value),
        data=rlp.to_bytes(data),
        access_list=(),
        v=parity,
        r=rlp.to_int(r),
        s=rlp.to_int(s),
        raw=raw,
    )


def _typed(raw: bytes) -> Transaction:
    items = rlp.to_list(rlp.decode(raw[1:]), 11 if raw[0] == 1 else 12)
    chain_id, nonce, *fees, gas, to, value, data, access, v, r, s = items
    return Transaction(
        type_id=raw[0],
        chain_id=rlp.to_int(chain_id, 64),
        nonce=rlp.to_int(nonce, 64),
        max_priority_fee_per_gas=rlp.to_int(fees[0]),
        max_fee_per_gas=rlp.to_int(fees[-1]),
        gas=rlp.to_int(gas, 64),
        to=_receiver(to),
        value=rlp.to_int(value),
        data=rlp.to_bytes(data),
        access_list=_access_list(access),
        v=rlp.to_int(v, 8),
        r=rlp.to_int(r),
        s=rlp.to_int(s),
        raw=raw,
    )


def decode(raw: bytes) -> Transaction:
    """Read a signed transaction of at most MAX_TRANSACTION bytes. Raises FormatError for anything else."""
    if len(raw) > MAX_TRANSACTION:
        raise FormatError(f"oversized data: transaction size {len(raw)}, limit {MAX_TRANSACTION}")
    if not raw:
        raise FormatError("typed transaction too short")
    if raw[0] >= 0xC0:
        return _legacy(raw)
    if raw[0] not in (1, 2):
        raise FormatError("transaction type not supported", expected="type 0, 1 or 2", found=raw[0])
    return _typed(raw)


def _tokens(data: bytes) -> int:
    return 4 * len(data) - 3 * data.count(0)


def intrinsic_gas(to: bytes, data: bytes, access_list: AccessList) -> int:
    """Gas before the first instruction (EIP-2028, EIP-2, EIP-3860, EIP-2930)."""
    creation = 0 if to else 32_000 + 2 * -(-len(data) // 32)
    listed = 2400 * len(access_list) + 1900 * sum(len(keys) for _, keys in access_list)
    return 21_000 + 4 * _tokens(data) + creation + listed


def floor_gas(data: bytes) -> int:
    """The least that a transaction with this data pays (EIP-7623)."""
    return 21_000 + 10 * _tokens(data)
