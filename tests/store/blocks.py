"""Blocks and DAGs for the tests of stores."""

import random

from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm

BLAKE3, SHA2 = HashAlgorithm.BLAKE3_256, HashAlgorithm.SHA2_256


def leaf(data, algorithm=BLAKE3):
    return Cid.of(Codec.RAW, data, algorithm), data


def leaves(count, seed=0, size=100):
    chance = random.Random(seed)
    return [leaf(chance.randbytes(size)) for _ in range(count)]


def node(value, algorithm=BLAKE3):
    data = canonical.encode(value)
    return Cid.of(Codec.DAG_CBOR, data, algorithm), data


def dag(seed, width=5, size=100):
    """A root, two nodes below it and their leaves, in the order in which they are put: the root last."""
    blocks = leaves(2 * width, seed, size)
    cids = [cid for cid, _ in blocks]
    nodes = [node({"links": cids[:width]}), node([{"x": cid} for cid in cids[width:]])]
    root = node({"seed": seed, "nodes": [cid for cid, _ in nodes]})
    return [*blocks, *nodes, root]


def files_under(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
