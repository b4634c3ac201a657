"""Files that a command makes, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelreg.errors import ConflictError

__all__ = ["new_file", "require_absent"]


def require_absent(file: Path) -> None:
    """Raise ConflictError for a file that is there already."""
    if file.exists():
        raise ConflictError(f"{file} exists", hint="remove it, or name another file")


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Write a file that takes its name when it is whole. Raises ModelregError where it cannot be written."""
    from modelreg.store.files import os_errors

    part = file.with_name(f".{file.name}.part")
    with os_errors(f"cannot write {file}"), part.open("xb") as opened:
        try:
            yield opened
            opened.flush()
            os.link(part, file)
        finally:
            part.unlink()
