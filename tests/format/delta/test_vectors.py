"""The vectors of docs/spec/delta.md, and the independent decoder that made them."""

import json

import pytest

from modelreg.errors import FormatError
from modelreg.format.delta import decode
from tests.reference import delta as reference


def load(name):
    return json.loads((reference.VECTORS / name).read_text())


def ids(rows):
    return [row["name"] for row in rows]


def run(row):
    base = None if row["base"] is None else bytes.fromhex(row["base"])
    return decode(row["encoding"], bytes.fromhex(row["payload"]), base, row["length"])


VALID, FROZEN, REFUSED = load("valid.json"), load("frozen.json"), load("refused.json")


@pytest.mark.parametrize("row", VALID + FROZEN, ids=ids(VALID + FROZEN))
def test_valid_vector_decodes(row):
    chunk = run(row)
    assert chunk == bytes.fromhex(row["chunk"])
    assert chunk.readonly and chunk.format == "B" and chunk.contiguous


@pytest.mark.parametrize("row", REFUSED, ids=ids(REFUSED))
def test_refused_vector_is_refused(row):
    with pytest.raises(FormatError):
        run(row)


@pytest.mark.parametrize("file", list(reference.DOCUMENTS))
def test_vectors_are_what_the_reference_writes(file):
    assert reference.render(reference.DOCUMENTS[file]()) == (reference.VECTORS / file).read_text()


@pytest.mark.parametrize("row", FROZEN, ids=ids(FROZEN))
def test_frozen_payload_decodes_by_the_reference(row):
    base = None if row["base"] is None else bytes.fromhex(row["base"])
    chunk = reference.reference_decode(row["encoding"], bytes.fromhex(row["payload"]), base, row["length"])
    assert chunk == bytes.fromhex(row["chunk"])


def test_every_encoding_has_a_vector():
    assert {row["encoding"] for row in VALID} == set(range(8))
