"""The safetensors index against vectors, a reference, and the safetensors package."""

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from modelreg.errors import FormatError
from modelreg.format.safetensors import MAX_HEADER_BYTES, index, is_safetensors
from modelreg.format.tensors import DType
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.safetensors import (
    BITS,
    VECTORS,
    RefusedError,
    accepted,
    build,
    entry,
    reference_index,
    refused,
    render,
)

ACCEPTED, REFUSED = dict(accepted()), dict(refused())
# The reference implementation is laxer on purpose: docs/spec/content.md, section 2.1.
LAXER = {
    "white_space_before_the_object",
    "key_twice",
    "key_twice_by_escape",
    "metadata_key_twice",
    "metadata_null",
    "entry_as_an_array",
    "further_key",
    "shape_of_33_dimensions",
    "shape_beyond_63_bits",
    "name_too_long",
    "name_too_long_in_bytes",
}


def indexed(data):
    def read_at(offset, length):
        assert offset >= 0 and length > 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return [[t.name, t.dtype.label, list(t.shape), t.offset, t.length] for t in index(read_at, len(data))]


def outcome(data):
    try:
        return indexed(data)
    except FormatError:
        return None


def reference_outcome(data):
    try:
        return reference_index(data)
    except RefusedError:
        return None


def package_outcome(data):
    """Names, types and shapes, or None."""
    try:
        return sorted(name for name, _ in deserialize(data))
    except SafetensorError:
        return None


def test_vectors_are_what_the_reference_writes():
    assert VECTORS.read_text() == render()


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text()), ids=lambda vector: vector["name"])
def test_vector(vector):
    assert outcome(bytes.fromhex(vector["file"])) == vector["tensors"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_package_accepts_what_we_accept(name):
    assert package_outcome(ACCEPTED[name]) == sorted(row[0] for row in indexed(ACCEPTED[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_the_package_refuses_what_we_refuse_but_for_what_is_documented(name):
    assert (package_outcome(REFUSED[name]) is not None) == (name in LAXER)


@pytest.mark.parametrize("kept", [0, 5, 7, 8, 20, 61, 62, 69])
def test_truncated_file_says_how_many_bytes_are_missing(kept):
    data = build({"a": entry("F32", [2], 0, 8)}, bytes(8))
    header_end = len(data) - 8
    needed = 8 if kept < 8 else header_end if kept < header_end else len(data)
    with pytest.raises(FormatError, match=f"cut short, {needed - kept} bytes are missing"):
        indexed(data[:kept])


JSON_PARTS = st.sampled_from(
    [
        *'{}[]":, 0123456789.-+eE\\/u',
        "true",
        "null",
        '"dtype"',
        '"shape"',
        '"data_offsets"',
        '"F32"',
        '"__metadata__"',
    ]
)


@st.composite
def mutated_files(draw):
    """A valid file whose header was changed in a few places."""
    words = draw(st.lists(st.sampled_from(sorted(BITS)), max_size=4))
    header, end = {}, 0
    for number, word in enumerate(words):
        shape = [*draw(st.lists(st.integers(0, 3), max_size=3)), 8]
        length = math.prod(shape) * BITS[word] // 8
        header[f"t{number}"] = entry(word, shape, end, end + length)
        end += length
    text = json.dumps(header)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        text = text[:at] + draw(JSON_PARTS | st.just("")) + text[at + cut :]
    size = max(0, end + draw(st.sampled_from([0, 0, 0, 0, 1, -1])))
    return build(text, bytes(size))


def strict_header(data):
    """Whether the header uses nothing that the package allows and we refuse."""
    length = int.from_bytes(data[:8], "little")

    def pairs(items):
        if len(dict(items)) != len(items):
            raise ValueError("a key comes twice")
        return dict(items)

    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=pairs)
    except ValueError:
        return False
    metadata = header.get("__metadata__", {})
    entries = [value for key, value in header.items() if key != "__metadata__"]
    plain = all(isinstance(e, dict) and set(e) == {"dtype", "shape", "data_offsets"} for e in entries)
    return data[8:9] == b"{" and metadata is not None and plain


@settings(max_examples=400, deadline=None)
@given(mutated_files())
def test_agrees_with_the_package_and_the_reference_on_mutated_headers(data):
    found = outcome(data)
    assert found == reference_outcome(data)
    theirs = package_outcome(data)
    if found is not None:
        assert theirs == sorted(row[0] for row in found)
    elif theirs is not None:
        assert not strict_header(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_end_in_a_result_or_a_format_error(tail):
    assert outcome(tail) == reference_outcome(tail)
    assert outcome(build(b"{" + tail)) == reference_outcome(build(b"{" + tail))


def test_only_the_header_is_read():
    header = {"w": entry("BF16", [70 << 30], 0, 140 << 30)}
    head = build(header)

    def read_at(offset, length):
        assert offset + length <= len(head)
        return head[offset : offset + length]

    (tensor,) = index(read_at, len(head) + (140 << 30))
    assert (tensor.dtype, tensor.offset, tensor.length) == (DType.BF16, len(head), 140 << 30)


def test_metadata_bomb_is_refused_or_read_in_bounded_time():
    bombs = [
        b'{"__metadata__":{"a":"' + b"\\n" * (7 << 20) + b'"}}',
        b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(300_000)) + b"}}",
        b'{"a":' + b"[]," * (1 << 20) + b"[]}",
        b'{"a":{"shape":[' + b"0," * (4 << 20) + b"0]}}",
        b"{" + b'"":{},' * (1 << 20) + b"}",
    ]
    started = time.process_time()
    assert [outcome(build(bomb)) for bomb in bombs] == [[], None, None, None, None]
    assert time.process_time() - started < 5


def test_largest_entry_counts():
    text = json.dumps(entry("U8", [1], 0, 1))

    def file(length):
        return build('{"a":' + text[:-1] + " " * (length - len(text)) + "}}", b"x")

    assert outcome(file(8192)) is not None
    assert outcome(file(8193)) is None


def test_largest_header_counts():
    def file(length):
        return build(b"{}" + b" " * (length - 2))

    assert outcome(file(MAX_HEADER_BYTES)) == []
    assert outcome(file(MAX_HEADER_BYTES + 1)) is None


@pytest.mark.parametrize("limit", ["_MAX_TENSORS", "_MAX_METADATA"])
def test_too_many_entries_are_refused(limit, monkeypatch):
    monkeypatch.setattr(f"modelreg.format.safetensors.{limit}", 3)
    header = {f"t{n}": entry("U8", [0], 0, 0) for n in range(2)}
    assert outcome(build({"__metadata__": {"a": "", "b": "", "c": ""}, **header})) is not None
    header["t2"] = header["t3"] = header["t0"]
    assert outcome(build({"__metadata__": {"a": "", "b": "", "c": "", "d": ""}, **header})) is None
    small = {"__metadata__": {"a": "", "b": "", "c": "", "d": ""}}
    assert (outcome(build(small)) is None) == (limit == "_MAX_METADATA")


def test_sniffing_wants_a_flawless_file():
    for name, data in (ACCEPTED | REFUSED).items():
        found = is_safetensors(lambda offset, length, data=data: data[offset : offset + length], len(data))
        assert found == (name in ACCEPTED)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("safetensors")
