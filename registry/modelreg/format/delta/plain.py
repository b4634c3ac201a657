"""Bytes without words: zstd frames, alone or after the base. Specified in docs/spec/delta.md, section 5."""

import zstandard

from modelreg.errors import FormatError

__all__ = ["pack_frame", "unpack_frame"]

# A frame that is no single segment cannot declare a smaller window (RFC 8878, section 3.1.1.1.2).
_LEAST_WINDOW = 1 << 10


def _prefix(base: memoryview) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None


def pack_frame(chunk: memoryview, base: memoryview, level: int) -> bytes:
    """Compress a chunk into one frame that declares its size; a base serves as raw-content dictionary."""
    return zstandard.ZstdCompressor(
        level=level, dict_data=_prefix(base), write_checksum=False, write_dict_id=False
    ).compress(chunk)


def unpack_frame(payload: memoryview, base: memoryview, length: int) -> bytes:
    """Decompress exactly one frame of exactly `length` bytes; what it declares is checked first."""
    window = max(length, _LEAST_WINDOW)
    try:
        _check_header(payload, length, window)
        reader = zstandard.ZstdDecompressor(dict_data=_prefix(base), max_window_size=window)
        # The library compares the size with the declared one, and the dictionary id with the base's: 0.
        return reader.decompress(payload, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError("zstd frame", expected=f"{length} bytes", found=str(error)[:120]) from None


def _check_header(payload: memoryview, length: int, window: int) -> None:
    frame = zstandard.get_frame_parameters(payload)
    if frame.content_size != length:
        raise FormatError("size declared by the zstd frame", expected=length, found=frame.content_size)
    if frame.window_size > window:
        raise FormatError("window of the zstd frame", expected=f"at most {window}", found=frame.window_size)
    if frame.has_checksum:
        raise FormatError("zstd frame", expected="no checksum", found="one")
