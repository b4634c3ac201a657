"""Tensors that have another name in the parent, found by what they hold. docs/spec/content.md, section 3.4.

Exporters number tensors anew with each export. A fine-tuned tensor still has nearly the signs of its parent:
of all that have its type and size, the few with the nearest signs are compared word by word.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta import WordType
from modelreg.format.delta.words import Integers, ordered, signed_words
from modelreg.format.tensors import Tensor

__all__ = ["find_renamed"]

Read = Callable[[int, int], bytes | None]
"""Bytes, by offset and length; None where they cannot be had."""

_LEAST_BYTES = 1024  # smaller tensors share chunks with many others
_SAMPLE_BYTES = 4096
_SIGNS = 64
_COMPARED = 4
# Of the bits that a word's difference takes to a part of the same tensor that has nothing to do with it.
_ALIKE = 0.9
_MOST_OF_A_KIND = 1 << 14


@dataclass(frozen=True, slots=True)
class _Sample:
    """Words from the middle of a tensor, as ordered integers, and which of 64 are above the median."""

    tensor: Tensor
    words: Integers
    signs: int


def find_renamed(
    child: Sequence[Tensor], parent: Sequence[Tensor], read_child: Read, read_parent: Read
) -> dict[str, Tensor]:
    """The parent's tensors, by the names that the child gives them.

    Nothing is read where the parent has every tensor of the child. Otherwise tensors that have their name are
    looked at too, as far as they have the type and size of one without: numbers may have gone to others.
    """
    known = {(tensor.name, tensor.dtype, tensor.length): tensor for tensor in parent}
    kinds = {_kind(tensor) for tensor in child if (tensor.name, *_kind(tensor)) not in known}
    news, olds = _by_kind(child, kinds), _by_kind(parent, kinds)
    found = {}
    for kind in news.keys() & olds.keys():
        if max(len(news[kind]), len(olds[kind])) > _MOST_OF_A_KIND:
            continue
        candidates = _samples(olds[kind], read_parent)
        signs = np.array([sample.signs for sample in candidates], np.uint64)
        for new in _samples(news[kind], read_child):
            like = _most_alike(new, candidates, signs)
            if like is not None and like.name != new.tensor.name:
                found[new.tensor.name] = like
    return found


def _kind(tensor: Tensor) -> tuple[object, int]:
    return tensor.dtype, tensor.length


def _by_kind(
    tensors: Iterable[Tensor], kinds: set[tuple[object, int]]
) -> dict[tuple[object, int], list[Tensor]]:
    found = defaultdict(list)
    for tensor in tensors:
        if tensor.length >= _LEAST_BYTES and _kind(tensor) in kinds:
            found[_kind(tensor)].append(tensor)
    return found


def _samples(tensors: Iterable[Tensor], read: Read) -> list[_Sample]:
    made = (_sample(tensor, read) for tensor in tensors)
    return [sample for sample in made if sample is not None]


def _sample(tensor: Tensor, read: Read) -> _Sample | None:
    word = WordType.of(tensor.dtype)
    size = min(tensor.length, _SAMPLE_BYTES)
    skipped = (tensor.length - size) // 2 // word.width * word.width
    raw = read(tensor.offset + skipped, size // word.width * word.width)
    if raw is None:
        return None
    words = ordered(signed_words(raw, word), word, 0)
    above = words[:_SIGNS] > np.median(words)
    return _Sample(tensor, words, int.from_bytes(np.packbits(above).tobytes().ljust(8, b"\0"), "big"))


def _most_alike(new: _Sample, candidates: Sequence[_Sample], signs: NDArray[np.uint64]) -> Tensor | None:
    if not candidates:
        return None
    distance = np.bitwise_count(signs ^ np.uint64(new.signs))
    nearest = [candidates[number] for number in np.argsort(distance, kind="stable")[:_COMPARED]]
    nearest += [sample for sample in candidates if sample.tensor.name == new.tensor.name]
    best = min(nearest, key=lambda old: (_bits(new.words, old.words), old.tensor.name != new.tensor.name))
    chance = _bits(new.words, np.roll(best.words, len(best.words) // 2))
    return best.tensor if _bits(new.words, best.words) < _ALIKE * chance else None


def _bits(new: Integers, old: Integers) -> float:
    """About how many bits a word's difference takes, at the mean."""
    return float(np.log2(1.0 + np.abs(new.astype(np.float64) - old)).mean())
