"""Squashed differences on offer: a release encoded once more, against an older one.

Specified in docs/spec/manifest.md, section 6.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelreg.errors import FormatError
from modelreg.format.cid import Cid
from modelreg.format.json_depth import require_shallow

__all__ = ["OFFER_BYTES_MAX", "Squash", "read_offer", "write_offer"]

OFFER_BYTES_MAX = 64 << 10
_SQUASHES_MAX = 64
_ROOT = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Squash:
    """One difference: the content root, 32 bytes, of the release it starts from, and its manifest."""

    base: bytes
    manifest: Cid


def write_offer(squashes: Iterable[Squash]) -> bytes:
    """The JSON that a node answers; what is more than 64 is left out."""
    rows = [{"base": f"0x{squash.base.hex()}", "manifest": str(squash.manifest)} for squash in squashes]
    return json.dumps({"squashes": rows[:_SQUASHES_MAX]}).encode()


def read_offer(raw: bytes) -> tuple[Squash, ...]:
    """Read what a node answers. Raises FormatError."""
    if len(raw) > OFFER_BYTES_MAX:
        raise FormatError("squashes on offer", expected=f"at most {OFFER_BYTES_MAX} bytes", found=len(raw))
    require_shallow(raw, "squashes on offer")
    try:
        document: Any = json.loads(raw)
    except ValueError:
        raise FormatError("squashes on offer", expected="JSON") from None
    rows = document.get("squashes") if isinstance(document, dict) else None
    if not isinstance(rows, list) or len(rows) > _SQUASHES_MAX:
        raise FormatError("squashes on offer", expected=f"a list of at most {_SQUASHES_MAX}")
    return tuple(map(_read, rows))


def _read(row: Any) -> Squash:
    match row:
        case {"base": str(base), "manifest": str(manifest)} if _ROOT.fullmatch(base):
            return Squash(bytes.fromhex(base[2:]), Cid.parse(manifest))
    raise FormatError("a squash on offer", expected="a base and a manifest", found=ascii(row)[:80])
