"""Strict readers for decoded DAG-CBOR: each returns the value with its type, or raises FormatError."""

from collections.abc import Sequence
from typing import Any

from modelreg.errors import FormatError
from modelreg.format.cid import Cid
from modelreg.format.digest import DIGEST_BYTES, HashAlgorithm

__all__ = ["array", "digest", "fields", "link", "text", "uint"]

_UINT_MAX = (1 << 63) - 1


def fields(value: Any, kind: str, names: Sequence[str]) -> list[Any]:
    """The values of a map that has exactly `names` beside a `kind` of the given text, in that order."""
    if not isinstance(value, dict) or value.get("kind") != kind:
        found = value.get("kind", "a map without kind") if isinstance(value, dict) else type(value).__name__
        raise FormatError("block kind", expected=kind, found=str(found)[:60])
    if value.keys() != {"kind", *names}:
        raise FormatError(f"keys of {kind}", expected=", ".join(sorted(names)), found=sorted(value)[:20])
    return [value[name] for name in names]


def array(value: Any, most: int, *, exactly: tuple[int, ...] = ()) -> list[Any]:
    """A list of at most `most` items, or of one of the lengths in `exactly`."""
    if not isinstance(value, list) or len(value) > most or (exactly and len(value) not in exactly):
        found = len(value) if isinstance(value, list) else type(value).__name__
        raise FormatError("array", expected=f"{exactly or f'at most {most}'} items", found=found)
    return value


def uint(value: Any, most: int = _UINT_MAX) -> int:
    """An integer from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise FormatError("integer", expected=f"0 to {most}", found=repr(value)[:40])
    return value


def text(value: Any, most: int) -> str:
    """A text of at most `most` UTF-8 bytes."""
    if not isinstance(value, str) or len(value.encode()) > most:
        raise FormatError("text", expected=f"at most {most} bytes", found=repr(value)[:60])
    return value


def digest(value: Any) -> bytes:
    """A byte string of 32 bytes."""
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        raise FormatError("digest", expected=f"{DIGEST_BYTES} bytes", found=repr(value)[:40])
    return value


def link(value: Any, algorithm: HashAlgorithm) -> Cid:
    """A CID that uses `algorithm`."""
    if not isinstance(value, Cid) or value.algorithm is not algorithm:
        raise FormatError("link", expected=f"a CID of {algorithm.label}", found=str(value)[:80])
    return value
