"""Account keys in a directory of Web3 Secret Storage files, version 3, as geth and cast keep them.

Source: ethereum.org, "Web3 Secret Storage Definition"; file names as go-ethereum's `keystore` writes them.
Key derivation: scrypt with N = 2^18, r = 8, p = 1 for a password that a human chose. A password that
`random_password` made has 256 bits, which no stretching can add to: scrypt with N = 2^12, r = 8, p = 1
(4 MiB, 11 ms instead of 0.7 s).
"""

import base64
import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelreg.errors import ConflictError, FormatError, InputError, NotFoundError, NotPermittedError
from modelreg.format.json_depth import require_shallow

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

__all__ = ["KeyFile", "KeyStore", "random_password"]

_STRONG_N = 1 << 18
_LIGHT_N = 1 << 12
_MEMORY_MAX = 1 << 29
_ROUNDS_MAX = 1 << 24
_FILE_MAX = 16 << 10
_NAME = re.compile(r"UTC--.+--([0-9a-f]{40})")
_PASSWORD = re.compile(r"modelreg:[A-Za-z0-9_-]{43}")
_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


def random_password() -> str:
    """A new password of 32 random bytes; its form tells that it needs no stretching."""
    return "modelreg:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One key of the store: its address (20 bytes) and where the encrypted file lies."""

    address: bytes
    path: Path


class KeyStore:
    """A directory of encrypted keys; it is made, with mode 0700, when the first key comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, password: str) -> KeyFile:
        """Make a new key and store it."""
        from eth_account import Account

        return self._store(bytes(Account.create().key), password)

    def add(self, secret: str, password: str) -> KeyFile:
        """Store a private key given as 64 hex digits. Raises InputError, ConflictError if it is there."""
        match = _KEY.fullmatch(secret.strip())
        if match is None:
            raise InputError("not a private key", expected="64 hex digits, with or without 0x")
        return self._store(bytes.fromhex(match[1]), password)

    def list(self) -> list[KeyFile]:
        """The keys of the store, oldest first."""
        if not self._directory.is_dir():
            return []
        found = ((path, _NAME.fullmatch(path.name)) for path in sorted(self._directory.iterdir()))
        return [KeyFile(bytes.fromhex(match[1]), path) for path, match in found if match]

    def find(self, address: bytes) -> KeyFile:
        """The file of an address. Raises NotFoundError."""
        for key in self.list():
            if key.address == address:
                return key
        hint = f"the keys of {self._directory} are listed by `modelreg key list`"
        raise NotFoundError(f"there is no key for 0x{address.hex()}", hint=hint)

    def load(self, address: bytes, password: str) -> "LocalAccount":
        """Decrypt a key. Raises NotFoundError, NotPermittedError for a wrong password, FormatError."""
        from eth_account import Account

        account: LocalAccount = Account.from_key(self._secret(address, password))
        return account

    def export(self, address: bytes, password: str, new_password: str) -> str:
        """The key as a keystore file's text, encrypted with another password."""
        return _encrypted(self._secret(address, password), new_password)

    def _secret(self, address: bytes, password: str) -> bytes:
        path = self.find(address).path
        secret = _decrypted(_read(path), password, path)
        if _address(secret) != address:
            raise FormatError(f"the key file {path}", expected=f"the key of 0x{address.hex()}")
        return secret

    def _store(self, secret: bytes, password: str) -> KeyFile:
        address = _address(secret)
        if any(key.address == address for key in self.list()):
            raise ConflictError(f"the key of 0x{address.hex()} is in {self._directory} already")
        with _os_errors(f"write the key store {self._directory}"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f000Z")
            path = self._directory / f"UTC--{now}--{address.hex()}"
            _write(path, _encrypted(secret, password).encode())
        return KeyFile(address, path)


@contextlib.contextmanager
def _os_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotPermittedError(f"cannot {doing}", found=error.strerror) from None


def _address(secret: bytes) -> bytes:
    from eth_account import Account

    try:
        return bytes.fromhex(Account.from_key(secret).address[2:])
    except Exception:  # noqa: BLE001  eth-keys has several
        raise InputError("not a private key", expected="a number of the curve secp256k1") from None


def _write(path: Path, raw: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> dict[str, Any]:
    with _os_errors(f"read the key file {path}"), path.open("rb") as file:
        raw = file.read(_FILE_MAX + 1)
    try:
        require_shallow(raw, f"the key file {path}")
        document = json.loads(raw) if len(raw) <= _FILE_MAX else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise FormatError(f"the key file {path}", expected="a JSON object of Web3 Secret Storage")
    return document


def _password_bytes(password: str) -> bytes:
    # A password file may hold bytes that are not UTF-8.
    return password.encode("utf-8", "surrogateescape")


def _encrypted(secret: bytes, password: str) -> str:
    from eth_keyfile.keyfile import create_keyfile_json

    if not password:
        raise InputError("an empty password")
    n = _LIGHT_N if _PASSWORD.fullmatch(password) else _STRONG_N
    document = create_keyfile_json(
        secret, _password_bytes(password), kdf="scrypt", iterations=n, salt_size=32
    )
    document["address"] = document["address"].lower()
    return json.dumps(document, indent=1) + "\n"


def _decrypted(document: dict[str, Any], password: str, path: Path) -> bytes:
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        _require_affordable(document)
        return bytes(decode_keyfile_json(document, _password_bytes(password)))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise NotPermittedError(f"wrong password for the key file {path}") from None
        raise _bad_file(path) from None
    except (KeyError, TypeError, AttributeError, AssertionError, NotImplementedError):
        raise _bad_file(path) from None


def _bad_file(path: Path) -> FormatError:
    return FormatError(f"the key file {path}", expected="Web3 Secret Storage version 3")


def _require_affordable(document: dict[str, Any]) -> None:
    """Refuse key derivation that would eat the machine: over 512 MiB, or 16 million rounds."""
    if document["version"] != 3:
        raise ValueError("version")
    crypto = document.get("crypto") or document["Crypto"]
    params = crypto["kdfparams"]
    if crypto["kdf"] == "scrypt":
        memory = 128 * int(params["n"]) * int(params["r"])
        if not 0 < memory <= _MEMORY_MAX or not 0 < int(params["p"]) <= 16:
            raise ValueError("scrypt parameters")
    elif not 0 < int(params["c"]) <= _ROUNDS_MAX:
        raise ValueError("pbkdf2 rounds")
    if int(params["dklen"]) != 32:
        raise ValueError("dklen")
