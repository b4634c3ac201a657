"""Blocks against the slow reference: every byte of every header."""

import json

import pytest

from modelreg.chain import create, open_chain
from modelreg.chain.header import Header
from modelreg.chain.receipt import Receipt
from modelreg.chain.replay import replay
from modelreg.errors import FormatError
from tests.chain.programs import VAULT
from tests.reference import chain as reference

VECTORS = json.loads(reference.VECTORS.read_text())


def test_vectors_are_what_the_reference_makes():
    assert reference.make() == VECTORS


def test_the_reference_tells_of_the_same_program():
    assert reference.VAULT == VAULT


def test_blocks_are_those_of_the_reference(tmp_path, monkeypatch):
    alloc = {bytes.fromhex(address): int(balance) for address, balance in VECTORS["alloc"].items()}
    path = tmp_path / "chain"
    create(path, chain_id=VECTORS["chain_id"], alloc=alloc, timestamp=VECTORS["timestamp"])
    with open_chain(path) as chain:
        assert chain.genesis_hash.hex() == VECTORS["blocks"][0]["hash"]
        for number, vector in enumerate(VECTORS["blocks"][1:], 1):
            monkeypatch.setattr("modelreg.chain.chain.time.time", lambda clock=vector["clock"]: clock)
            chain.request("eth_sendRawTransaction", ["0x" + vector["raw"]])
            block = chain.request("eth_getBlockByNumber", [hex(number), False])
            assert block["hash"] == "0x" + vector["hash"], number
    assert replay(path).head_hash.hex() == VECTORS["blocks"][-1]["hash"]


@pytest.mark.parametrize("vector", VECTORS["blocks"])
def test_headers_and_receipts_are_read_and_written(vector):
    header = bytes.fromhex(vector["header"])
    assert Header.decode(header).encode() == header
    assert Header.decode(header).hash.hex() == vector["hash"]
    if "receipt" in vector:
        receipt = bytes.fromhex(vector["receipt"])
        assert Receipt.decode(receipt).encode() == receipt


@pytest.mark.parametrize("position", range(21))
def test_header_of_another_chain_is_refused(position):
    """A constant field with another value, or a field that is no string."""
    import rlp

    items = rlp.decode(bytes.fromhex(VECTORS["blocks"][3]["header"]))
    items[position] = [b""]
    with pytest.raises(FormatError):
        Header.decode(rlp.encode(items))


@pytest.mark.parametrize(
    ("position", "value"),
    [(2, b"\1" * 20), (7, b"\1"), (9, b"\2"), (14, b"\1" * 8), (15, b"\1"), (20, bytes(32))],
)
def test_constants_of_the_header_are_checked(position, value):
    import rlp

    items = rlp.decode(bytes.fromhex(VECTORS["blocks"][3]["header"]))
    items[position] = value
    with pytest.raises(FormatError, match="constant"):
        Header.decode(rlp.encode(items))
