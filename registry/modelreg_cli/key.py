"""`key`."""

from pathlib import Path
from typing import TextIO

import click

from modelreg.errors import InputError
from modelreg_cli.session import Session, pass_session

__all__ = ["key_command"]

_PASSWORD_FILE = click.option("--password-file", type=click.Path(path_type=Path), help="Holds the password.")


@click.group("key")
def key_command() -> None:
    """Make, import, list and export keys: Web3 keystore files, as geth and cast use them."""


@key_command.command("new")
@_PASSWORD_FILE
@pass_session
def _new(session: Session, password_file: Path | None) -> None:
    """Make a key."""
    from modelreg.keys import KeyStore
    from modelreg_cli.password import choose_password

    home = session.home
    password, held_in = choose_password(password_file, home.root / "password-new")
    key = KeyStore(home.keystore).create(password)
    _report(session, key.address, key.path, held_in)


@key_command.command("import")
@click.argument("file", type=click.File("r"))
@_PASSWORD_FILE
@pass_session
def _import(session: Session, file: TextIO, password_file: Path | None) -> None:
    """Store the private key in FILE (hex digits; - for standard input)."""
    from modelreg.keys import KeyStore
    from modelreg_cli.password import choose_password

    home = session.home
    secret = file.read(4096)
    password, held_in = choose_password(password_file, home.root / "password-imported")
    key = KeyStore(home.keystore).add(secret, password)
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
        {"address": "0x" + key.address.hex(), "file": str(key.path), "signs": "0x" + key.address.hex() == own}
        for key in keys
    ]
    lines = [f"{'*' if row['signs'] else ' '} {row['address']}  {row['file']}" for row in documents]
    session.output.result(documents, "\n".join(lines) or "no keys")


@key_command.command("export")
@click.argument("address")
@click.option(
    "--new-password-file", type=click.Path(path_type=Path), required=True, help="Protects the copy."
)
@_PASSWORD_FILE
@pass_session
def _export(session: Session, address: str, new_password_file: Path, password_file: Path | None) -> None:
    """Print the key of ADDRESS as a keystore file, encrypted with another password."""
    from modelreg.keys import KeyStore
    from modelreg_cli.password import read_password

    raw = address.removeprefix("0x")
    if len(raw) != 40 or raw.strip("0123456789abcdefABCDEF"):
        raise InputError("not an address", expected="0x and 40 hex digits", found=repr(address)[:60])
    new_password = read_password(new_password_file)
    old_password = session.password(password_file)
    click.echo(KeyStore(session.home.keystore).export(bytes.fromhex(raw), old_password, new_password))


def _report(session: Session, address: bytes, file: Path, held_in: Path | None) -> None:
    document = {
        "address": "0x" + address.hex(),
        "file": str(file),
        "password_file": str(held_in) if held_in else None,
    }
    text = f"key  {document['address']}\nin   {file}"
    session.output.result(document, text + (f"\nits password is in {held_in}" if held_in else ""))
