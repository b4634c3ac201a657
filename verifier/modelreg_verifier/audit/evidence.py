"""What settles a dispute in one file: an opening and a claim. docs/spec/dispute.md, section 6."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import Any, BinaryIO, cast

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg_verifier.receipts import framing
from modelreg_verifier.receipts.claim import Claim, read_claim, write_claim
from modelreg_verifier.receipts.opening import Opening, read_opening, write_opening

__all__ = ["Evidence", "read_evidence", "write_evidence"]

_KIND = "modelreg/evidence/1"
_PART_BYTES_MAX = 600 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """An opening and a claim of its node; nothing of them is checked but their form."""

    opening: Opening
    claim: Claim


def write_evidence(evidence: Evidence) -> Iterator[bytes | memoryview]:
    """The parts that make the file, one after the other. Raises FormatError where it is too large."""
    opening, claim = list(write_opening(evidence.opening)), list(write_claim(evidence.claim))
    sizes = {"opening": _size(opening), "claim": _size(claim)}
    yield framing.write_header({"kind": _KIND, **sizes})
    yield from opening
    yield from claim


def _size(parts: list[bytes | memoryview]) -> int:
    return sum(memoryview(part).nbytes for part in parts)


def read_evidence(file: BinaryIO) -> Evidence:
    """Read a file to its end. Raises FormatError where it breaks a rule of section 6."""
    sizes = framing.read_header(file, _KIND, ("opening", "claim"))
    opening, claim = (schema.uint(size, _PART_BYTES_MAX) for size in sizes)
    found = Evidence(read_opening(_part(file, opening)), read_claim(_part(file, claim)))
    framing.end(file)
    return found


def _part(file: BinaryIO, size: int) -> BinaryIO:
    return cast("BinaryIO", BufferedReader(_Part(file, size)))


class _Part(RawIOBase):
    """So many bytes of a file, and then its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        wanted = min(len(into), self._left)
        piece = self._file.read(wanted)
        if len(piece) < wanted and not piece:
            raise FormatError("evidence", expected=f"{self._left} more bytes", found="an end")
        into[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)
