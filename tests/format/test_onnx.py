"""The ONNX index against vectors, a reference by hand, and the onnx package."""

import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from modelreg.errors import FormatError
from modelreg.format.onnx import index, resolve
from modelreg.format.tensors import lay_out
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.onnx import (
    VECTORS,
    RefusedError,
    accepted,
    external,
    field,
    message,
    model,
    reference_index,
    refused,
    render,
    tensor,
)

SEEDS = [file for _, file in (*accepted(), *refused())]
# A folder with .onnx files to hold against the package too, such as those of the wheels in the corpus.
REAL = os.environ.get("MODELREG_ONNX_MODELS")


def reader(data):
    def read_at(offset, length):
        assert offset >= 0 and length >= 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return read_at


def found_in(data):
    return index(reader(data), len(data))


def row(tensor):
    return [tensor.name, tensor.dtype.label, list(tensor.shape), tensor.offset, tensor.length]


def outcome(data):
    try:
        found = found_in(data)
    except FormatError:
        return None
    return [row(t) for t in found.tensors], [[e.location, row(e.tensor), e.checksum] for e in found.external]


def reference_outcome(data):
    try:
        return reference_index(data)
    except RefusedError:
        return None


def test_vectors_are_what_the_reference_writes():
    assert VECTORS.read_text() == render()


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text()), ids=lambda vector: vector["name"])
def test_vector(vector):
    expected = None if vector["tensors"] is None else (vector["tensors"], vector["external"])
    assert outcome(bytes.fromhex(vector["file"])) == expected


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    st.data(),
)
def test_agrees_with_the_reference_on_mutated_files(seed, changes, data):
    file = bytearray(seed)
    for at, byte in changes:
        if file:
            file[at % len(file)] = byte
    cut = data.draw(st.sampled_from([len(file), len(file), len(file) // 2]))
    assert outcome(bytes(file[:cut])) == reference_outcome(bytes(file[:cut]))


# Against the package.


def protos_of(model):
    """Every TensorProto of a model, through the package's classes."""
    stack, found = [model], []
    while stack:
        item = stack.pop()
        if isinstance(item, TensorProto):
            found.append(item)
            continue
        for descriptor, value in item.ListFields():
            if descriptor.message_type is not None:
                stack += [value] if hasattr(value, "ListFields") else value
    return found


def told_by_package(data):
    """Element type, shape and bytes of every tensor whose elements lie in one piece in the file."""
    told = []
    for proto in protos_of(onnx.load_model_from_string(data)):
        if proto.raw_data:
            told.append((proto.data_type, list(proto.dims), proto.raw_data))
        elif proto.float_data or proto.double_data:
            told.append((proto.data_type, list(proto.dims), numpy_helper.to_array(proto).tobytes()))
    return sorted(told)


KINDS = {
    "F32": 1,
    "U8": 2,
    "I8": 3,
    "I32": 6,
    "I64": 7,
    "BOOL": 9,
    "F16": 10,
    "F64": 11,
    "BF16": 16,
    "I4": 22,
}


def told_by_us(data):
    tensors = [t for t in found_in(data).tensors if t.dtype.label != "BYTES"]
    return sorted((KINDS[t.dtype.label], list(t.shape), data[t.offset : t.end]) for t in tensors)


def array(name, values, dtype):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def small_model():
    """Initializers of several types, a constant, a subgraph, a sparse initializer, a function."""
    rng = np.random.default_rng(3)
    weight = array("w", rng.normal(size=(16, 8)), np.float32)
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [3], [1.0, float("nan"), -0.0])
    doubles = helper.make_tensor("doubles", TensorProto.DOUBLE, [2], [1.0, 2.0])
    half = array("half", rng.normal(size=5), np.float16)
    brain = helper.make_tensor("brain", TensorProto.BFLOAT16, [4], bytes(8), raw=True)
    nibbles = helper.make_tensor("nibbles", TensorProto.INT4, [3], b"\x21\x03", raw=True)
    words = helper.make_tensor("words", TensorProto.STRING, [2], ["a", "b"])
    constant = helper.make_node("Constant", [], ["k"], value=array("", [1, 2, 3], np.int64))
    inner = helper.make_graph([], "then", [], [], [array("inner", [[True]], np.bool_)])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    sparse = helper.make_sparse_tensor(array("s", [1.5], np.float32), array("i", [3], np.int64), [9])
    graph = helper.make_graph(
        [constant, branch],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, None)],
        [weight, typed, doubles, half, brain, nibbles, words],
        sparse_initializer=[sparse],
    )
    body = helper.make_node("Constant", [], ["o"], value=array("", [7], np.int32))
    function = helper.make_function("d", "f", [], ["o"], [body], [helper.make_opsetid("", 20)])
    return helper.make_model(graph, functions=[function]).SerializeToString()


def test_agrees_with_the_package_on_a_model_with_everything():
    data = small_model()
    assert told_by_us(data) == told_by_package(data)
    names = {t.name: t.dtype.label for t in found_in(data).tensors}
    assert names == {
        "w": "F32",
        "typed": "F32",
        "doubles": "F64",
        "half": "F16",
        "brain": "BF16",
        "nibbles": "I4",
        "k:value": "I64",
        "inner": "BOOL",
        "inner #2": "BOOL",
        "s": "F32",
        "s:indices": "I64",
        "o:value": "I32",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(Path(REAL).rglob("*.onnx")) if REAL else [], ids=lambda path: path.name
)
def test_agrees_with_the_package_on_real_models(path):
    data = path.read_bytes()
    assert told_by_us(data) == told_by_package(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 16), st.integers(0, 255), st.integers(0, 1 << 16), st.integers(0, 255))
def test_agrees_with_the_package_on_mutated_models(at, byte, second, other):
    data = bytearray(small_model())
    data[at % len(data)], data[second % len(data)] = byte, other
    data = bytes(data)
    if outcome(data) is None:
        return
    try:
        protos = protos_of(onnx.load_model_from_string(data))
    except DecodeError:  # it reads more of the file than we do
        return
    raw = {p.raw_data for p in protos if p.raw_data and p.data_location != TensorProto.EXTERNAL}
    assert raw <= {data[t.offset : t.end] for t in found_in(data).tensors}


def test_external_data_as_the_package_writes_it(tmp_path):
    rng = np.random.default_rng(5)
    arrays = {f"w{n}": rng.normal(size=(20, 30 + n)).astype(np.float32) for n in range(4)}
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph),
        path,
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    data, outside = path.read_bytes(), (tmp_path / "model.onnx_data").read_bytes()
    found = found_in(data)
    assert found.tensors == ()
    sizes = {"onnx/model.onnx": len(data), "onnx/model.onnx_data": len(outside)}
    resolved = list(resolve("onnx/model.onnx", found.external, sizes))
    assert {path for path, _ in resolved} == {"onnx/model.onnx_data"}
    tensors = lay_out([t for _, t in resolved], len(outside))
    read = {t.name: np.frombuffer(outside[t.offset : t.end], np.float32).reshape(t.shape) for t in tensors}
    assert all((read[name] == arrays[name]).all() for name in arrays)


def resolved(location, model="dir/m.onnx", sizes=None, **properties):
    data = globals()["model"]((5, external("x", 1, [2], location=location, **properties)))
    sizes = {"dir/m.onnx": 50, "dir/w.bin": 100, "dir/sub/w.bin": 8, "w.bin": 100, "m.onnx": 50} | (
        sizes or {}
    )
    return list(resolve(model, found_in(data).external, sizes))


def test_external_data_beside_and_below_the_model():
    ((path, tensor),) = resolved("w.bin", offset="92")
    assert (path, tensor.offset, tensor.length) == ("dir/w.bin", 92, 8)
    assert resolved("sub/w.bin")[0][0] == "dir/sub/w.bin"
    assert resolved("w.bin", model="m.onnx")[0][0] == "w.bin"


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "sub/../../w.bin",
        "sub/../w.bin",
        "./w.bin",
        "/w.bin",
        "/etc/passwd",
        "//w.bin",
        "sub//w.bin",
        "..",
        ".",
        "",
        "sub/",
        "..\\w.bin",
        "sub\\w.bin",
        "C:\\w.bin",
        "C:w.bin",
        "w.bin:stream",
        "w.bin\x00",
        "w.bin\x00.txt",
        "file:///etc/passwd",
        "*/_ORT_MEM_ADDR_/*",
        "NUL",
        "w\u200b.bin",
    ],
)
def test_onnx_external_data_escape_by_path_is_refused(location):
    with pytest.raises(FormatError):
        # Also where a file of that name, however it is put together, belongs to the release.
        resolved(location, sizes={location: 100, f"dir/{location}": 100} if location[:1] != "*" else None)


@pytest.mark.parametrize("location", ["other.bin", "m.onnx", "dir/w.bin", "W.BIN"])
def test_onnx_external_data_must_be_another_file_of_the_release(location):
    with pytest.raises(FormatError, match="another file of the release"):
        resolved(location)


@pytest.mark.parametrize("offset", ["93", "100", "101", str(2**62)])
def test_onnx_external_data_escape_by_offset_and_length_is_refused(offset):
    with pytest.raises(FormatError, match=r"inside dir/w\.bin"):
        resolved("w.bin", offset=offset)


def test_onnx_external_data_that_overlaps_is_refused_unless_equal():
    def layout(*spans):
        data = model(*((5, external(f"x{o}-{n}", 3, [n], location="w.bin", offset=str(o))) for o, n in spans))
        pairs = resolve("m.onnx", found_in(data).external, {"w.bin": 100, "m.onnx": len(data)})
        return [(t.name, t.offset, t.length) for t in lay_out([t for _, t in pairs], 100)]

    assert layout((0, 10), (10, 5), (0, 10)) == [("x0-10", 0, 10), ("x10-5", 10, 5)]
    for spans in [((0, 10), (9, 5)), ((0, 10), (0, 9)), ((0, 10), (2, 3)), ((5, 10), (0, 6))]:
        with pytest.raises(FormatError, match="no other tensor overlaps"):
            layout(*spans)


def test_files_beyond_2_gib_are_refused():
    with pytest.raises(FormatError, match="ONNX file"):
        index(lambda *_: pytest.fail("read"), 1 << 31)


def test_only_the_structure_is_read():
    head = model((5, tensor("w", 3, [1 << 30], (9, b""))))
    head = head[: head.index(b"\x4a\x00")]
    inner = tensor("w", 3, [1 << 30]) + b"\x4a\x80\x80\x80\x80\x04"
    graph = b"\x2a" + _length(len(inner) + (1 << 30)) + inner
    data = b"\x3a" + _length(len(graph) + (1 << 30)) + graph
    size, read = len(data) + (1 << 30), 0

    def read_at(offset, length):
        nonlocal read
        read += length
        assert offset + length <= size
        return (data[offset : offset + length] + bytes(length))[:length]

    (found,) = index(read_at, size).tensors
    assert (found.offset, found.length, found.end) == (len(data), 1 << 30, size)
    assert read < 100_000


def _length(value):
    return field(1, value)[1:]


def test_fields_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr("modelreg.format.onnx._MAX_FIELDS", 100)
    assert outcome(model(*[(5, b"")] * 90)) is not None
    assert outcome(model(*[(5, b"")] * 110)) is None


def test_tensors_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr("modelreg.format.onnx._MAX_TENSORS", 3)
    inside, outside = tensor("w", 3, [1], (9, b"x")), external("x", 3, [1], location="w.bin")
    assert outcome(model((5, inside), (5, outside), (5, inside))) is not None
    assert outcome(model((5, inside), (5, outside), (5, inside), (5, outside))) is None


def test_packed_dimensions_are_counted_while_they_are_read():
    bomb = model((5, message((1, b"\x01" * (4 << 20)), (2, 3))))
    tracemalloc.start()
    try:
        assert outcome(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_many_fields_take_little_time_and_memory():
    bombs = [
        model((5, tensor("w", 1, [1]) + b"\x25\x00\x00\x00\x00" * 100_000)),
        model((1, message(*[(5, b"")] * 4096) + message(*[(2, b"")] * 100_000))),
        model((1, message((5, message(*[(5, b"")] * 50_000))))),
    ]
    started = time.process_time()
    for bomb in bombs:
        assert outcome(bomb) is not None
    assert time.process_time() - started < 10


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("onnx")
