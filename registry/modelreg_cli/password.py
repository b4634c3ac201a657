"""Passwords of keys: from a file, from the terminal, or made by us."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from modelreg.errors import InputError, NotFoundError, NotPermittedError
from modelreg.keys import random_password

__all__ = ["ask_password", "new_password", "password_file_option", "read_secret"]

_MAX_BYTES = 4096

password_file_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    envvar="ETH_PASSWORD",
    help="Holds the key's password.",
)


def ask_password(file: Path | None) -> str:
    """The password of an existing key: what stands in `file`, else what the user types."""
    if file is not None:
        return read_secret(file)
    if not sys.stdin.isatty():
        raise InputError(
            "the key's password is needed",
            expected="a terminal, --password-file or ETH_PASSWORD",
            found="none of them",
        )
    return str(click.prompt("Password", hide_input=True, err=True))


@contextmanager
def new_password(file: Path | None, made: Path) -> Iterator[tuple[str, Path | None]]:
    """The password of a key that the body makes, and the absolute path of the file that holds it, if any.

    Without a file and without a terminal a random password is written to `made`, readable by its owner alone;
    it is removed again if the body fails.
    """
    typed = _typed_password() if file is None and sys.stdin.isatty() else None
    if file is not None:
        yield read_secret(file), file.absolute()
    elif typed:
        yield typed, None
    else:
        password = random_password()
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as opened:
                opened.write(password + "\n")
            yield password, made
        except BaseException:
            made.unlink()
            raise


def read_secret(file: Path) -> str:
    """The first line of a file that holds a password or a key.

    Raises:
        NotFoundError, NotPermittedError: it cannot be read.
        InputError: it is no file of text.
    """
    try:
        # O_NONBLOCK: opening a named pipe that nobody writes to must not hang.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"cannot use {file}", expected="a regular file", found="something else")
            raw = os.read(descriptor, _MAX_BYTES)
        finally:
            os.close(descriptor)
        return raw.decode().split("\n", 1)[0].rstrip("\r")
    except FileNotFoundError:
        raise NotFoundError(f"no file {file}") from None
    except OSError as error:
        raise NotPermittedError(f"cannot read {file}", found=error.strerror) from None
    except UnicodeDecodeError:
        raise InputError(f"cannot use {file}", expected="text in UTF-8", found="other bytes") from None


def _typed_password() -> str:
    return str(
        click.prompt(
            "Password for the new key (empty: make one)",
            default="",
            hide_input=True,
            show_default=False,
            confirmation_prompt=True,
            err=True,
        )
    )
