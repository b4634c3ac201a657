"""The tensor index of a safetensors file. Specified in docs/spec/content.md, section 2.1.

The header is read member by member, so that memory grows with the tensors it really describes and not with
what hostile JSON can be made to unfold into.
"""

import math
import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

from modelreg.errors import FormatError
from modelreg.format.dtypes import DType
from modelreg.format.tensors import ReadAt, Tensor

__all__ = ["MAX_HEADER_BYTES", "index", "is_safetensors"]

# 16 MiB describes about 120,000 tensors; the reference implementation stops at 100 MB.
MAX_HEADER_BYTES = 16 << 20
_MAX_TENSORS = 1 << 17
_MAX_METADATA = 1 << 16
_MAX_KEY_CHARS = _MAX_ENTRY_CHARS = 8192
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_SPACE = re.compile(r"[ \t\n\r]*")
# A whole JSON string, surrogates paired. Possessive, so that matching needs no memory for ways back.
_STRING = re.compile(
    r'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r'|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"'
)
# Types that only ONNX has here: the reference implementation knows no label for them.
_FOREIGN = frozenset({DType.BYTES, DType.U2, DType.I2, DType.U4, DType.I4, DType.C128})


def index(read_at: ReadAt, size: int) -> tuple[Tensor, ...]:
    """The tensors of a safetensors file, in ascending order of offset.

    Args:
        read_at: reads bytes of the file; only its header is read.
        size: bytes of the file.

    Raises:
        FormatError: the file breaks a rule of the format, or is cut short.
    """
    header, start = _read_header(read_at, size)
    tensors = sorted(_entries(header, start), key=lambda t: (t.offset, t.length, t.name))
    end = start
    for tensor in tensors:
        if tensor.offset != end:
            raise FormatError(
                f"safetensors offsets of {tensor.name[:60]!r}",
                expected=f"{end - start}, where the tensor before ends",
                found=tensor.offset - start,
            )
        end = tensor.end
    if end != size:
        _refuse_size(end, size)
    return tuple(tensors)


def is_safetensors(read_at: ReadAt, size: int) -> bool:
    """Whether the content of a file is safetensors without a flaw."""
    if size < _LENGTH_BYTES + 2 or read_at(_LENGTH_BYTES, 1) != b"{":
        return False
    try:
        index(read_at, size)
    except FormatError:
        return False
    return True


def _read_header(read_at: ReadAt, size: int) -> tuple[str, int]:
    """The header's text, and the offset at which data begins."""
    if size < _LENGTH_BYTES:
        _refuse_size(_LENGTH_BYTES, size)
    length = int.from_bytes(read_at(0, _LENGTH_BYTES), "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise FormatError("safetensors header", expected=f"2 to {MAX_HEADER_BYTES} bytes", found=length)
    if size < _LENGTH_BYTES + length:
        _refuse_size(_LENGTH_BYTES + length, size)
    try:
        return read_at(_LENGTH_BYTES, length).decode(), _LENGTH_BYTES + length
    except UnicodeDecodeError as error:
        raise FormatError("safetensors header", expected="UTF-8", found=str(error)) from None


def _refuse_size(expected: int, found: int) -> NoReturn:
    if found < expected:
        raise FormatError(
            f"safetensors file is cut short, {expected - found} bytes are missing",
            expected=f"{expected} bytes",
            found=found,
            hint="copy or download the file again",
        )
    raise FormatError(
        f"safetensors file has {found - expected} bytes that no tensor names",
        expected=f"{expected} bytes",
        found=found,
    )


def _entries(header: str, start: int) -> Iterator[Tensor]:
    reader = _Header(header)
    for name in reader.members(_MAX_TENSORS):
        if name == _METADATA:
            for _ in reader.members(_MAX_METADATA):
                reader.string()
        else:
            yield _tensor(name, reader.entry(), start)
    reader.end()


def _tensor(name: str, entry: dict[str, Any], start: int) -> Tensor:
    if entry.keys() != _ENTRY_KEYS:
        raise _bad(name, "dtype, shape and data_offsets", sorted(entry))
    label, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = DType.from_label(label) if isinstance(label, str) else DType.BYTES
    if dtype in _FOREIGN:
        raise _bad(name, "an element type of safetensors", label)
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _bad(name, "a shape and two offsets", [shape, offsets])
    tensor = Tensor(name, dtype, tuple(shape), start + offsets[0], offsets[1] - offsets[0])
    if math.prod(tensor.shape) * dtype.bits % 8:
        raise _bad(name, "whole bytes of elements", shape)
    return tensor


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _bad(name: str, expected: str, found: object) -> FormatError:
    return FormatError(f"safetensors entry {name[:60]!r}", expected=expected, found=repr(found)[:120])


def _unsigned(digits: str) -> int:
    """An integer of JSON; longer ones than any offset are not worth the time to parse."""
    if len(digits) > 19 or digits.startswith("-"):
        raise FormatError("safetensors header", expected="integers from 0 to 2^63 - 1", found=digits[:40])
    return int(digits)


def _no_float(digits: str) -> NoReturn:
    raise FormatError("safetensors header", expected="integers", found=digits[:40])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("safetensors header", expected="each key once", found=str(found.keys())[:120])
    return found


_JSON = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_unsigned, parse_float=_no_float, parse_constant=_no_float
)


class _Header:
    """A cursor in the header's JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def members(self, most: int) -> Iterator[str]:
        """The keys of the object that begins here; who takes a key must read its value before the next."""
        seen: set[str] = set()
        self._expect("{")
        self._skip()
        closed = self._peek() == "}"
        while not closed:
            key = self._key()
            if key in seen or len(seen) == most:
                raise self._flaw(f"at most {most} keys, each once")
            seen.add(key)
            yield key
            self._skip()
            closed = self._peek() == "}"
            if not closed:
                self._expect(",")
                self._skip()
        self._expect("}")

    def _key(self) -> str:
        text = self.string()
        if len(text) > _MAX_KEY_CHARS:
            raise self._flaw(f"a key of at most {_MAX_KEY_CHARS} characters")
        self._skip()
        self._expect(":")
        self._skip()
        return str(_JSON.decode(text))

    def string(self) -> str:
        """The string that begins here, in its quotes and with its escapes."""
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._flaw("a string")
        self._at = match.end()
        return match.group()

    def entry(self) -> dict[str, Any]:
        """The object without inner objects that begins here."""
        end = self._text.find("}", self._at, self._at + _MAX_ENTRY_CHARS) + 1
        if self._peek() != "{" or end == 0:
            raise self._flaw(f"an object of at most {_MAX_ENTRY_CHARS} characters")
        try:
            value: dict[str, Any] = _JSON.decode(self._text[self._at : end])
        except (JSONDecodeError, RecursionError) as error:
            raise self._flaw(f"JSON ({error})") from None
        self._at = end
        return value

    def end(self) -> None:
        """Only white space may follow."""
        self._skip()
        if self._at != len(self._text):
            raise self._flaw("nothing behind the object")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            raise self._flaw(repr(char))
        self._at += 1

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _flaw(self, expected: str) -> FormatError:
        found = f"{self._text[self._at : self._at + 40]!r} at character {self._at}"
        return FormatError("safetensors header", expected=expected, found=found)
