"""Content-defined cuts of bytes without structure. Specified in docs/spec/content.md, section 3.3.

The rolling hash is that of FastCDC (Xia and others, USENIX ATC 2016) over a window of 32 bytes; numpy
computes it for all positions of a block at once by doubling the window five times.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from modelreg.format.digest import keccak256
from modelreg.format.tensors import ReadAt

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_CUT", "cut_lengths"]

MIN_CUT = 64 << 10
NORMAL_CUT = 256 << 10
MAX_CUT = 512 << 10
_WINDOW = 32
# Of 2^32 hashes, how many cut before and after the normal size: one position in 512 KiB, then in 64 KiB.
_HARD, _EASY = 1 << 13, 1 << 16
# The arrays of one block stay in the second-level cache; four times as large is half as fast.
_BLOCK = 64 << 10

_TABLE = np.array(
    [int.from_bytes(keccak256(b"modelreg/gear/1" + bytes([byte]))[:4], "big") for byte in range(256)],
    np.uint32,
)


def cut_lengths(read_at: ReadAt, offset: int, length: int) -> Iterator[int]:
    """The lengths, in order, of the chunks into which a range of a file is cut.

    Args:
        read_at: reads bytes of the file.
        offset: where the range begins; only bytes of the range decide.
        length: bytes of the range; 0 gives no chunk.
    """
    end = offset + length
    while offset < end:
        cut = _next_cut(read_at, offset, end)
        yield cut - offset
        offset = cut


def _next_cut(read_at: ReadAt, start: int, end: int) -> int:
    limit = min(start + MAX_CUT, end)
    at = start + MIN_CUT
    while at < limit:
        stop = min(at + _BLOCK, limit)
        hashes = _window_hashes(read_at(at - _WINDOW, stop - at + _WINDOW - 1))
        # A block never spans the normal size, which is a multiple of blocks behind the smallest cut.
        threshold = _HARD if at - start < NORMAL_CUT else _EASY
        found = np.flatnonzero(hashes < threshold)
        if found.size:
            return at + int(found[0])
        at = stop
    return limit


def _window_hashes(data: bytes) -> "NDArray[np.uint32]":
    """The hash of each window of 32 bytes: the sum of table[byte] << (its distance from the window's end)."""
    hashes = _TABLE.take(np.frombuffer(data, np.uint8))
    for width in (1, 2, 4, 8, 16):
        hashes[width:] += hashes[:-width] << np.uint32(width)
    return hashes[_WINDOW - 1 :]
