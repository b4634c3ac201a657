"""Where ModelRegistry keeps its state, slot by slot. Specified in docs/spec/ledger.md, section 5.

The arithmetic is that of the Solidity documentation, "Layout of State Variables in Storage".
"""

from collections.abc import Sequence

from modelreg.errors import FormatError
from modelreg.format.digest import keccak256

__all__ = [
    "CHANNEL_WORDS",
    "GRANT_WORDS",
    "MODEL_IDS",
    "NAMESPACE_WORDS",
    "RELEASE_WORDS",
    "VARIABLES",
    "array_at",
    "channel_slot",
    "fields",
    "grant_slot",
    "head_slot",
    "in_mapping",
    "model_slot",
    "namespace_slot",
    "release_slot",
    "string_from_words",
    "string_slots",
    "version_slot",
    "yank_reason_slot",
]

# Name in the artifact's storageLayout -> slot.
VARIABLES = {
    "_namespaces": 0,
    "_grants": 1,
    "_models": 2,
    "_heads": 3,
    "_versions": 4,
    "_channels": 5,
    "_releases": 6,
    "_yankReasons": 7,
    "_modelIds": 8,
}
MODEL_IDS = VARIABLES["_modelIds"]
NAMESPACE_WORDS = 2
GRANT_WORDS = 1
CHANNEL_WORDS = 3
RELEASE_WORDS = 7

_WORD = 32
_SLOTS = 1 << 256
_SHORT_MAX = 31


def _hashed(*words: bytes) -> int:
    return int.from_bytes(keccak256(b"".join(words)), "big")


def _word(number: int) -> bytes:
    return number.to_bytes(_WORD, "big")


def in_mapping(slot: int, *keys: bytes) -> int:
    """The slot of mapping[key]…; keys are words, or addresses of 20 bytes."""
    for key in keys:
        slot = _hashed(key.rjust(_WORD, b"\0"), _word(slot))
    return slot


def namespace_slot(namespace: bytes) -> int:
    """First of two slots: owner, pending owner. `namespace` is a label's word."""
    return in_mapping(VARIABLES["_namespaces"], namespace)


def grant_slot(namespace: bytes, account: bytes) -> int:
    """The slot of an account's roles (low 96 bits) and the owner they were granted under (160 bits)."""
    return in_mapping(VARIABLES["_grants"], namespace, account)


def model_slot(model: bytes) -> int:
    """First of three slots: name, branches, channels."""
    return in_mapping(VARIABLES["_models"], model)


def head_slot(model: bytes, branch: bytes) -> int:
    """The slot of a branch's head."""
    return in_mapping(VARIABLES["_heads"], model, branch)


def version_slot(model: bytes, version: bytes) -> int:
    """The slot of the release that has a version."""
    return in_mapping(VARIABLES["_versions"], model, version)


def channel_slot(model: bytes, channel: bytes) -> int:
    """The slot of the release that a channel names."""
    return in_mapping(VARIABLES["_channels"], model, channel)


def release_slot(release: bytes) -> int:
    """First of the release record's seven slots."""
    return in_mapping(VARIABLES["_releases"], release)


def yank_reason_slot(release: bytes) -> int:
    """The slot of the string that says why a release was yanked."""
    return in_mapping(VARIABLES["_yankReasons"], release)


def array_at(slot: int, index: int) -> int:
    """The slot of an element of a dynamic array of words whose length is in `slot`."""
    return (_hashed(_word(slot)) + index) % _SLOTS


def fields(word: int, *bits: int) -> tuple[int, ...]:
    """Split a packed word from its low end into fields of these widths; the rest must be zero."""
    values = []
    for width in bits:
        values.append(word & ((1 << width) - 1))
        word >>= width
    if word:
        raise FormatError("packed storage word", expected=f"{sum(bits)} bits", found=f"more: {word:#x}")
    return tuple(values)


def string_slots(slot: int, head: int, most: int) -> list[int]:
    """The further slots of a string, given its own slot's word. Raises FormatError above `most` bytes."""
    if head & 1 == 0:
        return []
    size = head >> 1
    if not _SHORT_MAX < size <= most:
        raise FormatError("string in storage", expected=f"32 to {most} bytes", found=size)
    return [array_at(slot, index) for index in range(-(-size // _WORD))]


def string_from_words(head: int, words: Sequence[int]) -> bytes:
    """The string whose own slot holds `head` and whose further slots hold `words`."""
    if head & 1:
        raw, size = b"".join(map(_word, words)), head >> 1
    else:
        raw, size = _word(head)[:_SHORT_MAX], (head & 0xFF) >> 1
    if len(raw) < size or any(raw[size:]) or (not head & 1 and size > _SHORT_MAX):
        raise FormatError("string in storage", expected=f"{size} bytes, then zeros", found=raw.hex()[:80])
    return raw[:size]
