"""`key`: keystores that other tools can read, and passwords from every source."""

import json
import stat
from pathlib import Path

import pytest

from tests.cli.command import done, execute, modelreg, refused, tree

SECRET = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"


@pytest.fixture
def password(tmp_path):
    file = tmp_path / "new-password"
    file.write_text("modelreg:" + "A" * 43 + "\n")
    return file


def test_lists_the_key_that_signs(home):
    [key] = done(home, "key", "list")
    assert key["signs"]
    assert Path(key["file"]).name.endswith(key["address"][2:])


def test_makes_keys_and_says_where_their_passwords_are(home):
    keys = [done(home, "key", "new") for _ in range(2)]
    assert len(done(home, "key", "list")) == 3
    for key in keys:
        made = Path(key["password_file"])
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(key["file"]).stat().st_mode) == 0o600
    assert len({key["password_file"] for key in keys}) == 2


def test_takes_the_password_of_a_new_key_from_eth_password(home, password, monkeypatch):
    monkeypatch.setenv("ETH_PASSWORD", str(password))
    assert done(home, "key", "new")["password_file"] == str(password)


def test_imports_a_key_and_exports_it_for_other_tools(home, password, tmp_path):
    from eth_account import Account

    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    assert done(home, "key", "import", secret, "--password-file", password)["address"] == ADDRESS
    other = tmp_path / "other"
    other.write_text("modelreg:" + "B" * 43)
    exported = done(home, "key", "export", ADDRESS, "--password-file", password, "--new-password-file", other)
    assert bytes(Account.decrypt(exported, other.read_text())).hex() == SECRET[2:]


def test_imports_from_standard_input(home, password):
    outcome = execute(
        home, "--json", "key", "import", "-", "--password-file", str(password), stdin=_pipe(SECRET)
    )
    assert outcome.code == 0, outcome.err
    assert outcome.document["address"] == ADDRESS


def _pipe(text):
    import os

    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    return reader


def test_refuses_a_key_twice(home, password, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    done(home, "key", "import", secret, "--password-file", password)
    refused(home, "key", "import", secret, "--password-file", password, code=5)


@pytest.mark.parametrize("secret", [b"", b"0x12", b"\xff\xfe\xfd", b"0" * 64, b"f" * 64])
def test_refuses_what_is_no_key(home, password, tmp_path, secret):
    file = tmp_path / "secret"
    file.write_bytes(secret)
    before = tree(home)
    line = refused(home, "key", "import", file, "--password-file", password, code=2)
    assert secret.decode("latin-1") not in line or len(secret) < 10
    assert tree(home) == before


def test_refuses_a_missing_key_file(home, password, tmp_path):
    refused(home, "key", "import", tmp_path / "missing", "--password-file", password, code=4)


def test_refuses_to_export_with_a_wrong_password_or_an_unknown_address(home, password):
    own = done(home, "key", "list")[0]["address"]
    options = ("--new-password-file", password)
    refused(home, "key", "export", own, *options, "--password-file", password, code=8)
    refused(home, "key", "export", "0x" + "11" * 20, *options, code=4)
    refused(home, "key", "export", "nonsense", *options, code=2)


def test_exports_one_document_without_json_too(home, password):
    own = done(home, "key", "list")[0]["address"]
    outcome = modelreg(home, "key", "export", own, "--new-password-file", password, json_mode=False)
    assert json.loads(outcome.out)["version"] == 3


def test_refuses_a_damaged_key_file(home, models):
    [key] = done(home, "key", "list")
    Path(key["file"]).write_text("{}")
    refused(home, "publish", models[0], "--model", "acme/m", "--version", "1.0.0", code=3)


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_a_password_file_that_is_no_file_does_not_hang(home, models, tmp_path, kind):
    import os

    place = tmp_path / "place"
    place.mkdir() if kind == "directory" else os.mkfifo(place)
    options = ("--model", "acme/m", "--version", "1.0.0", "--password-file", place)
    assert refused(home, "publish", models[0], *options, code=2)


def publish(home, path, version, **options):
    return "publish", path / "config.json", "--model", "acme/c", "--version", version


def signer(home):
    return [key["address"] for key in done(home, "key", "list") if key["signs"]]


def test_uses_another_key_and_the_first_again(home, models):
    [own] = signer(home)
    made = done(home, "key", "new")
    assert made["password_file"] == str(home / f"password-{made['address'][2:]}")
    used = done(home, "key", "use", made["address"].upper().replace("X", "x"))
    assert used == {
        "address": made["address"],
        "before": own,
        "password_file": made["password_file"],
    }
    assert signer(home) == [made["address"]]
    release = done(home, *publish(home, models[0], "1.0.0"))["release_id"]
    assert done(home, "show", release)["publisher"] == made["address"]
    assert done(home, "key", "use", own)["password_file"] == str(home / "password")
    refused(home, *publish(home, models[0], "1.0.1"), code=8)


def test_uses_a_key_whose_password_lies_elsewhere(home, password, tmp_path, models):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    done(home, "key", "import", secret, "--password-file", password)
    assert done(home, "key", "use", ADDRESS)["password_file"] is None
    assert "the key's password is needed" in refused(home, *publish(home, models[0], "1.0.0"), code=2)
    assert done(home, "key", "use", ADDRESS, "--password-file", password)["password_file"] == str(password)
    done(home, *publish(home, models[0], "1.0.0"))
    assert done(home, "key", "use", ADDRESS)["password_file"] == str(password)


def test_use_refuses_and_changes_nothing(home, password, tmp_path):
    [own] = signer(home)
    (tmp_path / "empty").write_text("\n")
    before = (home / "config.toml").read_bytes()
    refused(home, "key", "use", ADDRESS, code=4)
    refused(home, "key", "use", "nonsense", code=2)
    refused(home, "key", "use", own, "--password-file", password, code=8)
    refused(home, "key", "use", own, "--password-file", tmp_path / "missing", code=4)
    assert (home / "config.toml").read_bytes() == before


@pytest.mark.parametrize(
    "tail", ["", "\n", "\n[key] # mine\n\n", '\n[ key ]\naddress="0x' + "11" * 20 + '" # old\n']
)
def test_use_keeps_all_else_that_the_settings_say(home, monkeypatch, tail):
    """Comments and unusual spelling too; what the environment says instead is not written."""
    config = home / "config.toml"
    chain, _, _ = config.read_text().partition("[key]")
    peers = '[blocks] # where "[key]" is no table\npeers = [] # none'
    config.write_text(f"# my settings\n{chain}{peers}{tail}")
    monkeypatch.setenv("MODELREG_RPC_URL", "http://127.0.0.1:1")
    key = done(home, "key", "list")[0]["address"]
    done(home, "key", "use", key)
    monkeypatch.delenv("MODELREG_RPC_URL")
    text = config.read_text()
    assert text.startswith(f"# my settings\n{chain}{peers}")
    assert text.count("address") == 1
    assert signer(home) == [key]
    assert done(home, "ls") == []


@pytest.mark.parametrize("form", ["key.address = '{}'\n", "key = {{address = '{}'}}\n"])
def test_use_leaves_settings_alone_that_it_does_not_understand(home, form):
    config = home / "config.toml"
    chain, _, _ = config.read_text().partition("[key]")
    [own] = signer(home)
    config.write_text(form.format(own) + chain)
    before = config.read_bytes()
    assert "edit it" in refused(home, "key", "use", own, code=2)
    assert config.read_bytes() == before
