"""What an endpoint answered, in a file from which it answers again. Specified in docs/spec/bundle.md.

Verifying asks the same questions of those answers: every proof is checked again, by the same code, against a
block hash that the user trusts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelreg.errors import FormatError, UnreachableError
from modelreg.format import canonical, schema
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.car import CarReader, write_car
from modelreg.format.cid import CID_BYTES, Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.json_depth import require_shallow
from modelreg.ledger.rpc import Rpc

__all__ = ["Evidence", "RecordingRpc", "ReplayingRpc", "read_evidence", "write_evidence"]

_ANSWERS = 4096
_EVIDENCE_BLOCKS = 64
_MAX_BYTES = 1 << 30
_PLACE = ("chain", "contract", "block")


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

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`. Raises UnreachableError for what was not asked when the bundle was made."""
        question = _question(method, params)
        if question not in self._answers:
            raise UnreachableError(
                "the bundle does not tell",
                expected="the answer to " + question[:80],
                found="none",
                hint="make a bundle for this one: modelreg bundle, or modelreg receipt bundle",
            )
        return self._answers[question]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Chain, registry (20 bytes) and number of the block whose state is proven, and the answers."""

    chain_id: int
    contract: bytes
    block: int
    answers: Mapping[str, Any]


def write_evidence(
    file: BinaryIO, kind: str, evidence: Evidence, further: Mapping[str, Any], blocks: Mapping[Cid, bytes]
) -> None:
    """Write a CAR file whose root has the evidence and what is `further` in it; `blocks` follow."""
    text = json.dumps(dict(evidence.answers), sort_keys=True, separators=(",", ":")).encode()
    parts = [text[start : start + MAX_BLOCK_BYTES] for start in range(0, len(text), MAX_BLOCK_BYTES)]
    leaves = [(Cid.of(Codec.RAW, part, HashAlgorithm.BLAKE3_256), part) for part in parts]
    root = canonical.encode(
        {
            "kind": kind,
            "chain": evidence.chain_id,
            "contract": evidence.contract,
            "block": evidence.block,
            "evidence": [cid for cid, _ in leaves],
            **further,
        }
    )
    root_cid = Cid.of(Codec.DAG_CBOR, root, HashAlgorithm.BLAKE3_256)
    for piece in write_car([root_cid], [(root_cid, root), *leaves, *blocks.items()]):
        file.write(piece)


def read_evidence(
    file: BinaryIO, kind: str, names: Sequence[str]
) -> tuple[Evidence, list[Any], dict[Cid, bytes]]:
    """Read the evidence, the values of `names` in the root, and all blocks; no answer is verified yet.

    Raises:
        FormatError: it is something else.
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
    values = schema.fields(canonical.decode(held[car.roots[0]]), kind, (*_PLACE, "evidence", *names))
    chain, contract, number, evidence, *further = values
    if not isinstance(contract, bytes) or len(contract) != 20:
        raise FormatError("bundle", expected="a contract address of 20 bytes", found=repr(contract)[:60])
    parts = [schema.link(cid, HashAlgorithm.BLAKE3_256) for cid in schema.array(evidence, _EVIDENCE_BLOCKS)]
    answers = _answers(b"".join(held.get(cid, b"") for cid in parts))
    return Evidence(schema.uint(chain), contract, schema.uint(number), answers), further, held


def _question(method: str, params: Sequence[Any]) -> str:
    return f"{method} {json.dumps(list(params), sort_keys=True, separators=(',', ':'))}"


def _answers(evidence: bytes) -> dict[str, Any]:
    require_shallow(evidence, "evidence of a bundle")
    try:
        answers = json.loads(evidence)
    except ValueError:
        answers = None
    if not isinstance(answers, dict) or len(answers) > _ANSWERS:
        raise FormatError("evidence of a bundle", expected="a JSON object of answers", found="something else")
    return answers
