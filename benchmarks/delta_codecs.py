"""One codec at work on one pair, in a process of its own; prints seconds and the peak of memory.

    PYTHON -m benchmarks.delta_codecs CODEC encode|decode PARENT FILE OUT TYPE

Encoding reads PARENT and FILE and writes a patch to OUT; decoding reads PARENT and a patch and writes the
file. Seconds are from the first byte read to the last byte written, without the start of Python and imports.
It runs where the codec is installed, so it needs nothing else. TYPE is bf16, f32 or i8.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = tuple[Callable[[bytes, bytes, str], bytes], Callable[[bytes, bytes], bytes]]
"""From parent, child and type to a patch; from parent and patch to the child."""

Streamed = tuple[Callable[[Path, Path, Path, str], None], Callable[[Path, Path, Path], None]]
"""The same from files to a file."""

WIDTHS = {"bf16": 2, "f32": 4, "i8": 1}


def bitx() -> Work:
    """XOR with the parent, byte planes, zstd at its default level: BitX (arXiv 2505.06252)."""
    import numpy as np
    import zstandard

    def mixed(a: bytes, b: bytes) -> Any:
        out = np.frombuffer(a, np.uint8).copy()
        shared = min(len(a), len(b))
        out[:shared] ^= np.frombuffer(b, np.uint8)[:shared]
        return out

    def encode(parent: bytes, child: bytes, kind: str) -> bytes:
        width = WIDTHS[kind]
        words = mixed(child, parent)
        whole = len(words) // width * width
        planes = [words[at:whole:width].tobytes() for at in range(width)] + [words[whole:].tobytes()]
        packed = [zstandard.ZstdCompressor().compress(plane) for plane in planes]
        head = [len(child), width, *map(len, packed)]
        return json.dumps(head).encode().ljust(128) + b"".join(packed)

    def decode(parent: bytes, patch: bytes) -> bytes:
        length, width, *sizes = json.loads(patch[:128])
        words, at = np.empty(length, np.uint8), 128
        whole = length // width * width
        for number, size in enumerate(sizes):
            plane = zstandard.ZstdDecompressor().decompress(patch[at : at + size])
            target = words[number:whole:width] if number < width else words[whole:]
            target[:] = np.frombuffer(plane, np.uint8)
            at += size
        return bytes(mixed(words.tobytes(), parent))

    return encode, decode


def zipnn() -> Work:
    """ZipNN knows no parent that is longer or shorter: the child alone."""
    from zipnn import ZipNN  # type: ignore[import-not-found]

    kinds = {"bf16": "bfloat16", "f32": "float32", "i8": "int8"}

    def encode(_: bytes, child: bytes, kind: str) -> bytes:
        return bytes(ZipNN(bytearray_dtype=kinds[kind], threads=1).compress(child))

    def decode(_: bytes, patch: bytes) -> bytes:
        return bytes(ZipNN(threads=1).decompress(patch))

    return encode, decode


def z4ai() -> Work:
    """z4ai's delta against a reference."""
    import z4ai  # type: ignore[import-not-found]

    kinds = {"bf16": "bfloat16", "f32": "float32", "i8": "int8"}

    def encode(parent: bytes, child: bytes, kind: str) -> bytes:
        return bytes(z4ai.compress_delta(child, parent, dtype=kinds[kind], threads=1))

    return encode, lambda parent, patch: bytes(z4ai.decompress_delta(patch, parent))


def bsdiff() -> Work:
    """bsdiff 4, by way of bsdiff4."""
    import bsdiff4  # type: ignore[import-not-found]

    return (lambda parent, child, _: bytes(bsdiff4.diff(parent, child))), bsdiff4.patch


def chunks() -> Work:
    """Content-defined chunks of 64 KiB as hf-xet has them: what the parent has not, each by zstd."""
    import hashlib

    import zstandard
    from fastcdc import fastcdc  # type: ignore[import-not-found]

    def cut(data: bytes) -> list[bytes]:
        sizes = {"min_size": 8 << 10, "avg_size": 64 << 10, "max_size": 128 << 10}
        return [data[one.offset : one.offset + one.length] for one in fastcdc(data, **sizes)]

    def encode(parent: bytes, child: bytes, _: str) -> bytes:
        known = {hashlib.sha256(chunk).digest() for chunk in cut(parent)}
        parts = []
        for chunk in cut(child):
            name = hashlib.sha256(chunk).digest()
            new = b"" if name in known else zstandard.ZstdCompressor().compress(chunk)
            known.add(name)
            parts += [name, len(new).to_bytes(4, "big"), new]
        return b"".join(parts)

    def decode(parent: bytes, patch: bytes) -> bytes:
        known = {hashlib.sha256(chunk).digest(): chunk for chunk in cut(parent)}
        at, out = 0, []
        while at < len(patch):
            name, size = patch[at : at + 32], int.from_bytes(patch[at + 32 : at + 36], "big")
            at += 36 + size
            if size:
                known[name] = zstandard.ZstdDecompressor().decompress(patch[at - size : at])
            out.append(known[name])
        return b"".join(out)

    return encode, decode


def whole(work: Work) -> Streamed:
    """Files to bytes, for codecs that take bytes."""
    encode, decode = work

    def write(parent: Path, child: Path, out: Path, kind: str) -> None:
        out.write_bytes(encode(parent.read_bytes(), child.read_bytes(), kind))

    def read(parent: Path, patch: Path, out: Path) -> None:
        out.write_bytes(decode(parent.read_bytes(), patch.read_bytes()))

    return write, read


def modelreg() -> Streamed:
    """This project's codec and manifest, without chain and store."""
    from benchmarks.delta_ours import Node

    node = Node(Path(sys.argv[3]))
    return node.encode, node.decode


CODECS: dict[str, Callable[[], Streamed]] = {
    "modelreg": modelreg,
    "bitx": lambda: whole(bitx()),
    "zipnn": lambda: whole(zipnn()),
    "z4ai": lambda: whole(z4ai()),
    "bsdiff": lambda: whole(bsdiff()),
    "chunks": lambda: whole(chunks()),
}


def main() -> None:
    """Work, and print a line of JSON."""
    codec, way, parent, file, out, kind = sys.argv[1:]
    encode, decode = CODECS[codec]()
    paths = Path(parent), Path(file), Path(out)
    started = time.perf_counter()
    if way == "encode":
        encode(*paths, kind)
    else:
        decode(*paths)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
