"""Recursive Length Prefix, strict. Specified in docs/spec/chain.md, section 1.

Own code, because transactions come from strangers: the `rlp` package has no depth limit, and importing it
costs 0.25 s that every reading command would pay (ADR 0004). Source: Ethereum yellow paper, appendix B.
"""

from typing import TypeAlias

from modelreg.errors import FormatError

__all__ = ["Item", "decode", "encode", "to_bytes", "to_int", "to_list", "uint"]

Item: TypeAlias = "bytes | list[Item]"
_SHORT_STRING, _LONG_STRING, _SHORT_LIST, _LONG_LIST = 0x80, 0xB7, 0xC0, 0xF7
_SHORT_MAX = 55
_DEFAULT_DEPTH = 5  # a block: block, transaction, access list, entry, keys


def uint(value: int) -> bytes:
    """A non-negative integer as big-endian bytes without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def to_int(item: Item, limit_bits: int = 256) -> int:
    """Read what `uint` writes. Raises FormatError for a list, a leading zero or more than `limit_bits`."""
    if not isinstance(item, bytes) or item[:1] == b"\0" or len(item) * 8 > limit_bits:
        raise FormatError("RLP integer", expected=f"at most {limit_bits} bits, no leading zero")
    return int.from_bytes(item, "big")


def to_bytes(item: Item, length: int | None = None) -> bytes:
    """A string, of `length` bytes where one is given. Raises FormatError for anything else."""
    if not isinstance(item, bytes) or (length is not None and len(item) != length):
        raise FormatError("RLP string", expected="any length" if length is None else f"{length} bytes")
    return item


def to_list(item: Item, count: int | None = None) -> list[Item]:
    """A list, of `count` items where one is given. Raises FormatError for anything else."""
    if not isinstance(item, list) or (count is not None and len(item) != count):
        raise FormatError("RLP list", expected="any length" if count is None else f"{count} items")
    return item


def _prefix(short: int, long: int, length: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes((short + length,))
    size = uint(length)
    return bytes((long + len(size),)) + size


def encode(item: Item) -> bytes:
    """The one encoding of bytes and lists of them."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _SHORT_STRING:
            return item
        return _prefix(_SHORT_STRING, _LONG_STRING, len(item)) + item
    body = b"".join(map(encode, item))
    return _prefix(_SHORT_LIST, _LONG_LIST, len(body)) + body


def _long_length(data: bytes, start: int, end: int, size: int) -> int:
    head = data[start : min(start + size, end)]
    length = int.from_bytes(head, "big")
    if len(head) != size or head[0] == 0 or length <= _SHORT_MAX:
        raise FormatError("RLP length", expected="shortest form, inside the data", found=head.hex())
    return length


def _span(data: bytes, at: int, end: int) -> tuple[bool, int, int]:
    """Whether the item at `at` is a list, and where its content starts and stops."""
    first = data[at]
    if first < _SHORT_STRING:
        return False, at, at + 1
    is_list = first >= _SHORT_LIST
    short, long = (_SHORT_LIST, _LONG_LIST) if is_list else (_SHORT_STRING, _LONG_STRING)
    if first <= long:
        start, length = at + 1, first - short
    else:
        start = at + 1 + first - long
        length = _long_length(data, at + 1, end, first - long)
    if start + length > end:
        raise FormatError("RLP length", expected=f"at most {end - start} bytes", found=length)
    if not is_list and length == 1 and data[start] < _SHORT_STRING:
        raise FormatError(
            "RLP string", expected="a byte below 0x80 without a prefix", found=data[at : start + 1].hex()
        )
    return is_list, start, start + length


def _items(data: bytes, at: int, end: int, depth: int) -> list[Item]:
    if depth < 0:
        raise FormatError("RLP nesting", expected="fewer levels")
    found: list[Item] = []
    while at < end:
        is_list, start, stop = _span(data, at, end)
        found.append(_items(data, start, stop, depth - 1) if is_list else data[start:stop])
        at = stop
    return found


def decode(data: bytes, max_depth: int = _DEFAULT_DEPTH) -> Item:
    """Read exactly one item. Raises FormatError for anything that `encode` would not have written."""
    items = _items(data, 0, len(data), max_depth)
    if len(items) != 1:
        raise FormatError("RLP", expected="exactly one item", found=len(items))
    return items[0]
