"""Named pins: what gc must keep. Specified in docs/spec/store.md, section 5."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from modelreg.errors import FormatError, InputError, NotFoundError, VerificationError
from modelreg.format import canonical
from modelreg.format.cid import Cid
from modelreg.format.digest import keccak256
from modelreg.store.files import os_errors, read_regular, replace_file, sync_directory
from modelreg.store.lock import file_lock

__all__ = ["MAX_NAME_BYTES", "Pins"]

MAX_NAME_BYTES = 512
_MAX_PIN_BYTES = 1024
_LOCK_SECONDS = 10.0


class Pins:
    """Names for the roots of DAGs, one small file each, durable when a method returns.

    Args:
        directory: where the files lie, and nothing else does; made by the first `add`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, name: str, cid: Cid) -> None:
        """Pin a DAG under a name, instead of what the name pinned before.

        Raises:
            InputError: the name is empty, over 512 bytes, or not printable.
            NotPermittedError, UnreachableError: the disk is read-only, or full.
        """
        _check_name(name)
        with os_errors(f"cannot pin {name}"):
            self._directory.mkdir(parents=True, exist_ok=True)
            sync_directory(self._directory.parent)
            with self._lock():
                replace_file(self._path(name), canonical.encode({"name": name, "cid": cid}))

    def remove(self, name: str) -> None:
        """Unpin a name; its blocks stay until gc. Raises NotFoundError if nothing has this name."""
        try:
            with os_errors(f"cannot unpin {name!a}"):
                self._path(name).unlink()
                sync_directory(self._directory)
        except NotFoundError as error:
            raise NotFoundError("pin", expected=ascii(name), hint="look at the list of pins") from error

    def list(self) -> dict[str, Cid]:
        """All pins, in the order of their names.

        Raises:
            VerificationError: a pin cannot be read, so that nobody knows what it kept.
        """
        if not self._directory.exists():
            return {}
        with os_errors("cannot list the pins"):
            names = [entry.name for entry in os.scandir(self._directory) if not entry.name.startswith(".")]
            pins = dict(pin for pin in map(self._read, names) if pin)
        return dict(sorted(pins.items()))

    def _read(self, file_name: str) -> tuple[str, Cid] | None:
        path = self._directory / file_name
        try:
            name, cid = _parse(read_regular(path, _MAX_PIN_BYTES))
        except FileNotFoundError:
            return None
        except VerificationError as error:
            raise _damaged(path, error) from error
        if self._path(name) != path:
            raise _damaged(path, f"the pin of {name!a}")
        return name, cid

    def _path(self, name: str) -> Path:
        return self._directory / keccak256(name.encode(errors="surrogatepass")).hex()

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._directory / ".lock", exclusive=True, timeout=_LOCK_SECONDS)


def _check_name(name: str) -> None:
    if not name.isprintable() or not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise InputError(
            "pin name", expected=f"1 to {MAX_NAME_BYTES} printable bytes", found=ascii(name[:MAX_NAME_BYTES])
        )


def _parse(data: bytes) -> tuple[str, Cid]:
    match canonical.decode(data):
        case {"name": str(name), "cid": Cid() as cid, **rest} if not rest:
            return name, cid
    raise FormatError("pin", expected="a map of name and cid", found="another value")


def _damaged(path: Path, found: object) -> VerificationError:
    return VerificationError(
        f"damaged pin {path}",
        found=found,
        hint="remove the file, and pin what it named again before `modelreg gc`",
    )
