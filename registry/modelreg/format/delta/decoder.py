"""Payload to chunk. Specified in docs/spec/delta.md, sections 1 and 10."""

from modelreg.errors import FormatError
from modelreg.format.delta.casts import unpack_cast
from modelreg.format.delta.encoding import MAX_BASE_BYTES, MAX_CHUNK_BYTES, Buffer, Encoding
from modelreg.format.delta.exponent import unpack_exp
from modelreg.format.delta.integers import unpack_diff, unpack_solo
from modelreg.format.delta.plain import unpack_frame
from modelreg.format.delta.sparse import unpack_sparse
from modelreg.format.delta.words import Integers

__all__ = ["decode"]

_OVER_BASE = {Encoding.SPARSE: unpack_sparse, Encoding.EXP: unpack_exp, Encoding.DIFF: unpack_diff}


def decode(encoding: int, payload: Buffer, base: Buffer | None, length: int) -> memoryview:
    """Rebuild a chunk of exactly `length` bytes, read-only.

    Args:
        encoding: the code from the manifest, a value of Encoding.
        payload: the bytes that travelled, at most `length`.
        base: plaintext of the parent's range or, for CAST, of the sibling's; None where there is none.
        length: bytes of the chunk, from the verified manifest, at most MAX_CHUNK_BYTES.

    Raises:
        FormatError: the payload is not what the encoding allows, or base and length do not fit it. No payload
            makes the decoder allocate more than a few times `length`. The bytes that come back from a payload
            that was tampered with may be wrong: compare their digest.
    """
    known, view = _check(encoding, payload, length)
    if known.needs_base:
        chunk = _decode_over(known, view, _check_base(known, base, length), length)
    elif base is not None:
        raise FormatError("base", expected=f"none for {known.name}", found=f"{len(base)} bytes")
    else:
        chunk = _decode_alone(known, view, length)
    return chunk.toreadonly()


def _check(encoding: int, payload: Buffer, length: int) -> tuple[Encoding, memoryview]:
    try:
        known = Encoding(encoding)
    except ValueError:
        raise FormatError("encoding", expected="a code of 0 to 7", found=encoding) from None
    if not 0 <= length <= MAX_CHUNK_BYTES:
        raise FormatError("chunk length", expected=f"at most {MAX_CHUNK_BYTES}", found=length)
    view = memoryview(payload).cast("B")
    if len(view) > length or (length == 0 and known is not Encoding.RAW):
        raise FormatError("payload", expected=f"at most {length} bytes", found=len(view))
    return known, view


def _check_base(encoding: Encoding, base: Buffer | None, length: int) -> memoryview:
    if base is None:
        raise FormatError("base", expected=f"one for {encoding.name}", found="none")
    view = memoryview(base).cast("B")
    if not 0 < len(view) <= MAX_BASE_BYTES:
        raise FormatError("base", expected=f"1 to {MAX_BASE_BYTES} bytes", found=len(view))
    if encoding in _OVER_BASE and len(view) != length:
        raise FormatError("base", expected=f"{length} bytes", found=len(view))
    return view


def _decode_alone(encoding: Encoding, payload: memoryview, length: int) -> memoryview:
    if encoding is Encoding.SOLO:
        return _bytes_of(unpack_solo(payload, length))
    if encoding is Encoding.ZSTD:
        return memoryview(unpack_frame(payload, None, length))
    if len(payload) != length:
        raise FormatError("payload", expected=f"{length} bytes", found=len(payload))
    return payload


def _decode_over(encoding: Encoding, payload: memoryview, base: memoryview, length: int) -> memoryview:
    if encoding is Encoding.PATCH:
        return memoryview(unpack_frame(payload, base, length))
    if encoding is Encoding.CAST:
        return _bytes_of(unpack_cast(payload, base, length))
    return _bytes_of(_OVER_BASE[encoding](payload, base, length))


def _bytes_of(words: Integers) -> memoryview:
    return words.data.cast("B")
