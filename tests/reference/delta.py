"""A slow, independent decoder of docs/spec/delta.md: plain Python numbers, bit by bit, pcodec included.

It shares no code with the implementation; zstd decompression alone is the library's. It accepts some payloads
that the checks of section 11 refuse, as it decodes only. The second half writes payloads by hand.

`python -m tests.reference.delta` writes tests/vectors/delta/valid.json and refused.json again. frozen.json
holds what the implementation once wrote; it only ever grows, by `python -m tests.reference.delta freeze`.
"""

import json
import random
import struct
import sys
from fractions import Fraction
from pathlib import Path

import zstandard

VECTORS = Path(__file__).parent.parent / "vectors" / "delta"

WIDTHS = [8, 8, 16, 16, 32, 32, 64, 64, 16, 16, 32, 64, 8, 8]
EXPONENT_BITS = {8: 5, 9: 8, 10: 8, 11: 11, 12: 4, 13: 5}
RAW, ZSTD, SOLO, PATCH, SPARSE, EXP, DIFF, CAST = range(8)
GAPPED = 16


def reference_decode(encoding, payload, base, length):
    assert base is None or 1 <= len(base) <= 2 << 20
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
        integers = [
            a + b for a, b in zip([_ordered(w, word, shift) for w in words], differences, strict=True)
        ]
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
    if body[at] != GAPPED:
        return _page(body, at, count)
    changed, at = _varint(body, at + 1)
    gaps, at = _page(body, at, changed)
    values, at = _page(body, at, changed)
    integers = []
    for gap, value in zip(gaps, values, strict=True):
        integers += [0] * gap + [value]
    assert len(integers) <= count
    return integers + [0] * (count - len(integers)), at


def _page(body, at, count):
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
            place
            for place, w in enumerate(words)
            if start <= (w >> mantissa_bits) % (1 << exponent_bits) < end
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
    """The pattern, without sign, of the nearest number, as if exponents had no upper end; halves to even."""
    bias = (1 << (exponents - 1)) - 1
    if not value:
        return 0
    binade = value.numerator.bit_length() - value.denominator.bit_length()
    binade = max(binade if value >= Fraction(2) ** binade else binade - 1, 1 - bias)
    # Python rounds a fraction to the nearest integer, halves to even.
    units = round(value / Fraction(2) ** (binade - mantissas))
    return ((binade + bias - 1) << mantissas) + units


# What follows writes. Pages have one bin, whose offsets are the integers themselves.


def varint(value):
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def packed(fields):
    number = used = 0
    for value, bits in fields:
        number |= value << used
        used += bits
    return number.to_bytes((used + 7) // 8, "little")


def stream(values, lane):
    if lane == 0:
        return b"\x00"
    width = 8 * lane
    offsets = [(value % (1 << width)) ^ (1 << (width - 1)) for value in values]
    meta = packed([(0, 4), (1, 15), (0, width), (width, width.bit_length())])
    return bytes([lane]) + meta + packed([(offset, width) for offset in offsets])


def gapped(values, lane, gap_lane=1):
    gaps, kept, last = [], [], -1
    for place, value in enumerate(values):
        if value:
            gaps.append(place - last - 1)
            kept.append(value)
            last = place
    return bytes([GAPPED]) + varint(len(kept)) + stream(gaps, gap_lane) + stream(kept, lane)


def change_list(changes, width):
    gaps, values, last = [], [], -1
    for place, difference in changes:
        gaps.append(place - last - 1)
        values.append(2 * difference if difference >= 0 else -2 * difference - 1)
        last = place
    assert all(value < 1 << width for value in values)
    return b"".join(map(varint, [len(changes), *gaps, *values]))


def frame(content, declared=None, window=None, dictionary=0, blocks=None):
    """A zstd frame of raw blocks (RFC 8878, section 3.1.1); `window` is its descriptor byte."""
    declared = len(content) if declared is None else declared
    descriptor = 3 << 6 | (window is None) << 5 | bool(dictionary)
    head = b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + (b"" if window is None else bytes([window]))
    head += (bytes([dictionary]) if dictionary else b"") + declared.to_bytes(8, "little")
    blocks = [block(content)] if blocks is None else blocks
    return head + b"".join(blocks)


def block(content, last=True):
    return (last | len(content) << 3).to_bytes(3, "little") + content


def run_block(byte, count, last=True):
    return (last | 1 << 1 | count << 3).to_bytes(3, "little") + bytes([byte])


def _specials(word):
    """Patterns that need care: zeros, infinities, NaNs, the smallest and the largest numbers."""
    width = WIDTHS[word]
    top = 1 << (width - 1)
    patterns = [0, 1, top - 1, top, top + 1, (1 << width) - 1]
    if word in EXPONENT_BITS:
        mantissas = width - 1 - EXPONENT_BITS[word]
        infinity = ((1 << EXPONENT_BITS[word]) - 1) << mantissas
        patterns += [infinity, top | infinity, infinity + 1, top | infinity | 1, infinity - 1, 1 << mantissas]
    return patterns


def _bytes(patterns, word):
    width = WIDTHS[word]
    return b"".join((pattern % (1 << width)).to_bytes(width // 8, "little") for pattern in patterns)


def _row(name, encoding, payload, base, chunk):
    assert reference_decode(encoding, payload, base, len(chunk)) == chunk, name
    return {
        "name": name,
        "encoding": encoding,
        "length": len(chunk),
        "base": None if base is None else base.hex(),
        "payload": payload.hex(),
        "chunk": chunk.hex(),
    }


def _padded(patterns):
    """Enough words that a payload of one-bin streams is shorter than the chunk."""
    return patterns + [patterns[0]] * 40


def _over_base(word):
    """SOLO, DIFF, SPARSE and EXP rows of one word type."""
    width, lane = WIDTHS[word], WIDTHS[word] // 8
    head = bytes([word, 0])
    new = _padded(_specials(word))
    old = new[3:] + new[:3]
    chunk, base = _bytes(new, word), _bytes(old, word)
    signed = [[_ordered(_signed(w, width), word, 0) for w in side] for side in (new, old)]
    differences = [_signed(a - b, width) for a, b in zip(*signed, strict=True)]
    changes = [(place, d) for place, d in enumerate(differences) if d]
    narrow = [_signed(w * 3, 8) for w in range(60)]
    stepped = b"".join(_word_bytes(o + d, word, 0) for o, d in zip(signed[1] * 2, narrow, strict=False))
    old_narrow = (base * 2)[: len(stepped)]
    rows = [
        ("sparse", SPARSE, head + change_list(changes, width), base, chunk),
        ("diff", DIFF, head + stream(narrow[: len(stepped) // lane], 1), old_narrow, stepped),
    ]
    if lane > 1:
        small = [_signed(w * 5, 8) for w in range(60)]
        rows.append(
            ("solo", SOLO, head + stream(small, 1), None, b"".join(_word_bytes(o, word, 0) for o in small))
        )
    rare = [(w % 5 - 2 if w % 9 == 4 else 0) or (w == 59) for w in range(60)][: len(stepped) // lane]
    apart = b"".join(_word_bytes(o + d, word, 0) for o, d in zip(signed[1] * 2, rare, strict=False))
    rows.append(("diff with gaps", DIFF, head + gapped(rare, 1), old_narrow, apart))
    if word in EXPONENT_BITS:
        rows.append(
            ("exp with gaps", EXP, head + _two_groups(word, old_narrow, rare, gapped), old_narrow, apart)
        )
        rows.append(("exp", EXP, head + _two_groups(word, old_narrow, narrow), old_narrow, stepped))
    return [(f"{name} of word type {word}", *rest) for name, *rest in rows if len(rest[1]) <= len(rest[3])]


def _two_groups(word, base, differences, write=stream):
    exponents = EXPONENT_BITS[word]
    mantissas = WIDTHS[word] - 1 - exponents
    cut = (1 << exponents) - 1
    fields = [(w >> mantissas) % (1 << exponents) for w in _words(base, WIDTHS[word])]
    low = [d for f, d in zip(fields, differences, strict=False) if f < cut]
    high = [d for f, d in zip(fields, differences, strict=False) if f >= cut]
    return b"\x02" + varint(cut) + write(low, 1) + stream(high, 1)


def _casts():
    for source in (8, 9, 10, 11):
        for target in (8, 9, 10, 11):
            if source == target:
                continue
            random_words = random.Random(100 * source + target)
            patterns = _specials(source) + [random_words.getrandbits(WIDTHS[source]) for _ in range(40)]
            converted = [reference_convert(w, source, target) for w in patterns]
            converted[7] ^= 1
            one = [_ordered(_signed(w, WIDTHS[target]), target, 0) for w in (converted[7] ^ 1, converted[7])]
            payload = bytes([source, target]) + change_list([(7, one[1] - one[0])], WIDTHS[target])
            yield (
                f"cast of {source} to {target}",
                CAST,
                payload,
                _bytes(patterns, source),
                _bytes(converted, target),
            )


def valid():
    text = b"the quick brown fox jumps over the lazy dog " * 3
    runs = [run_block(120, 1000)]
    rows = [
        ("nothing", RAW, b"", None, b""),
        ("raw", RAW, text, None, text),
        ("zstd", ZSTD, frame(b"x" * 1000, blocks=runs), None, b"x" * 1000),
        ("zstd with a window of its own", ZSTD, frame(b"x" * 1000, window=0, blocks=runs), None, b"x" * 1000),
        ("patch without a match", PATCH, frame(b"x" * 1000, blocks=runs), text, b"x" * 1000),
        ("solo of zeros", SOLO, b"\x0a\x00\x00", None, bytes(4000)),
        ("diff of equals", DIFF, b"\x01\x00\x00", text, text),
        ("sparse of equals", SPARSE, b"\x09\x00\x00", text, text),
        ("exp of equals", EXP, b"\x09\x00\x01\x00", text, text),
        ("tail", SOLO, b"\x0a\x00\x00abc", None, bytes(40) + b"abc"),
        (
            "tail over a base",
            SPARSE,
            b"\x06\x00\x01\x01\x02xyz",
            bytes(27),
            bytes(8) + b"\x01" + bytes(15) + b"xyz",
        ),
    ]
    rows += [
        (
            f"solo with gaps, {name}",
            SOLO,
            b"\x05\x00" + gapped(values, lane, gap_lane),
            None,
            struct.pack("<200i", *values),
        )
        for name, values, lane, gap_lane in (
            ("the first alone", [7] + [0] * 199, 1, 0),
            ("the last alone", [0] * 199 + [-(1 << 31)], 4, 2),
            ("no two apart", [-1] * 90 + [0] * 110, 1, 0),
            ("far apart", [place % 97 == 96 for place in range(200)], 1, 4),
        )
    ]
    ordered = [-3, -1, 0, 2, 5] * 9
    for word, shift in ((10, 16), (8, 3), (5, 9), (11, 29), (9, 15), (6, 63)):
        kept = [o % 2 - 1 if shift + 1 == WIDTHS[word] else o for o in ordered]
        chunk = b"".join(_word_bytes(o, word, shift) for o in kept)
        rows.append(
            (f"shift {shift} of word type {word}", SOLO, bytes([word, shift]) + stream(kept, 1), None, chunk)
        )
    for word in range(14):
        rows += _over_base(word)
    return [_row(*row) for row in [*rows, *_casts()]]


def _refused_frames():
    runs = [run_block(120, 1000)]
    good = frame(b"x" * 1000, blocks=runs)
    wide = [run_block(120, 1 << 17, last=False)] * 3 + [run_block(120, 1 << 17)]
    yield (
        "decompression bomb: size declared beyond the chunk",
        frame(b"", declared=1 << 60, window=0, blocks=runs),
    )
    yield (
        "decompression bomb: 512 KiB declared for 1000 bytes",
        frame(b"", declared=1 << 19, window=72, blocks=wide),
    )
    yield "decompression bomb: more bytes than declared", frame(b"", declared=1000, window=0, blocks=wide)
    yield "decompression bomb: window of gigabytes", frame(b"", declared=1000, window=0xA8, blocks=runs)
    yield "frame with a window larger than needed", frame(b"", declared=1000, window=1, blocks=runs)
    yield "frame with fewer bytes than declared", frame(b"", declared=1000, blocks=[run_block(120, 999)])
    yield "frame without a size", b"\x28\xb5\x2f\xfd\x00\x00" + runs[0]
    yield "frame with a checksum", zstandard.ZstdCompressor(write_checksum=True).compress(b"x" * 1000)
    yield "frame with a dictionary id", frame(b"", declared=1000, dictionary=7, blocks=runs)
    yield "two frames", good + frame(b"")
    yield "bytes after a frame", good + b"\x00"
    yield "cut frame", good[:-1]
    yield "skippable frame", b"\x50\x2a\x4d\x18" + struct.pack("<I", 1000)
    yield "frame without magic", good[4:]
    yield "no frame", b""


def _refused_words():
    zeros = b"\x00"
    one_bin = stream([1] * 10, 1)
    for name, payload, length in [
        ("word type unknown", b"\x0e\x00" + zeros, 40),
        ("shift as wide as the word", b"\x0a\x20" + zeros, 40),
        ("chunk shorter than a word", b"\x06\x00" + zeros, 7),
        ("tail missing", b"\x0a\x00", 43),
        ("head missing", b"\x0a", 40),
        ("stream missing", b"\x0a\x00", 40),
        ("lane unknown", b"\x0a\x00\x03" + one_bin[1:], 40),
        ("lane wider than the word", b"\x09\x00\x04" + packed([(0, 4), (1, 15), (1 << 31, 32), (0, 6)]), 20),
        ("bytes after a stream", b"\x0a\x00" + one_bin + b"\x00", 40),
        ("bytes after a stream of zeros", b"\x0a\x00\x00\x00", 40),
        ("stream with too few integers", b"\x0a\x00" + one_bin[:-1], 40),
        ("stream with metadata only", b"\x0a\x00" + one_bin[:-10], 40),
        ("stream of a whole pcodec chunk", b"\x0a\x00\x01\x00" + one_bin[1:], 40),
        ("metadata bomb: 32767 bins", b"\x0a\x00\x01" + packed([(14, 4), (32767, 15)]), 40),
        ("metadata bomb: 16384 bins and nothing more", b"\x0a\x00\x04" + packed([(14, 4), (16384, 15)]), 40),
        ("metadata bomb: state table of 2^15", b"\x0a\x00\x01" + packed([(15, 4), (2, 15)]) + bytes(30), 40),
        ("stream without bins", b"\x0a\x00\x01" + packed([(0, 4), (0, 15)]) + bytes(9), 40),
        (
            "stream with weights short of its table",
            b"\x0a\x00\x01" + packed([(3, 4), (2, 15)]) + bytes(30),
            40,
        ),
        (
            "stream with offsets wider than its lane",
            b"\x0a\x00\x01" + packed([(0, 4), (1, 15), (0, 8), (9, 4)]) + bytes(30),
            40,
        ),
        (
            "stream with bits after its metadata",
            b"\x0a\x00" + one_bin[:4] + bytes([one_bin[4] | 128]) + one_bin[5:],
            40,
        ),
    ]:
        yield name, SOLO, payload, None, length


def _refused_gaps():
    head, one = b"\x05\x00\x10", stream([1], 1)
    for name, payload in [
        ("gaps and no count", head),
        ("gaps for nothing", head + b"\x00\x00\x00"),
        ("gaps for more than there is", head + varint(51) + b"\x00" + stream([1] * 51, 1)),
        ("gaps count padded", head + b"\x81\x00\x00" + one),
        ("gaps alone", head + b"\x01\x00"),
        ("gap cut", head + b"\x01" + stream([3], 1)[:-1]),
        ("gap negative", head + b"\x02" + stream([5, -2], 1) + stream([1, 1], 1)),
        ("gap beyond the words", head + b"\x01" + stream([50], 1) + one),
        ("gaps that add up beyond the words", head + b"\x02" + stream([25, 24], 1) + stream([1, 1], 1)),
        ("gaps that add up to 2^32", head + b"\x03" + stream([(1 << 31) - 1] * 3, 4) + stream([1] * 3, 1)),
        ("gap of 8 bytes", head + b"\x01" + stream([3], 8) + one),
        ("gaps before a value of 0", head + b"\x02\x00" + stream([1, 0], 1)),
        ("gaps before zeros", head + b"\x01\x00\x00"),
        ("gaps in gaps", head + b"\x01" + gapped([3], 1) + one),
        ("gaps before values with gaps", head + b"\x01\x00" + gapped([1], 1)),
        ("value wider than the word, behind a gap", head + b"\x01\x00" + stream([1], 8)),
        ("bytes after values with gaps", head + b"\x01\x00" + one + b"\x00"),
    ]:
        yield name, SOLO, payload, None, 200


def _refused_lists():
    for name, body in [
        ("count missing", b""),
        ("count beyond the words", varint(11) + bytes(11) + b"\x02" * 11),
        ("count of 2^63", varint(1 << 63)),
        ("gap beyond the words", b"\x01\x0a\x02"),
        ("gaps that add up beyond the words", b"\x02\x05\x05\x02\x02"),
        ("gaps that add up to 2^64", b"\x02" + varint(1 << 63) + varint(1 << 63) + b"\x02\x02"),
        ("gap of 2^64 - 1", b"\x01" + varint((1 << 64) - 1) + b"\x02"),
        ("difference of 0", b"\x01\x00\x00"),
        ("difference wider than the word", b"\x01\x00" + varint(1 << 32)),
        ("varint padded", b"\x01\x80\x00\x02"),
        ("count padded", b"\x81\x00\x00\x02"),
        ("varint of 11 bytes", b"\x01\x00\x82" + b"\x80" * 9 + b"\x01"),
        ("number missing", b"\x02\x00\x00\x02"),
        ("number cut", b"\x01\x00\x82"),
        ("bytes after a list", b"\x01\x00\x02\x00"),
        ("bytes after an empty list", b"\x00\x00"),
        ("unfinished bytes after a list", b"\x01\x00\x02\x80"),
    ]:
        yield name, SPARSE, b"\x0a\x00" + body, bytes(40), 40
    yield "varint of 65 bits", SPARSE, b"\x06\x00\x01\x00\x82" + b"\x80" * 8 + b"\x02", bytes(40), 40
    yield "tail cut", SPARSE, b"\x06\x00\x00ab", bytes(15), 15


def _refused_groups():
    base = struct.pack("<10f", *[1.0] * 5, *[2.0] * 5)
    for name, payload in [
        ("groups of integers", b"\x05\x00\x01\x00"),
        ("no group", b"\x0a\x00\x00\x00"),
        ("group count missing", b"\x0a\x00"),
        ("group start twice", b"\x0a\x00\x03\x80\x01\x00\x00\x00\x00"),
        ("group start beyond the exponents", b"\x0a\x00\x02\x80\x02\x00\x00"),
        ("group without a word", b"\x0a\x00\x03\x01\x7f\x00\x00\x00"),
        ("group without a stream", b"\x0a\x00\x02\x80\x01\x00"),
        ("bytes after the groups", b"\x0a\x00\x02\x80\x01\x00\x00\x00"),
    ]:
        yield name, EXP, payload, base, 40
    yield "group start beyond, over 255 groups", EXP, b"\x0a\x00\xff" + b"\x01" * 37, base, 40


def _refused_casts():
    for name, payload, base, length in [
        ("cast to itself", b"\x0a\x0a\x00", 40, 40),
        ("cast of integers", b"\x05\x09\x00", 40, 20),
        ("cast to integers", b"\x0a\x03\x00", 40, 20),
        ("cast of unknown words", b"\x0e\x09\x00", 40, 20),
        ("cast head missing", b"\x0a", 40, 20),
        ("cast of too few words", b"\x0a\x09\x00", 36, 20),
        ("cast of too many words", b"\x0a\x09\x00", 44, 20),
        ("cast of a broken word", b"\x0a\x09\x00", 41, 20),
        ("cast to a broken word", b"\x0a\x09\x00", 40, 21),
        ("cast without a list", b"\x0a\x09", 40, 20),
        ("cast with bytes after the list", b"\x0a\x09\x00\x00", 40, 20),
    ]:
        yield name, CAST, payload, bytes(base), length


def _refused_calls():
    equal = b"\x0a\x00\x00"
    yield "raw too short", RAW, b"abc", None, 4
    yield "payload longer than the chunk", RAW, b"abcd", None, 3
    yield "frame longer than the chunk", ZSTD, frame(b"abc"), None, 3
    yield "encoding unknown", 9, b"abc", None, 3
    yield "encoding negative", -1, b"abc", None, 3
    yield "chunk longer than 512 KiB", SOLO, equal, None, (512 << 10) + 4
    yield "chunk of negative length", RAW, b"", None, -1
    yield "empty chunk by another encoding", SOLO, b"", None, 0
    for encoding, name in (
        (PATCH, "patch"),
        (SPARSE, "sparse"),
        (EXP, "exp"),
        (DIFF, "diff"),
        (CAST, "cast"),
    ):
        payload = frame(b"", declared=100, blocks=[run_block(0, 100)]) if encoding == PATCH else equal
        payload = {EXP: b"\x0a\x00\x01\x00", CAST: b"\x0a\x09\x00"}.get(encoding, payload)
        length = 100 if encoding == PATCH else 40
        yield f"base missing for {name}", encoding, payload, None, length
        yield f"base empty for {name}", encoding, payload, b"", length
        if encoding in (SPARSE, EXP, DIFF):
            yield f"base too short for {name}", encoding, payload, bytes(39), 40
            yield f"base too long for {name}", encoding, payload, bytes(44), 40
    yield "base given for raw", RAW, b"abcd", b"abcd", 4
    yield "base given for zstd", ZSTD, frame(b"", declared=40, blocks=[run_block(0, 40)]), bytes(40), 40
    yield "base given for solo", SOLO, equal, bytes(40), 40


def refused():
    frames = [(name, ZSTD, payload, None, 1000) for name, payload in _refused_frames()]
    frames += [(f"{name}, over a base", PATCH, payload, b"base", 1000) for name, payload in _refused_frames()]
    others = [
        _refused_words(),
        _refused_gaps(),
        _refused_lists(),
        _refused_groups(),
        _refused_casts(),
        _refused_calls(),
    ]
    return [
        {
            "name": name,
            "encoding": encoding,
            "length": length,
            "base": None if base is None else base.hex(),
            "payload": payload.hex(),
        }
        for name, encoding, payload, base, length in [*frames, *(row for part in others for row in part)]
    ]


def _frozen_inputs():
    """Chunks and bases that look like weights, small, for every encoding and word type."""
    rng = random.Random(7)
    for word in range(14):
        width = WIDTHS[word]
        scale = 1 << (width - 3)
        old = [int(rng.gauss(0, scale / 40)) % (1 << width) for _ in range(300)]
        new = [(w + rng.choice((0, 0, 0, 1, -1, 2))) % (1 << width) for w in old]
        few = [w if place % 90 else (w + 1) % (1 << width) for place, w in enumerate(old)]
        yield word, _bytes(old, word), None
        yield (
            word,
            _bytes(new, word) + b"tail"[: width // 8 - 1],
            _bytes(old, word) + b"xyzabcd"[: width // 8 - 1],
        )
        yield word, _bytes(few, word), _bytes(old, word)
    text = json.dumps({f"layer.{i}.weight": [i, 2 * i] for i in range(60)}).encode()
    yield 0, text, None
    yield 0, text[:700] + b"changed" + text[700:], text


def freeze():
    """Payloads that the implementation writes today, each checked here; kept so that they decode for ever."""
    from modelreg.format.delta import WordType, encode

    rows = []
    for word, chunk, base in _frozen_inputs():
        encoded = encode(chunk, WordType(word), base)
        used = base if encoded.encoding.needs_base else None
        name = f"{encoded.encoding.name} of word type {word}, {len(rows)}"
        rows.append(_row(name, int(encoded.encoding), encoded.payload, used, chunk))
    return rows


def render(rows):
    return json.dumps(rows, indent=1) + "\n"


DOCUMENTS = {"valid.json": valid, "refused.json": refused}


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file_name, rows in DOCUMENTS.items():
        (VECTORS / file_name).write_text(render(rows()))
    if sys.argv[1:] == ["freeze"]:
        known = (
            json.loads((VECTORS / "frozen.json").read_text()) if (VECTORS / "frozen.json").exists() else []
        )
        seen = {row["payload"] for row in known}
        (VECTORS / "frozen.json").write_text(
            render(known + [row for row in freeze() if row["payload"] not in seen])
        )
