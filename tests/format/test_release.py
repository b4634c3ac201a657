"""The release record and its id: docs/spec/ledger.md, section 2."""

from dataclasses import replace

import pytest

from modelreg.errors import FormatError, InputError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm, keccak256
from modelreg.format.names import ModelName, Version
from modelreg.format.release import Release, ReleaseId

FIRST = Release(
    model=ModelName("acme", "minilm").id,
    parent=None,
    content_root=b"\x01" * 32,
    manifest_digest=b"\x02" * 32,
    version=Version("1.2.0"),
    branch="main",
    publisher=b"\x03" * 20,
    published_at=1_700_000_000,
    seq=1,
    manifest_hash=HashAlgorithm.BLAKE3_256,
)


def test_the_id_is_the_hash_of_nine_words():
    words = [
        keccak256(b"modelreg/release/1"),
        keccak256(b"acme/minilm"),
        b"1.2.0" + bytes(27),
        b"main" + bytes(28),
        bytes(32),
        b"\x01" * 32,
        b"\x02" * 32,
        bytes(31) + b"\x1e",
        bytes(31) + b"\x01",
    ]
    assert bytes(FIRST.release_id) == keccak256(b"".join(words))


@pytest.mark.parametrize(
    "change",
    [
        {"model": b"\x09" * 32},
        {"content_root": b"\x09" * 32},
        {"manifest_digest": b"\x09" * 32},
        {"version": Version("1.2.1")},
        {"branch": "next"},
        {"manifest_hash": HashAlgorithm.SHA2_256},
        {"parent": ReleaseId(b"\x09" * 32), "seq": 2},
    ],
)
def test_the_id_binds(change):
    assert replace(FIRST, **change).release_id != FIRST.release_id


def test_the_id_leaves_out_what_the_block_decides():
    other = replace(FIRST, publisher=b"\x09" * 20, published_at=1, yanked=True)
    assert other.release_id == FIRST.release_id


def test_the_manifest_has_a_cid():
    assert FIRST.manifest_cid == Cid(Codec.DAG_CBOR, FIRST.manifest_cid.digest)
    assert FIRST.manifest_cid.digest.value == FIRST.manifest_digest


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": 2},
        {"seq": 2**32, "parent": ReleaseId(b"\x01" * 32)},
        {"parent": ReleaseId(b"\x01" * 32)},
        {"model": b""},
        {"publisher": bytes(32)},
    ],
)
def test_an_impossible_record_is_refused(change):
    with pytest.raises(FormatError):
        replace(FIRST, **change)


def test_a_record_on_no_branch_is_refused():
    with pytest.raises(InputError):
        replace(FIRST, branch="")


def test_release_ids_print_and_parse():
    text = "0x" + "ab" * 32
    assert str(ReleaseId.parse(text)) == text
    with pytest.raises(FormatError):
        ReleaseId(bytes(32))
