"""What a client of the gateway asks for. Specified in docs/spec/gateway.md, sections 1 to 3."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from modelreg.errors import FormatError
from modelreg.format.cid import Cid

__all__ = ["PROBE", "BlockRequest", "Form", "Scope", "Unacceptable", "parse_range", "parse_request"]

PROBE = "bafkqaaa"
"""The identity CID of no bytes, by which clients find out whether a gateway answers."""

_PREFIX = "/ipfs/"
_MAX_PATH = 1024
_WORD = re.compile(r"[0-9A-Za-z]{2,200}")
_RANGE = re.compile(r"bytes=(\d{0,10})-(\d{0,10})")


class Form(Enum):
    """How blocks are sent; the value is the media type."""

    RAW = "application/vnd.ipld.raw"
    CAR = "application/vnd.ipld.car"


class Scope(Enum):
    """How much of a DAG an archive holds. An entity of our codecs is one block."""

    BLOCK = "block"
    ENTITY = "entity"
    ALL = "all"


class Unacceptable(Exception):  # noqa: N818  it says no, and is no defect
    """Ends a request with an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """A block, or the DAG below it. `cid` is None for the probe."""

    cid: Cid | None
    form: Form
    scope: Scope = Scope.ALL
    only_if_cached: bool = False

    @property
    def etag(self) -> str:
        """The same bytes for ever for a block; archives are equal only as sets of blocks."""
        name = self.cid or PROBE
        return f'"{name}.raw"' if self.form is Form.RAW else f'W/"{name}.car.{self.scope.value}"'


def parse_request(path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> BlockRequest:
    """Understand a request.

    Args:
        path: of the URL, beginning with `/ipfs/`.
        query, headers: as they came; the map of headers must not mind case.

    Raises:
        Unacceptable: 400, 404 or 406.
    """
    name = path[:_MAX_PATH].removeprefix(_PREFIX).removesuffix("/")
    form, parameters = _form(query, headers.get("Accept", ""))
    cached = "only-if-cached" in headers.get("Cache-Control", "").lower()
    cid = None if name == PROBE else _cid(name)
    if cid is None:
        return BlockRequest(None, Form.RAW)
    if form is Form.RAW:
        return BlockRequest(cid, form, only_if_cached=cached)
    _check_archive(query.get("car-version") or parameters.get("version", "1"))
    return BlockRequest(cid, form, _scope(query), cached)


def _cid(name: str) -> Cid:
    if "/" in name:
        raise Unacceptable(400, "paths below a CID are not resolved: ask for blocks by their CIDs")
    if not _WORD.fullmatch(name):
        raise Unacceptable(400, "a CID is expected after /ipfs/")
    try:
        return Cid.parse(name)
    except FormatError:
        raise Unacceptable(
            404, "CIDs here are base32, version 1, raw or dag-cbor, blake3 or sha2-256"
        ) from None


def _form(query: Mapping[str, str], accept: str) -> tuple[Form, dict[str, str]]:
    """The media type; the parameter wins over the header (trustless gateway, section 2.2)."""
    wanted = query.get("format")
    if wanted is not None:
        for form in Form:
            if wanted == form.name.lower():
                return form, _parameters(accept, form)
        raise Unacceptable(406, "format is raw or car")
    for form in Form:
        if form.value in accept.lower():
            return form, _parameters(accept, form)
    raise Unacceptable(406, "this gateway gives verifiable bytes alone: ask for format=raw or format=car")


def _parameters(accept: str, form: Form) -> dict[str, str]:
    for part in accept.lower().split(","):
        kind, *rest = (word.strip() for word in part.split(";"))
        if kind == form.value:
            return dict(word.partition("=")[::2] for word in rest)
    return {}


def _check_archive(version: str) -> None:
    if version != "1":
        raise Unacceptable(400, "archives are of CAR version 1")


def _scope(query: Mapping[str, str]) -> Scope:
    try:
        return Scope(query.get("dag-scope", Scope.ALL.value))
    except ValueError:
        raise Unacceptable(400, "dag-scope is block, entity or all") from None


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range of bytes that is asked for, as start and end; None for all (RFC 9110, section 14).

    Raises:
        Unacceptable: 416, the range begins beyond the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= size or start >= end:
        raise Unacceptable(416, f"the block has {size} bytes")
    return start, end
