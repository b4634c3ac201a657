"""DAG-CBOR by hand, from RFC 8949 and the DAG-CBOR specification, byte by byte and slowly.

`python -m tests.reference.dagcbor` writes tests/vectors/dagcbor/ again.
"""

import base64
import hashlib
import json
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors" / "dagcbor"
MAX_DEPTH = 16


class Link(bytes):
    """The 36 bytes of a CID."""


def head(major, number):
    """The shortest head."""
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << (8 * size):
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise ValueError("beyond 64 bits")


def reference_encode(value):
    if value is None or value is True or value is False:
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, Link):
        return head(6, 42) + head(2, 37) + b"\x00" + value
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(reference_encode, value))
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return head(5, len(keys)) + b"".join(reference_encode(k) + reference_encode(value[k]) for k in keys)
    raise ValueError(type(value))


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise ValueError("ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def head(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        if info > 27 or major == 7:
            raise ValueError("indefinite, reserved, float or simple value")
        size = 1 << (info - 24)
        number = int.from_bytes(self.take(size), "big")
        if number < (24 if size == 1 else 1 << (4 * size)):
            raise ValueError("not the shortest head")
        return major, number

    def item(self, depth):
        if depth < 0:
            raise ValueError("too deep")
        major, number = self.head()
        if major == 4:
            return [self.item(depth - 1) for _ in self.count(number)]
        if major == 5:
            return self.map(number, depth - 1)
        return (self.uint, self.nint, self.take, self.text, None, None, self.link, self.simple)[major](number)

    def count(self, number):
        return range(min(number, len(self.data) - self.at + 1))

    def map(self, number, depth):
        result, last = {}, None
        for _ in self.count(number):
            major, length = self.head()
            if major != 3:
                raise ValueError("key is no text")
            raw = self.take(length)
            if last is not None and (len(last), last) >= (len(raw), raw):
                raise ValueError("keys out of order")
            last = raw
            result[raw.decode("utf-8")] = self.item(depth)
        return result

    def uint(self, number):
        return number

    def nint(self, number):
        if number >= 1 << 63:
            raise ValueError("below -2**63")
        return -1 - number

    def text(self, number):
        return self.take(number).decode("utf-8")

    def link(self, number):
        if number != 42 or self.head() != (2, 37):
            raise ValueError("another tag, or no CID of ours")
        raw = self.take(37)
        codec, algorithm = raw[2:4]
        if (
            raw[:2] != b"\x00\x01"
            or codec not in (0x55, 0x71)
            or algorithm not in (0x1E, 0x12)
            or raw[4] != 32
        ):
            raise ValueError("no CID of ours")
        return Link(raw[1:])

    def simple(self, number):
        if number not in (20, 21, 22):
            raise ValueError("simple value")
        return {20: False, 21: True, 22: None}[number]


def reference_decode(data):
    reader = _Reader(data)
    value = reader.item(MAX_DEPTH)
    if reader.at != len(data):
        raise ValueError("bytes after the end")
    return value


def to_json(value):
    """DAG-JSON's way to write links and bytes."""
    if isinstance(value, Link):
        return {"/": "b" + base64.b32encode(value).decode().lower().rstrip("=")}
    if isinstance(value, bytes):
        return {"/": {"bytes": base64.b64encode(value).decode().rstrip("=")}}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def _cid(codec, algorithm, text):
    return Link(bytes([1, codec, algorithm, 32]) + hashlib.sha256(text).digest())


RAW, NODE = _cid(0x55, 0x1E, b"raw"), _cid(0x71, 0x12, b"node")


def _nest(depth, inner):
    for _ in range(depth):
        inner = [inner]
    return inner


VALID = {
    "null": None,
    "false": False,
    "true": True,
    **{f"integer {n}": n for n in (0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1)},
    **{
        f"integer {n}": n
        for n in (-1, -24, -25, -256, -257, -65536, -65537, -(2**32), -(2**32) - 1, -(2**63))
    },
    "empty bytes": b"",
    "24 bytes": bytes(range(24)),
    "256 bytes": bytes(range(256)),
    "empty text": "",
    "text": "modelreg",
    "text beyond the basic plane": "\U0001f40d é \x00",
    "unnormalised text": "e\u0301",
    "empty list": [],
    "nested lists": [[], [[1]], [2, [3]]],
    "24 items": list(range(24)),
    "empty map": {},
    "empty key": {"": 0},
    "keys shorter first": {"b": 1, "aa": 2, "c": 3, "": 4},
    "keys by bytes of UTF-8": {"é": 1, "zz": 2, "\U0001f40d": 3, "aaaa": 4},
    "key that looks like a link": {"/": "bafy"},
    "raw blake3 link": RAW,
    "dag-cbor sha2-256 link": NODE,
    "links everywhere": {"a": [RAW, {"b": NODE}], "c": RAW},
    "bytes that look like a link": b"\x00" + RAW,
    "deepest": _nest(MAX_DEPTH, 0),
    "deepest, a link": _nest(MAX_DEPTH, RAW),
}


def _tagged(tag, item):
    return head(6, tag) + item


def _link(raw):
    return _tagged(42, head(2, len(raw)) + raw)


def _text(text):
    return head(3, len(text)) + text.encode()


_EMPTY = {"nothing": b"", "a head alone": b"\x18", "a tag alone": b"\xd8\x2a"}
_NUMBERS = {
    "half float": b"\xf9\x3c\x00",
    "single float": b"\xfa\x3f\x80\x00\x00",
    "double float": b"\xfb\x3f\xf0" + bytes(6),
    "float zero": b"\xfb" + bytes(8),
    "negative zero": b"\xfb\x80" + bytes(7),
    "NaN": b"\xf9\x7e\x00",
    "infinity": b"\xf9\x7c\x00",
    "integer 0 in two bytes": b"\x18\x00",
    "integer 23 in two bytes": b"\x18\x17",
    "integer 255 in three bytes": b"\x19\x00\xff",
    "integer 65535 in five bytes": b"\x1a\x00\x00\xff\xff",
    "integer 2**32-1 in nine bytes": b"\x1b" + (2**32 - 1).to_bytes(8, "big"),
    "negative integer in a long form": b"\x38\x00",
    "integer -2**63-1": b"\x3b\x80" + bytes(7),
    "integer -2**64": b"\x3b" + b"\xff" * 8,
    "positive bignum": _tagged(2, b"\x49\x01" + bytes(8)),
    "negative bignum": _tagged(3, b"\x49\x01" + bytes(8)),
    "bignum that fits 64 bits": _tagged(2, b"\x41\x01"),
    "reserved integer forms": b"\x1c",
}
_SIMPLE = {
    "undefined": b"\xf7",
    "simple value 0": b"\xe0",
    "simple value 32": b"\xf8\x20",
    "simple value 255": b"\xf8\xff",
    "false in two bytes": b"\xf8\x14",
    "reserved simple form": b"\xfc",
    "break alone": b"\xff",
}
_INDEFINITE = {
    "indefinite bytes": b"\x5f\x41\x01\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "indefinite list": b"\x9f\x01\xff",
    "indefinite map": b"\xbf\x61a\x01\xff",
}
_TEXT = {
    "text with a surrogate": b"\x63\xed\xa0\x80",
    "text with an overlong form": b"\x62\xc0\x80",
    "text beyond Unicode": b"\x64\xf4\x90\x80\x80",
    "text cut inside a character": b"\x61\xc3",
    "text length in a long form": b"\x78\x01a",
    "bytes length in a long form": b"\x58\x01a",
    "list length in a long form": b"\x98\x01\x00",
    "map length in a long form": b"\xb8\x01\x61a\x00",
}
_MAPS = {
    "keys out of order": b"\xa2\x61b\x00\x61a\x00",
    "longer key first": b"\xa2\x62aa\x00\x61b\x00",
    "duplicate keys": b"\xa2\x61a\x00\x61a\x01",
    "integer key": b"\xa1\x01\x00",
    "bytes key": b"\xa1\x41a\x00",
    "boolean key": b"\xa1\xf5\x00",
    "null key": b"\xa1\xf6\x00",
    "list key": b"\xa1\x80\x00",
    "map key": b"\xa1\xa0\x00",
    "link key": b"\xa1" + reference_encode(RAW) + b"\x00",
    "key without a value": b"\xa1\x61a",
}
_LINKS = {
    "link without the zero byte": _link(RAW),
    "link in base32 bytes": _link(b"bafk"),
    "link to a CIDv0": _link(b"\x00\x12\x20" + RAW[4:]),
    "link of another codec": _link(b"\x00\x01\x70" + RAW[2:]),
    "link of another hash": _link(b"\x00\x01\x55\x13\x20" + RAW[4:]),
    "link with an identity hash": _link(b"\x00\x01\x55\x00\x20" + RAW[4:]),
    "link with a short digest": _link(b"\x00\x01\x55\x1e\x1f" + RAW[5:]),
    "link with a digest cut off": _link(b"\x00" + RAW[:-1]),
    "link with bytes after it": _link(b"\x00" + RAW + b"\x00"),
    "link with a long version": _link(b"\x00\x81\x00" + RAW[1:]),
    "link as text": _tagged(42, _text("bafkr4i")),
    "link as a number": _tagged(42, b"\x00"),
    "link in a link": _tagged(42, reference_encode(RAW)),
    "link with a long tag": b"\xd9\x00\x2a" + head(2, 37) + b"\x00" + RAW,
    "link with a long length": b"\xd8\x2a\x59\x00\x25\x00" + RAW,
}
_TAGS = {
    "date as text": _tagged(0, _text("2013-03-21T20:04:00Z")),
    "date as a number": _tagged(1, b"\x00"),
    "decimal fraction": _tagged(4, b"\x82\x20\x01"),
    "bigfloat with a huge exponent": _tagged(5, b"\x82\x1b" + b"\x7f" * 8 + b"\x03"),
    "encoded CBOR": _tagged(24, b"\x41\x00"),
    "string reference": _tagged(256, b"\x82\x63aaa\xd8\x19\x00"),
    "shared value": _tagged(28, b"\x80"),
    "list that holds itself": _tagged(28, b"\x81\xd8\x1d\x00"),
    "rational": _tagged(30, b"\x82\x01\x02"),
    "rational over zero": _tagged(30, b"\x82\x01\x00"),
    "regular expression": _tagged(35, _text("(a+)+")),
    "MIME message": _tagged(36, _text("a: b\n\nc")),
    "UUID": _tagged(37, head(2, 16) + bytes(16)),
    "days": _tagged(100, b"\x00"),
    "set": _tagged(258, b"\x81\x61a"),
    "IP address": _tagged(260, b"\x44\x7f\x00\x00\x01"),
    "IP network": _tagged(261, b"\xa1\x44\x7f\x00\x00\x00\x08"),
    "date without a time": _tagged(1004, _text("2013-03-21")),
    "complex number": _tagged(43000, b"\x82\x01\x02"),
    "self-described CBOR": _tagged(55799, b"\x00"),
    "unknown tag": _tagged(4711, b"\x00"),
    "largest tag": _tagged(2**64 - 1, b"\x00"),
    "tag inside a list": b"\x82\x00" + _tagged(1, b"\x00"),
}
_SIZES = {
    f"{kind} of {size} items that are not there": head(major, size)
    for kind, major in (("bytes", 2), ("text", 3), ("list", 4), ("map", 5))
    for size in (1, 2**20, 2**31, 2**32, 2**63 - 1, 2**64 - 1)
}
_SHAPE = {
    "bytes after the end": b"\x00\x00",
    "one level too deep": b"\x81" * (MAX_DEPTH + 1) + b"\x00",
    "one level too deep, maps": b"\xa1\x60" * (MAX_DEPTH + 1) + b"\x00",
    "a thousand levels": b"\x81" * 1000,
    "a thousand tags": b"\xd8\x2a" * 1000,
    "list cut short": b"\x82\x00",
}
REFUSED = _EMPTY | _NUMBERS | _SIMPLE | _INDEFINITE | _TEXT | _MAPS | _LINKS | _TAGS | _SIZES | _SHAPE


def documents():
    """The vector files by name."""
    valid = [
        {"name": name, "value": to_json(value), "hex": reference_encode(value).hex()}
        for name, value in VALID.items()
    ]
    refused = [{"name": name, "hex": data.hex()} for name, data in REFUSED.items()]
    return {"valid.json": valid, "refused.json": refused}


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
