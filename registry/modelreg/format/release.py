"""The record of a release as the ledger holds it, and its id. Specified in docs/spec/ledger.md, section 2."""

from dataclasses import dataclass

from modelreg.errors import FormatError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import Digest, HashAlgorithm, keccak256
from modelreg.format.names import ReleaseId, Version, check_branch, label_word

__all__ = ["Release", "ReleaseId"]

_DOMAIN = keccak256(b"modelreg/release/1")
_SEQ_MAX = 2**32 - 1
_NO_PARENT = bytes(32)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Release:
    """One release on the ledger.

    `model`, `content_root` and `manifest_digest` are 32 bytes, `publisher` is 20; `published_at` is the
    time of the block that took it, in unix seconds; `seq` counts the lineage from 1.
    """

    model: bytes
    parent: ReleaseId | None
    content_root: bytes
    manifest_digest: bytes
    version: Version
    branch: str
    publisher: bytes
    published_at: int
    seq: int
    manifest_hash: HashAlgorithm
    yanked: bool = False

    def __post_init__(self) -> None:
        words = (self.model, self.content_root, self.manifest_digest)
        if any(len(word) != 32 for word in words) or len(self.publisher) != 20:
            raise FormatError("release record", expected="words of 32 bytes and an address of 20 bytes")
        if not 1 <= self.seq <= _SEQ_MAX or (self.seq == 1) != (self.parent is None):
            raise FormatError(
                "release record",
                expected="seq 1 without a parent, above 1 with one",
                found=f"seq {self.seq}, parent {self.parent}",
            )
        check_branch(self.branch)

    @property
    def release_id(self) -> ReleaseId:
        """The id that the record's nine words hash to."""
        words = (
            _DOMAIN,
            self.model,
            label_word(str(self.version)),
            label_word(self.branch),
            bytes(self.parent) if self.parent else _NO_PARENT,
            self.content_root,
            self.manifest_digest,
            _word(self.manifest_hash.value),
            _word(self.seq),
        )
        return ReleaseId(keccak256(b"".join(words)))

    @property
    def manifest_cid(self) -> Cid:
        """The IPFS address of the manifest's root block."""
        return Cid(Codec.DAG_CBOR, Digest(self.manifest_hash, self.manifest_digest))
