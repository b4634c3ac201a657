"""Signed receipts as JSON and as a header's text. Specified in docs/spec/receipt.md, section 6."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from modelreg.errors import FormatError, VerificationError
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import DOMAIN_NAME, DOMAIN_VERSION, SIGNED_BYTES, Domain, Receipt, SignedReceipt
from modelreg.format.strict_json import hex_bytes, load, members, natural

__all__ = [
    "MAX_JSON_BYTES",
    "answer_object",
    "answer_text",
    "from_header",
    "read_answer",
    "read_object",
    "stated_domain",
    "to_header",
    "to_object",
]

MAX_JSON_BYTES = 4096
_HEADER_CHARACTERS = SIGNED_BYTES // 3 * 4  # 387 bytes fill their base64: there is no padding

# Names as in the EIP-712 type, in the order of the receipt's fields, each with its bytes; 0 is a number.
_FIELDS = {
    "schema": 0,
    "node": 20,
    "releaseId": 32,
    "planId": 32,
    "requestId": 32,
    "client": 20,
    "inputCommit": 32,
    "outputCommit": 32,
    "traceRoot": 32,
    "runtimeFingerprint": 32,
    "epoch": 0,
    "seq": 0,
    "issuedAt": 0,
    "prevReceipt": 32,
}
_DOMAIN_KEYS = ("name", "version", "chainId", "verifyingContract")
_ANSWER_KEYS = ("receipt", "digest", "signature")
_ANSWER = (
    '{"receipt":{'
    + ",".join(f'"{name}":' + ('"0x%s"' if size else "%d") for name, size in _FIELDS.items())
    + '},"digest":"0x%s","signature":"0x%s"}'
)


def to_object(signed: SignedReceipt, domain: Domain) -> dict[str, Any]:
    """The object that `json.dumps` writes as a receipt of its own: with its domain."""
    stated = {
        "name": DOMAIN_NAME,
        "version": DOMAIN_VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": _hex(domain.contract),
    }
    return {"domain": stated, **answer_object(signed, domain)}


def answer_object(signed: SignedReceipt, domain: Domain) -> dict[str, Any]:
    """The object without its domain, as an answer of the inference protocol has it."""
    found: dict[str, Any] = json.loads(answer_text(signed, signed.receipt.digest(domain)))
    return found


def answer_text(signed: SignedReceipt, digest: bytes) -> str:
    """The same object as JSON without spaces, for who has the receipt's digest."""
    values = [value if isinstance(value, int) else value.hex() for value in signed.receipt.values]
    return _ANSWER % (*values, digest.hex(), signed.signature.hex())


def read_object(raw: bytes, domain: Domain) -> SignedReceipt:
    """Read a receipt of its own for the domain that the reader expects; its signature is not checked.

    Raises:
        FormatError: anything but the object of section 6.
        VerificationError: another domain, or another digest than the receipt's.
    """
    found = _members(_load(raw), ("domain", *_ANSWER_KEYS))
    stated = _domain(found["domain"])
    if stated != domain:
        raise VerificationError("receipt domain", expected=_place(domain), found=_place(stated))
    return _signed(found, domain)


def read_answer(raw: bytes, domain: Domain) -> SignedReceipt:
    """Read the object without a domain, as `read_object` reads the whole."""
    return _signed(_members(_load(raw), _ANSWER_KEYS), domain)


def stated_domain(raw: bytes) -> Domain:
    """The domain that a receipt of its own claims, for a reader who expects none. Raises FormatError."""
    return _domain(_members(_load(raw), ("domain", *_ANSWER_KEYS))["domain"])


def to_header(signed: SignedReceipt) -> str:
    """The value of the header `modelreg-receipt`."""
    return binascii.b2a_base64(bytes(signed), newline=False).decode("ascii")


def from_header(text: str) -> SignedReceipt:
    """Read a header's value; the signature is not checked. Raises FormatError."""
    if len(text) != _HEADER_CHARACTERS:
        raise FormatError("receipt header", expected=f"{_HEADER_CHARACTERS} characters", found=len(text))
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise FormatError("receipt header", expected="base64", found="another character") from None
    return SignedReceipt.from_bytes(raw)


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _place(domain: Domain) -> str:
    return f"chain {domain.chain_id}, contract {_hex(domain.contract)}"


def _load(raw: bytes) -> Any:
    return load(raw, "receipt", MAX_JSON_BYTES)


def _members(value: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    return members(value, keys, "receipt")


def _domain(value: Any) -> Domain:
    stated = _members(value, _DOMAIN_KEYS)
    if (stated["name"], stated["version"]) != (DOMAIN_NAME, DOMAIN_VERSION):
        raise FormatError(
            "receipt domain",
            expected=f'name "{DOMAIN_NAME}", version "{DOMAIN_VERSION}"',
            found=ascii((stated["name"], stated["version"]))[:90],
        )
    contract = _bytes(stated["verifyingContract"], 20, "verifyingContract")
    return Domain(_uint(stated["chainId"], "chainId"), contract)


def _signed(found: Mapping[str, Any], domain: Domain) -> SignedReceipt:
    fields = _members(found["receipt"], tuple(_FIELDS))
    values: list[Any] = [
        _bytes(fields[name], size, name) if size else _uint(fields[name], name)
        for name, size in _FIELDS.items()
    ]
    schema, node, release_id, *rest = values
    receipt = Receipt(schema, node, ReleaseId(release_id), *rest)
    signed = SignedReceipt(receipt, _bytes(found["signature"], 65, "signature"))
    given, digest = _bytes(found["digest"], 32, "digest"), receipt.digest(domain)
    if given != digest:
        raise VerificationError("receipt digest", expected=_hex(digest), found=_hex(given))
    return signed


def _uint(value: Any, name: str) -> int:
    return natural(value, f"receipt {name}")


def _bytes(value: Any, size: int, name: str) -> bytes:
    return hex_bytes(value, size, f"receipt {name}")
