"""Manifests as docs/spec/manifest.md puts them, one check after the other and slowly.

A release is a dict: {"hash", "bases": [[root, link]], "files": [file]}, a file {"path", "size", "format",
"tensors", "rows"}; a row is [length, digest, encoding, payload or None, base or None], a payload
[link, offset, size], a base [base, file, offset, length].

`python -m tests.reference.manifest` writes tests/vectors/manifest/ again.
"""

import hashlib
import itertools
from functools import partial
from pathlib import Path

import blake3

from tests.reference import dagcbor
from tests.reference.dagcbor import Link, reference_decode, reference_encode, to_json
from tests.reference.merkle import _hash, reference_root
from tests.reference.paths import reference_accepts_set

VECTORS = Path(__file__).parent.parent / "vectors" / "manifest"
MIB = 1 << 20
CODES = {"blake3": 0x1E, "sha2-256": 0x12}
RAW, NODE = 0x55, 0x71
BITS = {
    **dict.fromkeys(["U2", "I2"], 2),
    **dict.fromkeys(["U4", "I4", "F4"], 4),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    **dict.fromkeys(["BYTES", "BOOL", "U8", "I8", "F8_E5M2", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["F8_E4M3", "F8_E4M3FNUZ", "F8_E8M0"], 8),
    **dict.fromkeys(["U16", "I16", "F16", "BF16"], 16),
    **dict.fromkeys(["U32", "I32", "F32"], 32),
    **dict.fromkeys(["U64", "I64", "F64", "C64"], 64),
    "C128": 128,
}


class Refused(Exception):  # noqa: N818
    """A check of section 5; `number` says which."""

    def __init__(self, number, why):
        super().__init__(f"check {number}: {why}")
        self.number = number


def need(condition, number, why):
    if not condition:
        raise Refused(number, why)


def hash_of(label, data):
    return blake3.blake3(data).digest() if label == "blake3" else hashlib.sha256(data).digest()


def link_to(label, codec, data):
    return Link(bytes([1, codec, CODES[label], 32]) + hash_of(label, data))


def content_root(release):
    leaves = []
    for file in release["files"]:
        offset = 0
        for length, digest, *_ in file["rows"]:
            place = offset.to_bytes(8, "big") + length.to_bytes(8, "big")
            leaves.append(_hash(b"\x00" + _hash(file["path"].encode()) + place + digest))
            offset += length
    return reference_root(leaves, CODES[release["hash"]]) if leaves else bytes(32)


def _cut(rows, most):
    shards, size = [[]], 0
    for row in rows:
        bytes_of_row = len(reference_encode(row))
        if shards[-1] and (len(shards[-1]) == most or size + bytes_of_row > 960 * 1024):
            shards.append([])
            size = 0
        shards[-1].append(row)
        size += bytes_of_row
    return [shard for shard in shards if shard]


def write(release, edit=lambda _, value: value, rows_a_shard=2048):
    """The root's link, and blocks by their links. Nothing is checked; `edit` may change what is encoded."""
    blocks = {}

    def add(kind, value):
        data = reference_encode(edit(kind, value))
        link = link_to(release["hash"], NODE, data)
        blocks[link] = data
        return link

    rows = []
    for file in release["files"]:
        shards = [
            add("tensors", {"kind": "modelreg/tensors/1", "tensors": s}) for s in _cut(file["tensors"], 4096)
        ]
        rows.append([file["path"], file["size"], file["format"], len(file["rows"]), shards])
    files = [add("files", {"kind": "modelreg/files/1", "files": shard}) for shard in _cut(rows, 2048)]
    every = [row for file in release["files"] for row in file["rows"]]
    starts = range(0, len(every), rows_a_shard)
    chunks = [add("chunks", _chunk_shard(every[start : start + rows_a_shard])) for start in starts]
    root = {
        "kind": "modelreg/manifest/1",
        "hash": release["hash"],
        "content": content_root(release),
        "size": sum(file["size"] for file in release["files"]),
        "bases": release["bases"],
        "files": files,
        "chunks": chunks,
    }
    return add("root", root), blocks


def _chunk_shard(rows):
    links, written = [], []
    for length, digest, encoding, payload, base, *factors in rows:
        row = [length, digest, encoding, 0, 0, 0]
        if payload:
            if payload[0] not in links:
                links.append(payload[0])
            row[3:] = [links.index(payload[0]), payload[1], payload[2]]
        row += base or []
        for place in factors:
            if place[0] not in links:
                links.append(place[0])
            row += [links.index(place[0]), place[1], place[2]]
        written.append(row)
    return {"kind": "modelreg/chunks/1", "blocks": links, "chunks": written}


def read(root, blocks):
    """The release under a root. Raises Refused."""
    return _Reader(blocks, root).release(root)


class _Reader:
    def __init__(self, blocks, root):
        self.blocks = blocks
        self.codes = {root[2]}

    def node(self, link, kind, names):
        need(isinstance(link, Link) and link[2] in self.codes and link[1] == NODE, 1, "link")
        data = self.blocks[link]
        need(len(data) <= MIB, 1, "size of a block")
        try:
            value = reference_decode(data)
        except (ValueError, IndexError) as error:
            raise Refused(1, str(error)) from None
        need(isinstance(value, dict) and set(value) == {"kind", *names}, 1, "keys")
        need(value["kind"] == kind, 1, "kind")
        return [value[name] for name in names]

    def release(self, link):
        names = ("hash", "content", "size", "bases", "files", "chunks")
        label, content, size, bases, files, chunks = self.node(link, "modelreg/manifest/1", names)
        need(isinstance(label, str) and CODES.get(label) == link[2], 1, "hash")
        need(is_digest(content) and is_uint(size), 1, "content and size")
        for base in is_list(bases, 16, 8):
            need(isinstance(base, list) and len(base) == 2 and is_digest(base[0]), 1, "base")
            need(self.is_link(base[1], NODE), 1, "link of a base")
        need(len({base[1] for base in bases}) == len(bases), 5, "a base twice")
        read_files = [f for shard in is_list(files, 2048, 8) for f in self.files(shard)]
        need(len(read_files) <= 65_536, 8, "files")
        need(sum(len(file["tensors"]) for file in read_files) <= MIB, 8, "tensors")
        rows = [row for shard in is_list(chunks, 2048, 8) for row in self.rows(shard)]
        release = {"hash": label, "bases": bases, "files": read_files}
        self.share_out(release, rows, label)
        need(sum(file["size"] for file in read_files) == size, 4, "size of the release")
        used = {row[4][0] for row in rows if row[4]}
        need(used == set(range(len(bases))), 5, "bases that rows name")
        need(rows and content_root(release) == content, 6, "content root")
        return release

    def is_link(self, value, codec):
        return isinstance(value, Link) and value[1] == codec and value[2] in self.codes

    def files(self, shard):
        (rows,) = self.node(shard, "modelreg/files/1", ("files",))
        for row in is_list(rows, 2048, 8):
            need(isinstance(row, list) and len(row) == 5, 1, "file row")
            path, size, label, count, shards = row
            need(isinstance(path, str) and is_uint(size) and is_uint(count), 1, "file row")
            need(label in ("safetensors", "onnx", "bytes"), 1, "format")
            tensors = [t for link in is_list(shards, 2048, 8) for t in self.tensors(link)]
            yield {"path": path, "size": size, "format": label, "tensors": tensors, "count": count}

    def tensors(self, shard):
        (rows,) = self.node(shard, "modelreg/tensors/1", ("tensors",))
        for row in is_list(rows, 4096, 8):
            need(isinstance(row, list) and len(row) == 5, 1, "tensor row")
            name, dtype, shape, offset, length = row
            need(isinstance(name, str) and len(name.encode()) <= 1024, 1, "name")
            need(isinstance(dtype, str) and dtype in BITS, 1, "type")
            need(isinstance(shape, list) and len(shape) <= 32 and all(map(is_uint, shape)), 1, "shape")
            need(is_uint(offset) and is_uint(length) and offset + length < 1 << 63, 1, "range")
            product = 1
            for size in shape:
                product *= size
                need(product < 1 << 63, 1, "product")
            need(length == -(-product * BITS[dtype] // 8), 1, "length")
            yield row

    def rows(self, shard):
        links, rows = self.node(shard, "modelreg/chunks/1", ("blocks", "chunks"))
        need(all(self.is_link(link, RAW) for link in is_list(links, 4096, 8)), 1, "link of a block")
        named = []
        for row in is_list(rows, 2048, 8):
            need(isinstance(row, list) and len(row) in (6, 10, 13), 1, "row")
            length, digest, encoding, number, offset, size, *rest = row
            need(is_digest(digest), 5, "digest")
            need(all(is_uint(n) for n in (length, encoding, number, offset, size, *rest)), 1, "numbers")
            base, factors = rest[:4], rest[4:]
            need(length <= 512 * 1024 and encoding <= 255 and offset + size <= MIB, 5, "bounds")
            if length == 0:
                need(row[2:] == [0, 0, 0, 0], 4, "row of an empty file")
                yield [0, digest, 0, None, None]
                continue
            need(number < len(links), 5, "block number")
            if number not in named:
                named.append(number)
            if base:
                need(base[0] < 16 and base[1] < 65_536 and base[3] <= 2 * MIB, 5, "base")
            found = [length, digest, encoding, [links[number], offset, size], base or None]
            if factors:
                number, offset, size = factors
                need(number < len(links) and offset + size <= MIB, 5, "factors")
                if number not in named:
                    named.append(number)
                found.append([links[number], offset, size])
            yield found
        need(named == list(range(len(links))) and len(set(links)) == len(links), 5, "order of blocks")

    def share_out(self, release, rows, label):
        paths = [file["path"] for file in release["files"]]
        need(reference_accepts_set(paths), 3, "paths")
        need(all(a.encode() < b.encode() for a, b in itertools.pairwise(paths)), 3, "order of paths")
        need(sum(file["count"] for file in release["files"]) == len(rows), 4, "number of rows")
        for file in release["files"]:
            count = file.pop("count")
            file["rows"], rows = rows[:count], rows[count:]
            lengths = [row[0] for row in file["rows"]]
            need(lengths and sum(lengths) == file["size"], 4, "rows of a file")
            if lengths == [0]:
                need(file["rows"][0][1] == hash_of(label, b""), 4, "digest of no bytes")
            else:
                need(0 not in lengths, 4, "empty row")
            end = 0
            for _, _, _, offset, length in file["tensors"]:
                need(end <= offset and offset + length <= file["size"], 7, "tensor")
                end = offset + length
            need(len({row[0] for row in file["tensors"]}) == len(file["tensors"]), 7, "name")


def is_list(value, most, number):
    need(isinstance(value, list), 1, "list")
    need(len(value) <= most, number, "count")
    return value


def is_digest(value):
    return isinstance(value, bytes) and not isinstance(value, Link) and len(value) == 32


def is_uint(value):
    return type(value) is int and 0 <= value < 1 << 63


def block_of(text, label="blake3", codec=RAW):
    return link_to(label, codec, text.encode())


def row(text, length, payload, encoding=0, base=None, label="blake3"):
    return [length, hash_of(label, text.encode()), encoding, payload, base]


def sample(label="blake3"):
    """A release with an empty file, a file in several chunks with tensors, shared blocks and two bases."""
    own, shared = block_of("own", label), block_of("shared", label)
    to = partial(row, label=label)
    weights = [
        to("w1", 96, [shared, 0, 96]),
        to("w2", 512 * 1024, [own, 0, 400_000], 5, [0, 1, 120, 512 * 1024]),
        to("w3", 1024, [shared, 96, 10], 3, [1, 0, 0, 2 * MIB]),
    ]
    tensors = [
        ["a", "F32", [256, 512], 96, 512 * 1024],
        ["", "BF16", [], 524_384, 2],
        ["empty", "I64", [0, 7], 524_390, 0],
    ]
    return {
        "hash": label,
        "bases": [
            [hash_of(label, b"r0"), block_of("m0", label, NODE)],
            [hash_of(label, b"r1"), block_of("m1", label, NODE)],
        ],
        "files": [
            {
                "path": "config.json",
                "size": 60,
                "format": "bytes",
                "tensors": [],
                "rows": [to("c", 60, [shared, 106, 60])],
            },
            {"path": "empty", "size": 0, "format": "bytes", "tensors": [], "rows": [to("", 0, None)]},
            {
                "path": "w/model.safetensors",
                "size": 525_408,
                "format": "safetensors",
                "tensors": tensors,
                "rows": weights,
            },
        ],
    }


def low_rank(label="blake3"):
    """Two chunks of a matrix that share factors, which lie in a block of their own."""
    factors = [block_of("factors", label), 7, 90]
    base = [0, 2, 96, 512 * 1024]
    rows = [
        [*row("m1", 512 * 1024, [block_of("own", label), 0, 9000], 8, base, label), factors],
        [*row("m2", 1024, [block_of("own", label), 9000, 80], 8, [0, 2, 524384, 1024], label), factors],
    ]
    size = 512 * 1024 + 1024
    return {
        "hash": label,
        "bases": [[hash_of(label, b"r0"), block_of("m0", label, NODE)]],
        "files": [{"path": "m", "size": size, "format": "bytes", "tensors": [], "rows": rows}],
    }


def tiny(label="blake3"):
    to = partial(row, label=label)
    rows = [to("x", 1, [block_of("b", label), 0, 1])]
    return {
        "hash": label,
        "bases": [],
        "files": [{"path": "x", "size": 1, "format": "bytes", "tensors": [], "rows": rows}],
    }


def empty_file():
    rows = [row("", 0, None)]
    return {
        "hash": "blake3",
        "bases": [],
        "files": [{"path": "x", "size": 0, "format": "onnx", "tensors": [], "rows": rows}],
    }


def valid():
    """Name, release, root and blocks, and whether a writer that fills its shards makes these blocks."""
    for name, release in {
        "a file of one byte": tiny(),
        "an empty file": empty_file(),
        "several files, tensors and bases": sample(),
        "sha2-256": sample("sha2-256"),
        "chunks with factors": low_rank(),
    }.items():
        yield name, release, *write(release), True
    yield "shards that are not full", sample(), *write(sample(), rows_a_shard=2), False
    empty = {"kind": "modelreg/chunks/1", "blocks": [], "chunks": []}
    root, blocks = with_nodes(tiny(), "chunks", [empty], last=False)
    yield "a shard without rows", tiny(), root, blocks, False


def with_nodes(release, name, nodes, last=True, codec=NODE):
    """A release whose root links further nodes, behind or before its own."""
    links = {
        link_to(release["hash"], codec, reference_encode(node)): reference_encode(node) for node in nodes
    }

    def edit(kind, value):
        if kind == "root":
            value[name] = [*value[name], *links] if last else [*links, *value[name]]
        return value

    root, blocks = write(release, edit)
    return root, blocks | links


def _set(*path):
    """An edit of a release: the last of `path` replaces what the rest leads to."""
    *steps, last, value = path

    def change(release):
        at = release
        for step in steps:
            at = at[step]
        at[last] = value

    return change


def _delete(*path):
    *steps, last = path

    def change(release):
        at = release
        for step in steps:
            at = at[step]
        del at[last]

    return change


def _weights(*path):
    return _set("files", 2, *path)


def _tensor(number, *path):
    return _set("files", 2, "tensors", number, *path)


def _lengthen(file):
    file["rows"][2][0] = 512 * 1024 + 1
    file["size"] = sum(row[0] for row in file["rows"])


def _path(path):
    return _set("files", 0, "path", path)


RELEASES = {
    # Refused though the content root fits: by name, the check, and how the sample is changed.
    "path_traversal": (3, _path("../config.json")),
    "path_absolute": (3, _path("/config.json")),
    "path_twice": (3, _path("empty")),
    "path_case_colliding": (3, _set("files", 0, "path", "EMPTY")),
    "path_below_a_file": (3, _set("files", 2, "path", "empty/model")),
    "path_device": (3, _path("aux.txt")),
    "path_empty": (3, _path("")),
    "paths_descend": (3, lambda release: release["files"].reverse()),
    "file_without_rows": (4, _set("files", 1, "rows", [])),
    "file_larger_than_its_rows": (4, _weights("size", 525_409)),
    "file_smaller_than_its_rows": (4, _weights("size", 525_407)),
    "empty_row_in_a_file": (4, lambda release: release["files"][2]["rows"].append(row("", 0, None))),
    "empty_row_twice": (4, _set("files", 1, "rows", [row("", 0, None)] * 2)),
    "empty_file_of_another_digest": (4, _set("files", 1, "rows", 0, 1, hash_of("blake3", b"w1"))),
    "chunk_too_long": (5, lambda release: _lengthen(release["files"][2])),
    "digest_short": (5, _weights("rows", 0, 1, bytes(31))),
    "digest_long": (5, _weights("rows", 0, 1, bytes(33))),
    "digest_a_link": (5, _weights("rows", 0, 1, block_of("own"))),
    "encoding_over_255": (5, _weights("rows", 0, 2, 256)),
    "payload_behind_the_block": (5, _weights("rows", 2, 3, 1, MIB - 9)),
    "payload_over_a_block": (5, _weights("rows", 1, 3, 2, MIB + 1)),
    "payload_far_out": (5, _weights("rows", 1, 3, 1, 2**63 - 1)),
    "base_range_over_2_MiB": (5, _weights("rows", 2, 4, 3, 2 * MIB + 1)),
    "base_file_65536": (5, _weights("rows", 2, 4, 1, 65_536)),
    "base_of_no_row": (5, _weights("rows", 2, 4, [0, 0, 0, 1])),
    "base_twice": (5, _set("bases", 1, [bytes(32), block_of("m0", codec=NODE)])),
    "base_that_is_not_there": (5, _delete("bases", 1)),
    "bases_17": (8, _set("bases", [[bytes(32), block_of(str(n), codec=NODE)] for n in range(17)])),
    "no_files": (6, lambda release: release.update(files=[], bases=[])),
    "tensor_inside_another": (7, _tensor(1, 3, 100)),
    "tensors_descend": (7, lambda release: release["files"][2]["tensors"].reverse()),
    "tensor_behind_the_file": (7, _tensor(1, 3, 525_407)),
    "empty_tensor_inside_another": (7, _tensor(1, ["b", "U8", [0], 97, 0])),
    "tensor_name_twice": (7, _tensor(1, 0, "a")),
    "tensors_of_an_empty_file": (7, _set("files", 1, "tensors", [["a", "U8", [1], 0, 1]])),
    "base_another_hash": (1, _set("bases", 0, 1, block_of("m0", "sha2-256", NODE))),
    "base_manifest_a_leaf": (1, _set("bases", 0, 1, block_of("m0"))),
    "payload_a_node": (1, _weights("rows", 0, 3, 0, block_of("shared", codec=NODE))),
    "payload_another_hash": (1, _weights("rows", 1, 3, 0, block_of("own", "sha2-256"))),
    "format_unknown": (1, _weights("format", "gguf")),
    "type_unknown": (1, _tensor(0, 1, "F33")),
    "tensor_of_another_length": (1, _tensor(0, 2, [256, 513])),
    "tensor_shape_overflow": (1, _tensor(2, 2, [2**62, 2, 0])),
    "tensor_33_dimensions": (1, _tensor(1, 2, [1] * 33)),
    "tensor_name_of_1025_bytes": (1, _tensor(1, 0, "é" * 512 + "x")),
    "size_negative": (1, _set("files", 0, "size", -1)),
    "size_2_to_63": (1, _set("files", 0, "size", 2**63)),
    "chunk_length_true": (1, _set("files", 0, "rows", 0, 0, True)),
    "base_range_short": (1, _weights("rows", 2, 4, [1, 0, 0])),
    "base_offset_2_to_63": (1, _weights("rows", 2, 4, 2, 2**63)),
    "base_offset_negative": (1, _weights("rows", 2, 4, 2, -1)),
}


LOW_RANK = {
    # Refused for what a row says of its factors.
    "row_of_12_items": (1, lambda shard: shard["chunks"][0].pop()),
    "row_of_14_items": (1, lambda shard: shard["chunks"][0].append(0)),
    "factors_without_a_base": (1, lambda shard: shard["chunks"][0].__delitem__(slice(6, 10))),
    "factors_in_no_block": (5, lambda shard: shard["chunks"][0].__setitem__(10, 2)),
    "factors_behind_the_block": (5, lambda shard: shard["chunks"][0].__setitem__(11, MIB - 89)),
    "factors_over_a_block": (5, lambda shard: shard["chunks"][0].__setitem__(12, MIB + 1)),
    "factors_negative": (1, lambda shard: shard["chunks"][0].__setitem__(11, -1)),
    "factors_named_before_the_payload": (5, lambda shard: shard["blocks"].reverse() or _swap(shard)),
}


def _swap(shard):
    for row in shard["chunks"]:
        row[3], row[10] = row[10], row[3]


def _root(**fields):
    return "root", lambda root: root.update(fields)


def _shard(kind, change):
    return kind, change


NODES = {
    # Refused for what one node says: by name, the check, the kind of node, and how its value is changed.
    "content_root_of_others": (6, *_root(content=bytes(32))),
    "size_of_others": (4, *_root(size=525_469)),
    "size_a_text": (1, *_root(size="1")),
    "hash_unknown": (1, *_root(hash="sha1")),
    "hash_of_others": (1, *_root(hash="sha2-256")),
    "kind_of_a_later_version": (1, *_root(kind="modelreg/manifest/2")),
    "root_a_file_shard": (1, *_root(kind="modelreg/files/1")),
    "root_with_another_key": (1, *_root(note="")),
    "root_without_bases": (1, "root", lambda root: root.pop("bases")),
    "bases_no_list": (1, *_root(bases={})),
    "base_row_of_three": (1, "root", lambda root: root["bases"][0].append(0)),
    "files_null": (1, *_root(files=None)),
    "chunk_shards_in_place_of_file_shards": (1, "root", lambda root: root.update(files=root["chunks"])),
    "file_shards_in_place_of_chunk_shards": (1, "root", lambda root: root.update(chunks=root["files"])),
    "chunk_shards_missing": (4, *_root(chunks=[])),
    "chunk_shard_twice": (4, "root", lambda root: root.update(chunks=root["chunks"] * 2)),
    "shard_link_as_bytes": (1, "root", lambda root: root.update(chunks=[bytes(36)])),
    "path_no_text": (1, "files", lambda shard: shard["files"][0].__setitem__(0, b"config.json")),
    "file_row_of_six": (1, "files", lambda shard: shard["files"][0].append(0)),
    "file_counts_too_many_rows": (4, "files", lambda shard: shard["files"][0].__setitem__(3, 2)),
    "file_counts_too_few_rows": (4, "files", lambda shard: shard["files"][2].__setitem__(3, 2)),
    "file_shard_with_another_key": (1, "files", lambda shard: shard.update(note=1)),
    "tensor_row_of_four": (1, "tensors", lambda shard: shard["tensors"][0].pop()),
    "tensor_shard_a_list": (1, "tensors", lambda shard: shard.update(tensors={"0": 1})),
    "block_number_too_high": (5, "chunks", lambda shard: shard["chunks"][2].__setitem__(3, 2)),
    "block_never_named": (5, "chunks", lambda shard: shard["blocks"].append(block_of("more"))),
    "blocks_out_of_order": (
        5,
        "chunks",
        lambda shard: [r.__setitem__(3, 1 - r[3]) for r in shard["chunks"] if r[0]],
    ),
    "block_twice": (5, "chunks", lambda shard: shard["blocks"].__setitem__(1, shard["blocks"][0])),
    "block_missing": (5, "chunks", lambda shard: shard["blocks"].clear()),
    "row_of_seven": (1, "chunks", lambda shard: shard["chunks"][0].append(0)),
    "row_of_five": (1, "chunks", lambda shard: shard["chunks"][0].pop()),
    "row_a_map": (1, "chunks", lambda shard: shard["chunks"].__setitem__(0, {})),
    "empty_row_with_a_block": (4, "chunks", lambda shard: shard["chunks"][1].__setitem__(3, 1)),
    "empty_row_with_an_offset": (4, "chunks", lambda shard: shard["chunks"][1].__setitem__(4, 1)),
    "empty_row_with_a_size": (4, "chunks", lambda shard: shard["chunks"][1].__setitem__(5, 1)),
    "empty_row_with_an_encoding": (4, "chunks", lambda shard: shard["chunks"][1].__setitem__(2, 1)),
    "empty_row_with_a_base": (4, "chunks", lambda shard: shard["chunks"][1].extend([0, 0, 0, 0])),
    "empty_row_with_block_false": (1, "chunks", lambda shard: shard["chunks"][1].__setitem__(3, False)),
    "row_with_base_false": (1, "chunks", lambda shard: shard["chunks"][3].__setitem__(6, False)),
}


def _bytes_of_root(change):
    root, blocks = write(sample())
    data = change(blocks.pop(root))
    link = link_to("blake3", NODE, data)
    return link, blocks | {link: data}


BYTES = {
    "root_empty": lambda _: b"",
    "root_cut_short": lambda data: data[:-1],
    "root_with_a_byte_behind": lambda data: data + b"\x00",
    "root_with_a_long_integer": lambda data: data.replace(
        b"dsize\x1a\x00\x08", b"dsize\x1b\x00\x00\x00\x00\x00\x08"
    ),
    "root_keys_out_of_order": lambda data: (
        b"\xa7" + data[data.index(b"\x65bases") :] + data[1 : data.index(b"\x65bases")]
    ),
    "root_over_1_MiB": None,
}


def _retarget(kind, codec):
    """The links to one kind of shard get another codec, and the block is there under it."""
    moved = {}

    def edit(at, value):
        if at == "root" and kind in value:
            value[kind] = [move(link) for link in value[kind]]
        if at == "files" and kind == "tensors":
            for file in value["files"]:
                file[4] = [move(link) for link in file[4]]
        return value

    def move(link):
        moved[link] = Link(bytes([1, codec, *link[2:]]))
        return moved[link]

    root, blocks = write(sample(), edit)
    return root, blocks | {new: blocks[old] for old, new in moved.items()}


def refused():
    """Name, check, root and blocks of what must be refused."""
    for name, (number, change) in RELEASES.items():
        release = sample()
        change(release)
        yield name, number, *write(release)
    for name, (number, change) in LOW_RANK.items():
        yield name, number, *write(low_rank(), partial(_edit, "chunks", change))
    for name, (number, kind, change) in NODES.items():
        yield name, number, *write(sample(), partial(_edit, kind, change))
    for name, change in BYTES.items():
        if change:
            yield name, 1, *_bytes_of_root(change)
    for kind in ("files", "chunks", "tensors"):
        yield f"{kind}_shard_a_leaf", 1, *_retarget(kind, RAW)
    root, blocks = write(sample())
    leaf = Link(bytes([1, RAW, *root[2:]]))
    yield "chunk_replayed_as_a_manifest", 1, leaf, blocks | {leaf: blocks[root]}
    yield "shard_of_another_hash", 1, *_foreign_shard()


def _edit(wanted, change, kind, value):
    if kind == wanted and not (kind == "tensors" and not value["tensors"]):
        change(value)
    return value


def _foreign_shard():
    other = write(sample("sha2-256"))[1]
    shards = [link for link, data in other.items() if b"modelreg/chunks/1" in data]
    root, blocks = write(sample(), partial(_edit, "root", lambda value: value.update(chunks=shards)))
    return root, other | blocks


def bombs():
    """As `refused`, too large for a file: small manifests that claim a lot."""
    release = tiny()
    files = {"kind": "modelreg/files/1", "files": [["x", 1, "bytes", 0, []]] * 2048}
    yield (
        "files_65537",
        8,
        *with_nodes(release, "files", [files | {"files": files["files"][:n]} for n in range(2016, 2049)]),
    )
    names = [[f"{n}", "U8", [0], 0, 0] for n in range(4096)]
    shard = reference_encode({"kind": "modelreg/tensors/1", "tensors": names})
    link = link_to("blake3", NODE, shard)
    for name, rows in {
        "tensors_over_2_to_20": [[link] * 129] * 2,
        "tensors_over_2_to_20_in_a_file": [[link] * 2048],
        "tensors_over_2_to_20_in_many_files": [[link] * 256] * 8,
    }.items():
        files = [[f"y{number}", 1, "bytes", 0, links] for number, links in enumerate(rows)]
        root, blocks = with_nodes(release, "files", [{"kind": "modelreg/files/1", "files": files}])
        yield name, 8, root, blocks | {link: shard}
    deep = reference_decode(b"\x80")
    for _ in range(15):
        deep = [deep]
    yield (
        "nested_too_deep",
        1,
        *write(sample(), partial(_edit, "root", lambda value: value.update(bases=[deep]))),
    )
    many = partial(_edit, "root", lambda root: root.update(chunks=root["chunks"] * 2049))
    yield "shards_2049", 8, *write(sample(), many)
    names = {"kind": "modelreg/files/1", "files": [], "note": bytes(MIB)}
    yield "block_over_1_MiB", 1, *with_nodes(release, "files", [names])
    crowd = {"kind": "modelreg/files/1", "files": [["x", 1, "bytes", 0, []]] * 2049}
    yield "files_of_a_shard_2049", 8, *with_nodes(release, "files", [crowd])
    rows = {"kind": "modelreg/chunks/1", "blocks": [], "chunks": [[0, bytes(32), 0, 0, 0, 0]] * 2049}
    yield "chunks_of_a_shard_2049", 8, *with_nodes(release, "chunks", [rows])


def _json_blocks(blocks):
    return {to_json(link)["/"]: data.hex() for link, data in blocks.items()}


def documents():
    """The vector files by name."""
    accepted = [
        {
            "name": n,
            "canonical": canonical,
            "root": to_json(root),
            "blocks": _json_blocks(blocks),
            "release": to_json(release),
        }
        for n, release, root, blocks, canonical in valid()
    ]
    refusals = [
        {"name": name, "check": number, "root": to_json(root), "blocks": _json_blocks(blocks)}
        for name, number, root, blocks in refused()
    ]
    return {"valid.json": accepted, "refused.json": refusals}


if __name__ == "__main__":
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(dagcbor.render(rows))
