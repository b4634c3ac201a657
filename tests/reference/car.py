"""CARv1 by hand, from its specification, over the DAG-CBOR reference; a whole file at a time.

`python -m tests.reference.car` writes tests/vectors/car/ again.
"""

import hashlib
import json
from pathlib import Path

import blake3

from tests.reference.dagcbor import Link, reference_decode, reference_encode

VECTORS = Path(__file__).parent.parent / "vectors" / "car"
RAW, NODE, BLAKE3, SHA2 = 0x55, 0x71, 0x1E, 0x12


def hashed(algorithm, block):
    return blake3.blake3(block).digest() if algorithm == BLAKE3 else hashlib.sha256(block).digest()


def cid(codec, algorithm, block):
    return Link(bytes([1, codec, algorithm, 32]) + hashed(algorithm, block))


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def section(link, block):
    return varint(len(link) + len(block)) + link + block


def header(value):
    raw = reference_encode(value)
    return varint(len(raw)) + raw


def reference_write(roots, blocks):
    return header({"roots": roots, "version": 1}) + b"".join(section(*block) for block in blocks)


def _take_varint(data):
    for size in range(1, 10):
        if size > len(data):
            break
        if data[size - 1] < 128:
            number = sum((byte & 127) << (7 * index) for index, byte in enumerate(data[:size]))
            if varint(number) != data[:size]:
                raise ValueError("not the shortest varint")
            return number, data[size:]
    raise ValueError("bad varint")


def _take_piece(data, most):
    length, data = _take_varint(data)
    if length > most or length > len(data):
        raise ValueError("too long, or ends early")
    return data[:length], data[length:]


def reference_read(data):
    raw, data = _take_piece(data, 64 << 10)
    head = reference_decode(raw)
    if not isinstance(head, dict) or head.keys() != {"roots", "version"} or repr(head["version"]) != "1":
        raise ValueError("header")
    roots = head["roots"]
    if not isinstance(roots, list) or not 1 <= len(roots) <= 1024 or {type(root) for root in roots} != {Link}:
        raise ValueError("roots")
    blocks = []
    while data:
        piece, data = _take_piece(data, 36 + (1 << 20))
        link, block = Link(piece[:36]), piece[36:]
        reference_decode(reference_encode(link))
        if hashed(link[2], block) != link[4:]:
            raise ValueError("digest")
        blocks.append((link, block))
    return roots, blocks


LEAF = b"weights"
LEAF_CID = cid(RAW, BLAKE3, LEAF)
TREE = reference_encode({"leaf": LEAF_CID})
TREE_CID = cid(NODE, BLAKE3, TREE)
LEAF_SHA2 = cid(RAW, SHA2, LEAF)
EMPTY_CID = cid(RAW, BLAKE3, b"")
_LONG = bytes(range(200))
_GOOD = reference_write([TREE_CID], [(TREE_CID, TREE), (LEAF_CID, LEAF)])
_HEAD = header({"roots": [TREE_CID], "version": 1})

VALID = {
    "one node and its leaf": ([TREE_CID], [(TREE_CID, TREE), (LEAF_CID, LEAF)]),
    "leaf before node": ([TREE_CID], [(LEAF_CID, LEAF), (TREE_CID, TREE)]),
    "no blocks": ([TREE_CID], []),
    "empty block": ([EMPTY_CID], [(EMPTY_CID, b"")]),
    "sha2-256": ([LEAF_SHA2], [(LEAF_SHA2, LEAF)]),
    "block of two length bytes": ([LEAF_CID], [(cid(RAW, BLAKE3, _LONG), _LONG)]),
    "same block twice": ([LEAF_CID], [(LEAF_CID, LEAF), (LEAF_CID, LEAF)]),
    "two roots": ([TREE_CID, LEAF_CID], [(TREE_CID, TREE), (LEAF_CID, LEAF)]),
}

_HEADERS = {
    "nothing": b"",
    "header length alone": b"\x3a",
    "empty header": b"\x00",
    "header cut short": _HEAD[:-1],
    "header length in a long form": b"\xba\x00" + _HEAD[1:],
    "header length beyond the limit": varint((64 << 10) + 1) + bytes((64 << 10) + 1),
    "header length without an end": b"\x80" * 20,
    "header length of 2**63": varint(2**63),
    "header is a list": header([1, [TREE_CID]]),
    "header without roots": header({"version": 1}),
    "header without a version": header({"roots": [TREE_CID]}),
    "header with another key": header({"roots": [TREE_CID], "version": 1, "x": 1}),
    "header of version 2": header({"roots": [TREE_CID], "version": 2}),
    "header of CARv2": b"\x0a\xa1\x67version\x02",
    "version is true": header({"roots": [TREE_CID], "version": True}),
    "no roots": header({"roots": [], "version": 1}),
    "roots is a map": header({"roots": {"a": TREE_CID}, "version": 1}),
    "root is bytes": header({"roots": [bytes(TREE_CID)], "version": 1}),
    "1025 roots": header({"roots": [LEAF_CID] * 1025, "version": 1}),
    "header out of order": b"\x3a\xa2\x67version\x01\x65roots\x81" + reference_encode(TREE_CID),
}
_SECTIONS = {
    "section cut in the length": _HEAD + b"\x80",
    "section cut in the CID": _HEAD + section(LEAF_CID, LEAF)[:20],
    "section cut in the block": _GOOD[:-1],
    "section of length 0": _HEAD + b"\x00",
    "padding of zero bytes": _GOOD + bytes(8),
    "section shorter than a CID": _HEAD + varint(35) + LEAF_CID[:35],
    "section length in a long form": _HEAD + b"\xab\x00" + section(LEAF_CID, LEAF)[1:],
    "section length beyond the limit": _HEAD + varint(36 + (1 << 20) + 1) + LEAF_CID,
    "section length of five bytes": _HEAD + varint(2**31) + LEAF_CID,
    "section length without an end": _HEAD + b"\xff" * 20,
    "block changed": _GOOD[:-1] + b"S",
    "block longer": _HEAD + section(LEAF_CID, LEAF + b"\x00"),
    "block shorter": _HEAD + section(LEAF_CID, LEAF[:-1]),
    "block of another CID": _HEAD + section(TREE_CID, LEAF),
    "digest of the other hash": _HEAD + section(Link(b"\x01\x55\x12\x20" + LEAF_CID[4:]), LEAF),
    "CID of version 0": _HEAD + section(b"\x12\x20" + LEAF_SHA2[4:], LEAF),
    "CID of another codec": _HEAD + section(Link(b"\x01\x70" + LEAF_CID[2:]), LEAF),
    "CID with an identity hash": _HEAD + section(Link(b"\x01\x55\x00\x20" + LEAF.ljust(32)), LEAF),
    "second block is wrong": _HEAD + section(TREE_CID, TREE) + section(LEAF_CID, b"weightS"),
}
REFUSED = _HEADERS | _SECTIONS


def documents():
    """The vector files by name."""
    valid = [
        {
            "name": name,
            "roots": [root.hex() for root in roots],
            "blocks": [[link.hex(), block.hex()] for link, block in blocks],
            "hex": reference_write(roots, blocks).hex(),
        }
        for name, (roots, blocks) in VALID.items()
    ]
    refused = [{"name": name, "hex": data.hex()} for name, data in REFUSED.items() if len(data) < 4096]
    return {"valid.json": valid, "refused.json": refused}


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
