"""Evidence for one release in a file, to be verified without a chain. Specified in docs/spec/bundle.md.

A bundle holds the manifest's blocks and what an endpoint answered when the release was looked up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelreg.errors import FormatError, InputError, NotFoundError
from modelreg.format import schema
from modelreg.format.cid import Cid
from modelreg.format.manifest_blocks import read_manifest
from modelreg.format.names import ReleaseId
from modelreg.format.release import Release
from modelreg.store.base import BlockSource
from modelreg_verifier.evidence_file import Evidence, read_evidence, write_evidence

__all__ = ["Bundle", "manifest_blocks", "read_bundle", "write_bundle"]

_KIND = "modelreg/bundle/1"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's content: what the ledger says of a release, and the blocks of its manifest."""

    evidence: Evidence
    release: ReleaseId
    blocks: dict[Cid, bytes]

    @property
    def name(self) -> str:
        """For messages, as of a block source."""
        return "the bundle"

    def get(self, cid: Cid) -> bytes:
        """A block of the bundle. Raises NotFoundError."""
        if cid not in self.blocks:
            raise NotFoundError(f"block {cid} in the bundle", hint="the bundle is for another release")
        return self.blocks[cid]

    def has(self, cid: Cid) -> bool:
        """Whether the bundle holds a block."""
        return cid in self.blocks


def manifest_blocks(release: Release, source: BlockSource) -> dict[Cid, bytes]:
    """The blocks of a release's manifest, without the weights and without its bases."""
    read: dict[Cid, bytes] = {}

    def fetch(cids: Sequence[Cid]) -> list[bytes]:
        read.update((cid, source.get(cid)) for cid in cids)
        return [read[cid] for cid in cids]

    read_manifest(release.manifest_cid, fetch)
    return read


def write_bundle(file: BinaryIO, bundle: Bundle, manifest: Cid) -> None:
    """Write a bundle as a CAR file."""
    further = {"reference": str(bundle.release), "manifest": manifest}
    write_evidence(file, _KIND, bundle.evidence, further, bundle.blocks)


def read_bundle(file: BinaryIO) -> Bundle:
    """Read a bundle; its blocks are verified, its answers are not yet.

    Raises:
        FormatError: it is no bundle.
    """
    evidence, [reference, _], held = read_evidence(file, _KIND, ("reference", "manifest"))
    return Bundle(evidence, _release_id(reference), held)


def _release_id(value: Any) -> ReleaseId:
    try:
        return ReleaseId.parse(schema.text(value, 66))
    except InputError as error:
        raise FormatError("bundle", expected=error.expected, found=error.found) from None
