"""Evidence for one release in a file, to be verified without a chain. Specified in docs/spec/bundle.md.

A bundle holds the manifest's blocks and what an endpoint answered when the release was looked up. Verifying
asks the same questions of those answers: every proof is checked again, by the same code, against a block hash
that the user trusts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelreg.errors import FormatError, InputError, NotFoundError, UnreachableError
from modelreg.format import canonical, schema
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.car import CarReader, write_car
from modelreg.format.cid import CID_BYTES, Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.json_depth import require_shallow
from modelreg.format.manifest_blocks import read_manifest
from modelreg.format.names import ReleaseId
from modelreg.format.release import Release
from modelreg.ledger.rpc import Rpc
from modelreg.store.base import BlockSource

__all__ = ["Bundle", "RecordingRpc", "ReplayingRpc", "manifest_blocks", "read_bundle", "write_bundle"]

_KIND = "modelreg/bundle/1"
_ANSWERS = 4096
_EVIDENCE_BLOCKS = 64
_MAX_BYTES = 1 << 30


class RecordingRpc:
    """Passes requests on, and notes the answers."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.name = rpc.name
        self.answers: dict[str, Any] = {}

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`."""
        answer = self._rpc.request(method, params)
        self.answers[_question(method, params)] = answer
        return answer


class ReplayingRpc:
    """Answers from a bundle."""

    name = "the bundle"

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`. Raises UnreachableError for what was not asked when the bundle was made."""
        question = _question(method, params)
        if question not in self._answers:
            raise UnreachableError(
                "the bundle does not tell",
                expected="the answer to " + question[:80],
                found="none",
                hint="make a bundle for this release: modelreg bundle REF FILE",
            )
        return self._answers[question]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's content: chain, contract (20 bytes) and block number, answers, and the manifest's blocks."""

    chain_id: int
    contract: bytes
    block: int
    release: ReleaseId
    answers: dict[str, Any]
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
    evidence = json.dumps(bundle.answers, sort_keys=True, separators=(",", ":")).encode()
    parts = [evidence[start : start + MAX_BLOCK_BYTES] for start in range(0, len(evidence), MAX_BLOCK_BYTES)]
    leaves = [(Cid.of(Codec.RAW, part, HashAlgorithm.BLAKE3_256), part) for part in parts]
    root = canonical.encode(
        {
            "kind": _KIND,
            "chain": bundle.chain_id,
            "contract": bundle.contract,
            "block": bundle.block,
            "reference": str(bundle.release),
            "evidence": [cid for cid, _ in leaves],
            "manifest": manifest,
        }
    )
    root_cid = Cid.of(Codec.DAG_CBOR, root, HashAlgorithm.BLAKE3_256)
    for piece in write_car([root_cid], [(root_cid, root), *leaves, *bundle.blocks.items()]):
        file.write(piece)


def read_bundle(file: BinaryIO) -> Bundle:
    """Read a bundle; its blocks are verified, its answers are not yet.

    Raises:
        FormatError: it is no bundle.
    """
    car = CarReader(file.read)
    held: dict[Cid, bytes] = {}
    total = 0
    for cid, block in car:
        held[cid] = block
        total += CID_BYTES + len(block)
        if total > _MAX_BYTES:
            raise FormatError("bundle", expected=f"at most {_MAX_BYTES} bytes", found="more")
    if len(car.roots) != 1 or car.roots[0] not in held:
        raise FormatError("bundle", expected="a CAR file with its one root", found=f"{len(car.roots)} roots")
    names = ("chain", "contract", "block", "reference", "evidence", "manifest")
    chain, contract, block, reference, evidence, _ = schema.fields(
        canonical.decode(held[car.roots[0]]), _KIND, names
    )
    if not isinstance(contract, bytes) or len(contract) != 20:
        raise FormatError("bundle", expected="a contract address of 20 bytes", found=repr(contract)[:60])
    parts = [schema.link(cid, HashAlgorithm.BLAKE3_256) for cid in schema.array(evidence, _EVIDENCE_BLOCKS)]
    answers = _answers(b"".join(held.get(cid, b"") for cid in parts))
    return Bundle(schema.uint(chain), contract, schema.uint(block), _release_id(reference), answers, held)


def _question(method: str, params: Sequence[Any]) -> str:
    return f"{method} {json.dumps(list(params), sort_keys=True, separators=(',', ':'))}"


def _release_id(value: Any) -> ReleaseId:
    try:
        return ReleaseId.parse(schema.text(value, 66))
    except InputError as error:
        raise FormatError("bundle", expected=error.expected, found=error.found) from None


def _answers(evidence: bytes) -> dict[str, Any]:
    require_shallow(evidence, "evidence of a bundle")
    try:
        answers = json.loads(evidence)
    except ValueError:
        answers = None
    if not isinstance(answers, dict) or len(answers) > _ANSWERS:
        raise FormatError("evidence of a bundle", expected="a JSON object of answers", found="something else")
    return answers
