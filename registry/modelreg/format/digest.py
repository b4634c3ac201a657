"""Digests: an algorithm and its 32 bytes. Specified in docs/spec/blocks.md, section 1."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from blake3 import blake3
from sha3 import keccak_256

from modelreg.errors import FormatError

__all__ = ["DIGEST_BYTES", "Digest", "HashAlgorithm", "blake3_256", "keccak256"]

DIGEST_BYTES = 32

# One thread is the fastest below this size, by measurement; above it blake3 splits the work.
_BLAKE3_THREADS_FROM = 4 << 20


def blake3_256(data: bytes | memoryview) -> bytes:
    """BLAKE3 of contiguous bytes: 32 bytes."""
    if len(data) < _BLAKE3_THREADS_FROM:
        return blake3(data).digest()
    return blake3(data, max_threads=blake3.AUTO).digest()


def _sha256(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (the padding before FIPS 202): 32 bytes."""
    digest: bytes = keccak_256(data).digest()
    return digest


class HashAlgorithm(Enum):
    """A hash for chunks and blocks; the value is its code in the multihash table."""

    BLAKE3_256 = 0x1E
    SHA2_256 = 0x12

    @property
    def label(self) -> str:
        """The name in the multicodec table: `blake3` or `sha2-256`."""
        return _LABELS[self]

    @classmethod
    def from_label(cls, label: str) -> Self:
        """Parse a name of the multicodec table. Raises FormatError for any other."""
        for algorithm, known in _LABELS.items():
            if known == label:
                return cls(algorithm)
        raise FormatError("unknown hash", expected=" or ".join(_LABELS.values()), found=repr(label)[:40])

    def digest(self, data: bytes | memoryview) -> "Digest":
        """Hash contiguous bytes."""
        return Digest(self, _FUNCTIONS[self](data))


_LABELS = {HashAlgorithm.BLAKE3_256: "blake3", HashAlgorithm.SHA2_256: "sha2-256"}
_FUNCTIONS: dict[HashAlgorithm, Callable[[bytes | memoryview], bytes]] = {
    HashAlgorithm.BLAKE3_256: blake3_256,
    HashAlgorithm.SHA2_256: _sha256,
}


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash of some bytes; prints as `blake3:<64 hex digits>`."""

    algorithm: HashAlgorithm
    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != DIGEST_BYTES:
            raise FormatError("digest length", expected=f"{DIGEST_BYTES} bytes", found=len(self.value))

    def __str__(self) -> str:
        return f"{self.algorithm.label}:{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints; refuses upper case and any other spelling."""
        label, _, digits = text.partition(":")
        algorithm = HashAlgorithm.from_label(label)
        if len(digits) != 2 * DIGEST_BYTES or digits.strip("0123456789abcdef"):
            raise FormatError("digest", expected=f"{label}:<64 lower-case hex digits>", found=repr(text)[:90])
        return cls(algorithm, bytes.fromhex(digits))
