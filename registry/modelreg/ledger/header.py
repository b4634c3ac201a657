"""Block headers whose hash is recomputed. Specified in docs/spec/ledger.md, section 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelreg.chain import rlp
from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.ledger.hexdata import data, hash32, quantity

__all__ = ["Header", "parse_header"]

_EXTRA_MAX = 1024
_BLOOM = 256

# The fields in the order of the header, and how JSON-RPC spells them: a number of bytes, or None for a
# quantity. Every fork appends: London, Shanghai, Cancun (three), Prague.
_FIELDS: dict[str, int | None] = {
    "parentHash": 32,
    "sha3Uncles": 32,
    "miner": 20,
    "stateRoot": 32,
    "transactionsRoot": 32,
    "receiptsRoot": 32,
    "logsBloom": _BLOOM,
    "difficulty": None,
    "number": None,
    "gasLimit": None,
    "gasUsed": None,
    "timestamp": None,
    "extraData": -1,
    "mixHash": 32,
    "nonce": 8,
}
_APPENDED: dict[str, int | None] = {
    "baseFeePerGas": None,
    "withdrawalsRoot": 32,
    "blobGasUsed": None,
    "excessBlobGas": None,
    "parentBeaconBlockRoot": 32,
    "requestsHash": 32,
}
_NOT_IN_HEADER = {"hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals"}


@dataclass(frozen=True, slots=True)
class Header:
    """What of a verified block header the ledger uses; hashes are 32 bytes, `time` is unix seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    state_root: bytes
    time: int
    base_fee: int | None


def _encoded(value: object, name: str, size: int | None) -> bytes:
    if size is None:
        return rlp.uint(quantity(value, name))
    raw = data(value, name, most=_EXTRA_MAX if size < 0 else size)
    if size >= 0 and len(raw) != size:
        raise FormatError(f"block field {name}", expected=f"{size} bytes", found=len(raw))
    return raw


def _appended_fields(block: Mapping[str, Any]) -> list[bytes]:
    """The fields of later forks; they may end early but leave no gap."""
    fields: list[bytes] = []
    missing = ""
    for name, size in _APPENDED.items():
        if block.get(name) is None:
            missing = missing or name
        elif missing:
            raise FormatError("block header", expected=f"{missing} before {name}", found="it is missing")
        else:
            fields.append(_encoded(block[name], name, size))
    return fields


def parse_header(block: object) -> Header:
    """Verify a block as eth_getBlockByNumber or eth_getBlockByHash gives it.

    Raises VerificationError if the fields do not hash to the block's hash, naming fields that this
    version does not know; FormatError if a field has the wrong form or is missing.
    """
    if not isinstance(block, Mapping):
        raise FormatError("block", expected="an object", found=type(block).__name__)
    raw = [_encoded(block.get(name), name, size) for name, size in _FIELDS.items()]
    computed = keccak256(rlp.encode([*raw, *_appended_fields(block)]))
    _require_hash(block, computed)
    base_fee = block.get("baseFeePerGas")
    return Header(
        number=quantity(block["number"], "number"),
        hash=computed,
        parent_hash=hash32(block["parentHash"], "parentHash"),
        state_root=hash32(block["stateRoot"], "stateRoot"),
        time=quantity(block["timestamp"], "timestamp"),
        base_fee=None if base_fee is None else quantity(base_fee, "baseFeePerGas"),
    )


def _require_hash(block: Mapping[str, Any], computed: bytes) -> None:
    claimed = hash32(block.get("hash"), "block hash")
    if claimed == computed:
        return
    unknown = sorted(
        str(key)[:40] for key in block.keys() - _FIELDS.keys() - _APPENDED.keys() - _NOT_IN_HEADER
    )
    raise VerificationError(
        "the block header does not hash to the block's hash",
        expected=f"0x{claimed.hex()}",
        found=f"0x{computed.hex()}",
        hint=_advice(unknown),
    )


def _advice(unknown: list[str]) -> str:
    if unknown:
        fields = ", ".join(unknown[:8])
        return f"this version does not know the block's fields {fields}: it may be too old for the chain"
    return "the RPC lies or is broken: use another one"
