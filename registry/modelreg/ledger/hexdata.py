"""Hexadecimal values in JSON-RPC answers, with their sizes capped (Ethereum execution-apis, "Hex values").

Leading zeros in quantities are taken: some nodes print them, and every number that matters is proven later.
"""

import re

from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = ["address_text", "data", "hash32", "quantity"]

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


def _wrong(what: str, expected: str, value: object) -> FormatError:
    return FormatError(f"the RPC's answer, {what}", expected=expected, found=repr(value)[:90])


def quantity(value: object, what: str) -> int:
    """Read a number of at most 256 bits. Raises FormatError that names `what`."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise _wrong(what, "0x and 1 to 64 hex digits", value)
    return int(value, 16)


def data(value: object, what: str, *, most: int) -> bytes:
    """Read at most `most` bytes. Raises FormatError that names `what`."""
    if not isinstance(value, str) or len(value) > 2 + 2 * most or _DATA.fullmatch(value) is None:
        raise _wrong(what, f"0x and at most {most} bytes in hex", value)
    return bytes.fromhex(value[2:])


def hash32(value: object, what: str) -> bytes:
    """Read exactly 32 bytes. Raises FormatError that names `what`."""
    raw = data(value, what, most=32)
    if len(raw) != 32:
        raise _wrong(what, "32 bytes in hex", value)
    return raw


def address_text(address: bytes) -> str:
    """Print 20 bytes with the mixed-case checksum of EIP-55."""
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    pairs = zip(digits, digest, strict=False)
    return "0x" + "".join(c.upper() if int(h, 16) > 7 else c for c, h in pairs)
