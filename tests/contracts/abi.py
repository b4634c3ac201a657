"""Encoding of calls, results, errors and events of the contracts, straight from the committed artifacts."""

import json
from pathlib import Path

from Crypto.Hash import keccak
from eth_abi import decode, encode

ROOT = Path(__file__).resolve().parents[2]


class RevertedError(Exception):
    """A call reverted with this (name, arguments...)."""

    @property
    def error(self):
        return self.args[0]


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def _type(parameter: dict) -> str:
    if not parameter["type"].startswith("tuple"):
        return parameter["type"]
    inner = ",".join(_type(part) for part in parameter["components"])
    return f"({inner})" + parameter["type"].removeprefix("tuple")


def _types(parameters: list[dict]) -> list[str]:
    return [_type(parameter) for parameter in parameters]


def signature(item: dict) -> bytes:
    """What an ABI item's selector or topic is the hash of."""
    return f"{item['name']}({','.join(_types(item['inputs']))})".encode()


def _signature(item: dict) -> bytes:
    return keccak256(signature(item))


class Contract:
    """A committed artifact and the calls of its contract."""

    def __init__(self, name: str) -> None:
        self.artifact = json.loads((ROOT / f"contracts/artifacts/{name}.json").read_bytes())
        self.address = bytes.fromhex(self.artifact["create2"]["address"][2:])
        self.init_code = bytes.fromhex(self.artifact["bytecode"][2:])
        self._functions = {item["name"]: item for item in self.items("function")}

    def items(self, kind: str) -> list[dict]:
        return [item for item in self.artifact["abi"] if item["type"] == kind]

    def encode_call(self, function: str, *args) -> bytes:
        item = self._functions[function]
        return _signature(item)[:4] + encode(_types(item["inputs"]), args)

    def decode_result(self, function: str, output: bytes):
        """The value, or a tuple of values; a struct is a dict."""
        outputs = self._functions[function]["outputs"]
        values = [_named(p, v) for p, v in zip(outputs, decode(_types(outputs), output), strict=True)]
        return values[0] if len(values) == 1 else tuple(values)


REGISTRY, RECEIPT_LOG = CONTRACTS = [Contract("ModelRegistry"), Contract("ReceiptLog")]
ARTIFACT, ADDRESS, INIT_CODE = REGISTRY.artifact, REGISTRY.address, REGISTRY.init_code
DEPLOYER = bytes.fromhex(ARTIFACT["create2"]["deployer"][2:])
encode_call, decode_result = REGISTRY.encode_call, REGISTRY.decode_result

_ERRORS = {_signature(item)[:4]: item for contract in CONTRACTS for item in contract.items("error")}
_EVENTS = {_signature(item): item for contract in CONTRACTS for item in contract.items("event")}
_PANIC = keccak256(b"Panic(uint256)")[:4]


def _named(parameter: dict, value):
    if parameter["type"] != "tuple":
        return value
    return {p["name"]: _named(p, v) for p, v in zip(parameter["components"], value, strict=True)}


def decode_error(output: bytes):
    if output[:4] == _PANIC:
        return ("Panic", int.from_bytes(output[4:], "big"))
    if output[:4] not in _ERRORS:
        return ("?", output)
    item = _ERRORS[output[:4]]
    return (item["name"], *decode(_types(item["inputs"]), output[4:]))


def decode_event(topics: tuple[bytes, ...], data: bytes):
    """(name, {argument: value})."""
    item = _EVENTS[topics[0]]
    indexed = iter(topics[1:])
    plain = iter(decode([_type(p) for p in item["inputs"] if not p["indexed"]], data))
    values = {}
    for parameter in item["inputs"]:
        values[parameter["name"]] = _named(
            parameter, decode([_type(parameter)], next(indexed))[0] if parameter["indexed"] else next(plain)
        )
    return item["name"], values


def label(text: str) -> bytes:
    """The Label of an ASCII text of at most 32 bytes."""
    raw = text.encode("ascii")
    assert len(raw) <= 32
    return raw.ljust(32, b"\0")
