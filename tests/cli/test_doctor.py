"""`doctor`: every finding, each with the way to mend it."""

import shutil

import pytest

from tests.cli.command import blocks, done, execute, flip, modelreg
from tests.cli.conftest import MODEL

CHECKS = ["home", "key", "chain", "ledger", "store", "kubo", "pins", "peers", "disk"]


def findings(home):
    """What is wrong, by check; told in both forms with exit code 1."""
    outcome = modelreg(home, "doctor")
    assert outcome.code == 1
    assert [row["check"] for row in outcome.document] == CHECKS
    text = modelreg(home, "doctor", json_mode=False).out
    assert text.count("BAD") == sum(not row["ok"] for row in outcome.document)
    return {row["check"]: row["message"] for row in outcome.document if not row["ok"]}


def test_all_is_well(world):
    rows = done(world.publisher, "doctor")
    assert [row["check"] for row in rows] == CHECKS
    assert all(row["ok"] for row in rows)
    assert all(row["ok"] for row in done(world.node(), "doctor"))


def test_no_home(tmp_path):
    found = findings(tmp_path / "none")
    assert set(found) == set(CHECKS) - {"disk"}
    assert "modelreg init" in found["home"]


def test_a_home_that_others_may_write(world):
    world.publisher.chmod(0o777)
    assert set(found := findings(world.publisher)) == {"home"}
    assert f"chmod 700 {world.publisher}" in found["home"]


@pytest.mark.parametrize("which", ["password", "keystore"])
def test_secrets_that_others_may_read(world, which):
    file = world.publisher / which
    file = file if file.is_file() else next(file.iterdir())
    file.chmod(0o644)
    assert f"chmod 600 {file}" in findings(world.publisher)["key"]


def test_a_key_that_is_gone(world):
    shutil.rmtree(world.publisher / "keystore")
    assert set(found := findings(world.publisher)) == {"key"}
    assert "there is no key" in found["key"]


def test_no_key_at_all(world):
    config = world.publisher / "config.toml"
    config.write_text("\n".join(line for line in config.read_text().splitlines() if "address" not in line))
    assert "modelreg key new" in findings(world.publisher)["key"]


@pytest.mark.parametrize("text", ["nonsense", "[chain]\n", "[other]\n", "[chain]\nfile = 3\n", "\xff"])
def test_a_broken_configuration(world, text):
    (world.publisher / "config.toml").write_text(text, encoding="latin-1")
    assert set(findings(world.publisher)) == set(CHECKS) - {"disk"}


def test_a_chain_that_is_gone_or_damaged(world):
    chain = world.publisher / "chain.sqlite"
    chain.rename(chain.with_name("away"))
    assert set(found := findings(world.publisher)) == {"chain", "ledger"}
    assert "no chain at" in found["chain"]
    chain.write_bytes(b"not a database" * 1000)
    assert set(findings(world.publisher)) == {"chain", "ledger"}


def test_an_endpoint_that_is_gone(world, monkeypatch):
    monkeypatch.setenv("MODELREG_RPC_URL", "http://127.0.0.1:1")
    assert set(found := findings(world.publisher)) == {"chain", "ledger"}
    assert "--rpc-url" in found["chain"]


def test_a_trusted_head_that_is_damaged(world):
    (world.publisher / "trusted-head.json").write_bytes(b"\xff{")
    assert set(found := findings(world.publisher)) == {"ledger"}
    assert "trusted-head.json" in found["ledger"]


def test_a_store_that_is_gone_or_of_another_version(world):
    (world.publisher / "store" / "format").write_text("modelreg-store/2\n")
    assert set(findings(world.publisher)) == {"store", "pins"}
    (world.publisher / "store" / "format").unlink()
    shutil.rmtree(world.publisher / "store" / "blocks")
    found = findings(world.publisher)
    assert set(found) == {"pins"}
    assert "modelreg pin 0x" in found["pins"]


def test_pins_without_their_manifests(world):
    for block in blocks(world.publisher):
        block.unlink()
    assert "2 pinned releases" in findings(world.publisher)["pins"]


def test_a_damaged_pin(world):
    pin = next(path for path in (world.publisher / "pins").iterdir() if path.name != ".lock")
    flip(pin)
    assert str(pin) in findings(world.publisher)["pins"]


def test_a_peer_that_is_gone(world):
    node = world.node()
    done(node, "sync", MODEL)
    shutil.rmtree(world.publisher / "store")
    assert set(found := findings(node)) == {"peers"}
    assert str(world.publisher) in found["peers"]


def test_little_disk_space(world, monkeypatch):
    usage = shutil.disk_usage(world.publisher)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "modelreg gc" in findings(world.publisher)["disk"]


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = execute(tmp_path / "file" / "below", "--json", "doctor")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
