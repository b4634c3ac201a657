"""Archives that hold code or pickles: zip (PyTorch, Keras, numpy) and tar (PyTorch before 0.1.10).

Specified in docs/spec/content.md, section 6.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelreg.errors import FormatError
from modelreg.format.tensors import ReadAt
from modelreg.format.unsafe_pickle import numpy_reason, pickle_reason

__all__ = ["tar_reason", "zip_reason"]

_TORCH = "a PyTorch archive, whose pickle runs code when it is loaded"
_TORCHSCRIPT = "a TorchScript archive, which holds a program"
_KERAS = "a Keras archive, which can hold code in Lambda layers"
_BROKEN = "an archive that cannot be looked into"

# Zip: appnote.txt of PKWARE, sections 4.3.7, 4.3.12 and 4.3.16.
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 65_535
_MAX_DIRECTORY = 16 << 20
_MAX_MEMBERS = 65_536
_HEAD = 4096
_STORED, _DEFLATED = 0, 8

_BLOCK = 512
_TAR_NAME, _TAR_SIZE, _TAR_SUM = slice(0, 100), slice(124, 136), slice(148, 156)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    method: int
    offset: int


def zip_reason(read_at: ReadAt, size: int, by_name: Callable[[str], str | None]) -> str | None:
    """Why a zip archive can run code: by the names in it, and by the heads of its members."""
    try:
        names: set[str] = set()
        for member in _members(read_at, size):
            base = member.name.rpartition("/")[2]
            if base == "constants.pkl" or "/code/" in f"/{member.name}":
                return _TORCHSCRIPT
            reason = _TORCH if base == "data.pkl" else by_name(member.name)
            reason = reason or _member_reason(_member_head(read_at, size, member))
            if reason:
                return _KERAS if base == "model.weights.h5" else reason
            names.add(base)
    except (FormatError, struct.error, zlib.error, UnicodeDecodeError):
        return _BROKEN
    return (
        _KERAS if {"config.json", "metadata.json"} <= names and any("weights" in n for n in names) else None
    )


def _member_reason(head: bytes) -> str | None:
    return pickle_reason(head, len(head)) or numpy_reason(head)


def _members(read_at: ReadAt, size: int) -> Iterator[_Member]:
    directory, count = _directory(read_at, size)
    at = 0
    for _ in range(count):
        entry = _ENTRY.unpack_from(directory, at)
        if entry[0] != b"PK\x01\x02":
            raise FormatError("zip directory", expected="an entry", found=directory[at : at + 4].hex())
        method, name_length, skipped, offset = entry[4], entry[10], entry[11] + entry[12], entry[16]
        at += _ENTRY.size
        name = directory[at : at + name_length].decode("utf-8" if entry[3] & 0x800 else "cp437")
        at += name_length + skipped
        yield _Member(name.replace("\\", "/"), method, offset)


def _directory(read_at: ReadAt, size: int) -> tuple[bytes, int]:
    """The central directory and the number of its entries. Zip64 archives are beyond what we look into."""
    tail_length = min(size, _END.size + _MAX_COMMENT)
    tail = read_at(size - tail_length, tail_length)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise FormatError("zip archive", expected="an end record", found="none")
    _, _, _, _, count, length, offset, _ = _END.unpack_from(tail, found)
    if length > _MAX_DIRECTORY or count > _MAX_MEMBERS - 2 or offset + length > size:
        raise FormatError(
            "zip directory", expected=f"at most {_MAX_DIRECTORY} bytes in the file", found=length
        )
    return read_at(offset, length), count


def _member_head(read_at: ReadAt, size: int, member: _Member) -> bytes:
    """The first bytes of a member's content."""
    local = _LOCAL.unpack(_read_some(read_at, size, member.offset, _LOCAL.size))
    if local[0] != b"PK\x03\x04":
        raise FormatError("zip member", expected="a local header", found=local[0].hex())
    data = _read_some(read_at, size, member.offset + _LOCAL.size + local[9] + local[10], _HEAD)
    if member.method == _STORED:
        return data
    if member.method == _DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _HEAD)
    raise FormatError("zip member", expected="stored or deflated", found=member.method)


def _read_some(read_at: ReadAt, size: int, offset: int, most: int) -> bytes:
    length = min(most, size - offset)
    return read_at(offset, length) if length > 0 else b""


def tar_reason(head: bytes, read_at: ReadAt, size: int, by_name: Callable[[str], str | None]) -> str | None:
    """Why a tar archive can run code: by the names in it."""
    if not _is_tar_header(head[:_BLOCK]):
        return None
    at = 0
    for _ in range(_MAX_MEMBERS):
        header = _read_some(read_at, size, at, _BLOCK)
        if len(header) < _BLOCK or not header.strip(b"\0"):
            return None
        length = _octal(header[_TAR_SIZE])
        if not _is_tar_header(header) or length is None:
            return _BROKEN
        name = header[_TAR_NAME].split(b"\0")[0].decode("latin-1")
        if name.rpartition("/")[2] == "pickle":
            return _TORCH
        if reason := by_name(name):
            return reason
        at += _BLOCK + -(-length // _BLOCK) * _BLOCK
    return _BROKEN


def _is_tar_header(header: bytes) -> bool:
    """Whether the sum of all bytes, those of the sum itself taken as spaces, is the one stated."""
    if len(header) < _BLOCK:
        return False
    return _octal(header[_TAR_SUM]) == sum(header) - sum(header[_TAR_SUM]) + 8 * ord(" ")


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None
