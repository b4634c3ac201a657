"""The settings of a home, as `config.toml` holds them."""

import json
import os
import re
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelreg.errors import InputError, NotFoundError
from modelreg.ledger.hexdata import address_text
from modelreg.store.files import os_errors, read_regular, replace_file
from modelreg.store.kubo_api import KuboAccess
from modelreg.toml_table import Table, bad_value

__all__ = [
    "ChainSettings",
    "Config",
    "KuboSettings",
    "choose_key",
    "is_url",
    "parse_address",
    "parse_stores",
    "read_config",
    "write_config",
]

_MAX_BYTES = 64 << 10
# Two epochs: Ethereum finalizes after that.
_REORG_BLOCKS = 64
_ADDRESS = re.compile(r"(?:0x)?([0-9a-fA-F]{40})")
_TABLE = re.compile(r"\s*\[")
_KEY_TABLE = re.compile(r"\s*\[\s*key\s*\]\s*(#.*)?")
_KEY_LINE = re.compile(r"\s*(address|password_file)\s*=")
_TABLES = {
    "chain": {"file", "rpc", "id", "contract", "block", "max_age"},
    "key": {"address", "password_file"},
    "blocks": {"stores", "peers", "nodes"},
    "kubo": {"api", "secret_file"},
}
_STORES = ("local", "kubo")
_KUBO = "http://127.0.0.1:5001"
_MAX_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """Where the ledger is: an embedded chain's `file`, or the URLs of RPC endpoints, which must agree.

    `contract` is an address of 20 bytes; `block` is which block is read: `latest`, `safe`, `finalized` or a
    number of confirmations; `max_age` the seconds after which its time shows that the endpoint is stuck, None
    where blocks come only on demand.
    """

    chain_id: int
    contract: bytes
    file: Path | None = None
    rpc: tuple[str, ...] = ()
    block: str | int = "latest"
    max_age: int | None = None

    @property
    def replaceable(self) -> int:
        """How many of the newest blocks a reorganisation may still replace."""
        return _REORG_BLOCKS if self.rpc and self.block == "latest" else 0


@dataclass(frozen=True, slots=True)
class KuboSettings:
    """Where a Kubo daemon's RPC is, and the file with what it wants to let us in: see `KuboAccess`."""

    api: str = _KUBO
    secret_file: Path | None = None

    def access(self) -> KuboAccess:
        """The same, with the secret. Raises what reading a file raises, and InputError for an empty one."""
        if self.secret_file is None:
            return KuboAccess(self.api)
        with os_errors(f"cannot read {self.secret_file}"):
            secret = read_regular(self.secret_file, _MAX_SECRET_BYTES).decode(errors="replace").strip()
        if not secret or not secret.isascii() or not secret.isprintable():
            raise InputError(
                f"no secret in {self.secret_file}", expected="USER:PASSWORD or a token, in a line"
            )
        return KuboAccess(self.api, secret)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings.

    Attributes:
        chain: where the ledger is.
        key: the address that signs.
        password_file: holds its password.
        peers: homes, and URLs of gateways, that blocks are fetched from.
        stores: where this home keeps blocks, `local` and `kubo`, the first of them to read from.
        kubo: where that is.
        nodes: fetch from nodes that the ledger lists, too.
    """

    chain: ChainSettings
    key: bytes | None = None
    password_file: Path | None = None
    peers: tuple[Path | str, ...] = ()
    stores: tuple[str, ...] = _STORES[:1]
    kubo: KuboSettings = KuboSettings()
    nodes: bool = True


def read_config(path: Path) -> Config:
    """Read and check a configuration; relative paths are relative to its directory.

    `MODELREG_RPC_URL`, `MODELREG_STORE` and `MODELREG_KUBO_API` stand in for what is said there.

    Raises:
        NotFoundError: there is none.
        InputError: it cannot be read as a configuration.
    """
    tables = _load(path)
    chain, key, blocks, kubo = (Table(path, tables.get(name, {})) for name in _TABLES)
    single = chain.text("rpc") if isinstance(chain.values.get("rpc"), str) else None
    rpc = os.environ.get("MODELREG_RPC_URL", "").split() or ([single] if single else chain.texts("rpc"))
    file = None if rpc else chain.file("file")
    if not rpc and not file:
        raise bad_value(path, "chain.file or chain.rpc", "neither")
    chain_id = chain.number("id", "a chain id")
    if chain_id is None:
        raise bad_value(path, "a chain id above 0", None)
    settings = ChainSettings(
        chain_id=chain_id,
        contract=_address(chain, "contract"),
        file=file,
        rpc=tuple(rpc),
        block=_block(chain),
        max_age=chain.number("max_age", "a number of seconds"),
    )
    return Config(
        settings,
        _address(key, "address") if "address" in key else None,
        key.file("password_file"),
        tuple(peer if is_url(peer) else path.parent / peer for peer in blocks.texts("peers")),
        _stores(blocks),
        KuboSettings(
            os.environ.get("MODELREG_KUBO_API") or kubo.text("api") or _KUBO, kubo.file("secret_file")
        ),
        blocks.flag("nodes", default=True),
    )


def write_config(path: Path, config: Config) -> None:
    """Write a configuration for `read_config`; it is durable on return, and never there in part."""
    chain = config.chain
    lines = ["[chain]"]
    if chain.file is not None:
        lines.append(f"file = {_quote(_relative(chain.file, path.parent))}")
    if chain.rpc:
        lines.append(f"rpc = {_list(chain.rpc) if len(chain.rpc) > 1 else _quote(chain.rpc[0])}")
    lines += [f"id = {chain.chain_id}", f'contract = "0x{chain.contract.hex()}"']
    lines.append(f"block = {chain.block if isinstance(chain.block, int) else _quote(chain.block)}")
    if chain.max_age is not None:
        lines.append(f"max_age = {chain.max_age}")
    lines += ["", "[key]"]
    if config.key is not None:
        lines += _key_lines(path, config.key, config.password_file)
    lines += ["", "[blocks]", f"peers = {_list(map(str, config.peers))}"]
    if config.stores != _STORES[:1]:
        lines.append(f"stores = {_list(config.stores)}")
    if not config.nodes:
        lines.append("nodes = false")
    if config.kubo != KuboSettings():
        lines += ["", "[kubo]", f"api = {_quote(config.kubo.api)}"]
        if config.kubo.secret_file is not None:
            lines.append(f"secret_file = {_quote(_relative(config.kubo.secret_file, path.parent))}")
    _replace(path, [*lines, ""])


def choose_key(path: Path, key: bytes, password_file: Path | None) -> None:
    """Make another key of 20 bytes the one that signs; all else in the file stays, comments too.

    Only one process at a time may do so. Raises InputError for a file whose form is not understood.
    """
    before = _load(path)
    lines, inside = [], False
    for line in path.read_text("utf-8").split("\n"):
        inside = _KEY_TABLE.fullmatch(line) is not None if _TABLE.match(line) else inside
        if not inside or _KEY_LINE.match(line) is None:
            lines.append(line)
    if not any(map(_KEY_TABLE.fullmatch, lines)):
        lines += ["", "[key]"]
    after = 1 + next(at for at, line in enumerate(lines) if _KEY_TABLE.fullmatch(line))
    lines[after:after] = wanted = _key_lines(path, key, password_file)
    _require_only_key_changed(path, before, "\n".join(lines), "\n".join(wanted))
    _replace(path, lines)


def parse_address(text: str) -> bytes:
    """Read an address of 20 bytes; mixed case must be the checksum of EIP-55. Raises InputError."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise InputError("not an address", expected="0x and 40 hex digits", found=repr(text)[:60])
    address, digits = bytes.fromhex(match[1]), match[1]
    if digits not in (digits.lower(), digits.upper(), address_text(address)[2:]):
        hint = "a digit or the case of a letter is wrong: copy it again"
        raise InputError("an address with a wrong checksum", found=text, hint=hint)
    return address


def _key_lines(path: Path, key: bytes, password_file: Path | None) -> list[str]:
    lines = [f'address = "0x{key.hex()}"']
    if password_file is not None:
        lines.append(f"password_file = {_quote(_relative(password_file, path.parent))}")
    return lines


def _require_only_key_changed(path: Path, before: dict[str, Any], text: str, wanted: str) -> None:
    with suppress(ValueError):
        if tomllib.loads(text) == before | {"key": tomllib.loads(wanted)}:
            return
    expected = "address and password_file below [key]"
    raise InputError(f"cannot change the key in {path}", expected=expected, hint="edit it")


def _replace(path: Path, lines: list[str]) -> None:
    try:
        raw = "\n".join(lines).encode()
    except UnicodeEncodeError:
        raise bad_value(path, "paths in UTF-8", "other bytes") from None
    with os_errors(f"cannot write {path}"):
        replace_file(path, raw)


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with os_errors(f"cannot read {path}"), path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise InputError(f"{path} is too long", expected=f"at most {_MAX_BYTES} bytes", found="more")
        tables = tomllib.loads(raw.decode())
    except NotFoundError:
        raise NotFoundError(
            f"no home at {path.parent}", hint="make one with `modelreg init`, or name another with --home"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML", found=str(error)) from None
    for name, table in tables.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise bad_value(path, f"tables {', '.join(_TABLES)}", name)
        for key in table.keys() - _TABLES[name]:
            raise bad_value(path, f"keys {', '.join(sorted(_TABLES[name]))} in [{name}]", key)
    return tables


def _address(table: Table, key: str) -> bytes:
    try:
        return parse_address(table.text(key) or "")
    except InputError as error:
        raise bad_value(table.path, f"{error.expected} for {key}", error.found) from None


def _block(table: Table) -> str | int:
    value = table.values.get("block", "latest")
    if value not in ("latest", "safe", "finalized") and (type(value) is not int or value < 0):
        expected = "latest, safe, finalized or a number of confirmations for block"
        raise bad_value(table.path, expected, repr(value))
    return value  # type: ignore[no-any-return]


def parse_stores(text: str) -> tuple[str, ...]:
    """Read `local`, `kubo`, or both with a comma, the first to read from. Raises InputError."""
    stores = tuple(part.strip() for part in text.split(","))
    if not set(stores) <= set(_STORES) or len(set(stores)) < len(stores):
        raise InputError(
            "no such choice of stores", expected="local, kubo, or both with a comma between", found=repr(text)
        )
    return stores


def _stores(table: Table) -> tuple[str, ...]:
    chosen = os.environ.get("MODELREG_STORE")
    if chosen:
        return parse_stores(chosen)
    listed = table.texts("stores")
    try:
        return parse_stores(",".join(listed)) if "stores" in table else _STORES[:1]
    except InputError as error:
        raise bad_value(table.path, f"{error.expected} for stores", listed) from None


def is_url(peer: str) -> bool:
    """Whether a peer is a gateway, and not the directory of a home."""
    return peer.startswith(("http://", "https://"))


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quote, texts))}]"


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL and for characters written as two surrogates.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
