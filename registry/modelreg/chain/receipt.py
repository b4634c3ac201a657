"""Receipts, logs and the bloom over them. Specified in docs/spec/chain.md, section 5.

Sources: EIP-658 (status), EIP-2718 (types).
"""

from dataclasses import dataclass
from typing import Self

from modelreg.chain import rlp
from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = ["Log", "Receipt", "bloom_of"]


@dataclass(frozen=True, slots=True)
class Log:
    """One event: 20 bytes of address, up to 4 topics of 32 bytes, data."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a block's one transaction; `gas_used` is also the block's."""

    type_id: int
    succeeded: bool
    gas_used: int
    logs: tuple[Log, ...]

    def encode(self) -> bytes:
        """The consensus form: the type's byte (none for type 0), then RLP."""
        logs: list[rlp.Item] = [[log.address, list(log.topics), log.data] for log in self.logs]
        status = rlp.uint(int(self.succeeded))
        body = rlp.encode([status, rlp.uint(self.gas_used), bloom_of(self.logs), logs])
        return (bytes((self.type_id,)) if self.type_id else b"") + body

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. Raises FormatError for anything else."""
        type_id = data[0] if data and data[0] < 0xC0 else 0
        status, gas_used, _, logs = rlp.to_list(rlp.decode(data[1:] if type_id else data), 4)
        entries = tuple(map(_log, rlp.to_list(logs)))
        receipt = cls(type_id, bool(rlp.to_int(status, 8)), rlp.to_int(gas_used, 64), entries)
        if receipt.encode() != data:
            raise FormatError("receipt", expected="its one encoding", found=data.hex()[:80])
        return receipt


def _log(item: rlp.Item) -> Log:
    address, topics, data = rlp.to_list(item, 3)
    words = tuple(rlp.to_bytes(topic, 32) for topic in rlp.to_list(topics))
    return Log(rlp.to_bytes(address, 20), words, rlp.to_bytes(data))


def bloom_of(logs: tuple[Log, ...]) -> bytes:
    """The 2048-bit filter over addresses and topics (yellow paper, section 4.3.1)."""
    bits = 0
    for entry in (item for log in logs for item in (log.address, *log.topics)):
        digest = keccak256(entry)
        for at in (0, 2, 4):
            bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(256, "big")
