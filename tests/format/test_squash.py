"""What nodes offer: docs/spec/manifest.md, section 6."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.squash import Squash, read_offer, write_offer

MANIFEST = Cid.of(Codec.DAG_CBOR, b"manifest", HashAlgorithm.BLAKE3_256)
ROW = {"base": "0x" + "11" * 32, "manifest": str(MANIFEST)}


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=64))
def test_an_offer_is_read_as_it_was_written(bases):
    squashes = tuple(Squash(base, MANIFEST) for base in bases)
    assert read_offer(write_offer(squashes)) == squashes


def test_what_is_too_much_is_left_out():
    squashes = [Squash(bytes([number]) * 32, MANIFEST) for number in range(100)]
    assert read_offer(write_offer(squashes)) == tuple(squashes[:64])


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"squashes": {}},
        {"squashes": [ROW] * 65},
        {"squashes": [[]]},
        {"squashes": [{**ROW, "base": ROW["base"][2:]}]},
        {"squashes": [{**ROW, "base": ROW["base"].upper()}]},
        {"squashes": [{**ROW, "base": ROW["base"] + "\n"}]},
        {"squashes": [{**ROW, "base": 7}]},
        {"squashes": [{**ROW, "manifest": "bafy"}]},
        {"squashes": [{"base": ROW["base"]}]},
    ],
)
def test_other_documents_are_refused(document):
    with pytest.raises(FormatError):
        read_offer(json.dumps(document).encode())


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 10_000, b" " * 70_000, b'{"squashes": NaN'])
def test_garbage_is_refused(raw):
    with pytest.raises(FormatError):
        read_offer(raw)
