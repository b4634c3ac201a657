"""`init`."""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.config import (
    ChainSettings,
    Config,
    KuboSettings,
    is_url,
    parse_address,
    parse_stores,
    write_config,
)
from modelreg.errors import ConflictError, InputError, NotFoundError
from modelreg_cli.password import new_password, password_file_option
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    pass

__all__ = ["init_command"]

_CHAIN_FILE = "chain.sqlite"
# Stands in a home from the first step until it becomes config.toml with the last.
_UNFINISHED = ".unfinished-config.toml"
_MADE = re.compile(r"keystore|password|store|\.new|(chain|outbox)\.sqlite.*")
_FUNDS_WEI = 10**24
# Far from the ids of public chains, and exact in JavaScript.
_CHAIN_IDS = range(1 << 40, 1 << 48)
_MAX_AGE_SECONDS = 3600


@click.command("init")
@click.option(
    "--rpc-url",
    "rpc_urls",
    multiple=True,
    envvar="MODELREG_RPC_URL",
    help="Use the chain behind this JSON-RPC endpoint; of several, more than half must agree.",
)
@click.option(
    "--contract", help="With --rpc-url: the contract's address.  [default: where it is deployed everywhere]"
)
@click.option(
    "--join",
    metavar="DIR|URL",
    help="Share the ledger of another home, and fetch blocks from it: its directory, or where it is served.",
)
@click.option(
    "--store",
    envvar="MODELREG_STORE",
    default="local",
    show_default=True,
    metavar="STORE[,STORE]",
    help="Where to keep blocks: local, kubo or both, the first to read from.",
)
@click.option(
    "--kubo-api",
    envvar="MODELREG_KUBO_API",
    metavar="URL",
    help="Where Kubo's RPC is, as a URL or a multiaddr.  [default: http://127.0.0.1:5001]",
)
@click.option(
    "--kubo-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Holds USER:PASSWORD or the token that Kubo expects.",
)
@password_file_option
@pass_session
def init_command(
    session: Session,
    rpc_urls: tuple[str, ...],
    contract: str | None,
    join: str | None,
    store: str,
    kubo_api: str | None,
    kubo_secret_file: Path | None,
    password_file: Path | None,
) -> None:
    """Make a home: settings, an encrypted key, a block store and, unless it joins another, a chain.

    The chain is embedded in this command: one file, no daemon. The contracts are deployed on it and the key
    is funded.
    """
    if join is not None and rpc_urls:
        raise InputError("two ledgers", expected="--join or --rpc-url", found="both")
    if contract is not None and not rpc_urls:
        raise InputError("--contract goes with --rpc-url")
    stores, kubo = parse_stores(store), KuboSettings()
    if kubo_api or kubo_secret_file:
        kubo = KuboSettings(kubo_api or kubo.api, kubo_secret_file.absolute() if kubo_secret_file else None)
    _check_kubo(stores, kubo)
    with _new_home(session.root) as root, new_password(password_file, root / "password") as password:
        key = _make_key(root, *password)
        peers: tuple[Path | str, ...]
        is_deployed = True
        if rpc_urls:
            (chain, is_deployed), peers = _foreign_chain(rpc_urls, contract), ()
        elif join is not None and is_url(join):
            (chain, is_deployed), peers = _foreign_chain((join,), None), (join,)
        elif join is not None:
            other = Path(join).absolute()
            chain, peers = _joined_chain(other), (other,)
        else:
            chain, peers = _embedded_chain(root, key), ()
        _make_store(root)
        _finish(root, Config(chain, key.address, key.password_file, peers, stores, kubo))
    _report(session, key, chain)
    if not is_deployed:
        session.output.remark(
            f"nobody has deployed the contracts on chain {chain.chain_id} yet: send ether to"
            f" 0x{key.address.hex()}, then run `modelreg chain deploy`"
        )


def _check_kubo(stores: tuple[str, ...], kubo: KuboSettings) -> None:
    """See that the daemon answers, and lets us in, before a home relies on it."""
    from modelreg.store.kubo_api import KuboApi

    if "kubo" in stores:
        KuboApi(kubo.access()).version()


@dataclass(frozen=True, slots=True)
class _Key:
    address: bytes
    password: str
    password_file: Path | None


@contextmanager
def _new_home(root: Path) -> Iterator[Path]:
    """A directory of which nobody else makes a home meanwhile; it is removed if making the home fails.

    What an init that was killed has left there is removed first.
    """
    from modelreg.store.files import os_errors, sync_directory

    existed = root.exists()
    with os_errors(f"cannot make the home {root}"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _clear_unfinished(root)
            _require_new(root)
            with _removed_on_failure(root, itself=not existed):
                (root / _UNFINISHED).touch()
                sync_directory(root)
                yield root
        finally:
            os.close(descriptor)


def _clear_unfinished(root: Path) -> None:
    """Remove what a killed init made there, and nothing else. Nobody was ever shown its key."""
    marker = root / _UNFINISHED
    if not marker.exists() or (root / "config.toml").exists():
        return
    for entry in list(root.iterdir()):
        if _MADE.fullmatch(entry.name):
            _remove(entry)
    marker.unlink()


def _require_new(root: Path) -> None:
    if (root / "config.toml").exists():
        raise ConflictError(
            f"{root} is a home already", hint="use it, or name another directory: modelreg --home DIR init"
        )
    if any(root.iterdir()):
        raise InputError(f"{root} is not empty", expected="a new or empty directory", found="other files")


@contextmanager
def _removed_on_failure(root: Path, *, itself: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for entry in root.iterdir():
            _remove(entry)
        if itself:
            root.rmdir()
        raise


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _finish(root: Path, config: Config) -> None:
    """Make it a home: from now on it has a config.toml."""
    from modelreg.store.files import sync_directory

    unfinished = root / _UNFINISHED
    write_config(unfinished, config)
    unfinished.replace(root / "config.toml")
    sync_directory(root)


def _make_key(root: Path, password: str, held_in: Path | None) -> _Key:
    from modelreg.keys import KeyStore

    return _Key(KeyStore(root / "keystore").create(password).address, password, held_in)


def _make_store(root: Path) -> None:
    from modelreg.store.local import LocalStore

    LocalStore(root / "store")


def _embedded_chain(root: Path, key: _Key) -> ChainSettings:
    from modelreg.chain import create, open_chain
    from modelreg.keys import KeyStore
    from modelreg.ledger.artifact import load_artifact
    from modelreg.ledger.receipt_log_writer import ReceiptLogWriter
    from modelreg.ledger.rpc import EmbeddedRpc
    from modelreg.ledger.writer import Writer

    chain_id = secrets.choice(_CHAIN_IDS)
    file = root / _CHAIN_FILE
    create(file, chain_id=chain_id, alloc={key.address: _FUNDS_WEI}, timestamp=int(time.time()))
    address = load_artifact().address
    signer = KeyStore(root / "keystore").load(key.address, key.password)
    with open_chain(file) as chain:
        writer = Writer(EmbeddedRpc(chain), address, chain_id, signer, root / "outbox.sqlite")
        writer.deploy()
        ReceiptLogWriter(writer).deploy()
    return ChainSettings(chain_id, address, file=file)


def _joined_chain(other: Path) -> ChainSettings:
    from modelreg.config import read_config

    try:
        return read_config(other / "config.toml").chain
    except NotFoundError:
        raise NotFoundError(
            f"no home at {other}", hint="name the directory of another modelreg home"
        ) from None


def _foreign_chain(urls: tuple[str, ...], contract: str | None) -> tuple[ChainSettings, bool]:
    """The chain behind these endpoints, and whether the registry is on it."""
    from modelreg.home import open_rpc
    from modelreg.ledger.artifact import load_artifact
    from modelreg.ledger.hexdata import quantity
    from modelreg.ledger.reader import Reader

    address = parse_address(contract) if contract else load_artifact().address
    with open_rpc(urls) as rpc:
        chain_id = quantity(rpc.request("eth_chainId", []), "chain id")
        reader = Reader(rpc, address, chain_id)
        head = reader.header("latest")
        is_deployed = True
        try:
            reader.at(head)
        except NotFoundError:
            if contract is not None:
                raise
            is_deployed = False
    # A chain that makes blocks only on demand has an old head and is not stuck.
    moving = chain_id not in _CHAIN_IDS and time.time() - head.time < _MAX_AGE_SECONDS
    max_age = _MAX_AGE_SECONDS if moving else None
    return ChainSettings(chain_id, address, rpc=urls, max_age=max_age), is_deployed


def _report(session: Session, key: _Key, chain: ChainSettings) -> None:
    document = {
        "home": str(session.root),
        "address": "0x" + key.address.hex(),
        "password_file": str(key.password_file) if key.password_file else None,
        "chain_id": chain.chain_id,
        "contract": "0x" + chain.contract.hex(),
    }
    place = f"embedded in {chain.file}" if chain.file else ", ".join(chain.rpc)
    lines = [
        f"home      {session.root}",
        f"key       {document['address']}",
        f"chain     {chain.chain_id}, {place}",
        f"contract  {document['contract']}",
    ]
    if key.password_file:
        lines.insert(2, f"password  in {key.password_file}")
    session.output.result(document, "\n".join(lines))
