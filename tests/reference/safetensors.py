"""The safetensors rules of docs/spec/content.md, sections 2 and 2.1, over a file in memory with json.

`python -m tests.reference.safetensors` writes tests/vectors/tensors/safetensors.json again.
"""

import json
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors" / "tensors" / "safetensors.json"
BITS = {
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E5M2FNUZ", "F8_E4M3", "F8_E4M3FNUZ", "F8_E8M0"], 8),
    **dict.fromkeys(["U16", "I16", "F16", "BF16"], 16),
    **dict.fromkeys(["U32", "I32", "F32"], 32),
    **dict.fromkeys(["U64", "I64", "F64", "C64"], 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


class RefusedError(Exception):
    """The file breaks a rule."""


def _need(condition, rule):
    if not condition:
        raise RefusedError(rule)


def _object(pairs):
    _need(len({key for key, _ in pairs}) == len(pairs), "a key comes twice")
    return dict(pairs)


def _integer(digits):
    _need(digits[0] != "-" and len(digits) <= 19, "an integer out of range")
    return int(digits)


def _never(digits):
    raise RefusedError("no integer")


def reference_index(data):
    """Tensors as [name, type, shape, offset, length]; raises RefusedError."""
    _need(len(data) >= 8, "no length")
    length = int.from_bytes(data[:8], "little")
    _need(2 <= length <= 16 << 20 and 8 + length <= len(data), "length of the header")
    _need(data[8:9] == b"{", "no object")
    try:
        text = data[8 : 8 + length].decode("utf-8")
        header = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_never, parse_constant=_never
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError("no JSON") from error
    metadata = header.pop("__metadata__", {})
    _need(isinstance(metadata, dict), "metadata")
    for text in [*metadata, *metadata.values()]:
        _need(isinstance(text, str), "metadata")
        _encodable(text)
    rows = sorted((_row(*item, 8 + length) for item in header.items()), key=lambda r: (r[3], r[4], r[0]))
    end = 8 + length
    for row in rows:
        _need(row[3] == end, "a hole or an overlap")
        end += row[4]
    _need(end == len(data), "the end")
    return rows


def _encodable(text):
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RefusedError("an unpaired surrogate") from error


def _row(name, entry, start):
    _need(len(_encodable(name)) <= 1024, "the name")
    _need(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, "an entry")
    word, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _need(isinstance(word, str) and word in BITS, "the type")
    _need(isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2, "shape or offsets")
    _need(all(type(n) is int for n in shape + offsets), "shape or offsets")
    _need(len(shape) <= 32 and all(n < 2**63 for n in shape), "the shape")
    product = 1
    for dimension in shape:
        product *= dimension
        _need(product < 2**63, "too many elements")
    _need(offsets[0] <= offsets[1], "offsets")
    _need(product * BITS[word] == 8 * (offsets[1] - offsets[0]), "length and shape differ")
    _need(start + offsets[1] < 2**63, "the end")
    return [name, word, shape, start + offsets[0], offsets[1] - offsets[0]]


def build(header, data=b"", length=None):
    """A file of a header (JSON text or an object) and data."""
    if not isinstance(header, str | bytes):
        header = json.dumps(header, separators=(",", ":"))
    raw = header if isinstance(header, bytes) else header.encode("utf-8")
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def entry(word, shape, begin, end):
    return {"dtype": word, "shape": shape, "data_offsets": [begin, end]}


def accepted():
    """Files to accept, by name."""
    one = entry("F32", [2], 0, 8)
    yield "no_tensors", build({})
    yield "one_tensor", build({"a": one}, bytes(8))
    yield "padded_with_spaces", build('{"a":' + json.dumps(one) + "}   ", bytes(8))
    yield (
        "white_space_everywhere",
        build(' {"a" :\n{ "shape": [ ] ,"dtype"\t: "U8","data_offsets":[0, 1]}\r}'[1:], b"x"),
    )
    yield "header_out_of_order", build({"b": entry("U8", [1], 8, 9), "a": one}, bytes(9))
    yield "tensors_of_0_bytes", build({n: entry("F32", [3, 0], 0, 0) for n in "ba"} | {"c": one}, bytes(8))
    yield "scalar", build({"s": entry("F64", [], 0, 8)}, bytes(8))
    yield "nan_weights", build({"a": one}, b"\x00\x00\xc0\x7f\xff\xff\xff\xff")
    yield "metadata", build({"__metadata__": {"format": "pt", "}": '{"x": [1]}'}, "a": one}, bytes(8))
    yield "escapes_in_names", build(r'{"\u00e9\ud83d\ude00\n":' + json.dumps(one) + "}", bytes(8))
    yield "empty_name", build({"": one}, bytes(8))
    yield "two_to_a_byte", build({"a": entry("F4", [2, 3], 0, 3)}, bytes(3))
    yield "four_to_three_bytes", build({"a": entry("F6_E2M3", [4], 0, 3)}, bytes(3))
    for word, bits in BITS.items():
        yield f"type_{word}", build({"t": entry(word, [8], 0, bits)}, bytes(bits))


def refused():
    """Files to refuse, by the rule that they break."""
    one = entry("F32", [2], 0, 8)
    text = json.dumps(one)
    yield "empty_file", b""
    yield "seven_bytes", bytes(7)
    yield "header_of_0_bytes", build("")
    yield "header_longer_than_the_file", build({"a": one}, b"", length=1 << 16)
    yield "header_longer_than_allowed", build({}, b"", length=(16 << 20) + 1)
    yield "header_length_of_64_bits", build({}, b"", length=(1 << 64) - 1)
    yield "truncated_in_the_header", build({"a": one}, bytes(8))[:30]
    yield "truncated_in_the_data", build({"a": one}, bytes(7))
    yield "bytes_behind_the_data", build({"a": one}, bytes(9))
    yield "no_json", build("{x}")
    yield "no_object", build("[]")
    yield "null", build("null")
    yield "white_space_before_the_object", build(" {}")
    yield "a_second_object", build("{}{}")
    yield "nul_behind_the_object", build("{}\0")
    yield "comma_at_the_end", build('{"a":' + text + ",}", bytes(8))
    yield "not_utf8", build(b'{"\xff":' + text.encode() + b"}", bytes(8))
    yield "byte_order_mark", build(b"\xef\xbb\xbf{}")
    yield "unpaired_surrogate", build(r'{"\ud800":' + text + "}", bytes(8))
    yield "unpaired_surrogate_in_metadata", build(r'{"__metadata__":{"a":"\udc00"}}')
    yield "control_character_in_a_name", build('{"a\n":' + text + "}", bytes(8))
    yield "unknown_escape", build(r'{"\x":' + text + "}", bytes(8))
    yield "key_twice", build(f'{{"a":{text},"a":{text}}}', bytes(8))
    yield "key_twice_by_escape", build(f'{{"a":{text},"\\u0061":{text}}}', bytes(8))
    yield "key_twice_in_an_entry", build('{"a":' + text[:-1] + ',"dtype":"F32"}}', bytes(8))
    yield "metadata_key_twice", build('{"__metadata__":{"a":"","a":""}}')
    yield "metadata_twice", build('{"__metadata__":{},"__metadata__":{}}')
    yield "metadata_null", build('{"__metadata__":null}')
    yield "metadata_with_a_number", build('{"__metadata__":{"a":1}}')
    yield "metadata_nested", build('{"__metadata__":{"a":{}}}')
    yield "entry_as_an_array", build('{"a":["F32",[2],[0,8]]}', bytes(8))
    yield "further_key", build({"a": one | {"x": 1}}, bytes(8))
    yield "missing_key", build({"a": {"dtype": "F32", "shape": [2]}}, bytes(8))
    yield "nested_deeply", build('{"a":' + "[" * 5000 + "]" * 5000 + "}")
    yield "nested_deeply_in_an_entry", build('{"a":{"shape":' + "[" * 3000 + "]" * 3000 + "}}")
    yield "unknown_type", build({"a": entry("F33", [2], 0, 8)}, bytes(8))
    yield "type_of_ours_only", build({"a": entry("BYTES", [8], 0, 8)}, bytes(8))
    yield "type_in_lower_case", build({"a": entry("f32", [2], 0, 8)}, bytes(8))
    yield "type_no_text", build({"a": entry(32, [2], 0, 8)}, bytes(8))
    yield "shape_of_floats", build({"a": entry("F32", [2.0], 0, 8)}, bytes(8))
    yield "shape_with_exponent", build('{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}', bytes(1))
    yield "shape_of_booleans", build({"a": entry("F32", [True], 0, 4)}, bytes(4))
    yield "shape_negative", build({"a": entry("F32", [-2], 0, 8)}, bytes(8))
    yield "shape_minus_zero", build('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}')
    yield "shape_leading_zero", build('{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', bytes(1))
    yield "shape_nan", build('{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', bytes(1))
    yield "shape_null", build({"a": entry("F32", None, 0, 4)}, bytes(4))
    yield "shape_nested", build({"a": entry("F32", [[2]], 0, 8)}, bytes(8))
    yield "shape_of_33_dimensions", build({"a": entry("U8", [1] * 33, 0, 1)}, bytes(1))
    yield "shape_beyond_63_bits", build({"a": entry("U8", [1 << 63, 0], 0, 0)})
    yield "shape_overflows", build({"a": entry("U8", [1 << 32, 1 << 32, 0], 0, 0)})
    yield "shape_wraps_to_the_length", build({"a": entry("F32", [(1 << 62) + 2], 0, 8)}, bytes(8))
    yield "shape_and_length_differ", build({"a": entry("F32", [3], 0, 8)}, bytes(8))
    yield "half_a_byte", build({"a": entry("F4", [3], 0, 2)}, bytes(2))
    yield "offsets_of_one", build('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}')
    yield "offsets_of_three", build('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}')
    yield "offsets_descending", build({"a": entry("U8", [0], 8, 0)}, bytes(8))
    yield "offsets_beyond_63_bits", build({"a": entry("U8", [1], (1 << 64) - 1, 1 << 64)})
    yield "hole_at_the_start", build({"a": entry("F32", [2], 1, 9)}, bytes(9))
    yield "hole_between", build({"a": one, "b": entry("U8", [1], 9, 10)}, bytes(10))
    yield "overlap", build({"a": one, "b": entry("U8", [2], 7, 9)}, bytes(9))
    yield "same_bytes_twice", build({"a": one, "b": one}, bytes(8))
    yield "name_too_long", build({"a" * 1025: one}, bytes(8))
    yield "name_too_long_in_bytes", build({"é" * 513: one}, bytes(8))


def render():
    """One line a vector: what is accepted with its tensors, what is refused with None."""
    vectors = [{"name": n, "file": f.hex(), "tensors": reference_index(f)} for n, f in accepted()]
    vectors += [{"name": n, "file": f.hex(), "tensors": None} for n, f in refused()]
    return "[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n"


if __name__ == "__main__":
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(render())
