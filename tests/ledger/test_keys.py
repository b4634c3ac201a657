"""The keystore: Web3 Secret Storage, version 3."""

import json
import stat

import pytest
from eth_account import Account
from eth_keyfile import decode_keyfile_json

from modelreg.errors import ConflictError, FormatError, InputError, NotFoundError, NotPermittedError
from modelreg.keys import KeyStore, random_password

PASSWORD = random_password()


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keystore")


def test_a_key_is_made_listed_and_loaded(store):
    assert store.list() == []
    key = store.create(PASSWORD)
    assert store.list() == [key]
    signer = store.load(key.address, PASSWORD)
    assert bytes.fromhex(signer.address[2:]) == key.address


def test_files_are_named_as_geth_names_them_and_read_by_others(store):
    key = store.create(PASSWORD)
    assert key.path.name.startswith("UTC--") and key.path.name.endswith("--" + key.address.hex())
    document = json.loads(key.path.read_text())
    assert document["version"] == 3 and document["address"] == key.address.hex()
    secret = decode_keyfile_json(document, PASSWORD.encode())
    assert bytes.fromhex(Account.from_key(secret).address[2:]) == key.address


def test_a_file_of_geth_is_read(store):
    """The scrypt and the PBKDF2 vector of the Web3 Secret Storage Definition."""
    secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
    address = "008aeeda4d805471df9b2a5b0f38a0c3bcba786b"
    document = {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262144,
                "dklen": 32,
                "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
    store._directory.mkdir()
    (store._directory / f"UTC--2016-01-01T00-00-00.000000000Z--{address}").write_text(json.dumps(document))
    assert bytes(store.load(bytes.fromhex(address), "testpassword").key).hex() == secret


def test_only_the_owner_reads_the_files(store):
    key = store.create(PASSWORD)
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.path.parent.stat().st_mode) == 0o700
    assert [file.name for file in key.path.parent.iterdir()] == [key.path.name]


def test_a_human_password_is_stretched_and_a_random_one_need_not_be(store):
    def rounds(key):
        return json.loads(key.path.read_text())["crypto"]["kdfparams"]["n"]

    assert rounds(store.create("correct horse")) == 2**18
    assert rounds(store.create(random_password())) == 2**12
    assert len({random_password() for _ in range(50)}) == 50


def test_a_password_that_only_looks_like_a_random_one_is_stretched(store):
    key = store.create(random_password() + "x")
    assert json.loads(key.path.read_text())["crypto"]["kdfparams"]["n"] == 2**18


def test_a_wrong_password(store):
    key = store.create(PASSWORD)
    with pytest.raises(NotPermittedError, match="wrong password"):
        store.load(key.address, PASSWORD[:-1] + ("a" if PASSWORD[-1] != "a" else "b"))


@pytest.mark.parametrize("text", ["0x" + "11" * 32, "11" * 32, " " + "11" * 32 + "\n"])
def test_import(store, text):
    key = store.add(text, PASSWORD)
    assert bytes(store.load(key.address, PASSWORD).key) == b"\x11" * 32
    with pytest.raises(ConflictError):
        store.add(text, PASSWORD)


@pytest.mark.parametrize("text", ["", "11" * 31, "xx" * 32, "00" * 32, "ff" * 32, "11" * 33])
def test_what_is_no_key_is_refused_and_not_shown(store, text):
    with pytest.raises(InputError) as caught:
        store.add(text, PASSWORD)
    assert not text or text not in str(caught.value)


def test_an_empty_password_is_refused(store):
    with pytest.raises(InputError):
        store.create("")


def test_export_changes_the_password(store):
    key = store.create(PASSWORD)
    text = store.export(key.address, PASSWORD, random_password())
    assert text != key.path.read_text() and json.loads(text)["address"] == key.address.hex()
    with pytest.raises(NotPermittedError):
        store.export(key.address, "wrong", "new")


def test_a_key_that_is_not_there(store):
    with pytest.raises(NotFoundError):
        store.load(b"\x01" * 20, PASSWORD)


def changed(**changes):
    def change(document):
        document["crypto"]["kdfparams"].update(changes)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("crypto"),
        lambda document: document.update(version=4),
        lambda document: document.update(crypto="x"),
        lambda document: document["crypto"].update(kdf="argon2"),
        lambda document: document["crypto"].pop("mac"),
        lambda document: document["crypto"].update(ciphertext="zz"),
        changed(n=2**30),
        changed(n=2**18, r=2**20),
        changed(p=2**20),
        changed(n=3),
        changed(n="x"),
        changed(dklen=16),
        changed(dklen=2**30),
    ],
)
def test_key_files_that_are_broken_or_eat_the_machine_are_refused(store, change):
    key = store.create(PASSWORD)
    document = json.loads(key.path.read_text())
    change(document)
    key.path.write_text(json.dumps(document))
    with pytest.raises(FormatError):
        store.load(key.address, PASSWORD)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 16_000, " " * 20_000])
def test_what_is_no_key_file_is_refused(store, text):
    key = store.create(PASSWORD)
    key.path.write_text(text)
    with pytest.raises(FormatError):
        store.load(key.address, PASSWORD)


def test_a_key_file_under_another_name_is_refused(store):
    key = store.create(PASSWORD)
    other = key.path.with_name(key.path.name[:-40] + "01" * 20)
    key.path.rename(other)
    with pytest.raises(FormatError, match="the key of"):
        store.load(b"\x01" * 20, PASSWORD)
