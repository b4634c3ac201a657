"""Payload to chunk. Specified in docs/spec/delta.md, sections 1, 3 and 6."""

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.delta.casts import unpack_cast
from modelreg.format.delta.encoding import MAX_BASE_BYTES, MAX_CHUNK_BYTES, Buffer, Encoding
from modelreg.format.delta.exponent import unpack_exp
from modelreg.format.delta.lowrank import unpack_low_rank
from modelreg.format.delta.plain import unpack_frame
from modelreg.format.delta.sparse import unpack_changes
from modelreg.format.delta.streams import unpack_only
from modelreg.format.delta.words import HEAD_BYTES, Integers, WordType, join, ordered, signed_words

__all__ = ["decode"]

_AS_LONG_AS_BASE = frozenset((Encoding.SPARSE, Encoding.EXP, Encoding.DIFF, Encoding.LOWRANK))


def decode(
    encoding: int, payload: Buffer, base: Buffer | None, length: int, factors: Buffer | None = None
) -> memoryview:
    """Rebuild a chunk of exactly `length` bytes, read-only.

    Args:
        encoding: the code from the manifest, a value of Encoding.
        payload: the bytes that travelled, at most `length`.
        base: plaintext of the parent's range or, for CAST, of the sibling's; None where there is none.
        length: bytes of the chunk, from the verified manifest, at most MAX_CHUNK_BYTES.
        factors: what the chunks of one matrix share, for LOWRANK; None for all others.

    Raises:
        FormatError: the payload is not what the encoding allows, or base and length do not fit it. No payload
            makes the decoder allocate more than a few times `length`, or 32 MiB for LOWRANK. The bytes that
            come back from a payload that was tampered with may be wrong: compare their digest.
    """
    known, view = _check(encoding, payload, length)
    parent = _check_base(known, base, length)
    if (factors is not None) != known.needs_factors:
        found = "none" if factors is None else f"{len(memoryview(factors))} bytes"
        expected = "some" if known.needs_factors else "none"
        raise FormatError(f"factors for {known.name}", expected=expected, found=found)
    if factors is not None:
        return _bytes_of(unpack_low_rank(view, parent, memoryview(factors).cast("B"))).toreadonly()
    return _decode(known, view, parent, length).toreadonly()


def _check(encoding: int, payload: Buffer, length: int) -> tuple[Encoding, memoryview]:
    try:
        known = Encoding(encoding)
    except ValueError:
        raise FormatError("encoding", expected="a code of 0 to 8", found=encoding) from None
    if not 0 <= length <= MAX_CHUNK_BYTES:
        raise FormatError("chunk length", expected=f"at most {MAX_CHUNK_BYTES}", found=length)
    view = memoryview(payload).cast("B")
    if len(view) > length:
        raise FormatError("payload", expected=f"at most {length} bytes", found=len(view))
    return known, view


def _check_base(encoding: Encoding, base: Buffer | None, length: int) -> memoryview:
    view = memoryview(base or b"").cast("B")
    if (base is not None) != encoding.needs_base:
        found = "none" if base is None else f"{len(view)} bytes"
        raise FormatError(
            f"base for {encoding.name}", expected="one" if base is None else "none", found=found
        )
    if base is not None and not 0 < len(view) <= MAX_BASE_BYTES:
        raise FormatError("base", expected=f"1 to {MAX_BASE_BYTES} bytes", found=len(view))
    if encoding in _AS_LONG_AS_BASE and len(view) != length:
        raise FormatError("base", expected=f"{length} bytes", found=len(view))
    return view


def _decode(encoding: Encoding, payload: memoryview, base: memoryview, length: int) -> memoryview:
    match encoding:
        case Encoding.RAW:
            if len(payload) != length:
                raise FormatError("payload", expected=f"{length} bytes", found=len(payload))
            return payload
        case Encoding.ZSTD | Encoding.PATCH:
            return memoryview(unpack_frame(payload, base, length))
        case Encoding.CAST:
            return _bytes_of(unpack_cast(payload, base, length))
        case _:
            return _decode_words(encoding, payload, base, length)


def _decode_words(encoding: Encoding, payload: memoryview, base: memoryview, length: int) -> memoryview:
    word, shift, tail = _read_head(payload, length)
    body = payload[HEAD_BYTES : len(payload) - tail]
    words = _bytes_of(_words(encoding, body, signed_words(base, word), word, shift, length // word.width))
    return memoryview(b"".join((words, payload[len(payload) - tail :]))) if tail else words


def _read_head(payload: memoryview, length: int) -> tuple[WordType, int, int]:
    """Read word type and shift; the third is the count of bytes at the end that make no word."""
    if len(payload) < HEAD_BYTES:
        raise FormatError("payload", expected="word type and shift", found=f"{len(payload)} bytes")
    word, shift = WordType.parse(payload[0]), payload[1]
    if shift >= 8 * word.width:
        raise FormatError("shift", expected=f"less than {8 * word.width}", found=shift)
    tail = length % word.width
    # This refuses chunks shorter than a word, too, for no payload is longer than its chunk.
    if len(payload) < HEAD_BYTES + tail:
        raise FormatError("payload", expected=f"{tail} bytes after the last word", found=len(payload))
    return word, shift, tail


def _words(
    encoding: Encoding, body: memoryview, base: Integers, word: WordType, shift: int, count: int
) -> Integers:
    if encoding is Encoding.EXP:
        return unpack_exp(body, base, word, shift)
    integers = np.empty(count, f"<i{word.width}")
    if encoding is Encoding.SPARSE:
        unpack_changes(body, integers)
    else:
        unpack_only(body, integers)
    if encoding is not Encoding.SOLO:
        integers += ordered(base, word, shift)
    return join(integers, word, shift)


def _bytes_of(words: Integers) -> memoryview:
    return words.data.cast("B")
