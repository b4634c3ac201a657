"""Chunks of files, and their like in a parent file. Specified in docs/spec/content.md, section 3."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelreg.format.digest import keccak256
from modelreg.format.dtypes import DType
from modelreg.format.gear import cut_lengths
from modelreg.format.tensors import ReadAt, Tensor

__all__ = ["CHUNK_BYTES", "Correspondence", "Span", "plan"]

CHUNK_BYTES = 512 << 10
# Tensors below SMALL share chunks, below TINY whatever their type: a chunk of its own costs about 50 bytes.
_SMALL = 64 << 10
_TINY = 1 << 10
_JOINED_GAP = 4 << 10
# Shared chunks end before names picked by hash, once in about so many bytes, so that they fall into step
# again behind an inserted tensor. EACH makes tensors of a few bytes count for what surrounds them.
_SHARED_MEAN = 128 << 10
_SHARED_EACH = 64


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk: bytes of a file, and the type of the words in it; its length is a multiple of `word_bytes`."""

    offset: int
    length: int
    word: DType

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tensor, or the bytes between two."""

    offset: int
    length: int
    tensor: Tensor | None

    @property
    def end(self) -> int:
        return self.offset + self.length


def _pieces(size: int, tensors: Sequence[Tensor]) -> Iterator[_Piece]:
    """Tensors and gaps that cover the file, none of them empty."""
    at = 0
    for tensor in tensors:
        if tensor.length == 0:
            continue
        if tensor.offset > at:
            yield _Piece(at, tensor.offset - at, None)
        yield _Piece(tensor.offset, tensor.length, tensor)
        at = tensor.end
    if at < size:
        yield _Piece(at, size - at, None)


def plan(read_at: ReadAt, size: int, tensors: Sequence[Tensor]) -> Iterator[Span]:
    """Cut a file into chunks of at most CHUNK_BYTES that cover it exactly, in order.

    Args:
        read_at: reads bytes of the file; only gaps above 64 KiB are read.
        size: bytes of the file; 0 gives no chunk.
        tensors: its tensors as `lay_out` or an index gives them: ascending, without overlap, inside the file.
    """
    group: _Group | None = None
    for piece in _pieces(size, tensors):
        if group and group.takes(piece):
            group.add(piece)
            continue
        if group:
            yield from group.spans()
        group = None
        if piece.tensor is None:
            yield from _cut_bytes(read_at, piece)
        elif piece.length < _SMALL:
            group = _Group(piece, piece.tensor)
        else:
            yield from _cut_tensor(piece.tensor)
    if group:
        yield from group.spans()


def _cut_tensor(tensor: Tensor) -> Iterator[Span]:
    for offset in range(tensor.offset, tensor.end, CHUNK_BYTES):
        yield Span(offset, min(CHUNK_BYTES, tensor.end - offset), tensor.dtype)


def _cut_bytes(read_at: ReadAt, gap: _Piece) -> Iterator[Span]:
    offset = gap.offset
    for length in cut_lengths(read_at, gap.offset, gap.length):
        yield Span(offset, length, DType.BYTES)
        offset += length


class _Group:
    """A chunk that small tensors share, as it grows; a tensor that is not tiny settles what its word is."""

    def __init__(self, piece: _Piece, tensor: Tensor) -> None:
        self._start = piece.offset
        self._end = piece.end
        self._word = tensor.dtype
        self._settled = piece.length >= _TINY
        self._whole = piece.end

    def takes(self, piece: _Piece) -> bool:
        """Whether the chunk may go on with this piece, which lies right behind it."""
        if piece.end - self._start > CHUNK_BYTES:
            return False
        if piece.tensor is None:
            return piece.length <= _JOINED_GAP
        if piece.length >= _SMALL or _begins_chunk(piece.tensor):
            return False
        return piece.length < _TINY or self._fits(piece.tensor)

    def _fits(self, tensor: Tensor) -> bool:
        same = not self._settled or tensor.dtype is self._word
        return same and (tensor.offset - self._start) % tensor.dtype.word_bytes == 0

    def add(self, piece: _Piece) -> None:
        """Append a piece that `takes` allowed."""
        self._end = piece.end
        if piece.length >= _TINY and piece.tensor is not None:
            self._word, self._settled, self._whole = piece.tensor.dtype, True, piece.end
        elif not self._settled and (piece.tensor is None or piece.tensor.dtype is not self._word):
            self._word = DType.BYTES

    def spans(self) -> Iterator[Span]:
        """The chunk; what would leave its last word incomplete is one of its own."""
        end = self._whole if (self._end - self._start) % self._word.word_bytes else self._end
        yield Span(self._start, end - self._start, self._word)
        if end < self._end:
            yield Span(end, self._end - end, DType.BYTES)


def _begins_chunk(tensor: Tensor) -> bool:
    draw = int.from_bytes(keccak256(tensor.name.encode())[:4], "big") % _SHARED_MEAN
    return draw < tensor.length + _SHARED_EACH


class Correspondence:
    """Where the chunks of a child file have their like in a parent file."""

    def __init__(
        self,
        child: Sequence[Tensor],
        child_size: int,
        parent: Sequence[Tensor],
        parent_size: int,
        renamed: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Take the tensors of both files, as for `plan`; `renamed` has the parent's by the child's names."""
        self._pieces = list(_pieces(child_size, child))
        self._starts = [piece.offset for piece in self._pieces]
        self._parent_size = parent_size
        self._tensors = {(tensor.name, tensor.dtype): tensor for tensor in parent}
        self._tensors.update({(name, tensor.dtype): tensor for name, tensor in (renamed or {}).items()})
        self._after: dict[str | None, _Piece] = {}
        self._before: dict[str | None, _Piece] = {}
        parents = list(_pieces(parent_size, parent))
        for number, piece in enumerate(parents):
            if piece.tensor is None:
                self._after.setdefault(_name(parents, number - 1), piece)
                self._before.setdefault(_name(parents, number + 1), piece)

    def like(self, tensor: Tensor) -> Tensor | None:
        """The parent's tensor of the same name and type, or what it was renamed from."""
        return self._tensors.get((tensor.name, tensor.dtype))

    def parent_range(self, span: Span) -> tuple[int, int] | None:
        """The offset and length, within the parent file, of the bytes that are most like a chunk's.

        They correspond byte by byte from their first on. None where the parent has nothing alike.
        """
        first = bisect_right(self._starts, span.offset) - 1
        stop = bisect_right(self._starts, span.end - 1)
        if stop - first > 1:
            return self._shared_range(span, self._pieces[first:stop])
        piece = self._pieces[first]
        if piece.tensor is None:
            return self._gap_range(span, first)
        found = self.like(piece.tensor)
        return _part(found.offset, found.length, span.offset - piece.offset, span.length) if found else None

    def _shared_range(self, span: Span, pieces: Sequence[_Piece]) -> tuple[int, int] | None:
        """As the largest part of the chunk's tensors moved, so the whole chunk."""
        moved: dict[int, int] = {}
        for piece in pieces:
            found = piece.tensor and self.like(piece.tensor)
            if found and span.offset + found.offset - piece.offset >= 0:
                by = found.offset - piece.offset
                moved[by] = moved.get(by, 0) + min(piece.length, found.length)
        if not moved:
            return None
        by = max(moved, key=lambda by: (moved[by], -abs(by), by))
        return _part(0, self._parent_size, span.offset + by, span.length)

    def _gap_range(self, span: Span, number: int) -> tuple[int, int] | None:
        gap = self._pieces[number]
        found = self._after.get(_name(self._pieces, number - 1))
        found = found or self._before.get(_name(self._pieces, number + 1))
        if found is None:
            return None
        if max(gap.length, found.length) <= CHUNK_BYTES:
            return found.offset, found.length
        return _part(found.offset, found.length, span.offset - gap.offset, span.length)


def _name(pieces: Sequence[_Piece], number: int) -> str | None:
    """The name of a tensor among pieces; None stands for an end of the file."""
    tensor = pieces[number].tensor if 0 <= number < len(pieces) else None
    return tensor.name if tensor else None


def _part(offset: int, length: int, inner: int, most: int) -> tuple[int, int] | None:
    """At most `most` bytes from `inner` on of a span; None where it ends before them."""
    return (offset + inner, min(most, length - inner)) if inner < length else None
