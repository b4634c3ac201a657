"""Requests and answers as bytes, without a server or a model."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.commitments import Tensor
from modelreg_verifier.serving.protocol import JSON_BYTES_MAX, Answer, Wanted, parse_request
from modelreg_verifier.trace.datatypes import from_array, from_json, to_array, to_json

FP32 = {"name": "x", "datatype": "FP32", "shape": [2]}


def parse(document, binary=None):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_request(memoryview(raw + (binary or b"")), None if binary is None else len(raw))


def request(*inputs, **more):
    return {"inputs": list(inputs), **more}


def binary(size, **fields):
    return FP32 | {"parameters": {"binary_data_size": size}} | fields


def test_json():
    found = parse(request(FP32 | {"data": [1, -2.5]}, id="a", parameters={"p": 1}))
    assert (found.id, found.parameters, found.outputs, found.binary) == ("a", {"p": 1}, None, False)
    assert bytes(found.inputs["x"].data) == struct.pack("<2f", 1, -2.5)


def test_binary_is_cut_without_copies():
    raw = struct.pack("<2f2f", 1, 2, 3, 4)
    found = parse(request(binary(8), binary(8, name="y")), raw)
    assert [bytes(tensor.data) for tensor in found.inputs.values()] == [raw[:8], raw[8:]]
    assert all(isinstance(tensor.data, memoryview) for tensor in found.inputs.values())


def test_no_elements_in_more_space_than_there_is():
    with pytest.raises(FormatError, match="dims"):
        to_array(Tensor("FP32", (0, 1 << 62, 1 << 62), b""))


def test_json_and_binary_mix():
    found = parse(request(FP32 | {"data": [1, 2]}, binary(8, name="y")), struct.pack("<2f", 3, 4))
    assert to_array(found.inputs["x"]).tolist() == [1, 2]
    assert to_array(found.inputs["y"]).tolist() == [3, 4]


def test_outputs():
    names = ("a", "b")
    every = parse(request(parameters={"binary_data_output": True})).wanted(names)
    assert every == (Wanted("a", binary=True), Wanted("b", binary=True))
    one = parse(request(outputs=[{"name": "b", "parameters": {"binary_data": True}}])).wanted(names)
    assert one == (Wanted("b", binary=True),)
    with pytest.raises(FormatError, match="found 'c'"):
        parse(request(outputs=[{"name": "c"}])).wanted(names)


BROKEN = {
    "nothing": b"",
    "not_json": b"{",
    "not_utf8": b'{"inputs":[],"id":"\xff"}',
    "utf16": json.dumps(request()).encode("utf-16"),
    "nan": b'{"inputs":[],"parameters":{"p":NaN}}',
    "nan_in_a_key_that_is_passed_over": b'{"inputs":[],"other":[NaN]}',
    "infinite_parameter": b'{"inputs":[],"parameters":{"p":1e999}}',
    "long_number": b'{"inputs":[],"parameters":{"p":' + b"9" * 5000 + b"}}",
    "key_twice": b'{"inputs":[],"inputs":[]}',
    "deep": b'{"inputs":' + b"[" * 100_000,
    "deep_data": json.dumps(request(FP32 | {"data": 0})).replace("0}", "[" * 70 + "]" * 70 + "}").encode(),
    "a_list": [],
    "no_inputs": {},
    "inputs_an_object": {"inputs": {}},
    "many_inputs": request(*[FP32 | {"name": f"x{i}", "data": [0, 0]} for i in range(257)]),
    "many_outputs": request(outputs=[{"name": str(i)} for i in range(257)]),
    "input_a_text": request("x"),
    "input_twice": request(FP32 | {"data": [0, 0]}, FP32 | {"data": [0, 0]}),
    "output_twice": request(outputs=[{"name": "a"}, {"name": "a"}]),
    "outputs_null": request(outputs=None),
    "no_name": request({"datatype": "FP32", "shape": [0], "data": []}),
    "empty_name": request(FP32 | {"name": "", "data": [0, 0]}),
    "long_name": request(FP32 | {"name": "x" * 257, "data": [0, 0]}),
    "name_a_number": request(FP32 | {"name": 1, "data": [0, 0]}),
    "no_datatype": request({"name": "x", "shape": [0], "data": []}),
    "unknown_datatype": request(FP32 | {"datatype": "FP8", "data": [0, 0]}),
    "datatype_a_list": request(FP32 | {"datatype": ["FP32"], "data": [0, 0]}),
    "no_shape": request({"name": "x", "datatype": "FP32", "data": []}),
    "negative_dim": request(FP32 | {"shape": [-2], "data": [0, 0]}),
    "true_as_dim": request(FP32 | {"shape": [True, 2], "data": [0, 0]}),
    "float_as_dim": request(FP32 | {"shape": [2.0], "data": [0, 0]}),
    "large_dim": request(FP32 | {"shape": [1 << 63], "data": []}),
    "many_dims": request(FP32 | {"shape": [1] * 17, "data": [0]}),
    "huge_shape": request(FP32 | {"shape": [1 << 62] * 16, "data": [0]}),
    "no_data": request(FP32),
    "both_kinds_of_data": request(binary(8, data=[0, 0])),
    "data_null": request(FP32 | {"data": None}),
    "data_an_object": request(FP32 | {"data": {"0": 1}}),
    "data_short": request(FP32 | {"data": [1]}),
    "data_long": request(FP32 | {"data": [1, 2, 3]}),
    "data_uneven": request(FP32 | {"data": [[1], 2]}),
    "text_for_number": request(FP32 | {"data": ["1", 2]}),
    "true_for_number": request(FP32 | {"data": [True, 2]}),
    "float_for_integer": request(FP32 | {"datatype": "INT64", "data": [1.5, 2]}),
    "integer_out_of_range": request(FP32 | {"datatype": "INT8", "data": [128, 0]}),
    "negative_unsigned": request(FP32 | {"datatype": "UINT8", "data": [-1, 0]}),
    "float_out_of_range": request(FP32 | {"data": [1e39, 0]}),
    "integer_beyond_float": request(FP32 | {"datatype": "FP64", "data": [10**400, 0]}),
    "number_for_bool": request(FP32 | {"datatype": "BOOL", "data": [1, 0]}),
    "number_for_text": request(FP32 | {"datatype": "BYTES", "data": [1, 0]}),
    "surrogate": request(FP32 | {"datatype": "BYTES", "data": ["\ud800", ""]}),
    "fp16_as_json": request(FP32 | {"datatype": "FP16", "data": [0, 0]}),
    "bf16_as_json": request(FP32 | {"datatype": "BF16", "data": [0, 0]}),
    "long_id": request(id="x" * 257),
    "id_a_number": request(id=1),
    "parameters_a_list": request(parameters=[]),
    "parameter_a_list": request(parameters={"p": []}),
    "parameter_null": request(parameters={"p": None}),
    "long_parameter": request(parameters={"p": "x" * 4097}),
    "many_parameters": request(parameters={str(i): i for i in range(65)}),
    "flag_a_number": request(parameters={"binary_data_output": 1}),
    "output_flag_a_text": request(outputs=[{"name": "a", "parameters": {"binary_data": "true"}}]),
    "shared_memory": request(FP32 | {"parameters": {"shared_memory_region": "r"}, "data": [0, 0]}),
    "classification": request(outputs=[{"name": "a", "parameters": {"classification": 3}}]),
    "size_without_binary_data": request(binary(8)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_json(name):
    with pytest.raises(FormatError):
        parse(BROKEN[name])


@pytest.mark.parametrize(
    ("document", "data"),
    [
        (request(binary(8)), b"\0" * 7),
        (request(binary(8)), b"\0" * 9),
        (request(binary(4)), b"\0" * 4),
        (request(binary(12)), b"\0" * 12),
        (request(binary(-8)), b"\0" * 8),
        (request(binary("8")), b"\0" * 8),
        (request(binary(8.0)), b"\0" * 8),
        (request(binary(True, shape=[1], datatype="INT8")), b"\0"),
        (request(binary(10**30)), b"\0" * 8),
        (request(FP32 | {"data": [0, 0]}), b"\0"),
        (request(binary(2, datatype="BOOL")), b"\1\2"),
        (request(binary(8, datatype="BYTES")), struct.pack("<2I", 0, 1)),
        (request(binary(8, datatype="BYTES")), struct.pack("<2I", 0, 1 << 31)),
        (request(binary(8, datatype="BYTES", shape=[1 << 40])), struct.pack("<2I", 0, 0)),
        (request(binary(8, datatype="BYTES", shape=[1])), struct.pack("<2I", 0, 0)),
    ],
)
def test_broken_binary_data(document, data):
    with pytest.raises(FormatError):
        parse(document, data)


def test_header_length_beyond_the_body():
    with pytest.raises(FormatError, match="all sent"):
        parse_request(memoryview(b"{}"), 3)


def test_much_json():
    with pytest.raises(FormatError, match=str(JSON_BYTES_MAX)):
        parse_request(memoryview(bytes(JSON_BYTES_MAX + 1)), None)


VALUES = {
    "BOOL": st.booleans(), "BYTES": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    **{f"INT{bits}": st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}  # fmt: skip


@given(st.sampled_from(sorted(VALUES)), st.data())
def test_json_there_and_back(datatype, data):
    items = data.draw(st.lists(VALUES[datatype], max_size=12))
    tensor = from_json(datatype, (len(items),), items)
    assert to_json(tensor) == items
    assert to_json(from_array(datatype, to_array(tensor))) == items
    nested = from_json(datatype, (len(items), 1), [[item] for item in items])
    assert bytes(nested.data) == bytes(tensor.data)


def test_unaligned_views_are_copied_and_others_not():
    raw = bytearray(17)
    whole = np.frombuffer(raw, "u1")
    start = (-whole.ctypes.data) % 8
    aligned = to_array(Tensor("FP64", (1,), memoryview(raw)[start : start + 8]))
    other = to_array(Tensor("FP64", (1,), memoryview(raw)[start + 1 : start + 9]))
    assert np.shares_memory(aligned, whole)
    assert not np.shares_memory(other, whole)
    assert other.flags.aligned


def test_answer():
    outputs = {"a": from_json("FP32", (1, 2), [1, 2]), "b": from_json("BYTES", (1,), ["é"])}
    answer = Answer((Wanted("b", binary=False), Wanted("a", binary=True)), outputs)
    parts, length = answer.parts("acme/m", "1.0.0", "7", {"receipt": "r"})
    raw = b"".join(parts)
    assert json.loads(raw[:length]) == {
        "model_name": "acme/m", "model_version": "1.0.0", "id": "7", "parameters": {"receipt": "r"},
        "outputs": [
            {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["é"]},
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        ],
    }  # fmt: skip
    assert raw[length:] == struct.pack("<2f", 1, 2)


def test_answer_of_json_has_no_length():
    parts, length = Answer((), {}).parts("acme/m", "1.0.0", "", {})
    assert length is None
    assert json.loads(b"".join(parts)) == {"model_name": "acme/m", "model_version": "1.0.0", "outputs": []}


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("FP16", (1,), b"\0\0"),
        Tensor("BF16", (1,), b"\0\0"),
        Tensor("FP32", (1,), struct.pack("<f", float("nan"))),
        Tensor("FP64", (1,), struct.pack("<d", float("-inf"))),
        Tensor("BYTES", (1,), b"\1\0\0\0\xff"),
        Tensor("INT8", ((1 << 20) + 1,), bytes((1 << 20) + 1)),
    ],
    ids=["fp16", "bf16", "nan", "infinite", "not_utf8", "large"],
)
def test_what_json_cannot_carry(tensor):
    with pytest.raises(FormatError):
        Answer((Wanted("a", binary=False),), {"a": tensor})
    Answer((Wanted("a", binary=True),), {"a": tensor})
