"""Codes of the encodings and the limits that every one keeps. Specified in docs/spec/delta.md, section 1."""

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["MAX_BASE_BYTES", "MAX_CHUNK_BYTES", "Buffer", "Encoded", "Encoding"]

Buffer = bytes | bytearray | memoryview

MAX_CHUNK_BYTES = 512 << 10
MAX_BASE_BYTES = 2 << 20


class Encoding(IntEnum):
    """How a payload becomes a chunk; the value is the code in the manifest."""

    RAW = 0
    ZSTD = 1
    SOLO = 2
    PATCH = 3
    SPARSE = 4
    EXP = 5
    DIFF = 6
    CAST = 7
    LOWRANK = 8

    @property
    def needs_base(self) -> bool:
        """Whether decoding needs bytes of another release or variant."""
        return self >= Encoding.PATCH

    @property
    def needs_factors(self) -> bool:
        """Whether decoding needs what the chunks of one matrix share."""
        return self is Encoding.LOWRANK


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it travels; `len(payload)` never exceeds the length of the chunk."""

    encoding: Encoding
    payload: bytes
