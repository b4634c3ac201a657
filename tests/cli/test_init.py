"""`init`: homes of every kind, and what it refuses."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelreg.config import read_config
from tests.cli.command import done, execute, modelreg, refused, start, tree
from tests.store.unprivileged import without_privileges

# Of the form that is not stretched: the tests need not wait for it.
PASSWORD = "modelreg:" + "A" * 43


def test_makes_a_home_without_a_terminal(tmp_path):
    home = tmp_path / "deep" / "home"
    document = done(home, "init")
    password = Path(document["password_file"])
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert document["home"] == str(home)
    assert done(home, "chain", "status")["chain_id"] == document["chain_id"]
    assert all(finding["ok"] for finding in done(home, "doctor"))


def test_makes_a_home_in_an_empty_directory(tmp_path):
    done(tmp_path, "init")
    assert done(tmp_path, "ls") == []


def test_takes_the_password_from_a_file(tmp_path, models):
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    home = tmp_path / "home"
    assert done(home, "init", "--password-file", password)["password_file"] == str(password)
    assert not (home / "password").exists()
    done(home, "publish", models[0] / "config.json", "--model", "acme/c", "--version", "1.0.0")


def test_takes_the_password_from_eth_password(tmp_path, models, monkeypatch):
    (tmp_path / "password").write_text(PASSWORD)
    monkeypatch.setenv("ETH_PASSWORD", "password")
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    assert done(home, "init")["password_file"] == str(tmp_path / "password")
    done(home, "publish", models[0] / "config.json", "--model", "acme/c", "--version", "1.0.0")
    monkeypatch.delenv("ETH_PASSWORD")
    monkeypatch.chdir("/")
    done(home, "publish", models[0] / "config.json", "--model", "acme/c", "--version", "1.0.1")


def test_eth_password_is_relative_to_the_working_directory(home, models, tmp_path, monkeypatch):
    (tmp_path / "wrong").write_text(PASSWORD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETH_PASSWORD", "wrong")
    line = refused(
        home, "publish", models[0] / "config.json", "--model", "acme/c", "--version", "1.0.0", code=8
    )
    assert "wrong password" in line


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 2), (b"\xff\xfe", 2), (None, 4)], ids=["empty", "not UTF-8", "missing"]
)
def test_refuses_a_bad_password_file_and_leaves_nothing(tmp_path, content, code):
    password = tmp_path / "password"
    if content is not None:
        password.write_bytes(content)
    refused(tmp_path / "home", "init", "--password-file", password, code=code)
    assert not (tmp_path / "home").exists()


def test_refuses_an_existing_home(home):
    before = tree(home)
    assert "is a home already" in refused(home, "init", code=5)
    assert tree(home) == before


def test_refuses_a_directory_with_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path, "init", code=2)
    assert tree(tmp_path) == {"notes.txt": b"mine"}


def test_refuses_a_parent_that_cannot_be_written(tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir()

    def check():
        Path().chmod(0o500)
        refused(parent / "home", "init", code=8)

    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    without_privileges(parent, check)
    assert list(parent.iterdir()) == []


def test_joins_a_home_and_shares_its_ledger(world):
    node = world.node()
    assert done(node, "ls") == done(world.publisher, "ls")
    assert read_config(node / "config.toml").peers == (world.publisher,)


def test_joins_a_home_by_a_relative_path(world, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done(Path("node"), "init", "--join", "publisher")
    monkeypatch.chdir("/")
    assert len(done(tmp_path / "node", "ls")) == 1


def test_joins_a_home_whose_path_is_not_ascii(world, tmp_path):
    moved = world.publisher.rename(tmp_path / 'hømé \U0001f9e0 "quoted" \\ \x7f')
    node = tmp_path / "node"
    done(node, "init", "--join", moved)
    assert len(done(node, "ls")) == 1


def test_refuses_to_join_what_is_no_home(tmp_path):
    (tmp_path / "other").mkdir()
    refused(tmp_path / "home", "init", "--join", tmp_path / "other", code=4)
    refused(tmp_path / "home", "init", "--join", tmp_path / "missing", code=4)
    assert not (tmp_path / "home").exists()


def test_refuses_two_ledgers(tmp_path, home):
    refused(tmp_path / "new", "init", "--join", home, "--rpc-url", "http://127.0.0.1:1", code=2)
    refused(tmp_path / "new", "init", "--contract", "0x" + "11" * 20, code=2)


@pytest.mark.parametrize("contract", ["0x12", "nonsense", "0x" + "zz" * 20])
def test_refuses_a_contract_that_is_no_address(tmp_path, contract):
    line = refused(
        tmp_path / "home", "init", "--rpc-url", "http://127.0.0.1:1", "--contract", contract, code=2
    )
    assert "40 hex digits" in line
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("url", "code"), [("http://127.0.0.1:1", 6), ("ftp://x", 2), ("nonsense", 2)])
def test_refuses_an_endpoint_that_does_not_answer(tmp_path, url, code):
    refused(tmp_path / "home", "init", "--rpc-url", url, code=code)
    assert not (tmp_path / "home").exists()


def test_needs_no_home_directory_but_the_one_named(tmp_path):
    outcome = execute(
        tmp_path / "home", "ls", env={"HOME": "/nonexistent", "MODELREG_HOME": str(tmp_path / "other")}
    )
    assert outcome.code == 4
    assert str(tmp_path / "home") in outcome.err


def test_an_interrupted_init_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("modelreg_cli.init._make_store", interrupt)
    assert modelreg(tmp_path / "home", "init").code == 130
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_make_one_home(tmp_path):
    """The one that comes too late leaves the other's keys alone."""
    processes = [start(tmp_path / "home", "--json", "init") for _ in range(2)]
    results = {process.returncode: out for process in processes for out, _ in [process.communicate()]}
    assert set(results) == {0, 5}
    made = json.loads(results[0])
    assert [key["address"] for key in done(tmp_path / "home", "key", "list")] == [made["address"]]
    assert done(tmp_path / "home", "chain", "status")["chain_id"] == made["chain_id"]


def test_a_failed_init_leaves_a_directory_that_was_there(tmp_path):
    (tmp_path / "home").mkdir()
    refused(tmp_path / "home", "init", "--rpc-url", "http://127.0.0.1:1", code=6)
    assert list((tmp_path / "home").iterdir()) == []


# Imports first and then forks, so that it is init that is killed.
KILLER = """
import os, signal, sys, time
import eth_account, modelreg.chain, modelreg.ledger.writer, modelreg.store.local
from modelreg_cli.app import run

for line in sys.stdin:
    home, seconds = line.rsplit(" ", 1)
    begin, child = time.monotonic(), os.fork()
    if child == 0:
        os.dup2(2, 1)
        os._exit(run(["--home", home, "init"]))
    if float(seconds):
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, time.monotonic() - begin, flush=True)
"""


@pytest.mark.parametrize(
    "rounds", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_the_next_init_succeeds_after_kill_9(tmp_path, rounds):
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    chance, unfinished = random.Random(seed), 0
    command = [sys.executable, "-c", KILLER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as killer:

        def init(home, seconds):
            killer.stdin.write(f"{home} {seconds}\n")
            killer.stdin.flush()
            code, took = killer.stdout.readline().split()
            return int(code), float(took)

        code, usual = init(tmp_path / "first", 0)
        assert code == 0
        for number in range(rounds):
            home = tmp_path / str(number)
            code, _ = init(home, chance.uniform(0, 1.1 * usual))
            finished = (home / "config.toml").exists()
            unfinished += home.exists() and not finished and any(home.iterdir())
            assert finished or code != 0
            again = modelreg(home, "init")
            assert again.code == (5 if finished else 0), again.err
            assert len(done(home, "key", "list")) == 1
            assert done(home, "chain", "status", "--replay")["replayed"]
            shutil.rmtree(home)
        killer.stdin.close()
    assert unfinished, "no round hit an init at work"


@pytest.mark.parametrize("step", ["_make_key", "_embedded_chain", "write_config", "_finish"])
def test_killed_at_a_step(tmp_path, step):
    """As above, at each step by name."""
    home = tmp_path / "home"
    code = f"""
import os, signal
from modelreg_cli import init
from modelreg_cli.app import run
act = init.{step}
def killed(*arguments):
    act(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
init.{step} = killed
run(["--home", {str(home)!r}, "init"])
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    finished = step == "_finish"
    if not finished:
        assert "no home at" in refused(home, "ls", code=4)
    assert modelreg(home, "init").code == (5 if finished else 0)
    assert {path.name for path in home.iterdir()} >= {"config.toml", "keystore", "password", "store"}
    assert not list(home.glob(".*"))
    assert all(finding["ok"] for finding in done(home, "doctor"))


def test_what_somebody_put_into_an_unfinished_home_stays(tmp_path):
    home = tmp_path / "home"
    (home / "keystore").mkdir(parents=True)
    for name in (".unfinished-config.toml", "password", "chain.sqlite-wal", "notes.txt"):
        (home / name).write_text("")
    assert "is not empty" in refused(home, "init", code=2)
    assert [path.name for path in home.iterdir()] == ["notes.txt"]
