"""Calls and custom errors of a contract, from its ABI (Solidity, "Contract ABI Specification")."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = ["Revert", "encode_call", "read_revert"]

_ERROR_STRING = keccak256(b"Error(string)")[:4]
_PANIC = keccak256(b"Panic(uint256)")[:4]
_TEXT_MAX = 1024


@dataclass(frozen=True, slots=True)
class Revert:
    """Why a call reverted: a custom error's name and its arguments as words, or a text."""

    name: str
    words: tuple[bytes, ...] = ()
    text: str = ""


def _type(argument: Mapping[str, Any]) -> str:
    """A type as selectors have it: a struct is the tuple of its members' types."""
    kind: str = argument["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, argument['components']))}){kind.removeprefix('tuple')}"


def _types(entry: Mapping[str, Any]) -> list[str]:
    return [_type(argument) for argument in entry["inputs"]]


def _selector(entry: Mapping[str, Any]) -> bytes:
    return keccak256(f"{entry['name']}({','.join(_types(entry))})".encode("ascii"))[:4]


def _entries(abi: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [entry for entry in abi if entry["type"] == kind]


def encode_call(abi: Iterable[Mapping[str, Any]], function: str, arguments: Sequence[Any]) -> bytes:
    """The data of a transaction that calls a function, which must not be overloaded."""
    from eth_abi.abi import encode

    [entry] = [entry for entry in _entries(abi, "function") if entry["name"] == function]
    return _selector(entry) + encode(_types(entry), arguments)


def read_revert(abi: Iterable[Mapping[str, Any]], raw: bytes) -> Revert:
    """Read revert data. The ABI tells custom errors of fixed-size arguments; others keep their bytes."""
    selector, body = raw[:4], raw[4:]
    words = tuple(body[at : at + 32] for at in range(0, len(body) - len(body) % 32, 32))
    for entry in _entries(abi, "error"):
        if _selector(entry) == selector and len(body) == 32 * len(entry["inputs"]):
            return Revert(entry["name"], words)
    if selector == _ERROR_STRING:
        return Revert("Error", text=_error_text(body))
    if selector == _PANIC and len(words) == 1:
        return Revert("Panic", text=f"panic code 0x{int.from_bytes(words[0], 'big'):x}")
    return Revert("unknown", text=f"0x{raw[:_TEXT_MAX].hex()}")


def _error_text(body: bytes) -> str:
    size = int.from_bytes(body[32:64], "big")
    if int.from_bytes(body[:32], "big") != 32 or len(body) < 64 or size > len(body) - 64:
        raise FormatError("revert data", expected="Error(string)", found=body[:64].hex())
    return body[64 : 64 + min(size, _TEXT_MAX)].decode("utf-8", "replace")
