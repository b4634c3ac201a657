"""Canonical DAG-CBOR against a reference by hand, and against blocks made to harm."""

import enum
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format import canonical
from modelreg.format.block import MAX_BLOCK_BYTES, check_block
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.dagcbor import (
    REFUSED,
    VALID,
    VECTORS,
    Link,
    documents,
    reference_decode,
    reference_encode,
    render,
)

RAW = Cid.of(Codec.RAW, b"raw", HashAlgorithm.BLAKE3_256)
NODE = Cid.of(Codec.DAG_CBOR, b"\xf6", HashAlgorithm.SHA2_256)


def ours(value):
    """The reference's value with our CIDs."""
    if isinstance(value, Link):
        return Cid.from_bytes(bytes(value))
    if isinstance(value, list):
        return [ours(item) for item in value]
    if isinstance(value, dict):
        return {key: ours(item) for key, item in value.items()}
    return value


LINKS = st.builds(
    lambda codec, algorithm, raw: Link(bytes([1, codec, algorithm, 32]) + raw),
    st.sampled_from([0x55, 0x71]),
    st.sampled_from([0x1E, 0x12]),
    st.binary(min_size=32, max_size=32),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=30)
    | st.binary(max_size=30)
    | LINKS
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=6) | st.dictionaries(TEXT, v, max_size=6))


def test_vectors_are_what_the_reference_makes():
    for name, rows in documents().items():
        assert (VECTORS / name).read_text() == render(rows), "run python -m tests.reference.dagcbor"


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    rows = {row["name"]: row for row in json.loads((VECTORS / "valid.json").read_text())}
    block, value = bytes.fromhex(rows[name]["hex"]), ours(VALID[name])
    assert canonical.encode(value) == block
    decoded = canonical.decode(block)
    assert decoded == value
    assert type(decoded) is type(value)
    assert reference_decode(block) == VALID[name]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    rows = {row["name"]: row for row in json.loads((VECTORS / "refused.json").read_text())}
    block = bytes.fromhex(rows[name]["hex"])
    with pytest.raises(FormatError):
        canonical.decode(block)
    with pytest.raises(ValueError):
        reference_decode(block)


@given(VALUES)
def test_encoding_equals_the_reference(value):
    block = canonical.encode(ours(value))
    assert block == reference_encode(value)
    assert canonical.decode(block) == ours(value)


def agree(block):
    try:
        expected = ours(reference_decode(block))
    except ValueError:
        with pytest.raises(FormatError):
            canonical.decode(block)
    else:
        assert canonical.decode(block) == expected
        assert canonical.encode(expected) == block


@given(VALUES, st.data())
def test_changed_bytes_are_refused_or_mean_what_the_reference_reads(value, data):
    block = bytearray(reference_encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(block[: data.draw(st.integers(0, len(block)))]))
    agree(bytes(block))


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_mean_what_the_reference_reads(block):
    agree(block)


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        (1,),
        bytearray(b"a"),
        memoryview(b"a"),
        {1},
        2**64,
        -(2**63) - 1,
        {1: 2},
        {b"a": 1},
        {None: 1},
        [{"a": [object()]}],
        enum.IntEnum("Number", "ONE").ONE,
        type("Text", (str,), {})("a"),
        "\ud800",
        {"\udfff": 0},
        ["a", "\udc80"],
    ],
)
def test_what_has_no_encoding_is_refused(value):
    with pytest.raises(FormatError):
        canonical.encode(value)


def test_a_value_that_holds_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(FormatError, match="levels"):
        canonical.encode(value)


def test_values_that_are_used_twice_are_written_twice():
    shared = [1, {"a": RAW}]
    assert canonical.decode(canonical.encode([shared, shared])) == [shared, shared]


def test_true_is_not_one():
    assert canonical.decode(canonical.encode([True, 1, False, 0])) == [True, 1, False, 0]
    assert list(map(type, canonical.decode(bytes.fromhex("84f501f400")))) == [bool, int, bool, int]


@pytest.mark.parametrize(
    "fill", [b"\x81", b"\xa1\x60", b"\xc1", b"\xd8\x2a", b"\xd8\x1c", b"\xd9\x01\x02", b"\x9f"]
)
def test_deep_nesting_of_a_whole_block_is_refused(fill):
    with pytest.raises(FormatError, match=r"nesting depth \(17\)|DAG-CBOR tag|indefinite"):
        canonical.decode(fill * (MAX_BLOCK_BYTES // len(fill)))


def test_depth_is_what_the_caller_allows():
    block = canonical.encode([[RAW]], max_depth=2)
    assert canonical.decode(block, max_depth=2) == [[RAW]]
    with pytest.raises(FormatError):
        canonical.decode(block, max_depth=1)
    with pytest.raises(FormatError):
        canonical.encode([[RAW]], max_depth=1)
    assert canonical.decode(b"\x01", max_depth=0) == 1


def test_size_is_what_the_caller_allows():
    value = bytes(MAX_BLOCK_BYTES - 5)
    block = canonical.encode(value)
    assert len(block) == MAX_BLOCK_BYTES
    assert canonical.decode(block) == value
    with pytest.raises(FormatError):
        canonical.encode(value + b"\x00")
    with pytest.raises(FormatError, match="at most 1048576 bytes"):
        canonical.decode(bytes(2 * MAX_BLOCK_BYTES))
    with pytest.raises(FormatError):
        canonical.decode(reference_encode(value + b"\x00"))
    with pytest.raises(FormatError):
        canonical.decode(b"\x01\x02", max_bytes=1)


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x40"])
def test_metadata_bomb_of_many_small_items_stays_within_memory(item):
    count = MAX_BLOCK_BYTES // 4
    block = b"\x9a" + count.to_bytes(4, "big") + item * count
    tracemalloc.start()
    try:
        canonical.decode(block)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_refused_tag_is_not_even_looked_into():
    regex = b"\xd8\x23" + reference_encode("(" * 200_000)
    with pytest.raises(FormatError, match="expected 42, found 35"):
        canonical.decode(regex)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("indefinite list", "indefinite"),
        ("duplicate keys", "Duplicate"),
        ("integer key", "map key must be"),
        ("one level too deep, maps", "levels"),
        ("link with a digest cut off", "a CIDv1 of 36 bytes"),
        ("link as text", "expected bytes, found str"),
    ],
)
def test_refused_by_the_decoder_before_anything_is_compared(name, reason):
    with pytest.raises(FormatError, match=reason):
        canonical.decode(REFUSED[name])


def test_errors_carry_no_control_characters():
    block = bytes.fromhex("a2") + 2 * (reference_encode("\x1b[31m" * 50) + b"\x00")
    with pytest.raises(FormatError) as caught:
        canonical.decode(block)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_links_in_the_order_of_the_encoding():
    value = {"z": RAW, "aa": [NODE, {"k": RAW}, [NODE]], "b": 1}
    decoded = canonical.decode(canonical.encode(value))
    assert list(canonical.links(decoded)) == [RAW, NODE, RAW, NODE]
    assert list(canonical.links(RAW)) == [RAW]
    assert list(canonical.links([b"\x00" + bytes(RAW), str(RAW), None])) == []


def test_block_is_checked_against_its_cid():
    check_block(RAW, b"raw")
    for other in (b"rat", b"", b"raw\x00"):
        with pytest.raises(FormatError.__base__, match="holds other bytes"):
            check_block(RAW, other)
    large = bytes(MAX_BLOCK_BYTES + 1)
    with pytest.raises(FormatError, match="at most 1048576 bytes"):
        check_block(Cid.of(Codec.RAW, large, HashAlgorithm.BLAKE3_256), large)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("canonical")
