"""Claims as docs/spec/dispute.md, section 1, gives them, by hand; and the bounds of section 4 in fractions.

`python -m tests.reference.claims` writes tests/vectors/claims/ again.
"""

import json
import math
from fractions import Fraction
from pathlib import Path

from tests.reference import receipt as reference
from tests.reference.dagcbor import reference_encode
from tests.reference.receipt_vectors import DOMAIN, KEY
from tests.reference.secp256k1 import keccak256, sign

VECTORS = Path(__file__).parents[1] / "vectors" / "claims"
RECEIPT = keccak256(b"a receipt")
FIELDS = [("bytes32", "receipt"), ("uint16", "segment"), ("bytes32", "values")]
TENSORS = [
    ("a", "FP32", [2], bytes(8)),
    ("b", "INT64", [], bytes(8)),
    ("c", "BYTES", [1], b"\x02\0\0\0hi"),
    ("d", "FP32", [0, 3], b""),
]


def digest(segment, tensors, receipt=RECEIPT):
    values = reference.values_of(tensors)
    value = {"receipt": receipt, "segment": segment, "values": values}
    separator = reference._struct("EIP712Domain", reference.DOMAIN_FIELDS, DOMAIN)
    return keccak256(b"\x19\x01" + separator + reference._struct("Claim", FIELDS, value))


def header(segment=2, tensors=TENSORS, **changes):
    return {
        "kind": "modelreg/claim/1",
        "receipt": RECEIPT,
        "segment": segment,
        "signature": sign(KEY, digest(segment, tensors)),
        "tensors": [[name, kind, dims, len(data)] for name, kind, dims, data in tensors],
        **changes,
    }


def frame(head, tensors=TENSORS, tail=b""):
    block = reference_encode(head)
    return len(block).to_bytes(4, "big") + block + b"".join(row[3] for row in tensors) + tail


def documents():
    rows = [["z", "FP32", [1], 4], ["a", "FP32", [1], 4]]
    other = [("a", "FP32", [2], b"\0" * 7 + b"\x3f"), *TENSORS[1:]]
    good = {"four tensors": frame(header()), "no tensor": frame(header(0, []), [])}
    good["the last segment"] = frame(header(65535))
    bad = {
        "another kind": frame(header(kind="modelreg/opening/1")),
        "a segment beyond 65,535": frame(header() | {"segment": 65536}),
        "a receipt of 31 bytes": frame(header(receipt=RECEIPT[1:])),
        "a signature of 64 bytes": frame(header(signature=bytes(64))),
        "a signature that is a text": frame(header(signature="0x")),
        "a further key": frame(header(more=1)),
        "names in another order": frame(header(tensors=[]) | {"tensors": rows}, []) + bytes(8),
        "bytes behind": frame(header(), tail=b"\0"),
        "an early end": frame(header())[:-9],
        "a size that is not its elements": frame(header() | {"tensors": [["a", "FP32", [2], 4]]}, [])
        + bytes(4),
    }
    unsigned = {
        "another tensor": frame(header(), other),
        "another segment": frame(header() | {"segment": 3}),
        "another receipt": frame(header() | {"receipt": keccak256(b"another receipt")}),
        "a high s": frame(header(signature=b"\xff" * 64 + b"\x1b")),
    }
    return {"accepted.json": good, "misread.json": bad, "unsigned.json": unsigned}


def render(rows):
    return json.dumps([{"name": name, "bytes": raw.hex()} for name, raw in rows.items()], indent=1) + "\n"


# Bounds. All inputs are lists of fractions.


def hard_bound(products, bias=None):
    """gamma of n + 2, times the sum of the sizes."""
    terms = len(products) + (bias is not None)
    sizes = sum(map(abs, products)) + abs(bias or 0)
    share = Fraction(terms + 2, 2**24)
    return float(share / (1 - share) * sizes)


def soft_bound(products, bias=None):
    every = [*products, *([] if bias is None else [bias])]
    total, squares = sum(every), sum(product * product for product in every)
    return 4 * 2.0**-24 * math.sqrt(len(every) * (squares + total * total))


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for name, rows in documents().items():
        (VECTORS / name).write_text(render(rows))
