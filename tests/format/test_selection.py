"""Choosing files and tensors by glob."""

from fnmatch import fnmatchcase
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import NotFoundError
from modelreg.format.digest import HashAlgorithm, keccak256
from modelreg.format.dtypes import DType
from modelreg.format.manifest import Chunk, FileEntry, Manifest, Payload
from modelreg.format.merkle import content_root, file_leaves
from modelreg.format.selection import select_rows
from modelreg.format.tensors import FileFormat, Tensor
from tests.store.blocks import leaf

BLAKE3 = HashAlgorithm.BLAKE3_256
BLOCK, _ = leaf(b"block")


def file(path, lengths, tensors=()):
    return path, lengths, tuple(Tensor(n, DType.U8, (size,), at, size) for n, at, size in tensors)


def manifest(*files):
    entries, rows, leaves = [], [], []
    for path, lengths, tensors in files:
        digests = [
            keccak256(f"{path} {n}".encode()) if length else BLAKE3.digest(b"").value
            for n, length in enumerate(lengths)
        ]
        entries.append(FileEntry(path, sum(lengths), FileFormat.BYTES, len(lengths), tensors))
        for length, digest in zip(lengths, digests, strict=True):
            rows.append(Chunk(length, digest, 0, Payload(BLOCK, 0, length) if length else None))
        leaves += file_leaves(path, zip(lengths, digests, strict=True))
    return Manifest(BLAKE3, content_root(leaves, BLAKE3), (), tuple(entries), tuple(rows))


# Rows:                 0    1   2   3       4    5         6         7    8
RELEASE = manifest(
    file("config.json", [30]),
    file("empty", [0]),
    file(
        "w.safetensors",
        [10, 100, 50, 100],
        [("h.0.w", 10, 100), ("h.0.b", 110, 20), ("h.1.b", 130, 30), ("h.1.w", 160, 100)],
    ),
    file("x/v.onnx", [64, 64], [("v", 0, 64), ("none", 64, 0), ("w", 64, 64)]),
)


@pytest.mark.parametrize(
    ("patterns", "rows"),
    [
        (["*"], range(8)),
        (["config.json"], [0]),
        (["empty"], [1]),
        (["*.safetensors"], [2, 3, 4, 5]),
        (["h.0.w"], [2, 3]),
        (["h.?.b"], [2, 4]),
        (["h.0.b", "h.1.b"], [2, 4]),
        (["h.1.*"], [2, 4, 5]),
        (["h.[02].w"], [2, 3]),
        (["v"], [6]),
        (["w", "config.json"], [0, 7]),
        (["x/*"], [6, 7]),
    ],
)
def test_files_tensors_and_headers_are_chosen(patterns, rows):
    assert select_rows(RELEASE, patterns) == frozenset(rows)


@pytest.mark.parametrize("patterns", [["nothing"], ["*", "nothing"], ["H.0.W"], ["h.0"], [""]])
def test_a_pattern_that_matches_nothing_is_refused(patterns):
    with pytest.raises(NotFoundError, match="matches"):
        select_rows(RELEASE, patterns)


@given(st.integers(1, 40), st.data())
def test_just_the_chunks_of_chosen_tensors_are_chosen(count, data):
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    places, at = [], 8
    for number, size in enumerate(sizes):
        places.append((f"t{number}", at, size))
        at += size
    cuts = sorted({0, 8, at, *data.draw(st.lists(st.integers(8, at), max_size=20))})
    lengths = [end - start for start, end in pairwise(cuts)]
    release = manifest(file("m", lengths, places))
    pattern = data.draw(st.sampled_from(["t*", "t1*", "t?", "t[0-4]", "*0"]))
    chosen = [(offset, offset + size) for name, offset, size in places if fnmatchcase(name, pattern)]
    wanted = [(0, 8), *chosen]
    expected = {
        row for row, start in enumerate(cuts[:-1]) if any(a < cuts[row + 1] and start < b for a, b in wanted)
    }
    if chosen:
        assert select_rows(release, [pattern]) == expected
