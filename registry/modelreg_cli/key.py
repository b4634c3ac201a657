"""`key`."""

import secrets
import sys
from pathlib import Path

import click

from modelreg.config import choose_key, parse_address
from modelreg.errors import ModelregError
from modelreg_cli.password import new_password, password_file_option, read_secret
from modelreg_cli.receipt_log import ADDRESS, ETHER, cost, ether
from modelreg_cli.session import Session, pass_session

__all__ = ["key_command"]

_KEY_BYTES = 4096
_MADE = "password-new-"


@click.group("key")
def key_command() -> None:
    """Make, import, list, choose and export keys, Web3 keystore files as geth and cast have; send ether."""


@key_command.command("new")
@password_file_option
@pass_session
def _new(session: Session, password_file: Path | None) -> None:
    """Make a key."""
    from modelreg.keys import KeyStore

    with new_password(password_file, _new_file(session)) as (password, held_in):
        key = KeyStore(session.home.keystore).create(password)
        held_in = _kept(session, key.address, held_in)
    _report(session, key.address, key.path, held_in)


@key_command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@password_file_option
@pass_session
def _import(session: Session, file: Path, password_file: Path | None) -> None:
    """Store the private key in FILE (hex digits; - for standard input)."""
    from modelreg.keys import KeyStore

    secret = sys.stdin.read(_KEY_BYTES) if str(file) == "-" else read_secret(file)
    with new_password(password_file, _new_file(session)) as (password, held_in):
        key = KeyStore(session.home.keystore).add(secret, password)
        held_in = _kept(session, key.address, held_in)
    _report(session, key.address, key.path, held_in)


@key_command.command("list")
@pass_session
def _list(session: Session) -> None:
    """List the keys; a star marks the one that signs."""
    from modelreg.keys import KeyStore

    home = session.home
    keys = KeyStore(home.keystore).list()
    own = home.config.key
    documents = [
        {"address": "0x" + key.address.hex(), "file": str(key.path), "signs": key.address == own}
        for key in keys
    ]
    lines = [f"{'*' if row['signs'] else ' '} {row['address']}  {row['file']}" for row in documents]
    session.output.result(documents, "\n".join(lines) or "no keys")


@key_command.command("use")
@click.argument("address")
@password_file_option
@pass_session
def _use(session: Session, address: str, password_file: Path | None) -> None:
    """Sign with the key of ADDRESS from now on, and note where its password lies.

    Without --password-file, that is one of the password files in this home, or none if no file opens the key:
    then the password is asked for each time.
    """
    home = session.home
    key = parse_address(address)
    held_in = _opening(session, key, password_file)
    with session.changing_settings() as config:
        choose_key(config, key, held_in)
    document = {
        "address": "0x" + key.hex(),
        "before": "0x" + home.config.key.hex() if home.config.key else None,
        "password_file": str(held_in) if held_in else None,
    }
    where = f"is in {held_in}" if held_in else "will be asked for"
    session.output.result(document, f"this home signs with {document['address']}; its password {where}")


@key_command.command("send")
@click.argument("address", type=ADDRESS)
@click.argument("amount", type=ETHER)
@password_file_option
@pass_session
def _send(session: Session, address: bytes, amount: int, password_file: Path | None) -> None:
    """Send AMOUNT ether from this home's key to ADDRESS.

    On an embedded chain only the key of the home that made it has ether; a home that joined needs some for a
    bond. If a run was interrupted, the next one with the same ADDRESS and AMOUNT finishes its payment.
    """
    with session.writer(password_file) as writer:
        receipt = writer.send_ether(address, amount)
        balance = writer.at_head().account(address).balance
    document = {
        "to": f"0x{address.hex()}",
        "amount": ether(amount),
        "balance": ether(balance),
        **cost(receipt),
    }
    session.output.result(
        document, f"sent {ether(amount)} ETH to {document['to']}, which has {ether(balance)}"
    )


@key_command.command("export")
@click.argument("address")
@click.option(
    "--new-password-file", type=click.Path(path_type=Path), required=True, help="Protects the copy."
)
@password_file_option
@pass_session
def _export(session: Session, address: str, new_password_file: Path, password_file: Path | None) -> None:
    """Print the key of ADDRESS as a keystore file, encrypted with another password."""
    from modelreg.keys import KeyStore

    store = KeyStore(session.home.keystore)
    key = store.find(parse_address(address))
    password = read_secret(new_password_file)
    click.echo(store.export(key.address, session.password(password_file), password))


def _opening(session: Session, key: bytes, given: Path | None) -> Path | None:
    """The password file that opens a key. Raises NotFoundError without the key, and if a given file fails."""
    from modelreg.keys import KeyStore

    store = KeyStore(session.home.keystore)
    store.find(key)
    if given is not None:
        store.load(key, read_secret(given))
        return given.absolute()
    configured = session.home.config.password_file
    for file in (_file_of(session, key), configured, session.home.root / "password"):
        try:
            if file is not None:
                store.load(key, read_secret(file))
                return file
        except ModelregError:
            continue
    return None


def _file_of(session: Session, key: bytes) -> Path:
    return session.home.root / f"password-{key.hex()}"


def _kept(session: Session, key: bytes, held_in: Path | None) -> Path | None:
    """Where a new key's password is: a file that we made gets the key's name."""
    if held_in is None or held_in.parent != session.home.root or not held_in.name.startswith(_MADE):
        return held_in
    return held_in.rename(_file_of(session, key))


def _new_file(session: Session) -> Path:
    return session.home.root / f"{_MADE}{secrets.token_hex(4)}"


def _report(session: Session, address: bytes, file: Path, held_in: Path | None) -> None:
    document = {
        "address": "0x" + address.hex(),
        "file": str(file),
        "password_file": str(held_in) if held_in else None,
    }
    text = f"key  {document['address']}\nin   {file}"
    session.output.result(document, text + (f"\nits password is in {held_in}" if held_in else ""))
