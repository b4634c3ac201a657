"""JSON objects of which every key, number and digit is prescribed: docs/spec/receipt.md, section 6."""

import json
from collections.abc import Mapping
from typing import Any

from modelreg.errors import FormatError
from modelreg.format.json_depth import require_shallow

__all__ = ["hex_bytes", "load", "members", "natural"]


def load(raw: bytes, what: str, max_bytes: int) -> Any:
    """Parse JSON without signs, fractions, exponents and keys that come twice.

    Args:
        raw: the text in UTF-8.
        what: named in errors.
        max_bytes: more are refused before they are parsed.

    Raises:
        FormatError: it is something else.
    """
    if len(raw) > max_bytes:
        raise FormatError(what, expected=f"at most {max_bytes} bytes of JSON", found=len(raw))
    require_shallow(raw, what)

    def refuse(text: str) -> None:
        raise FormatError(f"{what} number", expected="digits alone", found=text[:40])

    def integer(text: str) -> int:
        if text.startswith("-"):
            refuse(text)
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError(what, expected="each key once", found="a key that comes again")
        return found

    hooks: Any = {"parse_int": integer, "parse_float": refuse, "parse_constant": refuse}
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=unique, **hooks)
    except ValueError as error:
        raise FormatError(what, expected="JSON in UTF-8", found=ascii(str(error))[:90]) from None


def members(value: Any, keys: tuple[str, ...], what: str) -> Mapping[str, Any]:
    """An object with exactly these keys. Raises FormatError."""
    if not isinstance(value, dict) or value.keys() != set(keys):
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise FormatError(what, expected="an object with " + ", ".join(keys), found=ascii(found)[:200])
    return value


def natural(value: Any, what: str) -> int:
    """A number; `load` lets only natural ones in. Raises FormatError."""
    if type(value) is not int:
        raise FormatError(what, expected="a number", found=ascii(value)[:40])
    return value


def hex_bytes(value: Any, size: int, what: str) -> bytes:
    """So many bytes, written as 0x and lower-case digits. Raises FormatError."""
    digits = value.removeprefix("0x") if isinstance(value, str) else ""
    if len(digits) != 2 * size or len(value) != 2 + 2 * size or digits.strip("0123456789abcdef"):
        raise FormatError(what, expected=f"0x and {2 * size} lower-case hex digits", found=ascii(value)[:150])
    return bytes.fromhex(digits)
