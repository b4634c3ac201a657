"""Chunk to payload: which encodings are worth a try. See docs/spec/delta.md, section 12."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelreg.errors import FormatError, InputError
from modelreg.format.delta.casts import CASTABLE, pack_cast, sibling_length
from modelreg.format.delta.decoder import decode
from modelreg.format.delta.encoding import MAX_BASE_BYTES, MAX_CHUNK_BYTES, Buffer, Encoded, Encoding
from modelreg.format.delta.exponent import pack_exp
from modelreg.format.delta.kernels import subtract
from modelreg.format.delta.plain import pack_frame
from modelreg.format.delta.sparse import pack_changes
from modelreg.format.delta.streams import pack_integers
from modelreg.format.delta.words import Integers, WordType, common_shift, ordered, signed_words

__all__ = ["DEFAULT_EFFORT", "encode", "encode_cast"]

DEFAULT_EFFORT = 1


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an effort spends: pcodec's levels, and whether probes may rule candidates out."""

    delta_level: int
    short_level: int
    solo_level: int
    probing: bool


# pcodec 12 takes ten times as long as 8 on whole weights, for 0.2 %. On float32 differences 9 takes 1.4 times
# as long as 8, for 0.1 %, and 10 another 1.8 times, for as much.
_PLANS = {1: _Plan(9, short_level=8, solo_level=8, probing=True), 2: _Plan(12, 12, 12, probing=False)}

_PROBE_LEVEL = 3
_BEST_LEVEL = 19
# zstd 19 runs at 3 to 12 MB/s: only where zstd 3 already wins clearly, or on little.
_PROBE_MARGIN = 0.98
_LITTLE_BYTES = 16 << 10
# Whole weights come down to 0.66 (bfloat16) or 0.82 (float32) of their size; a delta below this stands.
_SETTLED = 0.6
# Integers whose differences come down to this share are where they were.
_UNMOVED = 0.1
# So many times so many bytes tell whether the rest repeats itself.
_GLANCES, _GLANCE_BYTES = 4, 2 << 10
# More changed words than this and the list is longer than a stream.
_SPARSE_SHARE = 64


def encode(chunk: Buffer, word: WordType, base: Buffer | None, *, effort: int = DEFAULT_EFFORT) -> Encoded:
    """Encode a chunk as small as the effort allows; never larger than RAW, and only what decodes again.

    Args:
        chunk: at most MAX_CHUNK_BYTES of plaintext.
        word: what the bytes mean; fewer bytes than a word at the end are stored as they are.
        base: plaintext of a parent release, at most MAX_BASE_BYTES; best the range that the chunk replaces.
        effort: 0 stores, 1 balances, 2 tries everything.

    Raises:
        InputError: chunk or base too long, or an unknown effort.
    """
    data = _checked(chunk, MAX_CHUNK_BYTES, "chunk")
    parent = _checked(base, MAX_BASE_BYTES, "base") if base else None
    raw = Encoded(Encoding.RAW, chunk if isinstance(chunk, bytes) else bytes(data))
    if effort == 0 or not data:
        return raw
    if effort not in _PLANS:
        raise InputError("effort", expected="0, 1 or 2", found=effort)
    trial = _Trial(data, word if len(data) >= word.width else WordType.U8, parent, _PLANS[effort], raw)
    trial.run()
    reads_back = trial.reads_back or (lambda: _decodes(trial.best, parent, raw.payload))
    return trial.best if reads_back() else raw


def encode_cast(chunk: Buffer, word: WordType, sibling: Buffer, sibling_word: WordType) -> Encoded | None:
    """Encode a chunk as a cast of the same values in another precision; None where it is none."""
    data = _checked(chunk, MAX_CHUNK_BYTES, "chunk")
    source = _checked(sibling, MAX_BASE_BYTES, "sibling")
    if word == sibling_word or not {word, sibling_word} <= CASTABLE or not data or len(data) % word.width:
        return None
    if len(source) != sibling_length(len(data), word, sibling_word):
        return None
    encoded = Encoded(Encoding.CAST, pack_cast(data, word, source, sibling_word))
    if len(encoded.payload) * _SPARSE_SHARE > len(data) + _LITTLE_BYTES or len(encoded.payload) > len(data):
        return None
    return encoded if _decodes(encoded, source, bytes(data)) else None


def _checked(data: Buffer, limit: int, name: str) -> memoryview:
    view = memoryview(data).cast("B")
    if len(view) > limit:
        raise InputError(f"{name} too long", expected=f"at most {limit} bytes", found=len(view))
    return view


def _decodes(encoded: Encoded, base: memoryview | None, chunk: bytes) -> bool:
    """Whether decoding gives the chunk back: a library's fault must cost bytes, never a release."""
    parent = base if encoded.encoding.needs_base else None
    try:
        return bytes(decode(encoded.encoding, encoded.payload, parent, len(chunk))) == chunk
    except FormatError:
        return False


class _Trial:
    """The candidates for one chunk, and the smallest so far.

    Attributes:
        best: the smallest.
        reads_back: tells whether it gives the chunk again, where that takes less than to decode it.
    """

    def __init__(
        self, data: memoryview, word: WordType, base: memoryview | None, plan: _Plan, best: Encoded
    ) -> None:
        self._data = data
        self._word = word
        self._base = base
        self._plan = plan
        self._words = signed_words(data, word)
        self._shift = common_shift(self._words)
        self.best = best
        self.reads_back: Callable[[], bool] | None = None

    def run(self) -> None:
        """Try what a probe does not rule out."""
        if self._base is not None and len(self._base) == len(self._data):
            self._offer_deltas(signed_words(self._base, self._word))
        if self._promising:
            integers = ordered(self._words, self._word, self._shift)
            self._offer_words(Encoding.SOLO, pack_integers(integers, self._plan.solo_level))
            self._offer_frames(Encoding.ZSTD, memoryview(b""))
        if self._base is not None and (self._promising or self._may_have_moved):
            self._offer_frames(Encoding.PATCH, self._base)

    @property
    def _promising(self) -> bool:
        """Whether other encodings might still win: no delta has done what none does alone."""
        settled = len(self.best.payload) <= _SETTLED * len(self._data)
        return not self._plan.probing or not settled or self._repetitive

    @property
    def _may_have_moved(self) -> bool:
        """Whether the base may have the same integers elsewhere: those in place differ more than a little."""
        in_place = self.best.encoding in {Encoding.DIFF, Encoding.SPARSE} and len(self._data) > _LITTLE_BYTES
        small = len(self.best.payload) <= _UNMOVED * len(self._data)
        return not (self._word.exponent_bits or (in_place and small))

    @property
    def _repetitive(self) -> bool:
        """Whether zstd alone may do better, as where weights were pruned that were dense in the parent."""
        size = len(self._data) // _GLANCES
        if size < _GLANCE_BYTES:
            return False  # a delta of few bytes is good enough
        glance = b"".join(self._data[at * size : at * size + _GLANCE_BYTES] for at in range(_GLANCES))
        share = len(pack_frame(memoryview(glance), memoryview(b""), _PROBE_LEVEL)) / len(glance)
        return share * len(self._data) < len(self.best.payload)

    def _offer(
        self, encoding: Encoding, payload: bytes, reads_back: Callable[[], bool] | None = None
    ) -> None:
        if len(payload) < len(self.best.payload):
            self.best, self.reads_back = Encoded(encoding, payload), reads_back

    def _offer_words(
        self, encoding: Encoding, body: bytes, reads_back: Callable[[], bool] | None = None
    ) -> None:
        tail = self._data[len(self._data) - len(self._data) % self._word.width :]
        self._offer(encoding, b"".join((bytes((self._word, self._shift)), body, tail)), reads_back)

    def _offer_deltas(self, base: Integers) -> None:
        word, shift = self._word, self._shift
        level, short_level = self._plan.delta_level, self._plan.short_level
        difference = subtract(self._words, base, word, shift)
        changed = int(np.count_nonzero(difference))
        if changed * _SPARSE_SHARE <= len(difference):
            self._offer_words(Encoding.SPARSE, pack_changes(difference))
        if changed and word.exponent_bits:
            packed = pack_exp(difference, base, word, level, short_level)
            self._offer_words(Encoding.EXP, packed.body, packed.read_back)
        elif changed:
            self._offer_words(Encoding.DIFF, pack_integers(difference, level))

    def _offer_frames(self, encoding: Encoding, base: memoryview) -> None:
        probe = pack_frame(self._data, base, _PROBE_LEVEL)
        clear = len(probe) < _PROBE_MARGIN * len(self.best.payload)
        self._offer(encoding, probe)
        if clear or not self._plan.probing or len(self._data) <= _LITTLE_BYTES:
            self._offer(encoding, pack_frame(self._data, base, _BEST_LEVEL))
