"""What the command prints: results on standard output, all else on standard error."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from modelreg.errors import ModelregError

__all__ = ["Output", "human_bytes", "printable", "yanked_mark"]

_LINE_EVERY_SECONDS = 3.0
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Output:
    """Prints in the form that the user chose.

    Args:
        json_mode: exactly one JSON document on standard output.
        quiet: no progress and no remarks.
    """

    def __init__(self, *, json_mode: bool, quiet: bool) -> None:
        self.json_mode = json_mode
        self.quiet = quiet

    def result(self, document: Any, text: str) -> None:
        """Print a command's result: the document with --json, else the text."""
        if self.json_mode:
            click.echo(json.dumps(document, separators=(",", ":")))
        elif text:
            click.echo(text)

    def remark(self, text: str) -> None:
        """Print a line about what is going on."""
        if not self.quiet:
            click.echo(printable(text), err=True)

    def error(self, error: ModelregError) -> None:
        """Print an error: a line on standard error, and with --json a document on standard output."""
        if self.json_mode:
            self.result({"error": _error_document(error)}, "")
        self.failure(error)

    def failure(self, error: ModelregError) -> None:
        """Print only the line of an error, where the document was printed already."""
        color = False if os.environ.get("NO_COLOR") else None
        click.secho(f"error: {printable(str(error))}", fg="red", err=True, color=color)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how far work on `total` bytes has come: a bar on a terminal, else a line every few seconds."""
        if self.quiet or not total:
            yield lambda _: None
        elif sys.stderr.isatty():
            with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
                yield bar.update
        else:
            yield _Lines(label, total).update


class _Lines:
    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._last = time.monotonic()

    def update(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_SECONDS:
            self._last = now
            share = f"{human_bytes(self._done)} of {human_bytes(self._total)}"
            click.echo(f"{self._label}: {share}", err=True)


def human_bytes(count: int) -> str:
    """A byte count with three or so digits: `1.23 MB`."""
    size = float(count)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{size:.{2 if size < 10 else 1}f} {unit}"
        size /= 1000
    raise AssertionError


def printable(text: str) -> str:
    """Text of strangers without what could move the cursor or forge a line."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def yanked_mark(reason: str | None) -> str:
    """What follows a release in a list: why it was yanked, if it was."""
    return f"  yanked: {printable(reason)}" if reason is not None else ""


def _error_document(error: ModelregError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "expected": None if error.expected is None else str(error.expected),
        "found": None if error.found is None else str(error.found),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
