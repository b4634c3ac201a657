"""Tensors as spans of bytes in files. Specified in docs/spec/content.md, sections 1 and 2."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from modelreg.errors import FormatError
from modelreg.format.dtypes import DType

__all__ = [
    "MAX_DIMENSIONS",
    "MAX_NAME_BYTES",
    "DType",
    "FileFormat",
    "ReadAt",
    "Tensor",
    "detect",
    "lay_out",
]

MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 32
_MOST = 1 << 63

# Exactly `length` bytes at `offset` of a file; asked only for ranges inside the file.
ReadAt = Callable[[int, int], bytes]


class FileFormat(Enum):
    """How a file is cut into chunks; the value is its label in a manifest."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    BYTES = "bytes"

    @property
    def label(self) -> str:
        """The format's name in a manifest."""
        return self.value

    @classmethod
    def from_label(cls, label: str) -> Self:
        """Parse a label. Raises FormatError for an unknown one."""
        try:
            return cls(label)
        except ValueError:
            known = ", ".join(known.value for known in cls)
            raise FormatError("file format", expected=known, found=repr(label)[:40]) from None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array whose elements lie packed in `length` bytes at `offset` of a file, first index slowest.

    Raises:
        FormatError: the numbers are out of range, or `length` is not what dtype and shape need.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    length: int

    def __post_init__(self) -> None:
        # A character takes at most 4 bytes: short names need no encoding to be counted.
        if len(self.name) > MAX_NAME_BYTES // 4 and len(self.name.encode()) > MAX_NAME_BYTES:
            raise FormatError(
                f"tensor {self.name[:60]!r}",
                expected=f"a name of at most {MAX_NAME_BYTES} bytes",
                found=len(self.name),
            )
        if len(self.shape) > MAX_DIMENSIONS or not all(0 <= size < _MOST for size in self.shape):
            self._refuse(f"at most {MAX_DIMENSIONS} dimensions from 0 to 2^63 - 1", self.shape)
        if self.offset < 0 or self.end >= _MOST:
            self._refuse("a span inside a file", f"{self.length} bytes at {self.offset}")
        needed = self.dtype.size_of(_elements(self))
        if needed != self.length:
            self._refuse(f"{needed} bytes of {self.dtype.label} {list(self.shape)}"[:200], self.length)

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.length

    def _refuse(self, expected: str, found: object) -> None:
        raise FormatError(f"tensor {self.name[:60]!r}", expected=expected, found=str(found)[:200])


def _elements(tensor: Tensor) -> int:
    """The product of the dimensions; every step must stay below 2^63, also where a later one is 0."""
    count = 1
    for size in tensor.shape:
        count *= size
        if count >= _MOST:
            raise FormatError(
                f"tensor {tensor.name[:60]!r}",
                expected="fewer than 2^63 elements",
                found=str(tensor.shape)[:80],
            )
    return count


def lay_out(tensors: Iterable[Tensor], size: int) -> tuple[Tensor, ...]:
    """The tensors of one file in ascending order of offset, each span once and each name once.

    Of tensors that share their bytes, the first in the order given stands for all. A name that comes again
    gets ` #2`, ` #3` … in order of offset.

    Raises:
        FormatError: a span leaves the file of `size` bytes, or overlaps another without being equal to it.
    """
    kept: list[Tensor] = []
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.length)):
        if kept and tensor.length and (tensor.offset, tensor.length) == (kept[-1].offset, kept[-1].length):
            continue
        if tensor.offset < end or tensor.end > size:
            raise FormatError(
                f"tensor {tensor.name[:60]!r}",
                expected=f"a span between {end} and {size} that no other tensor overlaps",
                found=f"{tensor.length} bytes at {tensor.offset}",
            )
        end = tensor.end
        kept.append(tensor)
    return tuple(_named_apart(kept))


def _named_apart(tensors: list[Tensor]) -> Iterable[Tensor]:
    taken = {tensor.name for tensor in tensors}
    seen: dict[str, int] = {}
    for tensor in tensors:
        count = seen[tensor.name] = seen.get(tensor.name, 0) + 1
        if count == 1:
            yield tensor
            continue
        while (name := f"{tensor.name} #{count}") in taken:
            count += 1
        seen[tensor.name] = count
        taken.add(name)
        yield Tensor(name, tensor.dtype, tensor.shape, tensor.offset, tensor.length)


def detect(path: str, read_at: ReadAt, size: int) -> FileFormat:
    """The format of a file: by its suffix, else by its content; what is neither is bytes."""
    from modelreg.format import safetensors  # it needs Tensor, so it cannot be imported above

    suffix = path.lower()
    if suffix.endswith(".safetensors"):
        return FileFormat.SAFETENSORS
    if suffix.endswith(".onnx"):
        return FileFormat.ONNX
    return FileFormat.SAFETENSORS if safetensors.is_safetensors(read_at, size) else FileFormat.BYTES
