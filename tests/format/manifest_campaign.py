"""Manifests that were changed somewhere, and whether they are read as the slow reference reads them.

`python -m tests.format.manifest_campaign SECONDS` goes on with new ones for so long, and prints how many it
read, how many of them were accepted, and the peak of its memory. A seed that fails is printed.
"""

import copy
import random
import re
import sys
import time
from pathlib import Path

from modelreg.errors import FormatError
from tests.format.test_manifest import read, release_of
from tests.reference import manifest as reference
from tests.reference.dagcbor import Link, reference_decode, reference_encode
from tests.reference.manifest import NODE, RAW, Refused

# A manifest is unfolded into one value, changed somewhere, and folded again with fitting links.


class Node(list):
    """A linked block inside the value: its codec and what it says."""


def unfold(at, blocks):
    if isinstance(at, Link) and at in blocks:
        return Node([at[1], unfold(reference_decode(blocks[at]), blocks)])
    if isinstance(at, list):
        return [unfold(item, blocks) for item in at]
    if isinstance(at, dict):
        return {key: unfold(item, blocks) for key, item in at.items()}
    return at


def fold(value, blocks):
    if isinstance(value, Node):
        data = reference_encode(fold(value[1], blocks))
        cid = reference.link_to("blake3", value[0], data)
        blocks[cid] = data
        return cid
    if isinstance(value, list):
        return [fold(item, blocks) for item in value]
    if isinstance(value, dict):
        return {key: fold(item, blocks) for key, item in value.items()}
    return value


def places(value):
    """Every container and a key in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


SPECIAL = [
    0,
    1,
    -1,
    2,
    31,
    255,
    2**16,
    2**20,
    2**21,
    2**63,
    2**63 - 1,
    None,
    True,
    False,
    "",
    "a",
    b"",
    bytes(32),
    [],
    {},
]


def mutate(chance, value):
    where = list(places(value))
    at, key = chance.choice(where)
    old = at[key]
    other, other_key = chance.choice(where)
    kind = chance.randrange(7)
    if kind == 0 and isinstance(old, int):
        at[key] = old + chance.choice([1, -1, 60, -60])
    elif kind == 1:
        at[key] = copy.deepcopy(other[other_key])
    elif kind == 2:
        del at[key]
    elif kind == 3 and isinstance(at, list) and not isinstance(at, Node):
        at.insert(key, copy.deepcopy(chance.choice([old, chance.choice(SPECIAL)])))
    elif kind == 4 and isinstance(at, list):
        at.reverse()
    elif kind == 5 and isinstance(old, bytes) and old:
        changed = bytearray(old)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        at[key] = type(old)(changed)
    else:
        at[key] = copy.deepcopy(chance.choice(SPECIAL))


def reseal(tree):
    """Give the root the content root and the size that fit, so that other checks are reached."""
    try:
        blocks = {}
        root = fold(tree, blocks)
        reader = reference._Reader(blocks, root)
        value = tree[1]
        rows = [row for shard in value["chunks"] for row in reader.rows(fold(shard, blocks))]
        release = {"hash": "blake3", "files": []}
        for shard in value["files"]:
            for file in reader.files(fold(shard, blocks)):
                release["files"].append(file | {"rows": rows[: file["count"]]})
                del rows[: file["count"]]
        value["content"] = reference.content_root(release)
        value["size"] = sum(file["size"] for file in release["files"])
    except (Refused, KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError):
        return


def outcome(reader, root, blocks, refusal, shape):
    try:
        return shape(reader(root, blocks))
    except refusal:
        return None
    except KeyError:
        return "a link to nowhere"


def check(root, blocks, seed):
    """Whether the manifest was accepted; both readers must agree."""
    ours = outcome(read, root, blocks, FormatError, release_of)
    theirs = outcome(reference.read, root, blocks, Refused, lambda release: release)
    assert ours == theirs, f"seed {seed}"
    return isinstance(ours, dict)


def check_structure(seed):
    chance = random.Random(seed)
    tree = unfold(*reference.write(reference.sample(), rows_a_shard=chance.choice([2, 2048])))
    for _ in range(chance.choice([1, 1, 2])):
        mutate(chance, tree)
    if chance.randrange(3):
        reseal(tree)
    blocks = {}
    try:
        root = fold(tree, blocks)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError):
        return False
    if not isinstance(root, Link) or root[1] not in (RAW, NODE):
        return False
    return check(root, blocks, seed)


def check_bytes(seed):
    chance = random.Random(seed)
    root, blocks = reference.write(reference.sample())
    data = bytearray(blocks[root])
    for _ in range(chance.choice([1, 1, 3])):
        place = chance.randrange(len(data))
        new = bytes([chance.randrange(256)] * chance.choice([0, 1, 1, 2]))
        data[place : place + chance.choice([0, 1, 1])] = new
    changed = reference.link_to("blake3", NODE, bytes(data))
    return check(changed, blocks | {changed: bytes(data)}, seed)


def main(seconds):
    end, seed, accepted = time.monotonic() + seconds, time.time_ns(), 0
    first = seed
    while time.monotonic() < end:
        accepted += check_structure(seed) + check_bytes(seed)
        seed += 1
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) // 1024
    print(f"manifests {2 * (seed - first)}, accepted {accepted}, peak {peak} MB")


if __name__ == "__main__":
    main(float(sys.argv[1]))
