"""Content archives, version 1: many blocks in one file. Specified in docs/spec/blocks.md, section 5.

The format is that of https://ipld.io/specs/transport/car/carv1/, narrowed to our CIDs and block sizes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from modelreg.errors import FormatError
from modelreg.format import canonical
from modelreg.format.block import MAX_BLOCK_BYTES, check_block
from modelreg.format.cid import CID_BYTES, Cid

__all__ = ["MAX_ROOTS", "CarReader", "car_pieces", "write_car"]

MAX_ROOTS = 1024
_MAX_HEADER_BYTES = 64 << 10
_MAX_SECTION_BYTES = CID_BYTES + MAX_BLOCK_BYTES
_VERSION = 1
# Seven bits a byte: enough for every length that we allow, and for a few that we then refuse.
_MAX_VARINT_BYTES = 4


def write_car(roots: Sequence[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Give an archive piece by piece.

    Args:
        roots: 1 to 1,024 CIDs that the reader starts from; their blocks need not come first.
        blocks: the blocks; each is checked against its CID before it is given.

    Raises:
        FormatError: the number of roots is out of range, or a block is over 1 MiB.
        VerificationError: a block is not what its CID names.
    """
    _check_roots(len(roots))
    yield _header(roots)
    for cid, block in blocks:
        check_block(cid, block)
        yield from _section(cid, block)


def car_pieces(blocks: Sequence[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Give an archive of blocks that were hashed already, the first of them its root, a block at a time."""
    yield _header([blocks[0][0]])
    for cid, block in blocks:
        yield b"".join(_section(cid, block))


class CarReader:
    """Reads an archive and checks every block; holds one block in memory at a time.

    Args:
        read: gives at most the asked number of bytes, and none only at the end, as a file's `read` does.

    Attributes:
        roots: the CIDs in the header. Whether their blocks are in the archive is for the caller to see.

    Raises:
        FormatError: the header is not canonical, not of version 1, or too large; the archive ends early.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        length = self._read_length(_MAX_HEADER_BYTES)
        if length is None:
            raise FormatError("CAR", expected="a header", found="an empty file")
        self.roots = _parse_header(self._exactly(length))

    def __iter__(self) -> Iterator[tuple[Cid, bytes]]:
        """The blocks in the order of the archive, the same one twice if it is there twice.

        Raises:
            FormatError: a length, a CID or the end of the archive breaks the format.
            VerificationError: a block is not what its CID names.
        """
        while (length := self._read_length(_MAX_SECTION_BYTES)) is not None:
            cid = Cid.from_bytes(self._exactly(min(length, CID_BYTES)))
            block = self._exactly(length - CID_BYTES)
            check_block(cid, block)
            yield cid, block

    def _read_length(self, most: int) -> int | None:
        """A length in its shortest LEB128 form, or None at the end of the archive."""
        value = 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self._read(1)
            if not byte and index == 0:
                return None
            if not byte:
                raise FormatError("CAR", expected="the rest of a length", found="the end of the archive")
            value |= (byte[0] & 0x7F) << (7 * index)
            if byte[0] < 0x80:
                _check_length(value, shortest=index == 0 or byte[0] != 0, most=most)
                return value
        raise FormatError("CAR length", expected=f"at most {most}", found="a longer number")

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        rest = length
        while rest:
            part = self._read(rest)
            if not part:
                raise FormatError("CAR", expected=f"{rest} more bytes", found="the end of the archive")
            parts.append(part)
            rest -= len(part)
        return b"".join(parts)


def _header(roots: Sequence[Cid]) -> bytes:
    header = canonical.encode({"roots": list(roots), "version": _VERSION}, max_bytes=_MAX_HEADER_BYTES)
    return _varint(len(header)) + header


def _section(cid: Cid, block: bytes) -> tuple[bytes, bytes]:
    return _varint(CID_BYTES + len(block)) + bytes(cid), block


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _check_length(value: int, *, shortest: bool, most: int) -> None:
    if not shortest:
        raise FormatError("CAR length", expected="its shortest form", found=f"{value} in a longer one")
    if value > most:
        raise FormatError("CAR length", expected=f"at most {most}", found=value)


def _parse_header(header: bytes) -> tuple[Cid, ...]:
    value = canonical.decode(header, max_bytes=_MAX_HEADER_BYTES)
    if not isinstance(value, dict) or value.keys() != {"roots", "version"}:
        raise FormatError("CAR header", expected="a map of roots and version", found="another value")
    roots, version = value["roots"], value["version"]
    if type(version) is not int or version != _VERSION:
        raise FormatError("CAR version", expected=_VERSION, found=ascii(version)[:40])
    if not isinstance(roots, list) or not all(isinstance(root, Cid) for root in roots):
        raise FormatError("CAR roots", expected="a list of links", found="another value")
    _check_roots(len(roots))
    return tuple(roots)


def _check_roots(count: int) -> None:
    if not 1 <= count <= MAX_ROOTS:
        raise FormatError("CAR roots", expected=f"1 to {MAX_ROOTS}", found=count)
