"""Matrices that a merged adapter changed: found once for a matrix, used by each of its chunks."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from modelreg.adapter import Adapter
from modelreg.errors import FormatError
from modelreg.format.chunks import Correspondence, Span
from modelreg.format.delta import Encoded, Encoding, WordType, decode
from modelreg.format.delta.factoring import (
    GLANCE_ROWS,
    Product,
    change_of,
    factors_of,
    inverse_of,
    left_of,
    may_be_low_rank,
    multiple_of,
    quantized,
)
from modelreg.format.delta.lowrank import (
    MAX_COLUMNS,
    MAX_ELEMENTS,
    PREDICTABLE,
    Factors,
    LowRankChunk,
    estimate_low_rank,
    pack_factors,
    pack_low_rank,
    rows_of,
    values_of,
)
from modelreg.format.delta.words import Integers, signed_words
from modelreg.format.tensors import Tensor

__all__ = ["Matrix", "matrix_finder"]

Read = Callable[[int, int], bytes | None]
"""Bytes, by offset and length; None where they cannot be had."""

# Of a larger matrix rows at equal distances are looked at.
_LOOKED_AT_WORDS = 2 << 20
_LEVEL = 10
_BITS = (23, 21, 19, 16, 13, 11, 9)
_SAMPLE_WORDS = 128 << 10
_LEAST_COLUMNS = 64
_MAX_FACTOR_BYTES = 512 << 10
_BAND_ROWS = 16


Left = Callable[[NDArray[np.float64], int], NDArray[np.int32]]
"""The left factor of the rows that some words touch, from their change and the place of the first."""


@dataclass(frozen=True, slots=True)
class _Found:
    factors: Factors
    packed: bytes
    left: Left


class Matrix:
    """A matrix of a release and of its parent. What it finds is found once, by the first thread that asks.

    Args:
        word: what its elements are.
        shape: rows and columns.
        child, parent: read its bytes.
        product: what may have been added to it.
    """

    def __init__(
        self,
        word: WordType,
        shape: tuple[int, int],
        child: Read,
        parent: Read,
        product: Product | None = None,
    ) -> None:
        self._word, self._shape, self._product = word, shape, product
        self._child, self._parent = child, parent
        self._lock = Lock()
        self._searched = False
        self._found: _Found | None = None

    def encode(self, chunk: bytes, base: bytes, offset: int) -> tuple[Encoded, bytes] | None:
        """A chunk at an offset of the matrix, and the factors that it shares; None where none were found."""
        with self._lock:
            if not self._searched:
                self._found, self._searched = self._search(), True
        found = self._found
        if found is None or len(chunk) != len(base):
            return None
        payload = pack_low_rank(self._chunk(chunk, base, offset, found), _LEVEL)
        if not _decodes(payload, base, chunk, found.packed):
            return None
        return Encoded(Encoding.LOWRANK, payload), found.packed

    def _chunk(self, chunk: bytes, base: bytes, offset: int, found: _Found) -> LowRankChunk:
        word, place = self._word, offset // self._word.width
        words, base_words = signed_words(chunk, word), signed_words(base, word)
        difference = _difference(words, base_words, word)
        left = found.left(np.where(np.isfinite(difference), difference, 0.0), place)
        return LowRankChunk(words, base_words, word, place % self._shape[1], left, found.factors)

    def _search(self) -> _Found | None:
        if self._product is None:
            glance = self._glance()
            if glance is None or not may_be_low_rank(glance):
                return None
        difference = self._every(self._step)
        if difference is None or not np.isfinite(difference).all():
            return None
        sample = self._sample()
        if sample is None:
            return None
        finds = filter(None, (self._hinted(difference), self._seen(difference)))
        made = filter(None, (self._smallest(find, sample) for find in finds))
        return min(made, key=lambda one: one[0], default=(0, None))[1]

    def _smallest(
        self, find: Callable[[int], _Found], sample: tuple[bytes, bytes, int]
    ) -> tuple[float, _Found] | None:
        """With so many bits as cost least, and about the bytes that they cost."""
        best: tuple[float, _Found] | None = None
        for bits in _BITS:
            found = find(bits)
            if len(found.packed) > _MAX_FACTOR_BYTES:
                continue
            payload = estimate_low_rank(self._chunk(*sample, found), _LEVEL)
            size = payload * self._words / self._sample_words + len(found.packed)
            if best and size > best[0]:
                break
            best = size, found
        return best

    def _hinted(self, difference: NDArray[np.float64]) -> Callable[[int], _Found] | None:
        """By the product of an adapter, if most of the change is a multiple of it."""
        if self._product is None or self._product.right.size > MAX_ELEMENTS:
            return None
        scaled = multiple_of(self._product, difference, self._step)
        if scaled is None:
            return None

        def found(bits: int) -> _Found:
            factors, left = quantized(scaled, bits)

            def rows(words: NDArray[np.float64], place: int) -> NDArray[np.int32]:
                row, column = divmod(place, self._shape[1])
                return left[row : row + rows_of(column, len(words), self._shape[1])]

            return _Found(factors, pack_factors(factors, _LEVEL), rows)

        return found

    def _seen(self, difference: NDArray[np.float64]) -> Callable[[int], _Found] | None:
        """By what is seen of the change alone."""
        change = change_of(difference)
        if change is None:
            return None

        def found(bits: int) -> _Found:
            factors = factors_of(change, difference, bits)
            inverse = inverse_of(factors)

            def rows(words: NDArray[np.float64], place: int) -> NDArray[np.int32]:
                return left_of(factors, change, inverse, words, place % self._shape[1])

            return _Found(factors, pack_factors(factors, _LEVEL), rows)

        return found

    @property
    def _step(self) -> int:
        """Every how many rows are looked at."""
        return -(-self._words // _LOOKED_AT_WORDS)

    @property
    def _words(self) -> int:
        return self._shape[0] * self._shape[1]

    @property
    def _sample_words(self) -> int:
        return min(self._words, _SAMPLE_WORDS)

    def _sample(self) -> tuple[bytes, bytes, int] | None:
        """Whole rows from the middle, if the matrix is large; None where they cannot be had."""
        width, columns = self._word.width, self._shape[1]
        skipped = (self._words - self._sample_words) // 2 // columns * columns * width
        size = self._sample_words * width
        chunk, base = self._child(skipped, size), self._parent(skipped, size)
        return None if chunk is None or base is None else (chunk, base, skipped)

    def _glance(self) -> NDArray[np.float64] | None:
        """The change of GLANCE_ROWS rows, in bands: to read each alone takes as long as coding the matrix."""
        rows, columns = self._shape
        column_step = -(-columns // GLANCE_ROWS)
        if rows <= GLANCE_ROWS:
            return self._rows([(0, rows)], column_step)
        starts = np.linspace(0, rows - _BAND_ROWS, GLANCE_ROWS // _BAND_ROWS).astype(int).tolist()
        return self._rows([(start, _BAND_ROWS) for start in starts], column_step)

    def _every(self, step: int) -> NDArray[np.float64] | None:
        """The change of every `step`-th row."""
        rows = self._shape[0]
        return self._rows([(0, rows)] if step == 1 else [(row, 1) for row in range(0, rows, step)])

    def _rows(self, bands: Sequence[tuple[int, int]], column_step: int = 1) -> NDArray[np.float64] | None:
        """The change of bands, given by first row and count, in every `column_step`-th column.

        None where they cannot be had.
        """
        word, columns = self._word, self._shape[1]
        size = columns * word.width
        parts = []
        for first, rows in bands:
            chunk, base = self._child(first * size, rows * size), self._parent(first * size, rows * size)
            if chunk is None or base is None:
                return None
            words, base_words = (
                signed_words(side, word).reshape(-1, columns)[:, ::column_step] for side in (chunk, base)
            )
            parts.append(_difference(words, base_words, word))
        return np.concatenate(parts)


def _decodes(payload: bytes, base: bytes, chunk: bytes, factors: bytes) -> bool:
    """Whether decoding gives the chunk back: a library's fault must cost bytes, never a release."""
    try:
        return bytes(decode(Encoding.LOWRANK, payload, base, len(chunk), factors)) == chunk
    except FormatError:
        return False


def _difference(words: Integers, base: Integers, word: WordType) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = values_of(words, word) - values_of(base, word)
    return found


def _matrix_of(
    tensor: Tensor, known: Tensor | None, child: Read, parent: Read, adapter: Adapter | None
) -> Matrix | None:
    """The matrix that a tensor is, if it can have been changed by one of low rank.

    Args:
        tensor: of the release.
        known: its like in the parent.
        child: reads the release's file.
        parent: reads the parent's file.
        adapter: what may have been merged.
    """
    word, shape = WordType.of(tensor.dtype), tensor.shape
    if known is None or word not in PREDICTABLE or len(shape) != 2 or min(shape) < _LEAST_COLUMNS:
        return None
    if shape[1] > MAX_COLUMNS:
        return None
    if (known.dtype, known.shape) != (tensor.dtype, shape):
        return None
    return Matrix(
        word,
        (shape[0], shape[1]),
        lambda offset, length: child(tensor.offset + offset, length),
        lambda offset, length: parent(known.offset + offset, length),
        adapter.of(tensor.name, shape) if adapter else None,
    )


def matrix_finder(
    tensors: Sequence[Tensor], alike: Correspondence, child: Read, parent: Read, adapter: Adapter | None
) -> Callable[[Span], tuple[Matrix | None, int]]:
    """Gives the matrix of a chunk and the offset in it, the same one for all chunks of a matrix.

    Args:
        tensors: of a file, in ascending order.
        alike: leads to the parent's.
        child: reads the file.
        parent: reads the parent's.
        adapter: what may have been merged.
    """
    starts = [tensor.offset for tensor in tensors]

    @lru_cache(1)
    def matrix(number: int) -> Matrix | None:
        return _matrix_of(tensors[number], alike.like(tensors[number]), child, parent, adapter)

    def at(span: Span) -> tuple[Matrix | None, int]:
        number = bisect_right(starts, span.offset) - 1
        if number < 0 or span.end > tensors[number].end:
            return None, 0
        return matrix(number), span.offset - tensors[number].offset

    return at
