"""Strict reading of JSON-RPC parameters. Specified in docs/spec/chain.md, section 8."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelreg.chain.rpcerror import INVALID_PARAMS, RpcError
from modelreg.chain.transaction import MAX_TRANSACTION, AccessList

__all__ = [
    "BlockRef", "CallRequest", "address", "block_ref", "call_request", "data", "flag", "hash32", "invalid",
    "quantity", "slot", "take",
]  # fmt: skip

_QUANTITY = re.compile(r"0x(0|[1-9a-f][0-9a-f]{0,63})", re.IGNORECASE)
_DATA = re.compile(r"0x([0-9a-f]{2})*", re.IGNORECASE)
_SLOT = re.compile(r"0x[0-9a-f]{1,64}", re.IGNORECASE)
_HEAD_TAGS = frozenset({"latest", "safe", "finalized", "pending"})
_MAX_ACCESS = 1024


def invalid(text: str) -> RpcError:
    """The error for a parameter that cannot be used."""
    return RpcError(INVALID_PARAMS, text)


def take(params: Sequence[object], required: int, most: int) -> list[object]:
    """The parameters, filled up with None to `most`. Raises RpcError for too few or too many."""
    if len(params) < required:
        raise invalid(f"missing value for required argument {len(params)}")
    if len(params) > most:
        raise invalid(f"too many arguments, want at most {most}")
    return [*params, *[None] * (most - len(params))]


def quantity(value: object, bits: int = 256) -> int:
    """A number as `0x` and hexadecimal digits without leading zeros."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or int(value, 16) >> bits:
        raise invalid(f"want a quantity of at most {bits} bits such as 0x1f, got {_short(value)}")
    return int(value, 16)


def data(value: object, length: int | None = None) -> bytes:
    """Bytes as `0x` and pairs of hexadecimal digits."""
    if not isinstance(value, str) or len(value) > 2 * MAX_TRANSACTION + 2 or not _DATA.fullmatch(value):
        raise invalid(f"want 0x-prefixed hex data, got {_short(value)}")
    if length is not None and len(value) != 2 * length + 2:
        raise invalid(f"hex string has length {len(value) - 2}, want {2 * length}")
    return bytes.fromhex(value[2:])


def _short(value: object) -> str:
    return repr(value)[:80]


def address(value: object) -> bytes:
    """20 bytes."""
    return data(value, 20)


def hash32(value: object) -> bytes:
    """32 bytes."""
    return data(value, 32)


def slot(value: object) -> int:
    """A storage key: 1 to 64 hexadecimal digits, leading zeros allowed."""
    if not isinstance(value, str) or not _SLOT.fullmatch(value):
        raise invalid(f"want a storage key of at most 32 bytes, got {_short(value)}")
    return int(value, 16)


def flag(value: object) -> bool:
    """A JSON boolean; missing means false."""
    if value is not None and not isinstance(value, bool):
        raise invalid(f"want true or false, got {_short(value)}")
    return bool(value)


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Which block: a number, a hash, or the head when both are None."""

    number: int | None = None
    hash: bytes | None = None


def block_ref(value: object) -> BlockRef:
    """A tag, a number, or an EIP-1898 object; missing means the head."""
    if value is None or (isinstance(value, str) and value in _HEAD_TAGS):
        return BlockRef()
    if value == "earliest":
        return BlockRef(number=0)
    if not isinstance(value, Mapping):
        return BlockRef(number=quantity(value, 63))
    if "blockHash" in value and "blockNumber" not in value:
        return BlockRef(hash=hash32(value["blockHash"]))
    if "blockNumber" in value and "blockHash" not in value:
        return block_ref(str(value["blockNumber"]))
    raise invalid("want either blockHash or blockNumber")


@dataclass(frozen=True, slots=True)
class CallRequest:
    """The object of eth_call and eth_estimateGas; fees in wei per gas, `gas` None where left open."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int | None
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    access_list: AccessList


def call_request(value: object, chain_id: int) -> CallRequest:
    """Read a call object; fields that this chain has no use for are refused, unknown ones ignored."""
    if not isinstance(value, Mapping):
        raise invalid(f"want a call object, got {_short(value)}")
    fields = {key: item for key, item in value.items() if item is not None}
    if fields.keys() & {"blobs", "blobVersionedHashes", "authorizationList"}:
        raise invalid("blob and set-code transactions are not supported on this chain")
    if "chainId" in fields and quantity(fields["chainId"]) != chain_id:
        raise invalid(f"chainId does not match node's (have={quantity(fields['chainId'])}, want={chain_id})")
    fee, tip = _fees(fields)
    return CallRequest(
        sender=address(fields.get("from", "0x" + bytes(20).hex())),
        to=address(fields["to"]) if "to" in fields else b"",
        value=quantity(fields.get("value", "0x0")),
        data=_input(fields),
        gas=quantity(fields["gas"], 64) if "gas" in fields else None,
        max_fee_per_gas=fee,
        max_priority_fee_per_gas=tip,
        access_list=_access_list(fields.get("accessList", [])),
    )


def _input(fields: Mapping[str, object]) -> bytes:
    if "input" in fields and "data" in fields and data(fields["input"]) != data(fields["data"]):
        raise invalid(
            'both "data" and "input" are set and not equal. Please use "input" to pass transaction call data'
        )
    return data(fields.get("input", fields.get("data", "0x")))


def _fees(fields: Mapping[str, object]) -> tuple[int, int]:
    modern = fields.keys() & {"maxFeePerGas", "maxPriorityFeePerGas"}
    if "gasPrice" in fields:
        if modern:
            raise invalid("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
        price = quantity(fields["gasPrice"])
        return price, price
    fee, tip = (
        quantity(fields.get("maxFeePerGas", "0x0")),
        quantity(fields.get("maxPriorityFeePerGas", "0x0")),
    )
    if len(modern) == 2 and fee < tip:
        raise invalid(f"maxFeePerGas ({fee:#x}) < maxPriorityFeePerGas ({tip:#x})")
    return fee, min(tip, fee)


def _access_list(value: object) -> AccessList:
    if not isinstance(value, list) or len(value) > _MAX_ACCESS:
        raise invalid(f"want an access list of at most {_MAX_ACCESS} entries")
    return tuple(_access_entry(entry) for entry in value)


def _access_entry(entry: object) -> tuple[bytes, tuple[int, ...]]:
    keys = entry.get("storageKeys", []) if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(keys, list) or len(keys) > _MAX_ACCESS:
        raise invalid("want access list entries with address and storageKeys")
    return address(entry.get("address")), tuple(int.from_bytes(hash32(key), "big") for key in keys)
