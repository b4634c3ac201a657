"""CARv1 against a reference by hand, and against archives made to harm."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.car import MAX_ROOTS, CarReader, write_car
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.car import REFUSED, VALID, VECTORS, documents, reference_read, reference_write, render
from tests.reference.dagcbor import Link

RAW = Cid.of(Codec.RAW, b"raw", HashAlgorithm.BLAKE3_256)


def block(data, algorithm=HashAlgorithm.BLAKE3_256):
    return Cid.of(Codec.RAW, data, algorithm), data


def read(archive):
    reader = CarReader(io.BytesIO(archive).read)
    return list(reader.roots), list(reader)


def plain(roots, blocks):
    """Our CIDs as the reference's bytes."""
    return [Link(root) for root in map(bytes, roots)], [(Link(bytes(cid)), data) for cid, data in blocks]


def test_vectors_are_what_the_reference_makes():
    for name, rows in documents().items():
        assert (VECTORS / name).read_text() == render(rows), "run python -m tests.reference.car"


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    (row,) = [row for row in json.loads((VECTORS / "valid.json").read_text()) if row["name"] == name]
    archive = bytes.fromhex(row["hex"])
    roots, blocks = read(archive)
    assert plain(roots, blocks) == VALID[name]
    assert b"".join(write_car(roots, blocks)) == archive
    assert reference_read(archive) == VALID[name]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(VerificationError):
        read(REFUSED[name])
    with pytest.raises(ValueError):
        reference_read(REFUSED[name])


@given(st.lists(st.tuples(st.sampled_from(HashAlgorithm), st.binary(max_size=300)), max_size=5))
def test_writing_equals_the_reference(pieces):
    blocks = [block(data, algorithm) for algorithm, data in pieces]
    archive = b"".join(write_car([RAW], blocks))
    assert archive == reference_write(*plain([RAW], blocks))
    assert read(archive) == ([RAW], blocks)


@given(st.binary(max_size=60), st.data())
def test_changed_bytes_are_refused_or_mean_what_the_reference_reads(data, draw):
    archive = bytearray(b"".join(write_car([RAW], [block(data), block(b"x" * 150)])))
    archive[draw.draw(st.integers(0, len(archive) - 1))] = draw.draw(st.integers(0, 255))
    try:
        expected = reference_read(bytes(archive))
    except ValueError:
        with pytest.raises(VerificationError):
            read(bytes(archive))
    else:
        assert plain(*read(bytes(archive))) == expected


def test_blocks_before_a_bad_one_are_given():
    archive = REFUSED["second block is wrong"]
    blocks = iter(CarReader(io.BytesIO(archive).read))
    assert next(blocks)[1] != b""
    with pytest.raises(VerificationError, match="holds other bytes"):
        next(blocks)


def test_a_stream_that_gives_few_bytes_at_a_time_is_read():
    archive = io.BytesIO(b"".join(write_car([RAW], [block(bytes(5000)), block(b"")])))
    reader = CarReader(lambda most: archive.read(min(most, 7)))
    assert [len(data) for _, data in reader] == [5000, 0]


def test_the_largest_block_passes_and_one_byte_more_is_refused():
    largest = block(bytes(MAX_BLOCK_BYTES))
    assert read(b"".join(write_car([RAW], [largest])))[1] == [largest]
    with pytest.raises(FormatError, match="at most"):
        list(write_car([RAW], [block(bytes(MAX_BLOCK_BYTES + 1))]))
    with pytest.raises(FormatError, match="at most"):
        read(reference_write(*plain([RAW], [block(bytes(MAX_BLOCK_BYTES + 1))])))


def test_the_writer_refuses_wrong_bytes_and_wrong_numbers_of_roots():
    with pytest.raises(VerificationError, match="holds other bytes"):
        list(write_car([RAW], [(RAW, b"rat")]))
    for roots in ([], [RAW] * (MAX_ROOTS + 1)):
        with pytest.raises(FormatError, match="roots"):
            list(write_car(roots, []))
    assert read(b"".join(write_car([RAW] * MAX_ROOTS, [])))[0] == [RAW] * MAX_ROOTS


@pytest.mark.parametrize("name", ["header length beyond the limit", "section length beyond the limit"])
def test_a_length_bomb_is_refused_before_anything_is_read(name):
    with pytest.raises(FormatError, match="at most"):
        read(REFUSED[name])


def test_endless_data_is_read_one_block_at_a_time():
    section = b"".join(write_car([RAW], [block(bytes(MAX_BLOCK_BYTES))]))
    head = len(b"".join(write_car([RAW], [])))
    stream = Endless(section[:head], section[head:])
    tracemalloc.start()
    try:
        for count, _ in enumerate(CarReader(stream.read)):
            if count == 50:
                break
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert stream.given < 52 * (MAX_BLOCK_BYTES + 64)


class Endless:
    """A stream that repeats its end for ever."""

    def __init__(self, start, again):
        self.waiting, self.again, self.given = io.BytesIO(start), again, 0

    def read(self, most):
        piece = self.waiting.read(most)
        if not piece:
            self.waiting = io.BytesIO(self.again)
            piece = self.waiting.read(most)
        self.given += len(piece)
        return piece


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("car")
