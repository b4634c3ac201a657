"""The file: foreign, damaged, read-only, full, locked, and of another schema."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from modelreg.chain import RpcError, create, database, open_chain
from modelreg.errors import (
    ConflictError,
    FormatError,
    InputError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from tests.chain.backends import CHAIN_ID, Node, account


def change(path, sql, *values):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()


def test_missing_file(tmp_path):
    with pytest.raises(NotFoundError):
        open_chain(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_existing_chain_is_not_overwritten(path):
    with pytest.raises(ConflictError):
        create(path, chain_id=1, alloc={}, timestamp=1)
    with open_chain(path) as chain:
        assert chain.chain_id == CHAIN_ID


def test_foreign_database_is_refused(tmp_path):
    path = tmp_path / "other.sqlite"
    change(path, "CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(FormatError, match="not a chain"):
        open_chain(path)
    with pytest.raises(FormatError, match="another database"):
        create(path, chain_id=1, alloc={}, timestamp=1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"\0" * 8192])
def test_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        open_chain(path)
    assert path.read_bytes() == content


def test_other_schema_version_is_refused(path):
    change(path, "PRAGMA user_version = 2")
    with pytest.raises(FormatError, match="schema"):
        open_chain(path)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE block SET header = zeroblob(600) WHERE number = 0",
        "UPDATE genesis SET hash = zeroblob(32)",
        "UPDATE node SET body = zeroblob(100)",
        "DELETE FROM node",
        "DELETE FROM genesis",
        "DELETE FROM block",
    ],
)
def test_damaged_file_is_one_clear_error(path, sql):
    change(path, sql)
    with pytest.raises(VerificationError, match="damaged"):
        open_chain(path)


def test_damaged_page_is_one_clear_error(path):
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(VerificationError, match="damaged"), open_chain(path) as chain:
        chain.request("eth_getBlockByNumber", ["latest", True])


def test_damaged_state_is_found_when_read(path, chain):
    node = Node(chain.request, kind="embedded")
    node.send(node.alice, to=node.bob.address, value=1)
    change(path, "DELETE FROM node WHERE hash NOT IN (SELECT hash FROM node ORDER BY rowid DESC LIMIT 1)")
    with pytest.raises(VerificationError, match="damaged"):
        chain.request("eth_getBalance", [node.alice.address, "latest"])
    with pytest.raises(VerificationError, match="damaged"):
        node.send(node.alice, to=node.bob.address, value=1)


def test_full_disk_leaves_no_half_block(path, chain):
    node = Node(chain.request, kind="embedded")
    with chain._connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(UnreachableError, match="no space left"):
        for _ in range(100):
            node.send(node.alice, data=bytes(range(256)) * 64, gas=10_000_000)
    head = chain.request("eth_getBlockByNumber", ["latest", True])
    assert chain.request("eth_getBlockReceipts", [head["number"]]) is not None
    with open_chain(path) as again:
        assert again.request("eth_getBlockByNumber", ["latest", True]) == head
        Node(again.request, kind="embedded").send(node.alice, to=node.bob.address)


def test_locked_database_is_unreachable(path, chain, monkeypatch):
    node = Node(chain.request, kind="embedded")
    signed = node.sign(node.alice, to=node.bob.address)
    with chain._connection() as connection:
        connection.execute("PRAGMA busy_timeout = 50")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnreachableError, match="locked by another process"):
            chain.request("eth_sendRawTransaction", [signed])
        other.execute("ROLLBACK")
    chain.request("eth_sendRawTransaction", [signed])


def test_readonly_chain_reads_and_refuses_to_write(path):
    with open_chain(path, readonly=True) as chain:
        node = Node(chain.request, kind="embedded")
        assert chain.request("eth_blockNumber", []) == "0x0"
        with pytest.raises(NotPermittedError):
            node.send(node.alice, to=node.bob.address)


def test_readonly_reader_sees_a_writers_blocks(path, chain):
    node = Node(chain.request, kind="embedded")
    with open_chain(path, readonly=True) as reader:
        node.send(node.alice, to=node.bob.address)
        assert reader.request("eth_blockNumber", []) == "0x1"


_UNPRIVILEGED = """
import os, sys
from modelreg.chain import open_chain
from modelreg.errors import ModelregError
os.setgid(65534); os.setuid(65534)
with open_chain(sys.argv[1], readonly=True) as chain:
    print(chain.request("eth_blockNumber", []))
try:
    open_chain(sys.argv[1])
except ModelregError as error:
    print(type(error).__name__, error.exit_code)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="changes user, to be bound by permissions")
def test_read_only_disk(path, tmp_path_factory):
    home = tmp_path_factory.mktemp("readonly")
    for parent in (home, *home.parents):
        with contextlib.suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o055)
    copy = home / "chain.sqlite"
    shutil.copy(path, copy)
    copy.chmod(0o444)
    home.chmod(0o555)
    run = subprocess.run([sys.executable, "-c", _UNPRIVILEGED, str(copy)], capture_output=True, text=True)
    assert run.stdout.split() == ["0x0", "NotPermittedError", "8"], run.stderr


def test_closed_chain_refuses(chain):
    chain.close()
    with pytest.raises(UnreachableError, match="closed"):
        chain.request("eth_blockNumber", [])


def test_forked_child_must_open_its_own(chain):
    child = os.fork()
    if child == 0:
        try:
            chain.request("eth_blockNumber", [])
            os._exit(1)
        except UnreachableError:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_schema_is_marked_in_the_file(path):
    head = path.read_bytes()[:100]
    assert int.from_bytes(head[68:72], "big") == database.APPLICATION_ID == 0x6D726367
    assert int.from_bytes(head[60:64], "big") == database.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("chain_id", "alloc", "timestamp"),
    [(0, {}, 1), (1 << 53, {}, 1), (1, {b"short": 1}, 1), (1, {bytes(20): -1}, 1), (1, {}, -1)],
)
def test_impossible_genesis_is_refused(tmp_path, chain_id, alloc, timestamp):
    with pytest.raises(InputError):
        create(tmp_path / "chain", chain_id=chain_id, alloc=alloc, timestamp=timestamp)
    assert list(tmp_path.iterdir()) == []


def test_missing_directory_is_an_error_of_ours(tmp_path):
    with pytest.raises(NotPermittedError):
        create(tmp_path / "none" / "chain", chain_id=1, alloc={}, timestamp=1)


def test_refused_transaction_leaves_nothing(chain):
    node = Node(chain.request, kind="embedded")
    with pytest.raises(RpcError):
        node.send(node.alice, to=node.bob.address, value=10**30)
    assert chain.request("eth_blockNumber", []) == "0x0"
    assert node.send(account("alice"), to=node.bob.address)["blockNumber"] == "0x1"


def test_commits_reach_the_disk(chain):
    """kill -9 cannot show it: without FULL, a commit would survive the process but not a power cut."""
    with chain._connection() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_empty_blocks_take_less_than_a_thousand_bytes_each(path):
    def size():
        return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))

    with open_chain(path):
        pass
    before = size()
    with open_chain(path) as chain:
        for _ in range(500):
            chain.mine_empty(-(10**12))
    assert 0 < size() - before < 500 * 1000
