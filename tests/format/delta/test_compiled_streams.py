"""Streams read in machine code: what it takes is what the library takes, with the same integers."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.delta import Encoding, decode, kernels
from modelreg.format.delta.compiled_streams import read_streams_compiled
from modelreg.format.delta.pages import pack_page
from modelreg.format.delta.streams import pack_integers, unpack_streams
from tests.format.delta.test_vectors import FROZEN, REFUSED, VALID
from tests.reference.delta import packed

COUNTS = [1, 2, 3, 4, 5, 6, 7, 255, 256, 257, 259, 700, 5000]


@st.composite
def integers(draw):
    """Some that a stream may hold: of one value or many, narrow or wide, most of them 0 or none."""
    width, count = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(COUNTS))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    limit = 1 << draw(st.integers(0, 8 * width - 1))
    found = chance.integers(-limit, limit, count, dtype=np.int64)
    if draw(st.booleans()):
        found = (chance.normal(0, 1, count) * min(limit, 1 << 40) / 9).astype(np.int64)
    return (found * (chance.random(count) < draw(st.sampled_from([0, 0.1, 0.5, 1])))).astype(f"<i{width}")


def library(payload, sizes, like):
    """What is read without numba, and where it ends; None where it is refused."""
    out = np.empty_like(like)
    before, kernels._choice = kernels._choice, kernels._Choice()
    try:
        return unpack_streams(payload, 0, sizes, out), out.tolist()
    except FormatError:
        return None
    finally:
        kernels._choice = before


def compiled(payload, sizes, like):
    out = np.empty_like(like)
    end = read_streams_compiled(payload, 0, sizes, out)
    return None if end == kernels.UNREAD else (end, out.tolist())


@given(st.lists(integers(), min_size=1, max_size=3), st.integers(0, 12))
def test_streams_are_read_whole(parts, level):
    parts = [part.astype(parts[0].dtype) for part in parts]
    payload, values = b"".join(pack_integers(part, level) for part in parts), np.concatenate(parts)
    sizes = np.array([len(part) for part in parts])
    assert compiled(memoryview(payload + b"behind"), sizes, values) == (len(payload), values.tolist())


@given(integers(), st.integers(0, 1 << 32), st.integers(1, 3))
def test_what_it_takes_the_library_takes(values, seed, changes):
    chance, sizes = random.Random(seed), np.array([len(values)])
    payload = bytearray(pack_integers(values, 8))
    for _ in range(changes):
        place = min(int(chance.expovariate(0.1)), len(payload) - 1)
        payload[place] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        del payload[chance.randrange(len(payload)) :]
    found = compiled(memoryview(bytes(payload)), sizes, values)
    assert found is None or found == library(memoryview(bytes(payload)), sizes, values)


@st.composite
def pages(draw):
    """Pages by hand: a table that is right or nearly so, and any bits as data."""
    lane = draw(st.sampled_from([1, 2, 4, 8]))
    width = 8 * lane
    log = draw(st.integers(0, 6))
    bins = draw(st.integers(1, 1 << log))
    weights = [1] * (bins - 1)
    weights.append((1 << log) - len(weights) + draw(st.sampled_from([0, 0, 0, -1, 1])))
    fields = [(log, 4), (bins + draw(st.sampled_from([0, 0, 0, 1])), 15)]
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    for weight in weights:
        offset = chance.choice((0, 1, width // 2, width, width + (chance.random() < 0.1)))
        fields += [((weight - 1) % (1 << log), log), (chance.getrandbits(width), width)]
        fields.append((offset, width.bit_length()))
    spare = draw(st.sampled_from([0, 0, 1])) << (7 - sum(size for _, size in fields) % 8)
    meta = bytearray(packed(fields))
    meta[-1] |= spare & 128
    data = chance.randbytes(draw(st.integers(0, 4000)))
    return bytes([lane]) + bytes(meta) + (data if draw(st.booleans()) else bytes(len(data)))


@given(pages(), st.sampled_from([1, 3, 256, 300]))
def test_pages_by_hand_are_read_as_the_library_does(page, count):
    like = np.empty(count, f"<i{page[0]}")
    found = compiled(memoryview(page), np.array([count]), like)
    assert found is None or found == library(memoryview(page), np.array([count]), like)


def test_all_sizes_of_tables():
    """From one bin to thousands."""
    chance = np.random.default_rng(4)
    for distinct in (1, 2, 3, 5, 17, 100, 700, 3000):
        values = chance.choice(chance.integers(-(1 << 30), 1 << 30, distinct), 60_000).astype("<i4")
        page = pack_page(values, 12)
        assert compiled(memoryview(page), np.array([len(values)]), values) == (len(page), values.tolist())


@pytest.fixture
def _compiled_choice(monkeypatch):
    choice = kernels._Choice()
    choice.compile_loops()
    choice.compile_streams()
    monkeypatch.setattr(kernels, "_choice", choice)
    monkeypatch.setattr(kernels, "_FEW_WORDS", 0)


@pytest.mark.usefixtures("_compiled_choice")
@pytest.mark.parametrize("row", VALID + FROZEN, ids=lambda row: row["name"])
def test_valid_vector_decodes(row):
    base = None if row["base"] is None else bytes.fromhex(row["base"])
    assert decode(row["encoding"], bytes.fromhex(row["payload"]), base, row["length"]).hex() == row["chunk"]


@pytest.mark.usefixtures("_compiled_choice")
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["name"])
def test_refused_vector_is_refused(row):
    base = None if row["base"] is None else bytes.fromhex(row["base"])
    with pytest.raises(FormatError):
        decode(row["encoding"], bytes.fromhex(row["payload"]), base, row["length"])


@pytest.mark.usefixtures("_compiled_choice")
def test_it_reads_what_has_vectors():
    """Else the two tests above would show nothing."""
    words = [row for row in VALID if row["encoding"] in (Encoding.SOLO, Encoding.DIFF, Encoding.EXP)]
    read = []
    real = kernels._choice.read_streams
    kernels._choice.read_streams = lambda *given: read.append(real(*given)) or read[-1]
    for row in words:
        base = None if row["base"] is None else bytes.fromhex(row["base"])
        decode(row["encoding"], bytes.fromhex(row["payload"]), base, row["length"])
    assert len(read) == len(words)
    assert kernels.UNREAD not in read
