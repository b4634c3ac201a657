"""Element types, tensors and their layout in a file."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.dtypes import DType
from modelreg.format.tensors import FileFormat, Tensor, detect, lay_out
from tests.reference.safetensors import build, entry


def test_labels_parse_to_what_prints_them():
    for dtype in DType:
        assert DType.from_label(dtype.label) is dtype
    for file_format in FileFormat:
        assert FileFormat.from_label(file_format.label) is file_format


@pytest.mark.parametrize("label", ["", "f32", "F32 ", "FLOAT", "F32\0"])
def test_unknown_labels_are_refused(label):
    with pytest.raises(FormatError):
        DType.from_label(label)
    with pytest.raises(FormatError):
        FileFormat.from_label(label)


@given(st.sampled_from(DType), st.integers(0, 1000))
def test_packed_sizes_and_words(dtype, elements):
    bits = elements * dtype.bits
    assert bits <= 8 * dtype.size_of(elements) < bits + 8
    assert dtype.word_bytes in (1, 2, 4, 8, 16)
    assert dtype.bits < 8 or dtype.word_bytes * 8 == dtype.bits


@pytest.mark.parametrize(
    ("shape", "length"),
    [((), 4), ((1,), 4), ((2, 3), 24), ((0,), 0), ((5, 0), 0), ((1,) * 32, 4)],
)
def test_tensors_whose_length_fits_their_shape(shape, length):
    assert Tensor("t", DType.F32, shape, 10, length).end == 10 + length


@pytest.mark.parametrize(
    ("shape", "offset", "length"),
    [
        ((2,), 0, 4),
        ((2,), 0, 9),
        ((), 0, 0),
        ((-2,), 0, -8),
        ((-2, -1), 0, 8),
        ((1,), -1, 4),
        ((1,) * 33, 0, 4),
        ((1 << 63, 0), 0, 0),
        ((1 << 32, 1 << 32, 0), 0, 0),
        (((1 << 62) + 1,), 0, 4),
        ((1,), (1 << 63) - 4, 4),
    ],
)
def test_tensors_that_break_a_rule_are_refused(shape, offset, length):
    with pytest.raises(FormatError, match="tensor 't'"):
        Tensor("t", DType.F32, shape, offset, length)


@pytest.mark.parametrize("name", ["n" * 1025, "é" * 513, "\U0001f600" * 257])
def test_names_are_counted_in_bytes(name):
    with pytest.raises(FormatError, match="1024 bytes"):
        Tensor(name, DType.U8, (1,), 0, 1)
    Tensor(name[: len(name) - 1], DType.U8, (1,), 0, 1)


def bytes_at(name, offset, length):
    return Tensor(name, DType.U8, (length,), offset, length)


def laid_out(*tensors, size=100):
    return [(t.name, t.offset, t.length) for t in lay_out(tensors, size)]


def test_layout_is_in_order_of_offset():
    assert laid_out(bytes_at("b", 5, 5), bytes_at("a", 0, 5)) == [("a", 0, 5), ("b", 5, 5)]


def test_of_tensors_that_share_their_bytes_the_first_stands_for_all():
    shared = (bytes_at("y", 3, 4), bytes_at("x", 3, 4), bytes_at("y", 3, 4))
    assert laid_out(*shared) == [("y", 3, 4)]


def test_tensors_of_0_bytes_all_stay():
    assert laid_out(bytes_at("a", 3, 4), bytes_at("y", 3, 0), bytes_at("x", 3, 0)) == [
        ("y", 3, 0),
        ("x", 3, 0),
        ("a", 3, 4),
    ]


def test_names_that_come_again_get_numbers():
    again = [
        bytes_at("a", 0, 1),
        bytes_at("a", 1, 1),
        bytes_at("a #2", 2, 1),
        bytes_at("a", 3, 1),
        bytes_at("a", 4, 1),
    ]
    assert [name for name, _, _ in laid_out(*again)] == ["a", "a #3", "a #2", "a #4", "a #5"]


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 5), (4, 5)],
        [(0, 5), (0, 4)],
        [(0, 5), (1, 2)],
        [(0, 5), (2, 0)],
        [(96, 5)],
        [(101, 0)],
        [(0, 101)],
    ],
)
def test_overlaps_and_spans_outside_the_file_are_refused(spans):
    with pytest.raises(FormatError, match="no other tensor overlaps"):
        laid_out(*(bytes_at(f"t{number}", *span) for number, span in enumerate(spans)))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=8))
def test_layouts_never_overlap(spans):
    try:
        tensors = lay_out([bytes_at(f"t{number}", *span) for number, span in enumerate(spans)], 35)
    except FormatError:
        return
    assert all(a.end <= b.offset for a, b in itertools.pairwise(tensors))
    assert {(t.offset, t.length) for t in tensors} == set(spans)
    assert lay_out(tensors, 35) == tensors


SAFE = build({"a": entry("F32", [2], 0, 8)}, bytes(8))


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("model.safetensors", SAFE, FileFormat.SAFETENSORS),
        ("a/MODEL.SafeTensors", b"", FileFormat.SAFETENSORS),
        ("model.onnx", SAFE, FileFormat.ONNX),
        ("MODEL.ONNX", b"", FileFormat.ONNX),
        ("blob", SAFE, FileFormat.SAFETENSORS),
        ("blob", SAFE[:-1], FileFormat.BYTES),
        ("blob", SAFE + b"x", FileFormat.BYTES),
        ("model.onnx_data", bytes(100), FileFormat.BYTES),
        ("model.onnx.txt", b"{", FileFormat.BYTES),
        ("empty", b"", FileFormat.BYTES),
        ("nine", b"\x02\0\0\0\0\0\0\0{", FileFormat.BYTES),
    ],
)
def test_formats_are_detected_by_suffix_then_by_content(path, data, expected):
    def read_at(offset, length):
        assert offset + length <= len(data)
        return data[offset : offset + length]

    assert detect(path, read_at, len(data)) is expected
