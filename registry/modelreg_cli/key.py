"""`key`."""

import secrets
import sys
from pathlib import Path

import click

from modelreg.config import parse_address
from modelreg_cli.password import new_password, password_file_option, read_secret
from modelreg_cli.session import Session, pass_session

__all__ = ["key_command"]

_KEY_BYTES = 4096


@click.group("key")
def key_command() -> None:
    """Make, import, list and export keys: Web3 keystore files, as geth and cast use them."""


@key_command.command("new")
@password_file_option
@pass_session
def _new(session: Session, password_file: Path | None) -> None:
    """Make a key."""
    from modelreg.keys import KeyStore

    with new_password(password_file, _new_file(session)) as (password, held_in):
        key = KeyStore(session.home.keystore).create(password)
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


def _new_file(session: Session) -> Path:
    return session.home.root / f"password-{secrets.token_hex(4)}"


def _report(session: Session, address: bytes, file: Path, held_in: Path | None) -> None:
    document = {
        "address": "0x" + address.hex(),
        "file": str(file),
        "password_file": str(held_in) if held_in else None,
    }
    text = f"key  {document['address']}\nin   {file}"
    session.output.result(document, text + (f"\nits password is in {held_in}" if held_in else ""))
