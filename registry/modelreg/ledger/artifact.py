"""The compiled contracts that are shipped with the package (contracts/artifacts in a checkout)."""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from modelreg.errors import NotFoundError
from modelreg.format.digest import keccak256

__all__ = ["Artifact", "load_artifact"]

_HERE = Path(__file__).resolve()
_PLACES = (_HERE.parent / "artifacts", _HERE.parents[3] / "contracts" / "artifacts")


@dataclass(frozen=True)
class Artifact:
    """One contract as its compiler left it; `address` is where the deployment proxy puts it on any chain."""

    name: str
    abi: list[dict[str, Any]]
    init_code: bytes
    runtime_code: bytes
    storage_layout: dict[str, Any]
    salt: bytes
    address: bytes

    @cached_property
    def code_hash(self) -> bytes:
        """keccak-256 of the code that lies on the chain."""
        return keccak256(self.runtime_code)


@lru_cache
def load_artifact(name: str = "ModelRegistry") -> Artifact:
    """Read an artifact. Raises NotFoundError if the installation lacks it."""
    for place in _PLACES:
        try:
            raw = (place / f"{name}.json").read_bytes()
        except OSError:
            continue
        return _parse(json.loads(raw))
    raise NotFoundError(f"the contract {name} is missing", hint="reinstall modelreg")


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _parse(document: dict[str, Any]) -> Artifact:
    create2 = document["create2"]
    return Artifact(
        name=document["contractName"],
        abi=document["abi"],
        init_code=_unhex(document["bytecode"]),
        runtime_code=_unhex(document["deployedBytecode"]),
        storage_layout=document["storageLayout"],
        salt=_unhex(create2["salt"]),
        address=_unhex(create2["address"]),
    )
