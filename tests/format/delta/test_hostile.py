"""Bombs, truncation and noise. The vectors of refused.json name each single failure; see test_vectors.py."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modelreg.errors import FormatError
from modelreg.format.delta import Encoding, WordType, decode, encode, pages
from tests.format.delta.test_vectors import FROZEN, VALID

ROOT = Path(__file__).parents[3]
SMALL = [row for row in VALID + FROZEN if len(row["payload"]) < 800]


def attempt(encoding, payload, base, length):
    try:
        chunk = decode(encoding, payload, base, length)
    except FormatError:
        return None
    assert len(chunk) == length
    return chunk


def parts(row):
    base = None if row["base"] is None else bytes.fromhex(row["base"])
    return row["encoding"], bytes.fromhex(row["payload"]), base, row["length"]


@pytest.mark.parametrize("row", SMALL, ids=[row["name"] for row in SMALL])
def test_payload_cut_at_any_byte_is_refused(row):
    encoding, payload, base, length = parts(row)
    for end in range(len(payload)):
        with pytest.raises(FormatError):
            decode(encoding, payload[:end], base, length)


@pytest.mark.parametrize("row", SMALL, ids=[row["name"] for row in SMALL])
def test_byte_after_any_payload_is_refused(row):
    encoding, payload, base, length = parts(row)
    tail = length % WordType(payload[0]).width if encoding in (2, 4, 5, 6) else 0
    with pytest.raises(FormatError):
        decode(encoding, payload + b"\x00", base, length)
    if tail:
        with pytest.raises(FormatError):
            decode(encoding, payload[:-tail] + b"\x00" + payload[-tail:], base, length)


@pytest.mark.parametrize("row", SMALL, ids=[row["name"] for row in SMALL])
def test_flipped_bit_is_refused_or_gives_the_right_length(row):
    encoding, payload, base, length = parts(row)
    flips = range(8 * len(payload))
    for flip in random.Random(1).sample(flips, min(len(flips), 250)):
        broken = bytearray(payload)
        broken[flip // 8] ^= 1 << flip % 8
        attempt(encoding, bytes(broken), base, length)


def test_type_confusion_between_encodings_is_harmless():
    for row in SMALL:
        _, payload, base, length = parts(row)
        for encoding in Encoding:
            attempt(encoding, payload, base or b"base", length)
            attempt(encoding, payload, None, length)


def test_wrong_base_of_the_right_length_is_refused_or_gives_other_bytes():
    base, other = bytes(range(256)) * 16, bytes(range(255, -1, -1)) * 16
    chunk = bytes(b ^ (i % 3 == 0) for i, b in enumerate(base))
    for word in (WordType.BF16, WordType.F32, WordType.I8):
        encoded = encode(chunk, word, base)
        assert encoded.encoding.needs_base
        assert attempt(encoded.encoding, encoded.payload, other, len(chunk)) != chunk


def test_base_beyond_2_mib_is_refused():
    noise = random.Random(1).randbytes(1000)
    encoded = encode(noise[1:], WordType.U8, noise)
    assert encoded.encoding is Encoding.PATCH
    with pytest.raises(FormatError):
        decode(encoded.encoding, encoded.payload, bytes(2 << 20) + noise, 999)


@pytest.mark.parametrize(("finished", "count"), [(False, 5), (True, 4)])
def test_page_that_ends_early_is_refused(finished, count):
    """The library promises both; should it break its word, the rest of the array would be uninitialised."""

    class Chunk:
        def read_page_into(self, *_):
            return SimpleNamespace(finished=finished, n_processed=count), 0

    with pytest.raises(FormatError):
        pages._read_page(Chunk(), b"", np.empty(5, "i2"))


def run_campaign(seconds, seed):
    command = [sys.executable, "-m", "tests.format.delta.campaign", str(seconds), str(seed)]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds + 120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)["payloads"]


@pytest.mark.parametrize("seed", [1, 2])
def test_delta_bombs_stay_within_64_mib(seed):
    assert run_campaign(3, seed) > 100


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    seconds = float(os.environ.get("MODELREG_FUZZ_SECONDS", "60"))
    seed = random.SystemRandom().randrange(1 << 32)
    assert run_campaign(seconds / 2, seed) > 100
    assert run_campaign(seconds / 2, seed + 1) > 100
