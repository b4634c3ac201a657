"""Choosing parts of a release by name. Specified in docs/spec/content.md, section 7."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from modelreg.errors import NotFoundError
from modelreg.format.manifest import Manifest
from modelreg.format.paths import check_paths

__all__ = ["PARTIAL_SUFFIX", "copied_names", "select_rows"]

PARTIAL_SUFFIX = ".partial"
"""What the name of a file ends with of which a copy holds only some chunks."""


def select_rows(manifest: Manifest, patterns: Sequence[str]) -> frozenset[int]:
    """The chunk rows of the files and tensors whose names match any of the glob patterns.

    A tensor brings along the bytes before the first tensor of its file: the header that says where it lies.

    Raises:
        NotFoundError: a pattern matches no file and no tensor.
    """
    rows: set[int] = set()
    for pattern in patterns:
        found = set(_matching(manifest, pattern))
        if not found:
            raise NotFoundError(
                f"nothing matches {pattern!r}",
                expected="a glob over file paths or tensor names",
                hint="`modelreg show REF` lists them",
            )
        rows |= found
    return frozenset(rows)


def copied_names(manifest: Manifest, rows: Collection[int] | None) -> dict[int, str]:
    """The paths in a copy of some chunk rows (None: all), by the number of the file.

    A file all of whose chunks are there has its own path. Another one must not: whoever loads it would take
    its holes for weights.

    Raises:
        FormatError: the release has a file that is called as another one's part would be.
    """
    if rows is None:
        return {number: file.path for number, file in enumerate(manifest.files)}
    held = Counter(manifest.file_of(row) for row in rows)
    files = ((number, manifest.files[number]) for number in sorted(held))
    names = {
        number: file.path if held[number] == file.chunks else file.path + PARTIAL_SUFFIX
        for number, file in files
    }
    check_paths(names.values())
    return names


def _matching(manifest: Manifest, pattern: str) -> Iterator[int]:
    for number, file in enumerate(manifest.files):
        if fnmatchcase(file.path, pattern):
            yield from range(manifest.first_chunks[number], manifest.first_chunks[number + 1])
            continue
        tensors = [tensor for tensor in file.tensors if fnmatchcase(tensor.name, pattern)]
        if tensors:
            yield from manifest.covering(number, 0, file.tensors[0].offset)
        for tensor in tensors:
            yield from manifest.covering(number, tensor.offset, tensor.length)
