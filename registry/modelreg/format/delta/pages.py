"""Entropy-coded integers: pcodec's wrapped format, restricted. Specified in docs/spec/delta.md, section 4.1.

Only pcodec's Classic mode without delta encoding is written or read. Its other modes let a header of a few
bytes claim windows of gigabytes (the Lookback encoding) and gain nothing on weights.
"""

from typing import Any

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, wrapped

from modelreg.errors import FormatError
from modelreg.format.delta.words import Integers

__all__ = ["pack_page", "unpack_page"]

_HEADER = b"\x04\x01"
_PLAIN_META = b"\x00"
_ALL_ZERO = 0
_TYPES = {lane: (f"i{8 * lane}", np.dtype(f"i{lane}")) for lane in (1, 2, 4, 8)}
_READER, _ = wrapped.FileDecompressor.new(_HEADER)

# Bits of metadata before the bins.
_HEAD_BITS = 4 + 15
_MAX_META_BYTES = 64 << 10
_MAX_PAGE_OVERHEAD = 64


def _lane_of(values: Integers) -> int:
    low, high = int(values.min()), int(values.max())
    if low == high == 0:
        return _ALL_ZERO
    bits = max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length())
    return next(lane for lane in _TYPES if bits < 8 * lane)


def pack_page(values: Integers, level: int) -> bytes:
    """Compress a non-empty array, all of it; `level` is pcodec's, 0 to 12."""
    lane = _lane_of(values)
    if lane == _ALL_ZERO:
        return bytes((_ALL_ZERO,))
    config = ChunkConfig(
        compression_level=level,
        mode_spec=ModeSpec.classic(),
        delta_spec=DeltaSpec.no_op(),
        paging_spec=PagingSpec.exact_page_sizes([len(values)]),
        enable_8_bit=True,
    )
    narrow = np.ascontiguousarray(values, _TYPES[lane][1])
    compressor = wrapped.FileCompressor().chunk_compressor(narrow, config)
    meta: bytes = compressor.write_meta()
    page: bytes = compressor.write_page(0)
    return bytes((lane,)) + meta[1:] + page


def unpack_page(payload: memoryview, at: int, out: Integers) -> int:
    """Fill `out` from the lane and page that start at `at`; returns the place after them.

    Raises FormatError unless there are exactly as many integers as `out` has, none wider than its words.
    """
    lane = payload[at] if at < len(payload) else -1
    if lane == _ALL_ZERO:
        out[:] = 0
        return at + 1
    if lane not in _TYPES or lane > out.dtype.itemsize:
        raise FormatError("integer stream", expected=f"a lane of 0 to {out.dtype.itemsize} bytes", found=lane)
    narrow = out if lane == out.dtype.itemsize else np.empty(len(out), _TYPES[lane][1])
    try:
        end = _unpack_pcodec(payload, at + 1, narrow)
    except (RuntimeError, TypeError, ValueError) as error:
        raise FormatError("integer stream", expected="pcodec", found=str(error)[:120]) from None
    except BaseException as error:
        # A Rust panic is no Exception, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise FormatError("integer stream", expected="pcodec", found="bytes that break the decoder") from None
    if narrow is not out:
        out[:] = narrow
    return end


def _unpack_pcodec(payload: memoryview, at: int, out: Integers) -> int:
    lane = out.dtype.itemsize
    meta = _PLAIN_META + payload[at : at + _meta_bytes(payload[at : at + 3], lane)]
    chunk, used = _READER.chunk_decompressor(meta, _TYPES[lane][0])
    at += used - len(_PLAIN_META)
    page = bytes(payload[at : at + len(out) * (lane + 2) + _MAX_PAGE_OVERHEAD])
    return at + _read_page(chunk, page, out)


def _meta_bytes(head: memoryview, lane: int) -> int:
    """The length of a stream's metadata, by its first three bytes."""
    fields = int.from_bytes(head, "little")
    table, bins = fields & 15, fields >> 4 & 0x7FFF
    bits = _HEAD_BITS + bins * (table + 8 * lane + (8 * lane).bit_length())
    return min(-(-bits // 8), _MAX_META_BYTES)


def _read_page(chunk: Any, page: bytes, out: Integers) -> int:
    progress, used = chunk.read_page_into(page, len(out), out)
    if not progress.finished or progress.n_processed != len(out):
        raise FormatError("integer stream", expected=f"{len(out)} integers", found=progress.n_processed)
    return int(used)
