"""Blocks out of an IPFS trustless gateway, over HTTP. Specified in docs/spec/store.md, section 10.

The protocol is https://specs.ipfs.tech/http-gateways/trustless-gateway/, of which single raw blocks are used.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelreg.errors import FormatError, InputError, NotFoundError, NotPermittedError, UnreachableError
from modelreg.format.block import MAX_BLOCK_BYTES, check_block
from modelreg.format.cid import Cid
from modelreg.format.squash import OFFER_BYTES_MAX, Squash, read_offer
from modelreg.store.remote import BusyError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Gateway"]

_RAW, _JSON = "application/vnd.ipld.raw", "application/json"
_PIECE_BYTES = 64 << 10
_ABSENT = frozenset({404, 410, 451})
_BUSY = frozenset({408, 429})
_SERVER_ERRORS = 500
_REFUSED = frozenset({401, 403})


class Gateway:
    """One gateway. A redirection is no answer: nobody knows where it leads.

    Attributes:
        path: what stands between the host and `/ipfs/…`, mostly nothing.

    Args:
        url: what stands before `/ipfs/…`.

    Raises:
        InputError: it is no URL of HTTP.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # a port or a bracket that cannot be
            parts, port = urlsplit(""), None
        usable = parts.scheme in ("http", "https") and parts.hostname and port != 0
        if not usable or not parts.hostname or any(sign in url for sign in "?#@\\"):
            expected = "http://HOST:PORT or https://…"
            raise InputError("not a gateway", expected=expected, found=repr(url)[:90])
        self.path = parts.path.strip("/")
        self._url = url.rstrip("/")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{parts.scheme}://{host}" + (f":{port}" if port else "")

    async def fetch(self, cid: Cid, session: "aiohttp.ClientSession") -> bytes:
        """See AsyncSource."""
        block = await self._get(f"/ipfs/{cid}?format=raw", _RAW, MAX_BLOCK_BYTES, f"block {cid}", session)
        check_block(cid, block)
        return block

    async def squashes(self, release: bytes, session: "aiohttp.ClientSession") -> tuple[Squash, ...]:
        """The squashed differences that lead to a content root, by the node's word. Raises as `fetch`."""
        path = f"/squashes/0x{release.hex()}"
        return read_offer(await self._get(path, _JSON, OFFER_BYTES_MAX, "squashes on offer", session))

    async def _get(
        self, path: str, kind: str, most: int, what: str, session: "aiohttp.ClientSession"
    ) -> bytes:
        import aiohttp

        headers = {"Accept": kind, "Accept-Encoding": "identity"}
        try:
            async with session.get(self._url + path, headers=headers, allow_redirects=False) as response:
                self._check_status(what, response)
                return await _read(what, most, response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"[:300]
            raise UnreachableError(f"no answer from {self.name}", found=found) from None

    def _check_status(self, what: str, response: "aiohttp.ClientResponse") -> None:
        status = response.status
        if status == 200:
            return
        if status in _ABSENT:
            raise NotFoundError(f"{what} at {self.name}")
        if status in _REFUSED:
            raise NotPermittedError(f"{self.name} refuses us", found=f"HTTP {status}")
        if status in _BUSY or status >= _SERVER_ERRORS:
            after = response.headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() and len(after) < 5 else 0.0
            raise BusyError(f"{self.name} is busy", found=f"HTTP {status}", seconds=seconds)
        raise UnreachableError(f"{self.name} is no gateway for us", expected="HTTP 200", found=status)


async def _read(what: str, most: int, response: "aiohttp.ClientResponse") -> bytes:
    """The body; more than may be is a lie, whatever comes after."""
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > most:
            raise FormatError(what, expected=f"at most {most} bytes", found="more")
    return bytes(body)
