"""Manifests against a slow reference, and against manifests made to harm."""

import copy
import json
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import Digest, HashAlgorithm
from modelreg.format.dtypes import DType
from modelreg.format.manifest import MAX_TENSORS, Base, BaseRange, Chunk, FileEntry, Manifest, Payload
from modelreg.format.manifest_blocks import read_manifest, write_manifest
from modelreg.format.tensors import FileFormat, Tensor
from tests.reference import manifest as reference
from tests.reference.dagcbor import Link, reference_encode, render, to_json
from tests.reference.manifest import NODE, RAW, VECTORS, Refused

VALID = {row["name"]: row for row in json.loads((VECTORS / "valid.json").read_text())}
REFUSED = {row["name"]: row for row in json.loads((VECTORS / "refused.json").read_text())}
BOMBS = {name: (root, blocks) for name, _, root, blocks in reference.bombs()}


def theirs(row):
    """The reference's way to write one of our rows."""
    payload = row.payload and [link(row.payload.block), row.payload.offset, row.payload.size]
    base = row.base and [row.base.base, row.base.file, row.base.offset, row.base.length]
    shared = row.factors and [link(row.factors.block), row.factors.offset, row.factors.size]
    return [row.length, row.digest, row.encoding, payload, base, *([shared] if shared else [])]


def link(cid):
    return Link(bytes(cid))


def release_of(manifest):
    files = [
        {
            "path": file.path,
            "size": file.size,
            "format": file.format.label,
            "tensors": [[t.name, t.dtype.label, list(t.shape), t.offset, t.length] for t in file.tensors],
            "rows": [theirs(row) for row in manifest.file_chunks(number)],
        }
        for number, file in enumerate(manifest.files)
    ]
    bases = [[base.content_root, link(base.manifest)] for base in manifest.bases]
    return {"hash": manifest.algorithm.label, "bases": bases, "files": files}


def manifest_of(release, root=None):
    """Our manifest of one of the reference's releases."""
    rows = [row for file in release["files"] for row in file["rows"]]
    return Manifest(
        HashAlgorithm.from_label(release["hash"]),
        root or reference.content_root(release),
        tuple(Base(root, Cid.from_bytes(bytes(cid))) for root, cid in release["bases"]),
        tuple(
            FileEntry(
                file["path"],
                file["size"],
                FileFormat.from_label(file["format"]),
                len(file["rows"]),
                tuple(
                    Tensor(n, DType.from_label(d), tuple(s), o, length)
                    for n, d, s, o, length in file["tensors"]
                ),
            )
            for file in release["files"]
        ),
        tuple(
            Chunk(
                length,
                digest,
                encoding,
                payload and Payload(Cid.from_bytes(bytes(payload[0])), *payload[1:]),
                base and BaseRange(*base),
                *(Payload(Cid.from_bytes(bytes(cid)), *place) for cid, *place in factors),
            )
            for length, digest, encoding, payload, base, *factors in rows
        ),
    )


def read(root, blocks):
    return read_manifest(Cid.from_bytes(bytes(root)), lambda cids: [blocks[link(cid)] for cid in cids])


def from_json(row):
    blocks = {link(Cid.parse(cid)): bytes.fromhex(data) for cid, data in row["blocks"].items()}
    return link(Cid.parse(row["root"]["/"])), blocks


def test_vectors_are_what_the_reference_makes():
    for name, rows in reference.documents().items():
        assert (VECTORS / name).read_text() == render(rows), "run python -m tests.reference.manifest"


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    root, blocks = from_json(VALID[name])
    manifest = read(root, blocks)
    assert to_json(release_of(manifest)) == VALID[name]["release"]
    assert reference.read(root, blocks) == release_of(manifest)
    if VALID[name]["canonical"]:
        cid, written = write_manifest(manifest)
        assert link(cid) == root
        assert {link(cid): block for cid, block in written} == blocks
        assert written[-1][0] == cid


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    root, blocks = from_json(REFUSED[name])
    with pytest.raises(FormatError):
        read(root, blocks)
    with pytest.raises(Refused) as refusal:
        reference.read(root, blocks)
    assert refusal.value.number == REFUSED[name]["check"]


def test_every_check_of_the_reader_has_a_vector():
    assert {row["check"] for row in REFUSED.values()} == {1, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("name", BOMBS)
def test_metadata_bomb(name):
    root, blocks = BOMBS[name]
    with pytest.raises(FormatError):
        read(root, blocks)


@pytest.mark.parametrize("name", [name for name in BOMBS if name.startswith("tensors")])
def test_metadata_bomb_of_tensors_stays_small(name):
    root, blocks = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read(root, blocks)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_metadata_bomb_of_one_shard_linked_often_is_built_once():
    label, count = "blake3", 2048
    rows = [reference.row("x", 1, [reference.block_of("b"), 0, 1])] * count
    file = {"path": "x", "size": count * count, "format": "bytes", "tensors": [], "rows": rows * count}
    release = {"hash": label, "bases": [], "files": [file]}
    shard = reference_encode(reference._chunk_shard(rows))
    cid = reference.link_to(label, NODE, shard)
    counted = reference_encode(
        {"kind": "modelreg/files/1", "files": [["x", count * 16, "bytes", count * 16, []]]}
    )
    files = reference.link_to(label, NODE, counted)
    release["files"][0]["rows"] = rows * 16
    root_map = {
        "kind": "modelreg/manifest/1",
        "hash": label,
        "content": reference.content_root(release),
        "size": count * 16,
        "bases": [],
        "files": [files],
        "chunks": [cid] * 16,
    }
    encoded = reference_encode(root_map)
    root = reference.link_to(label, NODE, encoded)
    asked = []

    def fetch(cids):
        asked.extend(cids)
        return [{root: encoded, files: counted, cid: shard}[link(c)] for c in cids]

    manifest = read_manifest(Cid.from_bytes(bytes(root)), fetch)
    assert len(manifest.chunks) == count * 16
    assert len({id(chunk) for chunk in manifest.chunks}) == count
    assert len(asked) == len(set(asked))


def test_a_publisher_cannot_write_more_than_readers_take():
    manifest = manifest_of(reference.tiny())
    many = (Tensor("t", DType.U8, (0,), 0, 0),) * (MAX_TENSORS + 1)
    with pytest.raises(FormatError, match="tensors of a manifest"):
        replace(manifest, files=(replace(manifest.files[0], tensors=many),))


def test_mix_and_match_of_chunks_files_or_offsets_changes_the_content_root():
    release = reference.sample()
    root = reference.content_root(release)
    rows = release["files"][2]["rows"]

    def swapped_rows(other):
        other["files"][2]["rows"] = [rows[1], rows[0], rows[2]]

    def swapped_paths(other):
        other["files"][0]["path"], other["files"][1]["path"] = "empty", "config.json"

    def other_digest(other):
        other["files"][0]["rows"][0][1] = rows[0][1]

    def dropped_file(other):
        del other["files"][1]

    for change in (swapped_rows, other_digest, dropped_file):
        other = copy.deepcopy(release)
        change(other)
        with pytest.raises(FormatError, match="content root"):
            manifest_of(other, root)
    assert manifest_of(release, root)


def test_the_transport_is_not_in_the_content_root():
    release = reference.sample()
    other = copy.deepcopy(release)
    other["bases"] = []
    for file in other["files"]:
        for row in file["rows"]:
            row[2:] = [0, row[3] and [reference.block_of("else"), 0, row[0] or 1], None]
    assert manifest_of(other).content_root == manifest_of(release).content_root


DIGESTS = st.binary(min_size=32, max_size=32)
DTYPES = st.sampled_from(sorted(reference.BITS))
NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
PATHS = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=5, unique=True).map(
    lambda names: sorted(names)
)


@st.composite
def tensors(draw, size):
    found, at = [], 0
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        dtype, shape = draw(DTYPES), draw(st.lists(st.integers(0, 9), max_size=3))
        product = 1
        for n in shape:
            product *= n
        length = -(-product * reference.BITS[dtype] // 8)
        offset = at + draw(st.integers(0, 3))
        if offset + length > size:
            break
        found.append([name, dtype, shape, offset, length])
        at = offset + length
    return found


@st.composite
def releases(draw):
    label = draw(st.sampled_from(["blake3", "sha2-256"]))
    count = draw(st.integers(0, 3))
    codes = {"raw": RAW, "node": NODE}

    def links(kind, n):
        raw = draw(st.lists(DIGESTS, min_size=n, max_size=n, unique=True))
        return [Link(bytes([1, codes[kind], reference.CODES[label], 32]) + digest) for digest in raw]

    bases, blocks = links("node", count), links("raw", 4)
    files = []
    for path in draw(PATHS):
        rows = []
        for length in draw(st.lists(st.integers(1, 512 * 1024), max_size=4)):
            offset = draw(st.integers(0, 1 << 20))
            payload = [draw(st.sampled_from(blocks)), offset, draw(st.integers(0, (1 << 20) - offset))]
            base = None
            if count and draw(st.booleans()):
                numbers = (st.integers(0, 65_535), st.integers(0, 2**63 - 1), st.integers(0, 2 << 20))
                base = [draw(st.integers(0, count - 1)), *map(draw, numbers)]
            rows.append([length, draw(DIGESTS), draw(st.integers(0, 255)), payload, base])
            if base and draw(st.booleans()):
                rows[-1].append([draw(st.sampled_from(blocks)), 5, 70])
        size = sum(row[0] for row in rows)
        rows = rows or [[0, reference.hash_of(label, b""), 0, None, None]]
        kind = draw(st.sampled_from(["safetensors", "onnx", "bytes"]))
        files.append(
            {"path": path, "size": size, "format": kind, "tensors": draw(tensors(size)), "rows": rows}
        )
    used = sorted({row[4][0] for file in files for row in file["rows"] if row[4]})
    for row in (row for file in files for row in file["rows"] if row[4]):
        row[4][0] = used.index(row[4][0])
    return {"hash": label, "bases": [[draw(DIGESTS), bases[n]] for n in used], "files": files}


@given(releases())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_manifest_round_trips_as_the_reference_says(release):
    manifest = manifest_of(release)
    cid, blocks = write_manifest(manifest)
    root, expected = reference.write(release)
    assert {link(cid): block for cid, block in blocks} == expected
    assert link(cid) == root
    assert read(root, expected) == manifest
    assert reference.read(root, expected) == release


@given(releases(), st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_covering_finds_the_rows_that_a_walk_finds(release, data):
    manifest = manifest_of(release)
    number = data.draw(st.integers(0, len(manifest.files) - 1))
    size = manifest.files[number].size
    offset = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - offset))
    first = manifest.first_chunks[number]
    expected, at = [], 0
    for row, chunk in enumerate(manifest.file_chunks(number), first):
        if at < offset + length and offset < at + chunk.length:
            expected.append(row)
        at += chunk.length
    assert list(manifest.covering(number, offset, length)) == (expected if length else [])
    assert all(manifest.file_of(row) == number for row in expected)


@pytest.mark.parametrize(
    "place", [(3, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 61), (0, 60, 1), (2**70, 2**70, 2**70)]
)
def test_a_range_outside_the_files_is_refused(place):
    with pytest.raises(FormatError):
        manifest_of(reference.sample()).covering(*place)


def test_a_manifest_of_another_hash_than_its_link_is_refused():
    root, blocks = from_json(VALID["sha2-256"])
    other = Link(bytes([1, NODE, 0x1E, 32]) + root[4:])
    with pytest.raises(FormatError, match="hash"):
        read(other, blocks | {other: blocks[root]})


def test_a_chunk_replayed_as_a_manifest_is_refused():
    chunk = Cid(Codec.RAW, Digest(HashAlgorithm.BLAKE3_256, bytes(32)))
    with pytest.raises(FormatError, match="codec"):
        read_manifest(chunk, lambda _: pytest.fail("nothing may be fetched"))
