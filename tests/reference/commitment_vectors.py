"""Vectors for sections 3 and 4 of docs/spec/receipt.md; tests/reference/receipt_vectors.py writes them."""

import struct

from tests.reference import receipt as reference
from tests.reference.merkle import reference_proof
from tests.reference.secp256k1 import keccak256

SALT = keccak256(b"salt")


def _strings(*items):
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


ONE = ("x", "FP32", [2], struct.pack("<2f", 1.5, -2.0))
_WIDE = [(f"t{number}", "UINT8", [1], bytes([number % 256])) for number in range(257)]

ACCEPTED = {
    "no tensors": [],
    "one tensor": [ONE],
    "a scalar": [("x", "FP64", [], struct.pack("<d", 0.5))],
    "an empty tensor": [("x", "INT64", [3, 0, 2**63 - 1], b"")],
    "16 dims": [("x", "INT8", [1] * 16, b"\xff")],
    "every datatype": [
        (datatype.lower(), datatype, [2], b"\x01" * (2 * (width or 5)))
        for datatype, width in reference.WIDTHS.items()
        if width
    ],
    "strings": [("text", "BYTES", [1, 3], _strings(b"", b"\x00\xff", "\u00e9".encode()))],
    "no strings": [("text", "BYTES", [0], b"")],
    "a minus zero": [("x", "FP32", [1], struct.pack("<f", -0.0))],
    "a zero": [("x", "FP32", [1], struct.pack("<f", 0.0))],
    "a NaN": [("x", "FP32", [1], b"\x00\x00\xc0\x7f")],
    "another NaN": [("x", "FP32", [1], b"\x01\x00\xc0\x7f")],
    "same bytes, another datatype": [("x", "INT32", [2], ONE[3])],
    "same bytes, other dims": [("x", "FP32", [2, 1], ONE[3])],
    "same bytes, another name": [("y", "FP32", [2], ONE[3])],
    "names in the order of UTF-8, not of length, case or UTF-16": [
        (name, "BOOL", [], b"\x01") for name in ("b", "aa", "B", "\uffff", "\U00010000", "\u00e9", "z")
    ],
    "256 bytes of name": [("\u00e9" * 128, "BOOL", [], b"\x00")],
    "256 tensors": _WIDE[:256],
    "unnormalised names": [("e\u0301", "BOOL", [], b"\x00"), ("\u00e9", "BOOL", [], b"\x01")],
}
REFUSED = {
    "257 tensors": _WIDE,
    "an empty name": [("", *ONE[1:])],
    "257 bytes of name": [("x" * 257, *ONE[1:])],
    "257 bytes of name in fewer characters": [("\u00e9" * 128 + "x", *ONE[1:])],
    "a name with a surrogate": [("\ud800", *ONE[1:])],
    "an unknown datatype": [("x", "FP8", [8], ONE[3])],
    "a datatype in lower case": [("x", "fp32", [2], ONE[3])],
    "17 dims": [("x", "INT8", [1] * 17, b"\x01")],
    "a negative dim": [("x", "FP32", [-2], ONE[3])],
    "two negative dims": [("x", "FP32", [-2, -1], ONE[3])],
    "a dim of 2^63": [("x", "FP32", [2**63, 0], b"")],
    "a byte short": [("x", "FP32", [2], ONE[3][:-1])],
    "a byte more": [("x", "FP32", [2], ONE[3] + b"\x00")],
    "an element short": [("x", "FP32", [3], ONE[3])],
    "no bytes": [("x", "FP32", [2], b"")],
    "a BOOL of 2": [("x", "BOOL", [3], b"\x00\x02\x01")],
    "a string short": [("x", "BYTES", [3], _strings(b"a", b"b"))],
    "a string more": [("x", "BYTES", [1], _strings(b"a", b"b"))],
    "a string beyond the end": [("x", "BYTES", [1], b"\x02\x00\x00\x00a")],
    "a length cut short": [("x", "BYTES", [1], b"\x00\x00\x00")],
    "bytes after the strings": [("x", "BYTES", [1], _strings(b"a") + b"\x00")],
    "a big-endian length": [("x", "BYTES", [1], b"\x00\x00\x00\x01a")],
    "a string of 4 GiB": [("x", "BYTES", [1], b"\xff" * 4)],
    "strings without end": [("x", "BYTES", [2**63 - 1] * 16, bytes(400))],
}


def _row(name, tensors):
    return {"name": name, "tensors": [[*tensor[:3], tensor[3].hex()] for tensor in tensors]}


def commitments():
    made = []
    for name, tensors in ACCEPTED.items():
        values = reference.values_of(tensors)
        commits = {
            "salt": SALT.hex(),
            "values": values.hex(),
            "input": reference.input_commit(SALT, values).hex(),
            "output": reference.output_commit(SALT, values).hex(),
        }
        made.append({**_row(name, tensors), **commits})
    return made + [_row(name, tensors) for name, tensors in REFUSED.items()]


def opening(cut):
    return keccak256(b"salt of cut %d" % cut), keccak256(b"values of cut %d" % cut)


def _leaves(count):
    return [reference.cut_leaf(cut, *opening(cut)) for cut in range(count)]


def _trace(name, leaves, cut, count=None, root=None, proof=None, number=None):
    """A check: that cut `cut`, written under `number`, is under the root. Unchanged it holds."""
    salt, values = opening(cut if number is None else number)
    return {
        "name": name,
        "count": len(leaves) if count is None else count,
        "cut": cut,
        "salt": salt.hex(),
        "values": values.hex(),
        "root": (root or reference.trace_root(leaves)).hex(),
        "proof": [node.hex() for node in (reference_proof(leaves, cut) if proof is None else proof)],
    }


def traces():
    holds = [
        {**_trace(f"cut {cut} of {count}", _leaves(count), cut), "holds": True}
        for count in (1, 2, 3, 5, 8, 13, 16)
        for cut in sorted({0, count // 2, count - 1})
    ]
    none = {"name": "a plan without cuts", "root": reference.trace_root([]).hex(), "count": 0, "holds": True}
    return [none, *holds, *({**row, "holds": False} for row in _false_traces())]


def _false_traces():
    leaves = _leaves(8)
    proof = reference_proof(leaves, 3)
    yield _trace("the opening of another cut", leaves, 3, number=4)
    yield _trace("the place of another cut", leaves, 4, number=3, proof=proof)
    swapped = [*leaves[:3], leaves[4], leaves[3], *leaves[5:]]
    yield _trace("a cut that stands in another's place", swapped, 3, number=4)
    yield {
        **_trace("salt and values swapped", leaves, 3),
        "salt": opening(3)[1].hex(),
        "values": opening(3)[0].hex(),
    }
    yield _trace("a sibling less", leaves, 3, proof=proof[:-1])
    yield _trace("a sibling more", leaves, 3, proof=[*proof, bytes(32)])
    yield _trace("a sibling of 31 bytes", leaves, 3, proof=[*proof[:2], proof[2][:-1]])
    yield _trace("siblings in the other order", leaves, 3, proof=proof[::-1])
    yield _trace("a cut beyond the count", leaves, 3, count=3)
    yield _trace("another count with the same way up", leaves, 3, count=7)
    yield _trace("a cut below zero", leaves, 0, number=0) | {"cut": -1}
    yield _trace("more cuts than a plan has", leaves, 3, count=2**16, proof=[bytes(32)] * 16)
    yield _trace("an opening where there are no cuts", _leaves(1), 0, count=0, root=reference.trace_root([]))
    salt, values = opening(3)
    yield {**_trace("a short salt", leaves, 3), "salt": salt[:-1].hex(), "values": (salt[-1:] + values).hex()}
    top = reference.trace_root(leaves)
    yield _trace("a trace root as one cut", leaves[:1], 0, root=top)
    as_batch = keccak256(b"\x04" + keccak256(b"a digest"))
    yield _trace("a batch leaf as a cut", [as_batch, *leaves[1:]], 0)
    as_input = reference.input_commit(*opening(3))
    yield _trace("an input commitment as a cut", [*leaves[:3], as_input, *leaves[4:]], 3)
    plain = [keccak256(b"\x05" + salt + values) for salt, values in map(opening, range(8))]
    yield _trace("leaves without their number", plain, 3)
    content = keccak256(b"\x02\x1e" + (8).to_bytes(8, "big") + keccak256(b"top"))
    yield _trace("a content root as the trace root", leaves, 3, root=content)
