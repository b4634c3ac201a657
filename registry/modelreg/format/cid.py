"""Content identifiers of IPFS: CIDv1, `raw` or `dag-cbor`. Specified in docs/spec/blocks.md, section 2."""

import base64
from dataclasses import dataclass
from enum import Enum
from typing import Self

from modelreg.errors import FormatError
from modelreg.format.digest import DIGEST_BYTES, Digest, HashAlgorithm

__all__ = ["CID_BYTES", "Cid", "Codec", "read_link"]

CID_BYTES = 4 + DIGEST_BYTES
_VERSION = 1


class Codec(Enum):
    """What a block's bytes are; the value is its code in the multicodec table."""

    RAW = 0x55
    DAG_CBOR = 0x71


_HEADS = {
    (codec, algorithm): bytes((_VERSION, codec.value, algorithm.value, DIGEST_BYTES))
    for codec in Codec
    for algorithm in HashAlgorithm
}
_KINDS = {head: kind for kind, head in _HEADS.items()}
_HEAD_BYTES = CID_BYTES - DIGEST_BYTES
_LINK_HEADS = frozenset(b"\x00" + head for head in _KINDS)
_EXPECTED = f"a CIDv1 of {CID_BYTES} bytes, raw or dag-cbor, with a blake3 or sha2-256 digest"


@dataclass(frozen=True, slots=True, init=False)
class Cid:
    """The address of a block: its codec and its digest.

    Kept as its bytes: a manifest names a hundred thousand, most of them only to be compared.
    """

    raw: bytes

    def __init__(self, codec: Codec, digest: Digest) -> None:
        object.__setattr__(self, "raw", _HEADS[codec, digest.algorithm] + digest.value)

    @property
    def codec(self) -> Codec:
        """What the block's bytes are."""
        return _KINDS[self.raw[:_HEAD_BYTES]][0]

    @property
    def algorithm(self) -> HashAlgorithm:
        """The hash of the digest."""
        return _KINDS[self.raw[:_HEAD_BYTES]][1]

    @property
    def digest(self) -> Digest:
        """The hash of the block."""
        return Digest(self.algorithm, self.raw[_HEAD_BYTES:])

    @classmethod
    def of(cls, codec: Codec, block: bytes | memoryview, algorithm: HashAlgorithm) -> Self:
        """Address a block by hashing it."""
        return cls(codec, algorithm.digest(block))

    def __bytes__(self) -> bytes:
        return self.raw

    def __str__(self) -> str:
        return "b" + base64.b32encode(self.raw).decode().rstrip("=").lower()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the 36 bytes of a CIDv1. Raises FormatError for other versions, codecs, hashes or lengths."""
        if len(raw) != CID_BYTES or raw[:_HEAD_BYTES] not in _KINDS:
            raise FormatError("CID", expected=_EXPECTED, found=raw[:40].hex())
        cid = object.__new__(cls)
        _set_raw(cid, raw)
        return cid

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


_set_raw = Cid.__dict__["raw"].__set__


def read_link(raw: object, _immutable: object = None) -> Cid:
    """Read what tag 42 of DAG-CBOR holds: a zero byte and a CID. One call a link, since there are many.

    Raises:
        FormatError: it is something else.
    """
    if type(raw) is bytes and len(raw) == 1 + CID_BYTES and raw[: 1 + _HEAD_BYTES] in _LINK_HEADS:
        cid = object.__new__(Cid)
        _set_raw(cid, raw[1:])
        return cid
    if type(raw) is not bytes:
        raise FormatError("DAG-CBOR link", expected="bytes", found=type(raw).__name__)
    raise FormatError("DAG-CBOR link", expected=f"00 and {_EXPECTED}", found=raw[:41].hex())
