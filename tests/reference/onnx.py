"""The ONNX rules of docs/spec/content.md, section 2.2, over a file in memory, with protobuf by hand.

`python -m tests.reference.onnx` writes tests/vectors/tensors/onnx.json again.
"""

import json
import math
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors" / "tensors" / "onnx.json"
TYPES = {
    1: ("F32", 32),
    2: ("U8", 8),
    3: ("I8", 8),
    4: ("U16", 16),
    5: ("I16", 16),
    6: ("I32", 32),
    7: ("I64", 64),
    9: ("BOOL", 8),
    10: ("F16", 16),
    11: ("F64", 64),
    12: ("U32", 32),
    13: ("U64", 64),
    14: ("C64", 64),
    15: ("C128", 128),
    16: ("BF16", 16),
    17: ("F8_E4M3", 8),
    18: ("F8_E4M3FNUZ", 8),
    19: ("F8_E5M2", 8),
    20: ("F8_E5M2FNUZ", 8),
    21: ("U4", 4),
    22: ("I4", 4),
    23: ("F4", 4),
    24: ("F8_E8M0", 8),
    25: ("U2", 2),
    26: ("I2", 2),
}
DATA = (4, 5, 6, 7, 9, 10, 11)


class RefusedError(Exception):
    """The file breaks a rule."""


def _need(condition, rule):
    if not condition:
        raise RefusedError(rule)


# Writing.


def varint(value):
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def field(number, value):
    """An integer as a varint, bytes and text as length-delimited."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(*fields):
    return b"".join(field(number, value) for number, value in fields)


def tensor(name, kind, dims, *rest):
    return message(*((1, dim) for dim in dims), (2, kind), (8, name), *rest)


def external(name, kind, dims, *rest, **properties):
    entries = [(13, message((1, key), (2, value))) for key, value in properties.items()]
    return tensor(name, kind, dims, *entries, (14, 1), *rest)


def model(*graph, **rest):
    return message((1, 8), *((int(key[1:]), value) for key, value in rest.items()), (7, message(*graph)))


def attribute(name, *rest):
    return message((1, name), *rest)


def node(output, *attributes):
    return message((1, "in"), (2, output), (2, "second"), (4, "Op"), *((5, a) for a in attributes))


# Reading.


def _read_varint(data, at, end):
    value = 0
    for shift in range(0, 70, 7):
        _need(at < end, "a varint is cut short")
        value += (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            _need(value < 2**64, "a varint of more than 64 bits")
            return value, at
    raise RefusedError("a varint of more than 10 bytes")


def _fields(data, at, end):
    """(number, type, value or start, end), all at once."""
    found = []
    while at < end:
        key, at = _read_varint(data, at, end)
        _need(0 < key >> 3 < 2**29 and key & 7 in (0, 1, 2, 5), "a field's key")
        if key & 7 == 0:
            value, stop = _read_varint(data, at, end)
            found.append((key >> 3, 0, value, stop))
        else:
            length = {1: 8, 5: 4}.get(key & 7)
            if length is None:
                length, at = _read_varint(data, at, end)
            stop = at + length
            found.append((key >> 3, key & 7, at, stop))
        _need(stop <= end, "a field is cut short")
        at = stop
    return found


class _Reader:
    def __init__(self, data):
        self.data, self.inside, self.outside = data, [], []

    def message(self, item):
        _need(item[1] == 2, "no message")
        return _fields(self.data, item[2], item[3])

    def text(self, item, most=1024):
        _need(item[1] == 2 and item[3] - item[2] <= most, "no text, or too long")
        try:
            return self.data[item[2] : item[3]].decode("utf-8")
        except UnicodeDecodeError as error:
            raise RefusedError("UTF-8") from error

    def model(self):
        graphs = 0
        for item in _fields(self.data, 0, len(self.data)):
            if item[0] == 7:
                graphs += 1
                self.graph(item, 0)
            if item[0] == 20:
                for inner in self.message(item):
                    if inner[0] in (1, 2):
                        self.graph(inner, 1)
            if item[0] == 25:
                self.function(item)
        _need(graphs == 1, "one graph")

    def function(self, item):
        items = self.message(item)
        names = [self.text(inner) for inner in items if inner[0] == 1]
        for inner in items:
            if inner[0] == 7:
                self.node(inner, 1)
        for inner in items:
            if inner[0] == 11:
                self.attribute(inner, names[-1] if names else "", 1)

    def graph(self, item, depth):
        _need(depth <= 32, "too deep")
        for inner in self.message(item):
            if inner[0] == 1:
                self.node(inner, depth)
            if inner[0] == 5:
                self.tensor(inner, None)
            if inner[0] == 15:
                self.sparse(inner, None)

    def node(self, item, depth):
        items = self.message(item)
        outputs = [inner for inner in items if inner[0] == 2]
        attributes = [inner for inner in items if inner[0] == 5]
        _need(len(attributes) <= 4096, "too many attributes")
        for inner in attributes:
            self.attribute(inner, outputs[0] if outputs else "", depth)

    def attribute(self, item, owner, depth):
        items = self.message(item)
        for inner in items:
            if inner[0] in (6, 11):
                self.graph(inner, depth + 1)
        held = [inner for inner in items if inner[0] in (5, 10, 22, 23)]
        if not held:
            return
        names = [self.text(inner) for inner in items if inner[0] == 1]
        owner = owner if isinstance(owner, str) else self.text(owner)
        for number, inner in enumerate(held):
            label = f"{owner}:{names[-1] if names else ''}" + (f"[{number}]" if len(held) > 1 else "")
            (self.tensor if inner[0] in (5, 10) else self.sparse)(inner, label)

    def sparse(self, item, label):
        name = label or ""
        for inner in self.message(item):
            if inner[0] == 1:
                name = self.tensor(inner, label)
            if inner[0] == 2:
                self.tensor(inner, f"{name}:indices")

    def tensor(self, item, label):
        items = self.message(item)
        once = [inner[0] for inner in items if inner[0] in (2, 8, 9, 14)]
        _need(len(set(once)) == len(once), "a field comes twice")
        dims, kind, location, properties, data = [], 0, 0, {}, []
        own = ""
        for inner in items:
            if inner[0] == 1:
                dims += self.integers(inner)
            elif inner[0] in (2, 14):
                _need(inner[1] == 0, "no integer")
                kind, location = (inner[2], location) if inner[0] == 2 else (kind, inner[2])
            elif inner[0] == 8:
                own = self.text(inner)
            elif inner[0] == 13:
                self.property(inner, properties)
            elif inner[0] in DATA and (inner[1] != 2 or inner[3] > inner[2]):
                _need(inner[0] != 9 or inner[1] == 2, "raw data of another type")
                data.append(inner)
        _need(len(dims) <= 32, "too many dimensions")
        _need(len({inner[0] for inner in data}) < 2, "data in two fields")
        name = own if label is None else label
        _need(len(name.encode()) <= 1024, "the name")
        if location == 1:
            self.outside.append(self.external(name, kind, dims, properties, data))
        elif len(data) == 1 and data[0][1] == 2:
            self.inside.append(self.inline(name, kind, dims, data[0]))
        return name

    def integers(self, item):
        if item[1] == 0:
            return [item[2]]
        values, at = [], item[2]
        _need(item[1] == 2, "no integers")
        while at < item[3]:
            value, at = _read_varint(self.data, at, item[3])
            values.append(value)
        return values

    def property(self, item, properties):
        entry = {1: "", 2: ""}
        for inner in self.message(item):
            if inner[0] in entry:
                entry[inner[0]] = self.text(inner, 2048)
        _need(entry[1] not in properties and len(properties) < 64, "a key comes twice")
        properties[entry[1]] = entry[2]

    def inline(self, name, kind, dims, item):
        word, bits = TYPES.get(kind, ("BYTES", 8))
        start, length = item[2], item[3] - item[2]
        if item[0] == 9:
            _need(kind not in (0, 8), "raw data of no fixed size")
        elif (item[0], word) not in ((4, "F32"), (4, "C64"), (10, "F64"), (10, "C128")):
            word = "BYTES"
        if word == "BYTES":
            return [name, word, [length], start, length]
        _need(_length(dims, bits) == length, "length and shape differ")
        return [name, word, dims, start, length]

    def external(self, name, kind, dims, properties, data):
        _need(kind in TYPES and not data and "location" in properties, "external data")
        numbers = {}
        for key in ("offset", "length"):
            text = properties.get(key, "0")
            _need(1 <= len(text) <= 19 and all(c in "0123456789" for c in text), "decimal digits")
            numbers[key] = int(text)
        length = _length(dims, TYPES[kind][1])
        _need("length" not in properties or numbers["length"] == length, "length and shape differ")
        _need(numbers["offset"] + length < 2**63, "beyond 63 bits")
        row = [name, TYPES[kind][0], dims, numbers["offset"], length]
        return [properties["location"], row, properties.get("checksum")]


def _length(dims, bits):
    _need(all(dim < 2**63 for dim in dims), "a dimension")
    _need(all(math.prod(dims[:count]) < 2**63 for count in range(len(dims) + 1)), "too many elements")
    return -(-math.prod(dims) * bits // 8)


def reference_index(data):
    """Tensors inside as [name, type, shape, offset, length], and outside as [location, tensor, checksum]."""
    reader = _Reader(data)
    reader.model()
    rows = sorted(reader.inside, key=lambda row: (row[3], row[4]))
    taken, seen = {row[0] for row in rows}, set()
    for row in rows:
        number, name = 1, row[0]
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{row[0]} #{number}"
        _need(len(name.encode()) <= 1024, "the name")
        row[0] = name
        seen.add(name)
    return rows, reader.outside


W = tensor("w", 1, [2, 3], (9, bytes(range(24))))


def _nested(depth):
    graph = message((5, W))
    for _ in range(depth):
        graph = message((1, node("x", attribute("body", (6, graph)))))
    return message((7, graph))


def accepted():
    """Files to accept, by name."""
    yield "no_tensors", model()
    yield "one_initializer", model((5, W))
    yield (
        "unknown_fields",
        model((5, W + message((99, 1), (100, b"x"))), (77, b"\xff"), _2="producer", _99=b"junk"),
    )
    yield "fixed_size_fields", model((5, W)) + varint(90 << 3 | 1) + bytes(8) + varint(91 << 3 | 5) + bytes(4)
    yield "packed_dims", model((5, message((1, b"\x02\x03"), (2, 1), (9, bytes(24)))))
    yield "no_elements", model((5, tensor("e", 1, [0], (9, b""))))
    yield "no_data", model((5, tensor("e", 1, [0])))
    yield "float_data", model((5, tensor("f", 1, [2], (4, bytes(8)))))
    yield "complex_float_data", model((5, tensor("c", 14, [2], (4, bytes(16)))))
    yield "double_data", model((5, tensor("d", 11, [2], (10, bytes(16)))))
    yield (
        "varint_data",
        model((5, tensor("i", 7, [3], (7, b"\x01\x80\x02\x03"))), (5, tensor("h", 10, [1], (5, b"\x07")))),
    )
    yield "unpacked_data", model((5, tensor("i", 7, [3], (7, 1), (7, 2), (7, 3))))
    yield "data_in_pieces", model((5, tensor("f", 1, [2], (4, bytes(4)), (4, bytes(4)))))
    yield "strings", model((5, tensor("s", 8, [2], (6, "a"), (6, "bc"))))
    yield "unknown_type", model((5, tensor("n", 99, [5], (9, b"abc"))))
    yield "same_name_thrice", model((5, W), (5, W), (5, tensor("w #2", 3, [1], (9, b"x"))), (5, W))
    yield (
        "constant_node",
        model((1, node("k", attribute("value", (5, tensor("ignored", 7, [1], (9, bytes(8)))))))),
    )
    yield "several_in_an_attribute", model((1, node("k", attribute("ts", (10, W), (10, W)))))
    yield "attribute_name_last", model((1, message((5, message((5, W), (1, "value"))), (2, "out"))))
    yield "node_without_output", model((1, message((5, attribute("value", (5, W))))))
    sparse = message((1, W), (2, tensor("", 7, [1], (9, bytes(8)))), (3, 9))
    yield "sparse_initializer", model((15, sparse))
    yield (
        "sparse_attributes",
        model((1, node("s", attribute("a", (22, sparse)), attribute("b", (23, sparse), (23, sparse))))),
    )
    yield (
        "subgraphs",
        model(
            (1, node("if", attribute("then", (6, message((5, W)))), attribute("more", (11, message((5, W))))))
        ),
    )
    function = message(
        (1, "f"), (7, node("y", attribute("value", (5, W)))), (11, attribute("default", (5, W)))
    )
    yield "functions", model((5, W), _25=function)
    yield "training", model((5, W), _20=message((1, message((5, W))), (2, message((5, W)))))
    yield "graphs_32_deep", _nested(32)
    outside = external("x", 10, [3], location="w.bin", offset="4096", length="6", checksum="ab")
    yield "external", model((5, outside), (5, external("y", 1, [2], location="w.bin")))
    yield "external_with_other_keys", model((5, external("x", 3, [1], location="w.bin", basepath="/")))
    for kind, (word, bits) in TYPES.items():
        yield f"type_{word}", model((5, tensor("t", kind, [8], (9, bytes(bits)))))
        yield (
            f"type_{word}_in_part_of_a_byte",
            model((5, tensor("t", kind, [3], (9, bytes(-(-bits * 3 // 8)))))),
        )


def refused():
    """Files to refuse, by the rule that they break."""
    yield "empty_file", b""
    yield "no_graph", message((1, 8))
    yield "two_graphs", model((5, W)) + model()
    yield "graph_as_an_integer", message((7, 1))
    yield "group", b"\x0b\x0c" + model()
    yield "field_0", b"\x00\x00" + model()
    yield "wire_type_7", b"\x0f" + model()
    yield "field_number_beyond_29_bits", varint(1 << 32) + b"\x00" + model()
    yield "varint_of_11_bytes", b"\x08" + b"\x80" * 10 + b"\x00" + model()
    yield "varint_of_65_bits", b"\x08" + b"\xff" * 9 + b"\x02" + model()
    yield "varint_cut_short", model() + b"\x08\x80"
    yield "varint_leaves_its_message", message((7, message((5, b"\x10\x80")))) + b"\x01"
    yield "truncated", model((5, W))[:-1]
    yield "length_beyond_the_file", b"\x3a\x7f"
    yield "length_of_64_bits", b"\x3a" + b"\xff" * 9 + b"\x01"
    yield "length_leaves_its_message", message((7, b"\x2a\x20"), (3, bytes(40)))
    yield "graphs_33_deep", _nested(33)
    yield "graphs_400_deep", _nested(400)
    yield "too_many_attributes", model((1, message(*[(5, b"")] * 4097)))
    yield "too_many_dimensions", model((5, tensor("w", 3, [1] * 33, (9, b"x"))))
    yield "too_many_dimensions_without_data", model((5, tensor("w", 3, [1] * 33)))
    yield "packed_dimensions_leave_their_field", model((5, message((1, b"\x01\x81"), (2, 3))))
    yield "too_many_packed_dimensions", model((5, message((1, b"\x01" * 33), (2, 3), (9, b"x"))))
    yield "dims_of_fixed_size", model((5, varint(1 << 3 | 5) + bytes(4)))
    yield "negative_dimension", model((5, tensor("w", 3, [(1 << 64) - 1], (9, b"x"))))
    yield "shape_overflows", model((5, tensor("w", 3, [1 << 32, 1 << 32, 0], (9, b"x"))))
    yield "shape_wraps_to_the_length", model((5, tensor("w", 1, [(1 << 62) + 6], (9, bytes(24)))))
    yield "shape_and_length_differ", model((5, tensor("w", 1, [2, 3], (9, bytes(23)))))
    yield "shape_and_packed_length_differ", model((5, tensor("w", 1, [2], (4, bytes(12)))))
    yield "raw_data_twice", model((5, tensor("w", 3, [1], (9, b"x"), (9, b"y"))))
    yield "raw_data_as_an_integer", model((5, tensor("w", 3, [1], (9, 1))))
    yield "raw_and_typed_data", model((5, tensor("w", 1, [1], (4, bytes(4)), (9, bytes(4)))))
    yield "typed_data_of_two_kinds", model((5, tensor("w", 7, [1], (7, b"\x01"), (5, b"\x01"))))
    yield "raw_strings", model((5, tensor("w", 8, [1], (9, b"x"))))
    yield "raw_data_without_a_type", model((5, message((1, 1), (9, b"x"))))
    yield "type_twice", model((5, tensor("w", 3, [1], (2, 3), (9, b"x"))))
    yield "type_as_text", model((5, message((2, "F"), (9, b"x"))))
    yield "name_twice", model((5, W + message((8, "v"))))
    yield "name_not_utf8", model((5, tensor(b"\xff", 3, [1], (9, b"x"))))
    yield "name_too_long", model((5, tensor("n" * 1025, 3, [1], (9, b"x"))))
    yield "label_too_long", model((1, node("n" * 1024, attribute("value", (5, W)))))
    yield "external_without_location", model((5, external("x", 1, [1], offset="0")))
    yield "external_with_data_inside", model((5, external("x", 1, [1], (9, bytes(4)), location="w.bin")))
    yield "external_strings", model((5, external("x", 8, [1], location="w.bin")))
    for kind, size in ((1, 8), (5, 4)):
        fixed = varint(13 << 3 | kind) + bytes(size)
        yield f"external_data_as_{size}_bytes", model((5, tensor("w", 3, [1], (9, b"x")) + fixed))
    yield "external_data_as_an_integer", model((5, tensor("w", 3, [1], (9, b"x"), (13, 1))))
    yield "external_unknown_type", model((5, external("x", 99, [1], location="w.bin")))
    yield (
        "external_key_twice",
        model((5, external("x", 1, [1], (13, message((1, "location"), (2, "v"))), location="w"))),
    )
    yield "external_length_differs", model((5, external("x", 1, [1], location="w.bin", length="5")))
    for name, text in {
        "negative": "-1",
        "hexadecimal": "0x10",
        "spaced": " 1",
        "underscore": "1_0",
        "empty": "",
    }.items():
        yield f"external_offset_{name}", model((5, external("x", 1, [1], location="w.bin", offset=text)))
    yield (
        "external_offset_arabic_digits",
        model((5, external("x", 1, [1], location="w.bin", offset="\u0661"))),
    )
    yield "external_offset_of_20_digits", model((5, external("x", 1, [1], location="w.bin", offset="0" * 20)))
    yield (
        "external_end_beyond_63_bits",
        model((5, external("x", 3, [2], location="w.bin", offset=str(2**63 - 1)))),
    )
    yield (
        "external_65_keys",
        model((5, external("x", 1, [1], location="w", **{f"k{n}": "" for n in range(64)}))),
    )
    yield "external_location_too_long", model((5, external("x", 1, [1], location="w" * 2049)))
    yield "location_twice", model((5, external("x", 1, [1], (14, 1), location="w.bin")))


def render():
    """One line a vector: what is accepted with its tensors, what is refused with None."""
    vectors = []
    for name, file in accepted():
        inside, outside = reference_index(file)
        vectors.append({"name": name, "file": file.hex(), "tensors": inside, "external": outside})
    for name, file in refused():
        vectors.append({"name": name, "file": file.hex(), "tensors": None, "external": None})
    return "[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n"


if __name__ == "__main__":
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(render())
