"""Receipts as docs/spec/receipt.md gives them, one step at a time: EIP-712 and trees by hand, slowly.

tests/reference/receipt_vectors.py makes the vectors.
"""

import base64
import json
import math
import re

import blake3

from tests.reference.dagcbor import reference_encode
from tests.reference.merkle import reference_proof
from tests.reference.secp256k1 import keccak256, recover

FIELDS = [
    ("uint16", "schema"),
    ("address", "node"),
    ("bytes32", "releaseId"),
    ("bytes32", "planId"),
    ("bytes32", "requestId"),
    ("address", "client"),
    ("bytes32", "inputCommit"),
    ("bytes32", "outputCommit"),
    ("bytes32", "traceRoot"),
    ("bytes32", "runtimeFingerprint"),
    ("uint64", "epoch"),
    ("uint64", "seq"),
    ("uint64", "issuedAt"),
    ("bytes32", "prevReceipt"),
]
DOMAIN_FIELDS = [
    ("string", "name"),
    ("string", "version"),
    ("uint256", "chainId"),
    ("address", "verifyingContract"),
]
SIZES = {"uint16": 2, "uint64": 8, "uint256": 32, "address": 20, "bytes32": 32}
EXACT = 2**53


# EIP-712.


def _word(kind, value):
    if kind == "string":
        return keccak256(value.encode())
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(32 - len(value)) + value


def _struct(name, fields, value):
    kind = f"{name}({','.join(f'{kind} {field}' for kind, field in fields)})"
    return keccak256(keccak256(kind.encode()) + b"".join(_word(kind, value[field]) for kind, field in fields))


def digest_of(receipt, domain, name="Receipt"):
    separator = _struct("EIP712Domain", DOMAIN_FIELDS, domain)
    return keccak256(b"\x19\x01" + separator + _struct(name, FIELDS, receipt))


def pack(receipt):
    return b"".join(
        value if isinstance(value, bytes) else value.to_bytes(SIZES[kind], "big")
        for kind, value in ((kind, receipt[name]) for kind, name in FIELDS)
    )


def unpack(raw):
    receipt, at = {}, 0
    for kind, name in FIELDS:
        part, at = raw[at : at + SIZES[kind]], at + SIZES[kind]
        receipt[name] = int.from_bytes(part, "big") if kind.startswith("uint") else part
    return receipt


# Readers: ValueError where a check of section 7 fails, by its number.


def _require(holds, check):
    if not holds:
        raise ValueError(check)


def check_receipt(receipt):
    _require(receipt["schema"] == 1 and any(receipt["releaseId"]), 2)
    _require(all(receipt[name] < EXACT for name in ("epoch", "seq", "issuedAt")), 2)


def read_bytes(raw):
    _require(len(raw) == 387, 1)
    receipt = unpack(raw[:322])
    check_receipt(receipt)
    return receipt, raw[322:]


def read_header(text):
    _require(re.fullmatch(r"[A-Za-z0-9+/]{516}", text), 1)
    return read_bytes(base64.b64decode(text))


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _pairs(pairs):
    _require(len({key for key, _ in pairs}) == len(pairs), 1)
    return dict(pairs)


def _value(kind, value):
    if kind == "string":
        _require(isinstance(value, str) and not isinstance(value, _Number), 1)
        return value
    if kind.startswith("uint"):
        _require(isinstance(value, _Number) and re.fullmatch("0|[1-9][0-9]*", value, re.ASCII), 1)
        return int(value)
    form = f"0x[0-9a-f]{{{2 * SIZES[kind]}}}"
    _require(isinstance(value, str) and re.fullmatch(form, value), 1)
    return bytes.fromhex(value[2:])


def _struct_of(fields, value):
    _require(isinstance(value, dict) and set(value) == {name for _, name in fields}, 1)
    return {name: _value(kind, value[name]) for kind, name in fields}


def _parse(raw, keys):
    _require(len(raw) <= 4096, 1)
    try:
        value = json.loads(
            str(raw, "utf-8"),
            object_pairs_hook=_pairs,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_Number,
        )
    except (ValueError, RecursionError):
        raise ValueError(1) from None
    _require(isinstance(value, dict) and set(value) == keys, 1)
    return value


def _read(members, domain):
    receipt = _struct_of(FIELDS, members["receipt"])
    check_receipt(receipt)
    signature = _value("bytes65", members["signature"])
    _require(_value("bytes32", members["digest"]) == digest_of(receipt, domain), 4)
    return receipt, signature


SIZES["bytes65"] = 65
ANSWER_KEYS = {"receipt", "digest", "signature"}


def read_answer(raw, domain):
    return _read(_parse(raw, ANSWER_KEYS), domain)


def read_object(raw, domain):
    members = _parse(raw, ANSWER_KEYS | {"domain"})
    stated = _struct_of(DOMAIN_FIELDS, members["domain"])
    _require(stated["chainId"] < EXACT and (stated["name"], stated["version"]) == ("modelreg", "1"), 1)
    _require(stated == domain, 4)
    return _read(members, domain)


def verify(receipt, signature, domain):
    try:
        signer = recover(digest_of(receipt, domain), signature)
    except ValueError:
        raise ValueError(3) from None
    _require(signer == receipt["node"], 3)


# Writers.


def plain(value):
    """Bytes as text, for JSON."""
    return {name: f"0x{item.hex()}" if isinstance(item, bytes) else item for name, item in value.items()}


def object_of(receipt, signature, domain):
    digest = digest_of(receipt, domain)
    return {
        "domain": plain(domain),
        "receipt": plain(receipt),
        **plain({"digest": digest, "signature": signature}),
    }


# Commitments.

WIDTHS = {"BOOL": 1, "BYTES": None, "BF16": 2, "FP16": 2, "FP32": 4, "FP64": 8}
WIDTHS |= {f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)}


def _check_tensor(datatype, dims, data):
    _require(datatype in WIDTHS and len(dims) <= 16 and all(0 <= dim < 2**63 for dim in dims), "tensor")
    count = math.prod(dims)
    if datatype != "BYTES":
        _require(len(data) == count * WIDTHS[datatype], "size")
        _require(datatype != "BOOL" or set(data) <= {0, 1}, "BOOL")
        return
    while data:
        count -= 1
        size = int.from_bytes(data[:4], "little")
        _require(len(data) >= 4 + size, "element")
        data = data[4 + size :]
    _require(count == 0, "elements")


def values_of(tensors):
    """Of a list of (name, datatype, dims, bytes)."""
    _require(len(tensors) <= 256, "count")
    rows = []
    for name, datatype, dims, data in tensors:
        _require(1 <= len(name.encode()) <= 256, "name")
        _check_tensor(datatype, dims, data)
        rows.append([name, datatype, list(dims), blake3.blake3(data).digest()])
    rows.sort(key=lambda row: row[0].encode())
    _require(len({row[0] for row in rows}) == len(rows), "name twice")
    return blake3.blake3(reference_encode({"kind": "modelreg/values/1", "tensors": rows})).digest()


def input_commit(salt, values):
    return keccak256(b"\x07" + salt + values)


def output_commit(salt, values):
    return keccak256(b"\x08" + salt + values)


def cut_leaf(cut, salt, values):
    return keccak256(b"\x05" + cut.to_bytes(2, "big") + salt + values)


def reference_top(leaves):
    if len(leaves) < 2:
        return b"".join(leaves)
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    return keccak256(b"\x01" + reference_top(leaves[:half]) + reference_top(leaves[half:]))


def trace_root(leaves):
    return keccak256(b"\x06" + len(leaves).to_bytes(2, "big") + reference_top(leaves))


# Batches.


def batch_leaf(digest):
    return keccak256(b"\x04" + digest)


def batch_root(node, epoch, first, digests):
    numbers = b"".join(number.to_bytes(8, "big") for number in (epoch, first, len(digests)))
    return keccak256(
        b"\x03" + bytes(12) + node + numbers + reference_top([batch_leaf(digest) for digest in digests])
    )


def batch_proof(digests, index):
    return reference_proof([batch_leaf(digest) for digest in digests], index)
