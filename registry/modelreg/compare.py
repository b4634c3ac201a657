"""What differs between two releases, tensor by tensor."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from modelreg.format.manifest import FileEntry, Manifest
from modelreg.format.tensors import FileFormat, Tensor

__all__ = ["Difference", "ReadRange", "compare"]

ReadRange = Callable[[int, int, int], bytes]
"""Gives `length` bytes at `offset` of file number `file`, called with (file, offset, length)."""

_PIECE_BYTES = 512 << 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor, or the bytes of a file without tensors, that two releases do not have in common.

    `change` is `added`, `removed`, `retyped` (another element type or shape), `changed`, `structure` (bytes
    of a file that no tensor covers: a header, a graph), or `renamed` for a file that had the path `was`.
    `elements` and `changed` count words of the tensor's type, else bytes.
    """

    path: str
    name: str
    change: str
    elements: int
    changed: int
    was: str | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Something with a name in a release: a tensor, or a whole file that has none."""

    file: int
    path: str
    name: str
    kind: tuple[object, ...]
    offset: int
    length: int
    word_bytes: int


def compare(old: Manifest, read_old: ReadRange, new: Manifest, read_new: ReadRange) -> Iterator[Difference]:
    """List the differences, in the order of the new release, what was removed last.

    Tensors whose chunks are equal are not read. A file is compared with the one of the same path or, where
    both releases have just one file of a format and these have something in common, with that.
    """
    renamed = _renamed(old, read_old, new, read_new)
    for path, file in renamed.items():
        yield Difference(file.path, "", "renamed", file.size, 0, was=path)
    before = {
        (renamed[part.path].path if part.path in renamed else part.path, part.name): part
        for part in _parts(old)
    }
    after = {(part.path, part.name): part for part in _parts(new)}
    for key, part in after.items():
        elements = part.length // part.word_bytes
        was = before.get(key)
        if was is None:
            yield Difference(part.path, part.name, "added", elements, elements)
        elif was.kind != part.kind:
            yield Difference(part.path, part.name, "retyped", elements, elements)
        elif not _same_chunks(old, was, new, part):
            changed = _count(was, read_old, part, read_new)
            if changed:
                yield Difference(part.path, part.name, "changed", elements, changed)
    for key, part in before.items():
        if key not in after:
            elements = part.length // part.word_bytes
            yield Difference(part.path, part.name, "removed", elements, elements)
    yield from _structures(old, read_old, new, read_new, renamed)


def _structures(
    old: Manifest, read_old: ReadRange, new: Manifest, read_new: ReadRange, renamed: Mapping[str, FileEntry]
) -> Iterator[Difference]:
    """Files with tensors whose other bytes differ: a header, or the graph that uses the tensors."""
    numbers = {file.path: number for number, file in enumerate(new.files)}
    for number, was in enumerate(old.files):
        path = renamed[was.path].path if was.path in renamed else was.path
        after = numbers.get(path)
        if after is None or not was.tensors or not new.files[after].tensors:
            continue
        outside = _outside(new.files[after], after, read_new)
        if _outside(was, number, read_old) != outside:
            yield Difference(path, "", "structure", len(outside), len(outside))


def _outside(file: FileEntry, number: int, read: ReadRange) -> bytes:
    """The bytes of a file that no tensor covers."""
    parts, at = [], 0
    for tensor in (*file.tensors, None):
        end = tensor.offset if tensor else file.size
        parts += [
            read(number, start, min(_PIECE_BYTES, end - start)) for start in range(at, end, _PIECE_BYTES)
        ]
        at = tensor.end if tensor else end
    return b"".join(parts)


def _renamed(old: Manifest, read_old: ReadRange, new: Manifest, read_new: ReadRange) -> dict[str, FileEntry]:
    """The files that have another path now, by their old path."""
    pairs = {}
    for kind in FileFormat:
        was, now = _only(old, kind), _only(new, kind)
        if was is None or now is None or old.files[was].path == new.files[now].path:
            continue
        if _share(old, was, new, now) or _begin_alike(_head(old, was, read_old), _head(new, now, read_new)):
            pairs[old.files[was].path] = new.files[now]
    return pairs


def _only(manifest: Manifest, kind: FileFormat) -> int | None:
    numbers = [number for number, file in enumerate(manifest.files) if file.format is kind]
    return numbers[0] if len(numbers) == 1 else None


def _share(old: Manifest, was: int, new: Manifest, now: int) -> bool:
    """Whether two files have a chunk in common, or a tensor's name, type and shape."""

    def parts(manifest: Manifest, file: int) -> set[object]:
        tensors = {(tensor.name, tensor.dtype, tensor.shape) for tensor in manifest.files[file].tensors}
        return {chunk.digest for chunk in manifest.file_chunks(file)} | tensors

    return not parts(old, was).isdisjoint(parts(new, now))


def _head(manifest: Manifest, file: int, read: ReadRange) -> bytes:
    return read(file, 0, min(_PIECE_BYTES, manifest.files[file].size))


def _begin_alike(a: bytes, b: bytes) -> bool:
    """Whether most bytes are equal: small files have one chunk only to compare."""
    import numpy as np

    both = min(len(a), len(b))
    equal = np.count_nonzero(np.frombuffer(a[:both], np.uint8) == np.frombuffer(b[:both], np.uint8))
    return 2 * int(equal) > max(len(a), len(b))


def _parts(manifest: Manifest) -> Iterator[_Part]:
    for number, file in enumerate(manifest.files):
        if not file.tensors:
            yield _Part(number, file.path, "", (file.size,), 0, file.size, 1)
        for tensor in file.tensors:
            yield _tensor_part(number, file.path, tensor)


def _tensor_part(number: int, path: str, tensor: Tensor) -> _Part:
    kind = (tensor.dtype, tensor.shape)
    return _Part(number, path, tensor.name, kind, tensor.offset, tensor.length, tensor.dtype.word_bytes)


def _same_chunks(old: Manifest, was: _Part, new: Manifest, part: _Part) -> bool:
    def chunks(manifest: Manifest, of: _Part) -> list[tuple[int, bytes]]:
        rows = manifest.covering(of.file, of.offset, of.length)
        return [(manifest.offsets[row] - of.offset, manifest.chunks[row].digest) for row in rows]

    return chunks(old, was) == chunks(new, part)


def _count(was: _Part, read_old: ReadRange, part: _Part, read_new: ReadRange) -> int:
    """How many words differ; sizes are equal."""
    import numpy as np

    changed = 0
    for start in range(0, part.length, _PIECE_BYTES):
        length = min(_PIECE_BYTES, part.length - start)
        a = np.frombuffer(read_old(was.file, was.offset + start, length), np.uint8)
        b = np.frombuffer(read_new(part.file, part.offset + start, length), np.uint8)
        changed += int(np.logical_or.reduceat(a != b, np.arange(0, length, part.word_bytes)).sum())
    return changed
