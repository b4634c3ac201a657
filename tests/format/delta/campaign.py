"""Hostile payloads against the decoder, under a limit of memory. Run as a program, with a number of seconds.

Every payload must be refused with FormatError or decode to as many bytes as were asked for. The process may
take 64 MiB more than it has after its imports; a crash, a hang or another exception ends it with an error. An
odd seed has numba's loops read what it can.
"""

import json
import random
import resource
import sys
import time
from pathlib import Path

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.delta import MAX_CHUNK_BYTES, Encoding, WordType, decode, encode, encode_cast, kernels
from tests.reference.delta import VECTORS

HEADROOM = 64 << 20


def small_rows():
    """The vectors: encoding, payload, base, length."""
    for name in ("valid.json", "frozen.json", "refused.json"):
        for row in json.loads((VECTORS / name).read_text()):
            base = None if row["base"] is None else bytes.fromhex(row["base"])
            yield row["encoding"], bytes.fromhex(row["payload"]), base, row["length"]


def large_rows():
    """Full chunks of every kind of encoding."""
    rng = np.random.default_rng(2)
    weights = rng.normal(0, 0.02, MAX_CHUNK_BYTES // 4).astype("<f4")
    stepped = weights + rng.normal(0, 1e-5, len(weights)).astype("<f4")
    narrow = (weights.view("<u4") >> 16).astype("<u2").tobytes() * 2
    text = json.dumps([i * 37 % 1000 for i in range(80_000)]).encode()[: MAX_CHUNK_BYTES // 2]
    plans = [
        (weights.tobytes(), WordType.F32, None),
        (stepped.astype("<f4").tobytes(), WordType.F32, weights.tobytes()),
        (stepped.astype("<f4").tobytes(), WordType.I32, weights.tobytes()),
        (narrow, WordType.BF16, None),
        (text, WordType.U8, None),
        (text[:1000] + b"new" + text[1000:], WordType.U8, text),
    ]
    for chunk, word, base in plans:
        encoded = encode(chunk, word, base)
        yield encoded.encoding, encoded.payload, base if encoded.encoding.needs_base else None, len(chunk)
    cast = encode_cast(narrow[: MAX_CHUNK_BYTES // 2], WordType.BF16, weights.tobytes(), WordType.F32)
    if cast is not None:
        yield cast.encoding, cast.payload, weights.tobytes(), MAX_CHUNK_BYTES // 2


def low_rank_rows():
    """The vectors of low-rank payloads, as `small_rows`, and their factors."""
    for name in ("low-rank.json", "refused-low-rank.json"):
        for row in json.loads((VECTORS / name).read_text()):
            keys = ("payload", "base", "factors")
            parts = [None if row[key] is None else bytes.fromhex(row[key]) for key in keys]
            yield row["encoding"], *parts[:2], row["length"], parts[2]


def attempt(encoding, payload, base, length, factors=None):
    try:
        chunk = decode(encoding, payload, base, length, factors)
    except FormatError:
        return
    assert len(chunk) == length


def mutated(rng, payload):
    """Flip, set, cut, repeat or insert; mostly near the front, where the counts are."""
    out = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = min(int(rng.expovariate(0.05)), len(out)) if rng.random() < 0.7 else rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del out[at : at + rng.randrange(1, 9)]
            case 3:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                out[at:at] = out[at : at + rng.randrange(1, 30)]
            case _:
                del out[at:]
    return bytes(out)


def limit_memory():
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))


def main(seconds, seed):
    rng = random.Random(seed)
    small, large, thin = list(small_rows()), list(large_rows()), list(low_rank_rows())
    if seed % 2:
        kernels._FEW_WORDS = 0
        kernels.prefer_compiled()
        for row in small + large + thin:  # compiles for each width of words
            attempt(*row)
    limit_memory()
    for row in small + large + thin:
        attempt(*row)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        if rng.random() < 0.2:
            encoding, payload, base, length, factors = rng.choice(thin)
            if factors and rng.random() < 0.5:
                attempt(encoding, payload, base, length, mutated(rng, factors))
            else:
                attempt(encoding, mutated(rng, payload), base, length, factors)
            count += 1
            continue
        encoding, payload, base, length = rng.choice(large if rng.random() < 0.1 else small)
        if rng.random() < 0.1:
            encoding = rng.choice(list(Encoding))
        if rng.random() < 0.1:
            length = max(0, length + rng.choice((-8, -4, -1, 1, 4, 8)))
        attempt(encoding, mutated(rng, payload), base, length)
        count += 1
    print(json.dumps({"payloads": count, "seed": seed}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
