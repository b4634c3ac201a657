"""The manifest of a release as frozen types. Specified in docs/spec/manifest.md."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from modelreg.errors import FormatError
from modelreg.format.cid import Cid
from modelreg.format.digest import HashAlgorithm
from modelreg.format.merkle import content_root, file_leaves
from modelreg.format.paths import check_paths
from modelreg.format.tensors import FileFormat, Tensor

__all__ = [
    "MAX_BASES",
    "MAX_BASE_CHUNKS",
    "MAX_BASE_RANGE",
    "MAX_CHUNKS",
    "MAX_DEPTH",
    "MAX_FILES",
    "MAX_TENSORS",
    "OWN_BLOCK_BYTES",
    "Base",
    "BaseRange",
    "Chunk",
    "FileEntry",
    "Manifest",
    "Payload",
]

MAX_FILES = 65_536
MAX_CHUNKS = 1 << 22
MAX_TENSORS = 1 << 20
MAX_BASES = 16
MAX_BASE_RANGE = 2 << 20
MAX_BASE_CHUNKS = 256
MAX_DEPTH = 16
# A payload of this size or more has a block of its own (section 4).
OWN_BLOCK_BYTES = 128 << 10


@dataclass(frozen=True, slots=True)
class Payload:
    """Where a chunk's encoded bytes lie: `size` bytes at `offset` of a block."""

    block: Cid
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BaseRange:
    """Plaintext bytes of a base release that a chunk is encoded against."""

    base: int
    file: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of the chunk table; `payload` is None only for the chunk of an empty file.

    `factors` is where a low-rank encoding has what the chunks of one matrix share.
    """

    length: int
    digest: bytes
    encoding: int
    payload: Payload | None
    base: BaseRange | None = None
    factors: Payload | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A release that chunks are encoded against."""

    content_root: bytes
    manifest: Cid


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the release; `chunks` is how many rows of the chunk table it has."""

    path: str
    size: int
    format: FileFormat
    chunks: int
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Manifest:
    """A whole manifest, checked on construction (docs/spec/manifest.md, section 5, checks 2 to 8)."""

    algorithm: HashAlgorithm
    content_root: bytes
    bases: tuple[Base, ...]
    files: tuple[FileEntry, ...]
    chunks: tuple[Chunk, ...]

    def __post_init__(self) -> None:
        _check_counts(self)
        _check_files(self)
        _check_bases(self)
        check_paths(file.path for file in self.files)
        found = content_root(self.leaves(), self.algorithm)
        if found != self.content_root:
            raise FormatError(
                "content root", expected=f"0x{self.content_root.hex()}", found=f"0x{found.hex()}"
            )

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @cached_property
    def first_chunks(self) -> tuple[int, ...]:
        """The index of each file's first chunk, and the number of chunks at the end."""
        return tuple(accumulate((file.chunks for file in self.files), initial=0))

    @cached_property
    def offsets(self) -> Sequence[int]:
        """The offset of each chunk inside its file."""
        offsets = array("Q")
        for number in range(len(self.files)):
            offsets.extend(accumulate((chunk.length for chunk in self.file_chunks(number)), initial=0))
            offsets.pop()
        return offsets

    def file_chunks(self, number: int) -> Sequence[Chunk]:
        """The chunk rows of file `number`."""
        return self.chunks[self.first_chunks[number] : self.first_chunks[number + 1]]

    def file_of(self, chunk: int) -> int:
        """The number of the file that chunk row `chunk` belongs to."""
        return bisect_right(self.first_chunks, chunk) - 1

    def covering(self, file: int, offset: int, length: int) -> range:
        """The chunk rows that a byte range of a file touches.

        Raises:
            FormatError: there is no such file, or the range does not lie inside it.
        """
        if not 0 <= file < len(self.files) or offset < 0 or offset + length > self.files[file].size:
            raise FormatError(
                "byte range", expected="a range inside a file", found=f"{file}:{offset}+{length}"
            )
        first, end = self.first_chunks[file], self.first_chunks[file + 1]
        start = bisect_right(self.offsets, offset, first, end) - 1
        stop = bisect_right(self.offsets, offset + length - 1, first, end) if length else start
        return range(start, stop)

    def leaves(self) -> Iterator[bytes]:
        """The leaf hashes of the content tree, in order."""
        for number, file in enumerate(self.files):
            yield from file_leaves(file.path, ((row.length, row.digest) for row in self.file_chunks(number)))


def _check_counts(manifest: Manifest) -> None:
    counts = (
        ("files", len(manifest.files), MAX_FILES),
        ("chunks", len(manifest.chunks), MAX_CHUNKS),
        ("bases", len(manifest.bases), MAX_BASES),
        ("tensors", sum(len(file.tensors) for file in manifest.files), MAX_TENSORS),
    )
    for name, count, most in counts:
        if count > most:
            raise FormatError(f"{name} of a manifest", expected=f"at most {most}", found=count)
    rows = sum(file.chunks for file in manifest.files)
    if rows != len(manifest.chunks):
        raise FormatError("chunk rows", expected=rows, found=len(manifest.chunks))


def _check_files(manifest: Manifest) -> None:
    paths = [file.path.encode() for file in manifest.files]
    if any(a >= b for a, b in pairwise(paths)):
        raise FormatError("file order", expected="strictly ascending paths", found="another order")
    nothing = manifest.algorithm.digest(b"").value
    for number, file in enumerate(manifest.files):
        chunks = manifest.file_chunks(number)
        _check_rows(file, chunks)
        if file.size == 0 and chunks[0].digest != nothing:
            raise FormatError(
                f"digest of {file.path!r}, an empty file",
                expected=nothing.hex(),
                found=chunks[0].digest.hex(),
            )
        _check_tensors(file)


def _check_rows(file: FileEntry, chunks: Sequence[Chunk]) -> None:
    """Without a row a file would not be in the content tree."""
    lengths = [chunk.length for chunk in chunks]
    if sum(lengths) != file.size or not (lengths == [0] or (lengths and all(lengths))):
        raise FormatError(
            f"chunks of {file.path!r}",
            expected=f"{file.size} bytes in chunks that are not empty",
            found=sum(lengths),
        )


def _check_tensors(file: FileEntry) -> None:
    if len({tensor.name for tensor in file.tensors}) != len(file.tensors):
        raise FormatError(f"tensors of {file.path!r}", expected="no name twice", found="one that comes again")
    end = 0
    for tensor in file.tensors:
        if tensor.offset < end or tensor.end > file.size:
            raise FormatError(
                f"tensor {tensor.name!r}", expected="ascending spans inside the file", found=tensor.offset
            )
        end = tensor.end


def _check_bases(manifest: Manifest) -> None:
    """Bases are pinned with the release: each must be there for a chunk, and once."""
    used = {chunk.base.base for chunk in manifest.chunks if chunk.base}
    if used != set(range(len(manifest.bases))):
        raise FormatError(
            "bases",
            expected="the numbers that rows name",
            found=f"{len(manifest.bases)}, and rows name {sorted(used)}",
        )
    if len({base.manifest for base in manifest.bases}) != len(manifest.bases):
        raise FormatError("bases", expected="no manifest twice", found="one that comes again")
