"""Content identifiers of IPFS: CIDv1, `raw` or `dag-cbor`. Specified in docs/spec/blocks.md, section 2."""

import base64
from dataclasses import dataclass
from enum import Enum
from typing import Self

from modelreg.errors import FormatError
from modelreg.format.digest import DIGEST_BYTES, Digest, HashAlgorithm

__all__ = ["CID_BYTES", "Cid", "Codec"]

CID_BYTES = 4 + DIGEST_BYTES
_VERSION = 1


class Codec(Enum):
    """What a block's bytes are; the value is its code in the multicodec table."""

    RAW = 0x55
    DAG_CBOR = 0x71


@dataclass(frozen=True, slots=True)
class Cid:
    """The address of a block: its codec and its digest."""

    codec: Codec
    digest: Digest

    @classmethod
    def of(cls, codec: Codec, block: bytes | memoryview, algorithm: HashAlgorithm) -> Self:
        """Address a block by hashing it."""
        return cls(codec, algorithm.digest(block))

    def __bytes__(self) -> bytes:
        head = bytes((_VERSION, self.codec.value, self.digest.algorithm.value, DIGEST_BYTES))
        return head + self.digest.value

    def __str__(self) -> str:
        return "b" + base64.b32encode(bytes(self)).decode().rstrip("=").lower()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the 36 bytes of a CIDv1. Raises FormatError for other versions, codecs, hashes or lengths."""
        if len(raw) != CID_BYTES or raw[0] != _VERSION or raw[3] != DIGEST_BYTES:
            raise FormatError(
                "CID", expected="a CIDv1 of 36 bytes with a 32-byte digest", found=raw[:40].hex()
            )
        try:
            codec, algorithm = Codec(raw[1]), HashAlgorithm(raw[2])
        except ValueError:
            raise FormatError(
                "CID", expected="codec raw or dag-cbor, hash blake3 or sha2-256", found=raw[:4].hex()
            ) from None
        return cls(codec, Digest(algorithm, raw[4:]))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read base32 lower case, the only spelling we print."""
        try:
            raw = base64.b32decode(text[1:].upper() + "=" * (-len(text[1:]) % 8))
        except ValueError:
            raw = b""
        if not text.isascii() or not raw:
            raise FormatError("CID", expected="b<base32 lower case>", found=repr(text)[:90])
        cid = cls.from_bytes(raw)
        if str(cid) != text:
            raise FormatError("CID", expected=str(cid), found=repr(text)[:90])
        return cid
