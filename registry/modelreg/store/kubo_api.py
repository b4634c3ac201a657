"""The calls of Kubo's RPC that we need, through ipfshttpclient, with our errors. See docs/adr/0012.

The RPC is described at https://docs.ipfs.tech/reference/kubo/rpc/.
"""

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from modelreg.errors import (
    FormatError,
    InputError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
)
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.car import car_pieces
from modelreg.format.cid import Cid

if TYPE_CHECKING:
    import ipfshttpclient
    import requests

__all__ = ["KuboAccess", "KuboApi"]

_T = TypeVar("_T")

_CONNECT_SECONDS = 5.0
_PIECE_BYTES = 1 << 20
_READ_BYTES = 64 << 10
_PAUSES = (0.2, 1.0, 3.0)
_GONE_SECONDS = 30.0
_BUSY = frozenset({429, 502, 503, 504})
_REFUSED = frozenset({401, 403})
_ABSENT = ("block was not found locally", "ipld: could not find", "blockstore: block not found")
_UNPINNED = ("is not pinned", "not pinned or pinned indirectly")
_NOT_IN_TIME = "context deadline exceeded"
_HINT = "check that the daemon runs, and its address (--kubo-api, kubo.api in config.toml, MODELREG_KUBO_API)"


class _BusyError(Exception):
    """Worth another try soon: Kubo restarts, or has too much to do."""


class _SilentError(Exception):
    """No answer in time; another try would take as long."""


@dataclass(frozen=True, slots=True)
class KuboAccess:
    """How to reach a daemon.

    Attributes:
        address: a URL such as `http://127.0.0.1:5001`, or a multiaddr such as `/ip4/127.0.0.1/tcp/5001`.
        secret: what `API.Authorizations` of Kubo expects: `USER:PASSWORD`, or a bearer token.
    """

    address: str
    secret: str | None = field(default=None, repr=False)


class _Archive:
    """Blocks as a file to read an archive from, a block at a time: nothing of it is copied twice."""

    def __init__(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        self._pieces = car_pieces(blocks)

    def read(self, _size: int) -> bytes:
        return next(self._pieces, b"")


class KuboApi:
    """One daemon. Every method may be called from several threads.

    Args:
        access: where it is.
        seconds: how long it may be silent within an answer.

    Raises, from every method: UnreachableError where the daemon does not answer or fails, NotPermittedError
    where it refuses us. One that did not answer is not asked for blocks of its repository again for 30 s, or
    until another call succeeds: who has them from elsewhere need not wait for it at each of them.
    """

    def __init__(self, access: KuboAccess, *, seconds: float = 60.0) -> None:
        self._address, self._base = _multiaddr(access.address)
        self._secret = access.secret
        self._seconds = seconds
        self._limit = threading.local()
        self._gone_until = 0.0
        self.name = f"Kubo at {access.address}"

    def version(self) -> str:
        """The daemon's version."""
        return str(self._call(lambda client: client.version()["Version"]))

    def block(self, cid: Cid, *, network_seconds: float | None = None) -> bytes:
        """A block, unverified, of at most 1 MiB.

        Args:
            cid: which.
            network_seconds: how long Kubo may look for it at its peers; None to ask nobody.

        Raises:
            NotFoundError: it is not in Kubo's repository, and none of its peers gave it in time.
            FormatError: it is over the limit.
        """
        options = {} if network_seconds is None else {"timeout": f"{network_seconds:g}s"}
        block = self._call(
            lambda client, **timeout: client.block.get(
                str(cid), offline=network_seconds is None, opts=dict(options), **timeout
            ),
            absent=f"block {cid} at {self.name}",
            more_seconds=network_seconds or 0.0,
            elsewhere=network_seconds is None,
        )
        if len(block) > MAX_BLOCK_BYTES:
            raise FormatError(f"block {cid}", expected=f"at most {MAX_BLOCK_BYTES} bytes", found="more")
        return bytes(block)

    def size(self, cid: Cid) -> int:
        """The bytes of a block in Kubo's repository. Raises NotFoundError."""
        return self._call(
            lambda client: int(client.block.stat(str(cid), offline=True)["Size"]),
            absent=f"block {cid} at {self.name}",
            elsewhere=True,
        )

    def add(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        """Give Kubo some blocks in one request; it checks them against their CIDs."""
        options = {"pin-roots": "false", "stats": "true"}
        # Failures come inside a 200; the count comes only if all went well.
        taken = self._call(
            lambda client: client.dag.imprt(_Archive(blocks), opts=dict(options))["Stats"]["BlockCount"]
        )
        if taken != len(blocks):
            raise UnreachableError(f"{self.name} did not take all blocks", expected=len(blocks), found=taken)

    def pin(self, cid: Cid, name: str, *, seconds: float) -> None:
        """Pin a DAG, and see that it is pinned.

        Args:
            cid: its root.
            name: the pin's.
            seconds: how long Kubo may look for blocks that it lacks.
        """
        options = {"name": name, "timeout": f"{seconds:g}s"}
        self._call(
            lambda client, **timeout: client.pin.add(str(cid), opts=dict(options), **timeout),
            more_seconds=seconds,
        )
        if not self.has_pinned(cid):
            raise UnreachableError(
                f"{self.name} did not pin {cid}", expected="the pin in its list", found="none"
            )

    def has_pinned(self, cid: Cid) -> bool:
        """Whether a DAG is pinned by its root."""
        try:
            return self._call(
                lambda client: str(cid) in client.pin.ls(str(cid), type="recursive")["Keys"], absent="pin"
            )
        except NotFoundError:
            return False

    def unpin(self, cid: Cid) -> None:
        """Remove a pin. Raises NotFoundError if there is none."""
        self._call(lambda client: client.pin.rm(str(cid)), absent=f"pin of {cid} at {self.name}")

    def remove(self, cids: Iterable[Cid]) -> None:
        """Remove blocks, those that are not there without a word; a pinned one is an error."""
        for cid in cids:
            answers = self._call(
                # The library has no name for this call.
                lambda client, cid=cid: client._client.request(
                    "/block/rm", (str(cid),), opts={"force": "true"}, decoder="json"
                )
            )
            for answer in answers:
                if answer.get("Error") and not _says(answer["Error"], _ABSENT):
                    raise UnreachableError(f"{self.name} kept block {cid}", found=answer["Error"])

    def cids(self) -> Iterator[Cid]:
        """All blocks of Kubo's repository that could be ours; as it knows no codecs, each is `raw`."""
        try:
            with _translated(self.name), self._client.unstable.refs.local(stream=True) as answers:
                for answer in answers:
                    with suppress(FormatError):
                        yield Cid.parse(str(answer["Ref"]))
        except (_BusyError, _SilentError) as error:
            raise self._no_answer(str(error)) from None

    @cached_property
    def _client(self) -> "ipfshttpclient.Client":
        import ipfshttpclient

        # An argument that the library passes and urllib3 2 ignores.
        warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning)
        secret = self._secret or ""
        user, colon, password = secret.partition(":")
        headers = {} if not secret or colon else {"Authorization": f"Bearer {secret}"}
        client = ipfshttpclient.Client(
            self._address,
            self._base,
            session=True,
            chunk_size=_PIECE_BYTES,
            timeout=(_CONNECT_SECONDS, self._seconds),
            auth=(user, password) if colon else None,
            headers=headers,
        )
        client._client._session.hooks["response"].append(self._read_body)
        return client

    def _call(
        self,
        function: Callable[..., _T],
        *,
        absent: str | None = None,
        more_seconds: float = 0.0,
        elsewhere: bool = False,
    ) -> _T:
        """Call, and call again after a pause: every call of ours may be repeated.

        Args:
            function: given the client, and `timeout` if there are more seconds.
            absent: what NotFoundError says is missing; without it nothing can be.
            more_seconds: how long Kubo may take beyond the usual.
            elsewhere: others may have what is asked for, so that a daemon that is gone is not waited for.
        """
        seconds = self._seconds + more_seconds
        options = {"timeout": seconds} if more_seconds else {}
        if elsewhere and time.monotonic() < self._gone_until:
            raise self._no_answer("none lately")
        for pause in (*_PAUSES, None):
            self._limit.seconds = 2 * seconds
            try:
                with _translated(self.name, absent):
                    found = function(self._client, **options)
            except (_BusyError, _SilentError) as error:
                if pause is None or isinstance(error, _SilentError):
                    self._gone_until = time.monotonic() + _GONE_SECONDS
                    raise self._no_answer(str(error)) from None
                time.sleep(pause)
            else:
                self._gone_until = 0.0
                return found
        raise AssertionError

    def _no_answer(self, found: str) -> UnreachableError:
        return UnreachableError(f"no answer from {self.name}", found=found[:300], hint=_HINT)

    def _read_body(self, response: "requests.Response", *_: object, **__: object) -> None:
        """Read an answer before the library does, which knows neither a cap nor a deadline."""
        if response.url.partition("?")[0].endswith("/refs/local"):
            return  # long, and given line by line
        pieces, size = [], 0
        end = time.monotonic() + self._limit.seconds
        for piece in response.iter_content(_READ_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BLOCK_BYTES:
                break
            if time.monotonic() > end:
                response.close()
                raise _SilentError("an answer that comes in drops")
        response._content = b"".join(pieces)


@contextmanager
def _translated(name: str, absent: str | None = None) -> Iterator[None]:
    import requests
    import urllib3
    from ipfshttpclient import exceptions

    try:
        yield
    except exceptions.StatusError as error:  # with a message it is an ErrorResponse
        message = str(error.args[0]) if isinstance(error, exceptions.ErrorResponse) else ""
        status = getattr(getattr(error.original, "response", None), "status_code", None)
        raise _of_status(name, status, message, absent) from None
    except exceptions.TimeoutError as error:
        raise _SilentError(f"silence: {error}") from None
    # What breaks within a body comes as the errors of the libraries below.
    except (exceptions.Error, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _BusyError(" ".join(str(error).split())) from None
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _BusyError(f"an answer in no form of Kubo's: {type(error).__name__}") from None


def _of_status(name: str, status: int | None, message: str, absent: str | None) -> Exception:
    if absent is not None and _says(message, (*_ABSENT, *_UNPINNED, _NOT_IN_TIME)):
        return NotFoundError(absent)
    if status in _REFUSED:
        hint = "give it what its API.Authorizations expects: kubo.secret_file in config.toml"
        return NotPermittedError(f"{name} refuses us", found=f"HTTP {status}", hint=hint)
    if status in _BUSY:
        return _BusyError(f"HTTP {status}")
    if _says(message, (_NOT_IN_TIME,)):
        return UnreachableError(f"{name} found no peer that gave all of it in time", found=message[:300])
    found = message[:300] or f"HTTP {status}"
    return UnreachableError(f"{name} failed", found=found, hint="look at the log of the daemon")


def _says(message: str, texts: Sequence[str]) -> bool:
    return any(text in message for text in texts)


def _multiaddr(address: str) -> tuple[str, str]:
    """A multiaddr, and the path of the RPC, for a URL or a multiaddr."""
    if address.startswith("/"):
        return address, "api/v0"
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 5001)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.username:
        expected = "http://HOST:PORT or a multiaddr such as /ip4/127.0.0.1/tcp/5001"
        raise InputError("not the address of a Kubo daemon", expected=expected, found=repr(address)[:90])
    path = f"{parts.path.strip('/')}/api/v0".lstrip("/")
    return f"/{_kind(parts.hostname)}/{parts.hostname}/tcp/{port}/{parts.scheme}", path


def _kind(host: str) -> str:
    try:
        return f"ip{ip_address(host).version}"
    except ValueError:
        return "dns"
