"""Canonical DAG-CBOR: one value, one encoding. Specified in docs/spec/blocks.md, section 3.

The rules are those of the DAG-CBOR specification of IPLD (https://ipld.io/specs/codecs/dag-cbor/spec/),
narrowed: no floats, and negative integers end at -2**63.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import cbor2

from modelreg.errors import FormatError
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.cid import CID_BYTES, Cid, read_link

__all__ = ["MAX_DEPTH", "Value", "decode", "encode", "links"]

MAX_DEPTH = 16

# A recursive alias would be exact, but then every caller has to narrow what it built itself.
Value: TypeAlias = bool | int | str | bytes | Cid | list[Any] | dict[str, Any] | None

_LINK_TAG = 42
_SCALARS = frozenset({type(None), bool, str, bytes, Cid})
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1

# Tag 42, a byte string of 37 bytes, and the first of these: the multibase prefix "identity".
_LINK_START = b"\xd8\x2a\x58" + bytes((1 + CID_BYTES,)) + b"\x00"


class _OnlyLinks(dict[int, Callable[[Any, bool], Any]]):
    """Decoders by tag: tag 42 is a link, every other tag is refused.

    cbor2 would otherwise build dates, big numbers, regular expressions, MIME messages, shared and cyclic
    references out of hostile bytes. It asks the mapping for each tag before its own decoders.
    """

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        raise FormatError("DAG-CBOR tag", expected=_LINK_TAG, found=tag)


def _write_link(encoder: cbor2.CBOREncoder, cid: Cid) -> None:
    encoder.write(_LINK_START + cid.raw)


_DECODERS = _OnlyLinks({_LINK_TAG: read_link})
_ENCODERS: dict[type, Callable[[cbor2.CBOREncoder, Any], None]] = {Cid: _write_link}


def encode(value: object, *, max_bytes: int = MAX_BLOCK_BYTES, max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value as canonical DAG-CBOR.

    Args:
        value: None, bool, int (-2**63 to 2**64-1), str, bytes, Cid, or lists and string-keyed dicts of these;
            subclasses of these types are refused.
        max_bytes: the size above which the result is refused.
        max_depth: how deep lists and dicts may nest; `[]` is one deep.

    Raises:
        FormatError: another type, an integer out of range, an unpaired surrogate, too deep or too large.
    """
    # Telling cbor2 of an encoder takes longer than a small block does.
    encoders = _ENCODERS if _check(value, max_depth) else None
    try:
        block = cbor2.dumps(value, canonical=True, encoders=encoders)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
        raise FormatError(
            "DAG-CBOR value", expected="text that UTF-8 can write", found=_brief(error)
        ) from None
    _check_size(len(block), max_bytes)
    return block


def decode(block: bytes, *, max_bytes: int = MAX_BLOCK_BYTES, max_depth: int = MAX_DEPTH) -> Value:
    """Read canonical DAG-CBOR, and nothing else: what `encode` would not write is refused.

    Raises:
        FormatError: too large, too deep, not well-formed, a type or tag out of the data model, not canonical.
    """
    _check_size(len(block), max_bytes)
    try:
        # A link is a tag, and cbor2 counts tags as depth.
        value: Value = cbor2.loads(
            block,
            semantic_decoders=_DECODERS,
            max_depth=max_depth + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except cbor2.CBORDecodeError as error:
        raise FormatError("DAG-CBOR block", expected="well-formed DAG-CBOR", found=_brief(error)) from None
    if encode(value, max_bytes=max_bytes, max_depth=max_depth) != block:
        raise FormatError("DAG-CBOR block", expected="the canonical encoding", found="another one")
    return value


def links(value: object) -> Iterator[Cid]:
    """All links in a value, in the order of its encoding if it was decoded; repeated ones too."""
    rest: list[Any] = [value]
    while rest:
        item = rest.pop()
        kind = type(item)
        if kind is Cid:
            yield item
        elif kind is list:
            rest.extend(reversed(item))
        elif kind is dict:
            rest.extend(reversed(item.values()))


def _check(value: object, max_depth: int) -> bool:
    """Whether a value of the data model has links."""
    level, links = [value], False
    for _ in range(max_depth + 1):
        links = links or any(type(item) is Cid for item in level)
        level = _children(level)
        if not level:
            return links
    raise FormatError("DAG-CBOR value", expected=f"at most {max_depth} levels", found="more")


def _children(level: list[Any]) -> list[Any]:
    """Check one level of a value's tree and list the next."""
    below: list[Any] = []
    for item in level:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is list:
            below.extend(item)
        elif kind is dict:
            _check_keys(item)
            below.extend(item.values())
        elif kind is not int or not _INT_MIN <= item <= _INT_MAX:
            raise FormatError("DAG-CBOR value", expected="a type of the data model", found=_describe(item))
    return below


def _check_keys(entries: dict[Any, Any]) -> None:
    for key in entries:
        if type(key) is not str:
            raise FormatError("DAG-CBOR map key", expected="text", found=_describe(key))


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FormatError("DAG-CBOR block", expected=f"at most {max_bytes} bytes", found=size)


def _describe(item: object) -> str:
    if type(item) is int and not _INT_MIN <= item <= _INT_MAX:
        return "an integer out of range"
    return type(item).__name__


def _brief(error: Exception) -> str:
    cause = error.__cause__
    return str(cause) if isinstance(cause, FormatError) else ascii(str(error))[:90]
