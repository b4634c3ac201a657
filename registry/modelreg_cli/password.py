"""Passwords of keys: from a file, from the terminal, or made by us."""

import os
import stat
import sys
from pathlib import Path

import click

from modelreg.errors import InputError, NotFoundError, NotPermittedError
from modelreg.keys import random_password

__all__ = ["ask_password", "choose_password", "read_password"]

_MAX_BYTES = 4096


def ask_password(file: Path | None) -> str:
    """The password of an existing key: what stands in `file`, else what the user types."""
    if file is not None:
        return read_password(file)
    if not sys.stdin.isatty():
        raise InputError(
            "the key's password is needed",
            expected="a terminal, --password-file or ETH_PASSWORD",
            found="none of them",
        )
    return str(click.prompt("Password", hide_input=True, err=True))


def choose_password(file: Path | None, made: Path) -> tuple[str, Path | None]:
    """The password of a new key, and the file that holds it, if one does.

    Without a file and without a terminal a random password is made and written to `made`, readable by its
    owner alone.
    """
    if file is not None:
        return read_password(file), file
    if sys.stdin.isatty():
        typed = click.prompt(
            "Password for the new key (empty: make one)",
            default="",
            hide_input=True,
            show_default=False,
            confirmation_prompt=True,
            err=True,
        )
        if typed:
            return typed, None
    password = random_password()
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(password + "\n")
    return password, made


def read_password(file: Path) -> str:
    """The first line of a password file. Raises NotFoundError, NotPermittedError or InputError."""
    try:
        with file.open("rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise InputError(f"cannot use {file}", expected="a regular file", found="something else")
            raw = opened.read(_MAX_BYTES)
        return raw.decode().split("\n", 1)[0].rstrip("\r")
    except FileNotFoundError:
        raise NotFoundError(f"no password file {file}") from None
    except OSError as error:
        raise NotPermittedError(f"cannot read {file}", found=error.strerror) from None
    except UnicodeDecodeError:
        raise InputError(f"cannot use {file}", expected="a password in UTF-8", found="other bytes") from None
