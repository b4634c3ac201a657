"""The client against an independent reference: docs/spec/ledger.md, sections 2 to 5."""

import json

import pytest

from modelreg.format.digest import HashAlgorithm
from modelreg.format.names import Version, label_word
from modelreg.format.release import Release, ReleaseId
from modelreg.ledger import layout
from modelreg.ledger.header import parse_header
from modelreg.ledger.proof import prove_word
from tests.reference.ledger import VECTORS, documents, render


def rows(name):
    return [pytest.param(row, id=row["name"]) for row in json.loads((VECTORS / name).read_text())]


@pytest.mark.parametrize(("name", "fresh"), documents().items())
def test_the_vectors_are_what_the_reference_writes(name, fresh):
    assert (VECTORS / name).read_text() == render(fresh)


@pytest.mark.parametrize("row", rows("headers.json"))
def test_headers_of_every_fork_hash_to_their_hash(row):
    block = row["block"]
    header = parse_header(block)
    assert header.hash.hex() == block["hash"][2:]
    assert header.number == int(block["number"], 16)
    assert header.state_root.hex() == block["stateRoot"][2:]


@pytest.mark.parametrize("row", rows("proofs.json"))
def test_storage_proofs_prove_presence_and_absence(row):
    nodes = [bytes.fromhex(node) for node in row["nodes"]]
    assert prove_word(bytes.fromhex(row["root"]), int(row["slot"], 16), nodes) == int(row["word"], 16)


@pytest.mark.parametrize("row", rows("slots.json"))
def test_slots(row):
    args = [bytes.fromhex(text[2:]) if text.startswith("0x") else label_word(text) for text in row["args"]]
    assert getattr(layout, row["name"])(*args) == int(row["slot"], 16)


@pytest.mark.parametrize("row", rows("releases.json"))
def test_release_ids(row):
    parent = bytes.fromhex(row["parent"])
    release = Release(
        model=bytes.fromhex(row["model"]),
        parent=ReleaseId(parent) if any(parent) else None,
        content_root=bytes.fromhex(row["content_root"]),
        manifest_digest=bytes.fromhex(row["manifest_digest"]),
        version=Version(row["version"]),
        branch=row["branch"],
        publisher=bytes(20),
        published_at=0,
        seq=row["seq"],
        manifest_hash=HashAlgorithm(row["manifest_hash"]),
    )
    assert str(release.release_id) == row["release_id"]
