"""Chunk planning as docs/spec/content.md, section 3, puts it: one byte and one tensor at a time.

`python -m tests.reference.chunks` writes tests/vectors/chunks/ again.
"""

import hashlib
import json
from pathlib import Path

from Crypto.Hash import keccak

VECTORS = Path(__file__).parent.parent / "vectors" / "chunks"
KIB = 1024
WORDS = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1, "I64": 8, "F64": 8, "I32": 4, "I4": 1, "BYTES": 1}


def _keccak(data):
    return keccak.new(digest_bits=256, data=data).digest()


def _gear_table():
    return [int.from_bytes(_keccak(b"modelreg/gear/1" + bytes([b]))[:4], "big") for b in range(256)]


def stream(seed, size):
    """The content of a vector: SHA-256 of the seed and a 64-bit big-endian counter, end to end."""
    blocks = (hashlib.sha256(seed.encode() + n.to_bytes(8, "big")).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def reference_cuts(data):
    """The lengths of the pieces of bytes without structure."""
    table = _gear_table()
    lengths, start, rolling = [], 0, 0
    for c in range(1, len(data) + 1):
        # Before position c, `rolling` is H(c): older bytes have left through the top of the 32 bits.
        rolling = (rolling * 2 + table[data[c - 1]]) % 2**32
        length = c - start
        cut = length >= 64 * KIB and rolling < (8192 if length < 256 * KIB else 65536)
        if cut or length == 512 * KIB or c == len(data):
            lengths.append(length)
            start = c
    return lengths


def _begins(name, length):
    return int.from_bytes(_keccak(name.encode())[:4], "big") % (128 * KIB) < length + 64


def _items(data, tensors):
    """Tensors that are not empty, and the gaps as (None, None, offset, length)."""
    items, at = [], 0
    for name, word, offset, length in tensors:
        if length:
            items += [(None, None, at, offset - at)] * (offset > at) + [(name, word, offset, length)]
            at = offset + length
    return items + [(None, None, at, len(data) - at)] * (at < len(data))


def reference_plan(data, tensors):
    """Chunks as (offset, length, word); tensors are (name, type, offset, length)."""
    chunks, shared = [], []
    for item in _items(data, tensors):
        name, word, offset, length = item
        if shared and _joins(shared, item):
            shared.append(item)
            continue
        chunks += _close(shared)
        shared = []
        if name is None:
            for cut in reference_cuts(data[offset : offset + length]):
                chunks.append((offset, cut, "BYTES"))
                offset += cut
        elif length >= 64 * KIB:
            while length:
                cut = min(length, 512 * KIB)
                chunks.append((offset, cut, word))
                offset, length = offset + cut, length - cut
        else:
            shared = [item]
    return chunks + _close(shared)


def _joins(shared, item):
    name, word, offset, length = item
    start = shared[0][2]
    if offset + length - start > 512 * KIB:
        return False
    if name is None:
        return length <= 4 * KIB
    if length >= 64 * KIB or _begins(name, length):
        return False
    if length < KIB:
        return True
    others = {w for n, w, _, size in shared if n is not None and size >= KIB}
    return (offset - start) % WORDS[word] == 0 and others <= {word}


def _close(shared):
    if not shared:
        return []
    start = shared[0][2]
    end = shared[-1][2] + shared[-1][3]
    large = [item for item in shared if item[0] is not None and item[3] >= KIB]
    types = {item[1] for item in shared}
    word = large[0][1] if large else "BYTES" if len(types) > 1 else types.pop()
    if (end - start) % WORDS[word] == 0:
        return [(start, end - start, word)]
    middle = large[-1][2] + large[-1][3]
    return [(start, middle - start, word), (middle, end - middle, "BYTES")]


def _packed(*tensors, start=0):
    """Tensors end to end, or behind a gap where a number stands."""
    result, at = [], start
    for item in tensors:
        if isinstance(item, int):
            at += item
        else:
            name, word, length = item
            result.append((name, word, at, length))
            at += length
    return result, at


def _many(count, word, length, gap=0):
    items = []
    for number in range(count):
        items += [gap, (f"block.{number}.bias", word, length)]
    return items


def cases():
    """Layouts, by name: (size, tensors)."""
    yield "empty_file", 0, []
    yield "one_byte", 1, []
    yield "bytes_without_structure", 3 * 1024 * KIB + 17, []
    yield "only_tensors_of_0_bytes", 100, [("empty", "F32", 8, 0)]
    large, end = _packed(("w", "F32", 1300 * KIB), ("v", "BF16", 64 * KIB), start=1234)
    yield "large_tensors_behind_a_header", end, large
    large, end = _packed(("w", "F32", 1300 * KIB), ("v", "BF16", 64 * KIB), start=1299)
    yield "the_same_behind_a_header_that_grew", end, large
    shared, end = _packed(*_many(40, "F32", 1536), start=4096)
    yield "small_tensors_of_one_type", end, shared
    shared, end = _packed(*_many(300, "F32", 16 * KIB))
    yield "small_tensors_beyond_one_chunk", end, shared
    shared, end = _packed(*_many(500, "I64", 8, gap=41), 5, start=90)
    yield "many_tiny_initializers", end, shared
    mixed, end = _packed(
        ("a", "F32", 2048), ("b", "I8", 2048), ("c", "I8", 1027), ("d", "F32", 2048), ("e", "F32", 4)
    )
    yield "types_and_alignment_part_chunks", end, mixed
    ragged, end = _packed(("a", "F32", 4096), 37, ("b", "F32", 64), 50, ("c", "F32", 70 * KIB), 3)
    yield "a_gap_leaves_a_word_incomplete", end, ragged
    tiny, end = _packed(("a", "I64", 8), ("b", "I64", 16), ("c", "F32", 200), 4, ("d", "F32", 2000))
    yield "tiny_tensors_of_several_types", end, tiny
    gaps, end = _packed(
        ("a", "F32", 2048), 4096, ("b", "F32", 2048), 4097, ("c", "F32", 2048), 300 * KIB, ("d", "I4", 9)
    )
    yield "gaps_of_every_size", end, gaps


def documents():
    """Each vector file's name and content."""
    vectors = []
    for name, size, tensors in cases():
        data = stream(name, size)
        vectors.append(
            {"name": name, "size": size, "tensors": tensors, "chunks": reference_plan(data, tensors)}
        )
    yield "plan.json", vectors
    yield "gear.json", {"table": _gear_table(), "cuts": reference_cuts(stream("gear", 2 * 1024 * KIB))}


def render(document):
    """One line an entry."""
    if isinstance(document, list):
        return "[\n" + ",\n".join(json.dumps(entry) for entry in document) + "\n]\n"
    return json.dumps(document) + "\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file, document in documents():
        (VECTORS / file).write_text(render(document))
