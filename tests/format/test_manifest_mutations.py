"""Manifests that were changed somewhere are refused, or read as the slow reference reads them."""

import copy
import random

import pytest

from modelreg.errors import FormatError
from tests.format.test_manifest import VALID, from_json, read, release_of
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


@pytest.mark.parametrize("start", range(0, 1200, 100))
def test_mutations_of_structure_are_read_as_by_the_reference(start):
    accepted = 0
    for seed in range(start, start + 100):
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
            continue
        if not isinstance(root, Link) or root[1] not in (RAW, NODE):
            continue
        ours = outcome(read, root, blocks, FormatError, release_of)
        assert ours == outcome(reference.read, root, blocks, Refused, lambda release: release), seed
        accepted += isinstance(ours, dict)
    assert accepted


@pytest.mark.parametrize("start", range(0, 800, 200))
def test_mutations_of_bytes_are_read_as_by_the_reference(start):
    for seed in range(start, start + 200):
        chance = random.Random(seed)
        root, blocks = reference.write(reference.sample())
        data = bytearray(blocks[root])
        for _ in range(chance.choice([1, 1, 3])):
            place = chance.randrange(len(data))
            data[place : place + chance.choice([0, 1, 1])] = bytes(
                [chance.randrange(256)] * chance.choice([0, 1, 1, 2])
            )
        changed = reference.link_to("blake3", NODE, bytes(data))
        blocks = blocks | {changed: bytes(data)}
        ours = outcome(read, changed, blocks, FormatError, release_of)
        assert ours == outcome(reference.read, changed, blocks, Refused, lambda release: release), seed


def test_every_cut_and_every_changed_byte_of_a_node_is_noticed():
    root, blocks = from_json(VALID["several files, tensors and bases"])
    sealed = release_of(read(root, blocks))
    for cid, data in blocks.items():
        if cid == root:
            continue
        for place in range(0, len(data), 3):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            try:
                found = read(root, blocks | {cid: changed})
            except (FormatError, KeyError):
                continue
            # The store checks blocks against links; even without it the content root holds the plaintext.
            assert [row[:2] for file in release_of(found)["files"] for row in file["rows"]] == [
                row[:2] for file in sealed["files"] for row in file["rows"]
            ]
