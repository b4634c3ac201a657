"""Finding the words of a chunk in the same release's other precision, of which it may be an exact cast."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from modelreg.errors import ModelregError
from modelreg.format.chunks import Span
from modelreg.format.delta import MAX_BASE_BYTES, WordType
from modelreg.format.manifest import BaseRange
from modelreg.format.tensors import Tensor
from modelreg.lineage import Lineage
from modelreg.source import SourceFile

__all__ = ["Cast", "cast_finder"]


@dataclass(frozen=True, slots=True)
class Cast:
    """Where a chunk's values stand in another precision: a range of the sibling (base 0), and its words."""

    at: BaseRange
    word: WordType


def cast_finder(sibling: Lineage, source: SourceFile) -> Callable[[Span], Cast | None]:
    """For the chunks of a file, find the like-named tensor of the sibling that has the same shape.

    Args:
        sibling: the release in another precision, as the parent of a lineage.
        source: the file that is being published.
    """
    counterpart = sibling.counterpart(source.path, source.format)
    if counterpart is None:
        return lambda _: None
    number, file = counterpart
    starts = [tensor.offset for tensor in source.tensors]
    others = {tensor.name: tensor for tensor in file.tensors}

    def find(span: Span) -> Cast | None:
        index = bisect_right(starts, span.offset) - 1
        tensor = source.tensors[index] if index >= 0 else None
        other = others.get(tensor.name) if tensor else None
        if tensor is None or other is None or other.shape != tensor.shape or other.dtype is tensor.dtype:
            return None
        at = _scaled(span, tensor, other, number)
        if at is None or at.offset + at.length > file.size or not _allowed(sibling, at):
            return None
        return Cast(at, WordType.of(other.dtype))

    return find


def _allowed(sibling: Lineage, at: BaseRange) -> bool:
    """Without the manifests behind it a sibling is no base, and the variant only larger."""
    try:
        return sibling.allows(at)
    except ModelregError:
        return False


def _scaled(span: Span, tensor: Tensor, other: Tensor, number: int) -> BaseRange | None:
    """The range with as many words of the other width, as far into the other tensor."""
    width, other_width = tensor.dtype.word_bytes, other.dtype.word_bytes
    words, rest = divmod(span.length, width)
    length = words * other_width
    if rest or not 0 < length <= MAX_BASE_BYTES:
        return None
    return BaseRange(0, number, other.offset + (span.offset - tensor.offset) // width * other_width, length)
