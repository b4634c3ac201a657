"""Streams in machine code, by numba: all of a payload in one call, during which other threads run.

What is read is what `streams` reads. Whatever is wrong or odd is left to that, which says what it is.
Specified in docs/spec/delta.md, section 4.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.words import Integers

__all__ = ["read_streams_compiled"]

_compiled = numba.njit(nogil=True)

_Numbers = NDArray[np.uint64]
_Bins = NDArray[np.uint16]

# Words of zeros behind a payload: the bins of a batch are read before they are known to end inside.
_SPARE_WORDS = 64
_GAPPED = 16
_BATCH = 256
_WRONG = -1
_VARINT_BYTES = 5  # no count in a chunk needs more

# numba checks signed indices for being negative, and makes floats of sums of signed and unsigned numbers.
_ZERO, _ONE, _TWO, _THREE = (np.uint64(number) for number in range(4))
_BYTE, _LAST, _WORD_BITS = np.uint64(7), np.uint64(63), np.uint64(6)
_HEAD_BITS, _LOG_BITS, _LOG_MASK = np.uint64(4 + 15), np.uint64(4), np.uint64(15)
_MOST_META_BITS, _MOST_LOG = np.uint64(8 * (64 << 10)), np.uint64(14)
# A state's row in the table: its bin, the bits that it reads, and the state that they are added to.
_STEP_AT, _NEXT_AT, _STEP_MASK = np.uint64(16), np.uint64(32), np.uint64(0xFFFF)


@_compiled
def _window(words: _Numbers, at: Any) -> Any:
    """The 64 bits from bit `at` on."""
    word, bit = at >> _WORD_BITS, at & _LAST
    return (words[word] >> bit) | ((words[word + _ONE] << _ONE) << (_LAST - bit))


@_compiled
def _mask(count: Any) -> Any:
    """So many ones, at most 64; a shift by 64 has no result."""
    return ((_ONE << (count >> _ONE)) << (count - (count >> _ONE))) - _ONE


@_compiled
def _take(words: _Numbers, at: Any, count: Any) -> Any:
    return _window(words, at) & _mask(count)


@_compiled
def _octet(words: _Numbers, at: int) -> Any:
    return np.int64((words[at >> 3] >> np.uint64(8 * (at & 7))) & np.uint64(0xFF))


@_compiled
def _is_padded(words: _Numbers, at: Any) -> Any:
    """Whether there are zero bits up to the next whole byte."""
    return _take(words, at, (_ZERO - at) & _BYTE) == _ZERO


@_compiled
def _aligned(at: Any) -> Any:
    return (at + _BYTE) & ~_BYTE


@_compiled
def _table_of(weights: NDArray[np.int64], states: Any) -> _Numbers:
    """A row for each state; the weights add up to the states."""
    owner = np.empty(states, np.uint16)
    stride = 3 * states // 5
    stride += 1 - stride % 2
    given = 0
    for number in range(len(weights)):
        for _ in range(weights[number]):
            owner[(stride * given) & (states - 1)] = number
            given += 1
    grown, table = weights.copy(), np.empty(states, np.uint64)
    for state in range(states):
        number, step = owner[state], 0
        while grown[number] << step < states:
            step += 1
        start = (grown[number] << step) - states
        table[state] = np.uint64(number | step << 16 | start << 32)
        grown[number] += 1
    return table


@_compiled
def _read_bins(words: _Numbers, at: Any, table: _Numbers, states: _Numbers, bins: _Bins) -> Any:
    """Read the bins of a batch, and leave the states for the next; the bit behind them."""
    s0, s1, s2, s3 = states[0], states[1], states[2], states[3]
    whole = len(bins) & ~3
    for i in range(0, whole, 4):
        place, window = np.uintp(i), _window(words, at)
        row = table[s0]
        bins[place] = row
        step = (row >> _STEP_AT) & _STEP_MASK
        s0 = (row >> _NEXT_AT) + (window & ((_ONE << step) - _ONE))
        window >>= step
        at += step
        row = table[s1]
        bins[place + _ONE] = row
        step = (row >> _STEP_AT) & _STEP_MASK
        s1 = (row >> _NEXT_AT) + (window & ((_ONE << step) - _ONE))
        window >>= step
        at += step
        row = table[s2]
        bins[place + _TWO] = row
        step = (row >> _STEP_AT) & _STEP_MASK
        s2 = (row >> _NEXT_AT) + (window & ((_ONE << step) - _ONE))
        window >>= step
        at += step
        row = table[s3]
        bins[place + _THREE] = row
        step = (row >> _STEP_AT) & _STEP_MASK
        s3 = (row >> _NEXT_AT) + (window & ((_ONE << step) - _ONE))
        at += step
    for i in range(whole, len(bins)):  # of the last batch, behind which no state is asked for
        row = table[s0]
        bins[np.uintp(i)] = row
        at += (row >> _STEP_AT) & _STEP_MASK
        s0, s1, s2 = s1, s2, s3
    states[0], states[1], states[2], states[3] = s0, s1, s2, s3
    return at


@_compiled
def _read_numbers(
    words: _Numbers,
    at: Any,
    stop: Any,
    log: Any,
    width: Any,
    bins: tuple[Any, Any, Any],
    out: Integers,
) -> Any:
    """Fill `out` from the data behind the bins, which are weights, lowest numbers and bits of the offsets."""
    weights, lows, sizes = bins
    table = _table_of(weights, np.int64(1) << np.int64(log))
    masks = np.empty_like(sizes)
    for number in range(len(sizes)):
        masks[number] = _mask(sizes[number])
    states = np.empty(4, np.uint64)
    for lane in range(4):
        states[lane] = _take(words, at, log)
        at += log
    if not _is_padded(words, at):
        return _WRONG
    at = _aligned(at)
    batch, starts = np.empty(_BATCH, np.uint16), np.empty(_BATCH, np.uint64)
    rest, flip = np.uint64(64) - width, _ONE << _LAST
    for begin in range(0, len(out), _BATCH):
        part = out[begin : begin + _BATCH]
        found = batch[: len(part)]
        at = _read_bins(words, at, table, states, found)
        for i in range(len(part)):
            starts[np.uintp(i)] = at
            at += sizes[found[np.uintp(i)]]
        if at > stop:
            return _WRONG
        for i in range(len(part)):
            number = found[np.uintp(i)]
            latent = lows[number] + (_window(words, starts[np.uintp(i)]) & masks[number])
            part[np.uintp(i)] = np.int64((latent << rest) ^ flip) >> np.int64(rest)
    return np.int64(_aligned(at) >> _THREE) if _is_padded(words, at) else _WRONG


@_compiled
def _read_page(words: _Numbers, start: int, end: int, out: Integers) -> Any:
    """Fill `out` from the page that begins at a byte; the byte behind it, or -1."""
    lane = _octet(words, start) if start < end else 0
    if lane == 0:
        out[:] = 0
        return start + 1 if start < end else _WRONG
    if (lane != 1 and lane != 2 and lane != 4 and lane != 8) or lane > out.itemsize:
        return _WRONG
    width, at, stop = np.uint64(8 * lane), np.uint64(8 * (start + 1)), np.uint64(8 * end)
    width_bits = np.uint64(4 if lane == 1 else 5 if lane == 2 else 6 if lane == 4 else 7)
    head = _take(words, at, _HEAD_BITS)
    log, count = head & _LOG_MASK, head >> _LOG_BITS
    meta = _HEAD_BITS + count * (log + width + width_bits)
    is_odd = count == _ZERO or log > _MOST_LOG or (count == _ONE) != (log == _ZERO)
    if is_odd or meta > _MOST_META_BITS or at + meta > stop:
        return _WRONG
    at += _HEAD_BITS
    weights = np.empty(np.int64(count), np.int64)
    lows, sizes = np.empty(len(weights), np.uint64), np.empty(len(weights), np.uint64)
    for number in range(len(weights)):
        weights[number] = np.int64(_take(words, at, log)) + 1
        lows[number] = _take(words, at + log, width)
        sizes[number] = _take(words, at + log + width, width_bits)
        at += log + width + width_bits
    if weights.sum() != 1 << np.int64(log) or sizes.max() > width or not _is_padded(words, at):
        return _WRONG
    return _read_numbers(words, _aligned(at), stop, log, width, (weights, lows, sizes), out)


@_compiled
def _read_count(words: _Numbers, at: int, end: int) -> tuple[int, int]:
    """A varint, and the byte behind it; 0 where there is none in its shortest form."""
    count = 0
    for index in range(_VARINT_BYTES):
        octet = _octet(words, at + index) if at + index < end else 0
        count |= (octet & 127) << (7 * index)
        if octet < 128:
            return (count if octet else 0), at + index + 1
    return 0, at


@_compiled
def _read_gapped(words: _Numbers, start: int, end: int, out: Integers) -> Any:
    """Fill `out` from a count and two pages; the byte behind them, or -1."""
    count, at = _read_count(words, start, end)
    if not 0 < count <= len(out):
        return _WRONG
    gaps, values = np.empty(count, np.int32), np.empty(count, out.dtype)
    at = _read_page(words, at, end, gaps)
    if at != _WRONG:
        at = _read_page(words, at, end, values)
    if at == _WRONG:
        return _WRONG
    out[:] = 0
    place = -1
    for i in range(count):
        place += gaps[i] + 1
        if gaps[i] < 0 or place >= len(out) or values[i] == 0:
            return _WRONG
        out[np.uintp(place)] = values[i]
    return at


@_compiled
def _read_streams(words: _Numbers, at: int, end: int, sizes: NDArray[np.intp], out: Integers) -> int:
    begin = 0
    for size in sizes:
        part = out[begin : begin + size]
        begin += size
        if at < end and _octet(words, at) == _GAPPED:
            at = _read_gapped(words, at + 1, end, part)
        else:
            at = _read_page(words, at, end, part)
        if at == _WRONG:
            return _WRONG
    return at


def read_streams_compiled(payload: memoryview, at: int, sizes: NDArray[np.intp], out: Integers) -> int:
    """As `kernels.read_streams`."""
    words = np.zeros(-(-len(payload) // 8) + _SPARE_WORDS, np.uint64)
    words.view(np.uint8)[: len(payload)] = payload
    found: int = _read_streams(words, at, len(payload), sizes, out)
    return found
