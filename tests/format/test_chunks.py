"""Chunk planning against a reference that works byte by byte, and what chunks must do for small deltas."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.format.chunks import CHUNK_BYTES, Correspondence, Span, plan
from modelreg.format.dtypes import DType
from modelreg.format.gear import cut_lengths
from modelreg.format.tensors import Tensor
from tests.reference.chunks import VECTORS, documents, reference_cuts, reference_plan, render, stream

KIB = 1024


def tensor(name, word, offset, length):
    dtype = DType.from_label(word)
    return Tensor(name, dtype, (length * 8 // dtype.bits,), offset, length)


def packed(items, start=0):
    """Tensors of (name, word, length) end to end."""
    result = []
    for name, word, length in items:
        result.append(tensor(name, word, start, length))
        start = result[-1].end
    return tuple(result), start


def reader(data):
    def read_at(offset, length):
        assert offset >= 0 and length > 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return read_at


def planned(data, tensors):
    return list(plan(reader(data), len(data), tensors))


def digests(data, tensors):
    return {data[span.offset : span.end] for span in planned(data, tensors)}


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


VECTOR_FILES = dict(documents())


@pytest.mark.parametrize("file", VECTOR_FILES)
def test_vectors_are_what_the_reference_writes(file):
    assert (VECTORS / file).read_text() == render(VECTOR_FILES[file])


@pytest.mark.parametrize("vector", VECTOR_FILES["plan.json"], ids=lambda vector: vector["name"])
def test_plan_vector(vector):
    data = stream(vector["name"], vector["size"])
    tensors = tuple(tensor(*item) for item in vector["tensors"])
    found = [(span.offset, span.length, span.word.label) for span in planned(data, tensors)]
    assert found == [tuple(chunk) for chunk in vector["chunks"]]


def test_gear_vector():
    data = stream("gear", 2 * 1024 * KIB)
    assert list(cut_lengths(reader(data), 0, len(data))) == VECTOR_FILES["gear.json"]["cuts"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 900 * KIB), st.integers(0, 2**32), st.integers(0, 100), st.sampled_from([1, 3, 256]))
def test_cuts_equal_the_reference(size, seed, offset, values):
    data = bytes(np.random.default_rng(seed).integers(0, values, size, np.uint8))
    found = list(cut_lengths(reader(noise(offset) + data + noise(7)), offset, size))
    assert found == reference_cuts(data)


SIZES = st.sampled_from([1, 4, 8, 100, 1020, 1024, 3000, 4096, 20_000, 65_535, 65_536, 70_000, 600_000])
ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["F32", "BF16", "I8", "I64", "I4"]),
        SIZES,
        st.sampled_from([0, 0, 0, 1, 37, 4096, 4097]),
    )
)


def layout(items):
    tensors, at = [], 0
    for number, (word, size, gap) in enumerate(items):
        dtype = DType.from_label(word)
        size -= size % dtype.word_bytes
        tensors.append(tensor(f"t{number}", word, at + gap, size))
        at = tensors[-1].end
    return tuple(tensors), at


@settings(max_examples=60, deadline=None)
@given(ITEMS, st.sampled_from([0, 1, 5000]))
def test_plan_equals_the_reference_and_covers_the_file(items, rest):
    tensors, end = layout(items)
    data = bytes(end + rest)
    spans = planned(data, tensors)
    told = [(t.name, t.dtype.label, t.offset, t.length) for t in tensors]
    assert [(s.offset, s.length, s.word.label) for s in spans] == reference_plan(data, told)
    assert [0, *(s.end for s in spans)] == [*(s.offset for s in spans), len(data)]
    assert all(0 < s.length <= CHUNK_BYTES and s.length % s.word.word_bytes == 0 for s in spans)


def test_a_file_of_0_bytes_has_no_spans():
    assert planned(b"", ()) == []


def test_large_tensors_are_not_read():
    tensors, end = packed([("w", "F32", 200 * 1024 * KIB)], 100)
    spans = list(plan(lambda *_: pytest.fail("read"), end, tensors))
    assert [s.length for s in spans[1:]] == [CHUNK_BYTES] * 400


def test_a_grown_header_changes_no_other_chunk():
    items = [
        ("emb", "F32", 1536 * 700),
        *((f"b{i}", "F32", 1536) for i in range(50)),
        ("w", "F32", 1536 * 500),
    ]
    body = noise(sum(length for _, _, length in items))
    old_head, new_head = noise(2000, 2), noise(2333, 3)
    old = digests(old_head + body, packed(items, len(old_head))[0])
    new = digests(new_head + body, packed(items, len(new_head))[0])
    assert new - old == {new_head}


def test_vocabulary_rows_added_change_one_chunk_of_the_tensor():
    row, rest = 1536, noise(1536 * 400, 5)
    old_rows, more = noise(row * 2000), noise(row * 8, 4)

    def file(rows):
        tensors, _ = packed([("emb", "F32", len(rows)), ("w", "F32", len(rest))])
        return rows + rest, tensors

    old, new = file(old_rows), file(old_rows + more)
    assert len(digests(*new) - digests(*old)) == 1
    last = next(s for s in planned(*new) if s.end == len(old_rows) + len(more))
    found = Correspondence(new[1], len(new[0]), old[1], len(old[0])).parent_range(last)
    assert found == (last.offset, len(old_rows) - last.offset)


@pytest.mark.parametrize("where", [0, 7, 300, 599])
@pytest.mark.parametrize("length", [1536, 9000, 60_000])
def test_an_inserted_small_tensor_disturbs_only_its_neighbourhood(where, length):
    names = [f"layer.{i}.norm" for i in range(600)]
    parts = {name: noise(6000, number) for number, name in enumerate(names)}
    parts["inserted"] = noise(length, 999)

    def file(order):
        tensors, _ = packed([(name, "BF16", len(parts[name])) for name in order])
        return b"".join(parts[name] for name in order), tensors

    old = digests(*file(names))
    new = digests(*file([*names[:where], "inserted", *names[where:]]))
    assert sum(map(len, new - old)) <= 2 * CHUNK_BYTES
    assert len(new - old) <= 4


def test_three_thousand_tiny_initializers_make_few_chunks():
    items, at = [], 0
    for number in range(3000):
        items.append(tensor(f"const_{number}", "I64", at + 41, 8))
        at = items[-1].end
    assert len(planned(bytes(at), items)) < 12


def test_streams_with_bounded_reads():
    largest = 0

    def read_at(offset, length):
        nonlocal largest
        largest = max(largest, length)
        return bytes(length)

    spans = plan(read_at, 140 << 30, ())
    assert sum(1 for _ in itertools.islice(spans, 40)) == 40
    assert largest <= 65 * KIB


def correspondence(child, parent):
    return Correspondence(child[0], child[1], parent[0], parent[1])


def test_a_chunk_of_a_tensor_maps_offset_by_offset():
    parent = packed([("x", "F32", 8), ("w", "F32", 1300 * KIB)], 50)
    child = packed([("w", "F32", 1300 * KIB)], 90)
    found = correspondence(child, parent)
    spans = list(plan(reader(bytes(child[1])), child[1], child[0]))[1:]
    assert [found.parent_range(span) for span in spans] == [
        (58, 512 * KIB),
        (58 + 512 * KIB, 512 * KIB),
        (58 + 1024 * KIB, 276 * KIB),
    ]


def test_a_tensor_of_another_name_or_type_has_no_like():
    parent = packed([("w", "F32", 400 * KIB)])
    assert (
        correspondence(packed([("v", "F32", 400 * KIB)]), parent).parent_range(Span(0, 4, DType.F32)) is None
    )
    assert (
        correspondence(packed([("w", "F16", 400 * KIB)]), parent).parent_range(Span(0, 4, DType.F16)) is None
    )


def test_a_chunk_behind_the_end_of_the_parents_tensor_has_no_like():
    child, parent = (
        packed([("w", "F32", 1024 * KIB)]),
        packed([("w", "F32", 400 * KIB), ("v", "F32", 800 * KIB)]),
    )
    found = correspondence(child, parent)
    assert found.parent_range(Span(0, 512 * KIB, DType.F32)) == (0, 400 * KIB)
    assert found.parent_range(Span(512 * KIB, 512 * KIB, DType.F32)) is None


def test_a_shared_chunk_follows_most_of_its_tensors():
    old = [("a", "F32", 1200), ("b", "F32", 6000), ("c", "F32", 6000)]
    parent = packed(old, 10)
    child = packed([("new", "F32", 2000), *old], 10)
    found = correspondence(child, parent).parent_range(Span(2010, 13200, DType.F32))
    assert found == (10, 13200)
    # The chunk begins with the inserted tensor: what follows it decides, unless that begins before the file.
    assert correspondence(child, parent).parent_range(Span(10, 15200, DType.F32)) is None
    further = packed([("z", "F32", 70_000), *old])
    assert correspondence(child, further).parent_range(Span(10, 15200, DType.F32)) == (68_000, 15200)


def test_a_shared_range_ends_with_the_parent_file():
    parent, child = packed([("a", "F32", 4000)]), packed([("a", "F32", 4000), ("b", "F32", 4000)])
    assert correspondence(child, parent).parent_range(Span(0, 8000, DType.F32)) == (0, 4000)


def test_the_header_maps_to_the_whole_header():
    parent, child = packed([("a", "F32", 400 * KIB)], 900), packed([("a", "F32", 400 * KIB)], 1000)
    assert correspondence(child, parent).parent_range(Span(0, 1000, DType.BYTES)) == (0, 900)


def test_a_gap_maps_to_the_gap_between_the_same_tensors():
    parent = ((tensor("a", "F32", 0, 70_000), tensor("b", "F32", 70_050, 70_000)), 140_050)
    child = ((tensor("n", "I8", 5, 70_000), tensor("b", "F32", 70_066, 70_000)), 140_066)
    assert correspondence(child, parent).parent_range(Span(70_005, 61, DType.BYTES)) == (70_000, 50)
    assert correspondence(child, parent).parent_range(Span(0, 5, DType.BYTES)) is None


def test_files_without_tensors_map_offset_by_offset():
    found = correspondence(((), 3000 * KIB), ((), 1000 * KIB))
    assert found.parent_range(Span(900 * KIB, 300 * KIB, DType.BYTES)) == (900 * KIB, 100 * KIB)
    assert found.parent_range(Span(1000 * KIB, 300 * KIB, DType.BYTES)) is None
    assert correspondence(((), 7), ((), 0)).parent_range(Span(0, 7, DType.BYTES)) is None


@settings(max_examples=100, deadline=None)
@given(ITEMS, ITEMS)
def test_parent_ranges_lie_inside_the_parent(items, others):
    child, parent = layout(items), layout(others)
    found = correspondence(child, parent)
    for span in plan(reader(bytes(child[1])), child[1], child[0]):
        alike = found.parent_range(span)
        if alike is not None:
            offset, length = alike
            assert offset >= 0 and 0 < length <= CHUNK_BYTES and offset + length <= parent[1]


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_an_unchanged_file_maps_onto_itself(items):
    child = layout(items)
    found = correspondence(child, child)
    for span in plan(reader(bytes(child[1])), child[1], child[0]):
        assert found.parent_range(span) == (span.offset, span.length)
