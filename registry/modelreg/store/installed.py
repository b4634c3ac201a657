"""What is copied where on this machine: one small record a copy, and the chunks that the copies hold."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from hashlib import sha256
from pathlib import Path

from modelreg.errors import FormatError, ModelregError, NotFoundError
from modelreg.format.cid import Cid, Codec
from modelreg.format.json_depth import require_shallow
from modelreg.format.names import ReleaseId
from modelreg.store.files import os_errors, read_regular, replace_file
from modelreg.store.lock import file_lock
from modelreg.store.plaintext import LocalPlaintext

__all__ = ["Copy", "Installed", "InstalledBlocks"]

_MAX_BYTES = 64 << 10
_LOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A verified copy of a release under `path`; `only` are the globs that chose its chunks, if not all."""

    path: str
    reference: str
    release: str
    manifest: str
    only: tuple[str, ...] = ()

    @property
    def manifest_cid(self) -> Cid:
        """The CID of the manifest's root block."""
        return Cid.parse(self.manifest)

    @property
    def release_id(self) -> ReleaseId:
        """The release's id on the ledger."""
        return ReleaseId.parse(self.release)


class Installed:
    """The records of a home's copies; a record is a hint, what it names is verified before use."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, copy: Copy) -> None:
        """Note a copy, in place of what was noted for its path."""
        with os_errors(f"cannot note the copy {copy.path}"):
            self._root.mkdir(parents=True, exist_ok=True)
            with file_lock(self._root / "lock", exclusive=True, timeout=_LOCK_SECONDS):
                replace_file(self._file(copy.path), json.dumps(asdict(copy)).encode())

    def at(self, path: Path) -> Copy | None:
        """The copy at a path, if one was noted."""
        try:
            return _read(self._file(str(path)))
        except ModelregError:
            return None

    def copies(self) -> Iterator[Copy]:
        """All copies that can be read, in the order of their files' names."""
        for file in sorted(self._root.glob("*.json")):
            try:
                yield _read(file)
            except ModelregError:
                continue

    def _file(self, path: str) -> Path:
        return self._root / f"{sha256(os.fsencode(path)).hexdigest()[:32]}.json"


class InstalledBlocks:
    """The raw blocks that are the plaintext of a chunk, out of the files of copies."""

    def __init__(self, name: str, plaintext: LocalPlaintext) -> None:
        self.name = name
        self._plaintext = plaintext

    def get(self, cid: Cid) -> bytes:
        """A verified block. Raises NotFoundError where no file holds it (any more)."""
        data = self._plaintext.read(cid.digest) if cid.codec is Codec.RAW else None
        if data is None:
            raise NotFoundError(f"block {cid} in {self.name}")
        return data

    def has(self, cid: Cid) -> bool:
        """Whether a file should hold the block."""
        return cid.codec is Codec.RAW and self._plaintext.knows(cid.digest)


def _read(file: Path) -> Copy:
    with os_errors(f"no record {file}"):
        raw = read_regular(file, _MAX_BYTES)
    require_shallow(raw, f"record {file}")
    try:
        fields = json.loads(raw)
        copy = Copy(**{**fields, "only": tuple(fields["only"])})
    except (ValueError, TypeError, KeyError):
        copy = None
    if copy is None or not all(isinstance(text, str) for text in (*astuple(copy)[:-1], *copy.only)):
        raise FormatError(f"record {file}", expected="a copy as modelreg notes it", found="something else")
    return copy
