"""Walking over protobuf messages in a file, without reading what they hold.

The encoding is that of protobuf.dev/programming-guides/encoding. Groups are refused: nothing here uses them.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from modelreg.errors import FormatError
from modelreg.format.tensors import ReadAt

__all__ = ["Field", "Wire", "WireType"]

# Many small reads where data is jumped over, so not larger.
_WINDOW = 8 << 10
_VARINT_BYTES = 10
_MAX_NUMBER = (1 << 29) - 1


class WireType(IntEnum):
    """How a field's value is encoded."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


class Field(NamedTuple):
    """A field: its number and type; where its bytes lie in the file, and for a VARINT its value."""

    number: int
    type: WireType
    offset: int
    length: int
    value: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.length


_TYPES = {kind.value: kind for kind in WireType}
_FIXED_BYTES = {WireType.FIXED64: 8, WireType.FIXED32: 4}


class Wire:
    """A file of protobuf messages, seen through a window of 8 KiB.

    Args:
        read_at: reads bytes of the file.
        size: bytes of the file.
        most: how many fields may be walked over before the file is refused.
    """

    def __init__(self, read_at: ReadAt, size: int, most: int) -> None:
        self._read_at = read_at
        self._size = size
        self._left = self._most = most
        self._window = b""
        self._start = 0

    def fields(self, offset: int, end: int) -> Iterator[Field]:
        """The fields of the message in a range of the file.

        Raises:
            FormatError: the bytes are no message, or the file has too many fields.
        """
        while offset < end:
            self._left -= 1
            if self._left < 0:
                raise FormatError("protobuf", expected=f"at most {self._most} fields", found="more")
            key, offset = self._varint(offset, end)
            kind = _TYPES.get(key & 7)
            if kind is None or not 8 <= key <= _MAX_NUMBER << 3 | 7:
                raise FormatError("protobuf field", expected="a known type", found=f"{key} before {offset}")
            field = self._field(key >> 3, kind, offset, end)
            if field.end > end:
                raise FormatError(
                    "protobuf field is cut short",
                    expected=f"{field.length} bytes at {field.offset}",
                    found=f"{end - field.offset}",
                )
            yield field
            offset = field.end

    def text(self, field: Field, most: int) -> str:
        """The UTF-8 text of a field of at most `most` bytes."""
        if field.type is not WireType.BYTES or field.length > most:
            raise FormatError("protobuf text", expected=f"at most {most} bytes", found=f"{field.length}")
        try:
            return self._read_at(field.offset, field.length).decode()
        except UnicodeDecodeError as error:
            raise FormatError("protobuf text", expected="UTF-8", found=str(error)[:120]) from None

    def packed(self, field: Field, most: int) -> list[int]:
        """The integers of a repeated field, packed or one by one; at most `most`."""
        if field.type is WireType.VARINT:
            return [field.value]
        if field.type is not WireType.BYTES:
            raise FormatError(
                "protobuf list", expected="integers", found=f"{field.type.name} at {field.offset}"
            )
        values: list[int] = []
        offset = field.offset
        while offset < field.end:
            value, offset = self._varint(offset, field.end)
            values.append(value)
            if len(values) > most:
                raise FormatError("protobuf list", expected=f"at most {most} values", found="more")
        return values

    def _field(self, number: int, kind: WireType, offset: int, end: int) -> Field:
        if kind is WireType.VARINT:
            value, after = self._varint(offset, end)
            return Field(number, kind, offset, after - offset, value)
        if kind is WireType.BYTES:
            length, offset = self._varint(offset, end)
            return Field(number, kind, offset, length, 0)
        return Field(number, kind, offset, _FIXED_BYTES[kind], 0)

    def _varint(self, offset: int, end: int) -> tuple[int, int]:
        """The integer at an offset, from 0 to 2^64 - 1, and the offset behind it."""
        at = offset - self._start
        if not 0 <= at <= len(self._window) - _VARINT_BYTES:
            self._start, at = offset, 0
            self._window = self._read_at(offset, min(_WINDOW, self._size - offset))
        value = 0
        for number, byte in enumerate(self._window[at : at + min(_VARINT_BYTES, end - offset)]):
            value |= (byte & 0x7F) << 7 * number
            if byte < 0x80 and value < 1 << 64:
                return value, offset + number + 1
        raise FormatError("protobuf integer", expected="at most 64 bits", found=f"other bytes at {offset}")
