"""What a node remembers of a ledger, and its one text. Specified in docs/spec/ledger.md, section 7."""

import json
from dataclasses import dataclass
from typing import Any, Self

from modelreg.errors import FormatError, InputError
from modelreg.format.json_depth import require_shallow
from modelreg.format.names import ReleaseId, check_branch

__all__ = ["NUMBER_MAX", "BranchHead", "TrustedHead", "branch_key"]

NUMBER_MAX = 2**63 - 1
"""The highest block number, time and seq that can be remembered."""
_SCHEMA = "modelreg/trusted-head/1"
_JSON_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class BranchHead:
    """The newest release seen on a branch; `model` is the id of 32 bytes."""

    model: bytes
    branch: str
    release: ReleaseId
    seq: int


@dataclass(frozen=True, slots=True)
class TrustedHead:
    """What was seen and accepted: one chain, its highest block, and the heads of the branches followed."""

    chain_id: int
    contract: bytes
    genesis: bytes
    number: int
    hash: bytes
    time: int
    branches: tuple[BranchHead, ...] = ()

    def branch(self, model: bytes, branch: str) -> BranchHead | None:
        """What was seen on a branch."""
        found = (head for head in self.branches if (head.model, head.branch) == (model, branch))
        return next(found, None)

    def to_json(self) -> str:
        """The one text of this state."""
        document = {
            "branches": [
                {"branch": h.branch, "model": h.model.hex(), "release": str(h.release), "seq": h.seq}
                for h in self.branches
            ],
            "chain_id": self.chain_id,
            "contract": self.contract.hex(),
            "genesis": self.genesis.hex(),
            "hash": self.hash.hex(),
            "number": self.number,
            "schema": _SCHEMA,
            "time": self.time,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises FormatError for any other text."""
        try:
            require_shallow(text.encode(), "the state of the trusted head")
            state = cls._from_document(json.loads(text) if len(text) <= _JSON_MAX else None)
            same = state.to_json() == text
        except (ValueError, KeyError, TypeError, InputError, FormatError):
            same = False
        if not same:
            raise FormatError("the state of the trusted head", expected=f"the canonical JSON of {_SCHEMA}")
        return state

    @classmethod
    def _from_document(cls, document: Any) -> Self:
        branches = tuple(
            BranchHead(
                _unhex(entry["model"], 32),
                check_branch(entry["branch"]),
                ReleaseId.parse(entry["release"]),
                _number(entry["seq"]),
            )
            for entry in document["branches"]
        )
        keys = [branch_key(head) for head in branches]
        if keys != sorted(set(keys)):
            raise ValueError("branches")
        return cls(
            _number(document["chain_id"]),
            _unhex(document["contract"], 20),
            _unhex(document["genesis"], 32),
            _number(document["number"]),
            _unhex(document["hash"], 32),
            _number(document["time"]),
            branches,
        )


def branch_key(head: BranchHead) -> tuple[bytes, str]:
    """What the branches of a head are sorted by."""
    return head.model, head.branch


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_MAX:
        raise ValueError("number")
    return value


def _unhex(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size:
        raise ValueError("length")
    return raw
