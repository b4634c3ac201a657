"""Storage slots and records: docs/spec/ledger.md, section 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.names import ModelName, ReleaseId
from modelreg.ledger import layout
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.records import (
    ALL_ROLES,
    Channel,
    Move,
    Namespace,
    Role,
    channel_of,
    label_of,
    model_name_of,
    release_of,
    roles_of,
)

ARTIFACT = load_artifact()


def test_the_variables_lie_where_the_compiler_put_them():
    found = {entry["label"]: int(entry["slot"]) for entry in ARTIFACT.storage_layout["storage"]}
    assert found == layout.VARIABLES
    assert all(entry["offset"] == 0 for entry in ARTIFACT.storage_layout["storage"])


def members(struct):
    [kind] = [
        kind
        for name, kind in ARTIFACT.storage_layout["types"].items()
        if f"({struct})" in name and "members" in kind
    ]
    sizes = {name: int(entry["numberOfBytes"]) for name, entry in ARTIFACT.storage_layout["types"].items()}
    return [(m["label"], int(m["slot"]), m["offset"], sizes[m["type"]]) for m in kind["members"]]


def test_the_structs_are_packed_as_the_compiler_packs_them():
    assert members("Namespace") == [("owner", 0, 0, 20), ("pendingOwner", 1, 0, 20)]
    assert members("Grant") == [("roles", 0, 0, 12), ("underOwner", 0, 12, 20)]
    assert members("Model") == [("name", 0, 0, 32), ("branches", 1, 0, 32), ("channels", 2, 0, 32)]
    assert members("Channel") == [("current", 0, 0, 32), ("next", 1, 0, 32), ("activation", 2, 0, 8)]
    assert members("Release") == [
        ("model", 0, 0, 32),
        ("parent", 1, 0, 32),
        ("contentRoot", 2, 0, 32),
        ("manifestDigest", 3, 0, 32),
        ("version", 4, 0, 32),
        ("branch", 5, 0, 32),
        ("publisher", 6, 0, 20),
        ("publishedAt", 6, 20, 5),
        ("seq", 6, 25, 4),
        ("manifestHash", 6, 29, 1),
        ("yanked", 6, 30, 1),
    ]


FIRST_WORD = int.from_bytes(b"\1" * 32, "big")
FIRST, SECOND = ReleaseId(b"\1" * 32), ReleaseId(b"\2" * 32)


@pytest.mark.parametrize(
    ("words", "release", "planned"),
    [
        ((0, 0, 0), None, None),
        ((1, 0, 0), FIRST, None),
        ((1, 2, 8), FIRST, Move(SECOND, 8)),
        ((1, 2, 7), SECOND, None),
        ((0, 2, 8), None, Move(SECOND, 8)),
        ((0, 2, 2**64 - 1), None, Move(SECOND, 2**64 - 1)),
    ],
)
def test_what_a_channel_means_in_block_7(words, release, planned):
    current, following, activation = words
    found = channel_of([current * FIRST_WORD, following * FIRST_WORD, activation], 7)
    assert found == Channel(release, planned)
    assert found.target == (planned.release if planned else release)


@pytest.mark.parametrize("words", [(1, 0, 5), (1, 2, 0), (0, 0, 1), (1, 2, 2**64), (1, 2, 5 | 1 << 255)])
def test_a_channel_in_no_form_is_refused(words):
    with pytest.raises(FormatError):
        channel_of(words, 7)


def stored(text):
    """A string's words as Solidity stores them."""
    if len(text) < 32:
        return int.from_bytes(text.ljust(31, b"\0") + bytes((2 * len(text),)), "big"), []
    padded = text.ljust(-(-len(text) // 32) * 32, b"\0")
    words = [int.from_bytes(padded[at : at + 32], "big") for at in range(0, len(padded), 32)]
    return 2 * len(text) + 1, words


@given(st.binary(max_size=129))
def test_short_and_long_strings(text):
    head, words = stored(text)
    assert len(layout.string_slots(7, head, 129)) == len(words)
    assert layout.string_from_words(head, words) == text


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (2 * 40 + 1, [2**256 - 1]),
        (2 * 40 + 1, [0, 1]),
        (2 * 33, []),
        (int.from_bytes(b"abc".ljust(31, b"\0") + bytes((4,)), "big"), []),
    ],
)
def test_strings_in_no_form_are_refused(head, words):
    with pytest.raises(FormatError):
        layout.string_from_words(head, words)


@pytest.mark.parametrize("size", [0, 31, 130, 2**200])
def test_string_lengths_are_capped_before_anything_is_read(size):
    with pytest.raises(FormatError):
        layout.string_slots(7, 2 * size + 1, 129)


def test_array_elements_wrap_around():
    assert 0 <= layout.array_at(8, 2**256 - 1) < 2**256


def test_packed_words_have_no_bits_left_over():
    assert layout.fields(0x0102, 8, 8) == (2, 1)
    with pytest.raises(FormatError):
        layout.fields(0x010203, 8, 8)


def test_roles_count_under_the_owner_of_today_only():
    account, owner, former = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20

    def grant(under):
        return int.from_bytes(under, "big") << 96 | 3

    namespace = Namespace(owner, None)
    assert roles_of(account, namespace, grant(owner)) == Role.PUBLISH | Role.YANK
    assert roles_of(account, namespace, grant(former)) == Role(0)
    assert roles_of(owner, namespace, 0) == ALL_ROLES
    assert roles_of(account, None, grant(bytes(20))) == Role(0)


def test_a_record_under_another_id_is_refused():
    words = [
        1,
        0,
        2,
        3,
        int.from_bytes(b"1.0.0".ljust(32, b"\0"), "big"),
        int.from_bytes(b"main".ljust(32, b"\0"), "big"),
    ]
    packed = 5 | 6 << 160 | 1 << 200 | 0x1E << 232
    with pytest.raises(VerificationError, match="release record"):
        release_of(ReleaseId(b"\x01" * 32), [*words, packed])
    assert release_of(ReleaseId(b"\x01" * 32), [0] * 7) is None


@pytest.mark.parametrize(
    "change",
    [
        {4: 0},
        {4: int.from_bytes(b"1.0".ljust(32, b"\0"), "big")},
        {5: 0},
        {5: int.from_bytes(b"Main".ljust(32, b"\0"), "big")},
        {6: 5 | 6 << 160 | 0 << 200 | 0x1E << 232},
        {6: 5 | 6 << 160 | 1 << 200 | 0x55 << 232},
        {6: 5 | 6 << 160 | 1 << 200 | 0x1E << 232 | 1 << 255},
    ],
)
def test_a_record_in_no_form_is_refused(change):
    version, branch = (int.from_bytes(text.ljust(32, b"\0"), "big") for text in (b"1.0.0", b"main"))
    words = {0: 1, 1: 0, 2: 2, 3: 3, 4: version, 5: branch, 6: 5 | 6 << 160 | 1 << 200 | 0x1E << 232} | change
    with pytest.raises(FormatError):
        release_of(ReleaseId(b"\x01" * 32), list(words.values()))


def test_wrong_model_under_the_right_name():
    name = ModelName("acme", "minilm")
    assert model_name_of(name.id, b"acme/minilm") == name
    with pytest.raises(VerificationError):
        model_name_of(name.id, b"acme/minilm2")
    with pytest.raises(FormatError):
        model_name_of(name.id, b"acme/\xff")


def test_a_label_in_no_form_is_refused():
    with pytest.raises(FormatError):
        label_of(int.from_bytes(b"a/b".ljust(32, b"\0"), "big"))
