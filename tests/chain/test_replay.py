"""Replay finds every change to what is stored."""

import contextlib
import shutil
import sqlite3

import pytest

from modelreg.chain import open_chain
from modelreg.chain.replay import replay
from modelreg.errors import VerificationError
from tests.chain.backends import Node, make_chain
from tests.chain.programs import CONTEXT, VAULT, assemble, creation

STORE_CONTEXT = assemble(
    "NUMBER 0x00 SSTORE TIMESTAMP 0x01 SSTORE PREVRANDAO 0x02 SSTORE BASEFEE 0x03 SSTORE "
    "0x01 NUMBER SUB BLOCKHASH 0x04 SSTORE GASPRICE 0x05 SSTORE STOP"
)


def word(number):
    return number.to_bytes(32, "big")


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    path = make_chain(tmp_path_factory.mktemp("busy"))
    with open_chain(path) as chain:
        node = Node(chain.request, kind="embedded")
        vault = node.send(node.alice, data=creation(VAULT))["contractAddress"]
        context = node.send(node.bob, data=creation(STORE_CONTEXT))["contractAddress"]
        for key in range(4):
            node.send(node.alice, to=vault, data=word(key) + word(key + 1))
            node.send(node.bob, to=context, maxFeePerGas=key, maxPriorityFeePerGas=key)
        assert 10**9 - 60 < chain.mine_empty(10**9) <= 10**9 + 60
        assert chain.mine_empty(-(10**9)) == -(10**9)
        node.send(node.alice, to=vault, data=word(2) + word(0))
        node.send(node.alice, to=vault, data=b"\1")
        node.send(node.bob, data=creation(CONTEXT), gas=70_000)
    return path


def test_replay_agrees(busy):
    seen = []
    report = replay(busy, progress=lambda done, total: seen.append((done, total)))
    assert report.blocks == 14
    assert seen[-1] == (14, 14)
    with open_chain(busy) as chain:
        head = chain.request("eth_getBlockByNumber", ["latest", False])
    assert ("0x" + report.head_hash.hex(), "0x" + report.state_root.hex()) == (
        head["hash"],
        head["stateRoot"],
    )


def test_replay_of_a_chain_in_use(busy):
    with open_chain(busy) as chain:
        assert replay(busy).blocks == int(chain.request("eth_blockNumber", []), 16)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tx SET raw = (SELECT raw FROM tx WHERE number = 4) WHERE number = 3",
        "UPDATE tx SET sender = zeroblob(20) WHERE number = 5",
        "UPDATE receipt SET body = (SELECT body FROM receipt WHERE number = 3) WHERE number = 5",
        "DELETE FROM log WHERE number = 3",
        "UPDATE log SET topic1 = zeroblob(32) WHERE number = 5",
        "UPDATE log SET data = x'00' WHERE number = 5",
        "UPDATE node SET body = x'00' WHERE rowid = 30",
        "DELETE FROM node WHERE rowid = 30",
        "UPDATE block SET header = (SELECT header FROM block WHERE number = 4) WHERE number = 3",
        "UPDATE block SET hash = zeroblob(32) WHERE number = 14",
        "DELETE FROM block WHERE number = 7",
        "DELETE FROM tx WHERE number = 7",
        "DELETE FROM receipt WHERE number = 7",
        "INSERT INTO tx SELECT 11, zeroblob(32), sender, raw FROM tx WHERE number = 3",
        "INSERT INTO receipt SELECT 11, body FROM receipt WHERE number = 3",
        "UPDATE tx SET number = 11 WHERE number = 10",
        "UPDATE genesis SET alloc = '{}'",
        "UPDATE genesis SET alloc = 'x'",
        "UPDATE genesis SET hash = zeroblob(32)",
        "UPDATE genesis SET chain_id = 5",
    ],
)
def test_replay_finds_what_was_changed(busy, tmp_path, sql):
    copy = tmp_path / "copy"
    shutil.copy(busy, copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute(sql).rowcount > 0
        connection.commit()
    with pytest.raises(VerificationError):
        replay(copy)


def forged(busy, tmp_path, change):
    """A copy in which a header says something else, under a hash that fits."""
    from modelreg.chain.header import Header
    from modelreg.format.digest import keccak256

    copy = tmp_path / "forged"
    shutil.copy(busy, copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        (raw,) = connection.execute("SELECT header FROM block WHERE number = 14").fetchone()
        header = change(Header.decode(raw)).encode()
        connection.execute(
            "UPDATE block SET header = ?, hash = ? WHERE number = 14", (header, keccak256(header))
        )
        connection.commit()
    return copy


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("state_root", bytes(32), "state root"),
        ("receipts_root", bytes(32), "receipts root"),
        ("gas_used", 1, "gas used"),
        ("transactions_root", bytes(32), "header"),
        ("bloom", bytes([1]) * 256, "header"),
        ("prev_randao", bytes(32), "header"),
        ("extra_data", b"other", "header"),
        ("parent_hash", bytes(32), "header"),
        ("timestamp", 5, "time"),
    ],
)
def test_replay_finds_a_forged_header(busy, tmp_path, field, value, said):
    from dataclasses import replace

    with pytest.raises(VerificationError, match=f"block 14: {said}"):
        replay(forged(busy, tmp_path, lambda header: replace(header, **{field: value})))
