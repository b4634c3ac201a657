"""A slow, independent decoder of docs/spec/delta.md: plain Python numbers, bit by bit, pcodec included.

It shares no code with the implementation; zstd alone is the library's. It accepts some payloads that the checks of
section 10 refuse, as it decodes only.
"""

from fractions import Fraction

import zstandard

WIDTHS = [8, 8, 16, 16, 32, 32, 64, 64, 16, 16, 32, 64, 8, 8]
EXPONENT_BITS = {8: 5, 9: 8, 10: 8, 11: 11, 12: 4, 13: 5}
RAW, ZSTD, SOLO, PATCH, SPARSE, EXP, DIFF, CAST = range(8)


def reference_decode(encoding, payload, base, length):
    if encoding == RAW:
        return bytes(payload)
    if encoding == ZSTD:
        return zstandard.ZstdDecompressor().decompress(payload)
    if encoding == PATCH:
        prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdDecompressor(dict_data=prefix).decompress(payload)
    if encoding == CAST:
        return _cast(payload, base, length)
    word, shift = payload[0], payload[1]
    width = WIDTHS[word]
    tail = length % (width // 8)
    body, rest = payload[2 : len(payload) - tail], payload[len(payload) - tail :]
    count = length // (width // 8)
    if encoding == SOLO:
        integers, end = _stream(body, 0, count)
        assert end == len(body)
    else:
        words = _words(base, width)[:count]
        differences = {SPARSE: _list, EXP: _groups, DIFF: _whole}[encoding](body, words, word)
        integers = [a + b for a, b in zip([_ordered(w, word, shift) for w in words], differences, strict=True)]
    return b"".join(_word_bytes(o, word, shift) for o in integers) + rest


def _signed(value, width):
    value %= 1 << width
    return value - (1 << width) if value >> (width - 1) else value


def _words(data, width):
    step = width // 8
    usable = len(data) // step * step
    return [int.from_bytes(data[i : i + step], "little", signed=True) for i in range(0, usable, step)]


def _flip(value, word, shift):
    if word in EXPONENT_BITS and value < 0:
        value ^= (1 << (WIDTHS[word] - 1 - shift)) - 1
    return value


def _ordered(value, word, shift):
    return _flip(value >> shift, word, shift)


def _word_bytes(ordered, word, shift):
    width = WIDTHS[word]
    value = _flip(_signed(ordered, width), word, shift) << shift
    return (value % (1 << width)).to_bytes(width // 8, "little")


class _Bits:
    def __init__(self, data, at):
        self.number = int.from_bytes(data[at:], "little")
        self.start = at
        self.used = 0

    def take(self, count):
        value = (self.number >> self.used) & ((1 << count) - 1)
        self.used += count
        return value

    def align(self):
        assert self.take(-self.used % 8) == 0
        return self.start + self.used // 8


def _state_table(size_log, weights):
    size = 1 << size_log
    stride = 3 * size // 5
    stride += 1 - stride % 2
    owner, given = [0] * size, 0
    for symbol, weight in enumerate(weights):
        for _ in range(weight):
            owner[stride * given % size] = symbol
            given += 1
    assert given == size
    grown, table = list(weights), []
    for symbol in owner:
        bits = size_log - (grown[symbol].bit_length() - 1)
        table.append((symbol, bits, (grown[symbol] << bits) - size))
        grown[symbol] += 1
    return table


def _stream(body, at, count):
    lane = body[at]
    if lane == 0:
        return [0] * count, at + 1
    width = 8 * lane
    bits = _Bits(body, at + 1)
    size_log, bin_count = bits.take(4), bits.take(15)
    bins = []
    for _ in range(bin_count):
        weight = bits.take(size_log) + 1
        lower = bits.take(width)
        bins.append((weight, lower, bits.take(width.bit_length())))
    bits.align()
    table = _state_table(size_log, [weight for weight, _, _ in bins])
    states = [bits.take(size_log) for _ in range(4)]
    bits.align()
    values = []
    while len(values) < count:
        batch = []
        for i in range(min(256, count - len(values))):
            symbol, step, start = table[states[i % 4]]
            batch.append(bins[symbol])
            states[i % 4] = start + bits.take(step)
        for _, lower, offset_bits in batch:
            latent = (lower + bits.take(offset_bits)) ^ (1 << (width - 1))
            values.append(_signed(latent, width))
    return values, bits.align()


def _varint(body, at):
    value = shift = 0
    while True:
        value |= (body[at] & 127) << shift
        shift += 7
        at += 1
        if body[at - 1] < 128:
            return value, at


def _list(body, words, _word):
    return _changes(body, len(words))


def _changes(body, count):
    changed, at = _varint(body, 0)
    gaps, values = [], []
    for target in (gaps, values):
        for _ in range(changed):
            value, at = _varint(body, at)
            target.append(value)
    assert at == len(body)
    differences, place = [0] * count, -1
    for gap, zigzag in zip(gaps, values, strict=True):
        place += gap + 1
        differences[place] = (zigzag >> 1) ^ -(zigzag & 1)
    return differences


def _whole(body, words, _word):
    differences, end = _stream(body, 0, len(words))
    assert end == len(body)
    return differences


def _groups(body, words, word):
    exponent_bits = EXPONENT_BITS[word]
    mantissa_bits = WIDTHS[word] - 1 - exponent_bits
    starts, at = [0], 1
    for _ in range(body[0] - 1):
        step, at = _varint(body, at)
        starts.append(starts[-1] + step)
    differences = [None] * len(words)
    for start, end in zip(starts, [*starts[1:], 1 << exponent_bits], strict=True):
        places = [
            place for place, w in enumerate(words) if start <= (w >> mantissa_bits) % (1 << exponent_bits) < end
        ]
        values, at = _stream(body, at, len(places))
        for place, value in zip(places, values, strict=True):
            differences[place] = value
    assert at == len(body)
    return differences


def _cast(payload, base, length):
    source, target = payload[0], payload[1]
    words = [reference_convert(w, source, target) for w in _words(base, WIDTHS[source])]
    changes = _changes(payload[2:], length // (WIDTHS[target] // 8))
    signed = [_signed(w, WIDTHS[target]) for w in words]
    return b"".join(
        _word_bytes(_ordered(w, target, 0) + c, target, 0) for w, c in zip(signed, changes, strict=True)
    )


def reference_convert(word, source, target):
    """One word to another floating-point type, through exact fractions."""
    exponents, mantissas = EXPONENT_BITS[source], WIDTHS[source] - 1 - EXPONENT_BITS[source]
    word %= 1 << WIDTHS[source]
    sign, field = word >> (WIDTHS[source] - 1), (word >> mantissas) % (1 << exponents)
    mantissa = word % (1 << mantissas)
    to_exponents, to_mantissas = EXPONENT_BITS[target], WIDTHS[target] - 1 - EXPONENT_BITS[target]
    infinity = ((1 << to_exponents) - 1) << to_mantissas
    if field == (1 << exponents) - 1:
        magnitude = infinity | _special(mantissa, mantissas, to_mantissas)
    else:
        bias = (1 << (exponents - 1)) - 1
        units = mantissa + (1 << mantissas if field else 0)
        value = Fraction(units) * Fraction(2) ** (max(field, 1) - bias - mantissas)
        magnitude = min(_nearest(value, to_exponents, to_mantissas), infinity)
    return sign << (WIDTHS[target] - 1) | magnitude


def _special(mantissa, mantissas, to_mantissas):
    if to_mantissas >= mantissas:
        return mantissa << (to_mantissas - mantissas)
    return mantissa >> (mantissas - to_mantissas) | (1 << (to_mantissas - 1) if mantissa else 0)


def _nearest(value, exponents, mantissas):
    """The pattern, without sign, of the nearest number with unbounded exponents upwards; round halves to even."""
    bias = (1 << (exponents - 1)) - 1
    binade = 1 - bias
    while value >= Fraction(2) ** (binade + 1):
        binade += 1
    # Python rounds a fraction to the nearest integer, halves to even.
    units = round(value / Fraction(2) ** (binade - mantissas))
    return ((binade + bias - 1) << mantissas) + units
