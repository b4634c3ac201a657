"""What a node answers over HTTP about its receipts. Follows docs/spec/openings.md, section 6.

The node is not trusted: sizes and times have limits, redirects are not followed, and nothing is decompressed.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from tempfile import SpooledTemporaryFile
from threading import Timer
from typing import BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from modelreg.errors import (
    FormatError,
    InputError,
    ModelregError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
)
from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
from modelreg_verifier.receipts.access import HEADER
from modelreg_verifier.receipts.claim import Claim, read_claim
from modelreg_verifier.receipts.inclusion import MAX_JSON_BYTES as INCLUSION_BYTES_MAX
from modelreg_verifier.receipts.inclusion import Inclusion
from modelreg_verifier.receipts.opening import BYTES_MAX, Opening, read_opening
from modelreg_verifier.receipts.pages import PAGE_MAX

__all__ = ["KeepingError", "NodeClient", "Patience"]

_CONNECT_SECONDS = 20.0
_FREE_SECONDS = 20.0
_HEADER_BYTES_MAX = 4 << 20
_STEP = 256 << 10
_IN_MEMORY = 16 << 20
_OK = 200
# What else the node says is final; where it has trouble, or is in the middle of something, it is asked again.
_STATUSES: dict[int, type[ModelregError]] = {401: NotPermittedError, 403: NotPermittedError}
_STATUSES |= dict.fromkeys((408, 429), UnreachableError)
_SERVER_ERRORS = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_Answer = TypeVar("_Answer")


class KeepingError(ModelregError):
    """This machine cannot keep what the node answered: no fault of the node's."""

    exit_code = UnreachableError.exit_code


class Patience:
    """Asks again what got no answer, until so many seconds were spent waiting, all questions together.

    Args:
        seconds: what a node has to answer in. An answer that comes within 20 seconds costs nothing of it.
        sleep: waits so many seconds.
    """

    def __init__(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._left, self._sleep = seconds, sleep

    def wait_for(self, ask: Callable[[float], _Answer]) -> _Answer:
        """What `ask` gives, which is told how many seconds it may take.

        Raises what it raises, UnreachableError only when the time is used up.
        """
        pause = _FIRST_PAUSE
        while True:
            start = time.monotonic()
            try:
                found = ask(max(self._left, 0.0) + _FREE_SECONDS)
            except UnreachableError:
                self._left -= time.monotonic() - start + pause
                if self._left <= 0:
                    raise
            else:
                self._left -= max(0.0, time.monotonic() - start - _FREE_SECONDS)
                return found
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class NodeClient:
    """A node at a URL.

    Args:
        url: where it serves; the paths of the specification are put behind it.
        seconds: the most that one answer may take in all, where nothing else is said.
        opening_bytes: the largest opening, or claim, that is read.

    Raises:
        InputError: a URL of another form.
    """

    def __init__(self, url: str, *, seconds: float = 600.0, opening_bytes: int = BYTES_MAX) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts = urlsplit("")
            self._host, self._port = "", None
        if parts.scheme not in ("http", "https") or not self._host or parts.query or not url.isascii():
            raise InputError("not a node", expected="http://HOST:PORT or https://…", found=ascii(url)[:90])
        self._base, self._safe = parts.path.rstrip("/"), parts.scheme == "https"
        self._seconds, self._opening_bytes = seconds, opening_bytes

    def receipts(self, epoch: int, first: int, count: int) -> Iterator[SignedReceipt]:
        """The receipts from seq `first` on, as the node gives them; nothing of them is checked.

        Raises:
            UnreachableError: no answer, or fewer receipts than `count`.
            FormatError: an answer of another form.
        """
        end = first + count
        while first < end:
            wanted = min(PAGE_MAX, end - first)
            path = f"/receipts?epoch={epoch}&first={first}&count={wanted}"
            with self._get(path, {}, wanted * SIGNED_BYTES) as file:
                raw = file.read()
            if not raw or len(raw) % SIGNED_BYTES:
                raise FormatError(
                    "receipts of the node", expected=f"{SIGNED_BYTES} bytes each", found=len(raw)
                )
            if len(raw) < wanted * SIGNED_BYTES:
                raise UnreachableError(
                    "the node withholds receipts", expected=wanted, found=len(raw) // SIGNED_BYTES
                )
            for at in range(0, len(raw), SIGNED_BYTES):
                yield SignedReceipt.from_bytes(raw[at : at + SIGNED_BYTES])
            first += len(raw) // SIGNED_BYTES

    def opening(self, digest: bytes, request: str, seconds: float | None = None) -> Opening:
        """The whole opening of a receipt.

        Args:
            digest: the receipt's, 32 bytes.
            request: the header that asks for it, as `sign_request` makes it.
            seconds: the most that it may take.

        Raises:
            NotFoundError: the node has none, or none that opens the receipt.
            NotPermittedError: it shows none to this account.
            UnreachableError: no answer in time, or one that says so.
            KeepingError: this machine has no place for it.
            FormatError: an answer that is no opening.
        """
        path, most = f"/openings/0x{digest.hex()}", self._opening_bytes
        with self._get(path, {HEADER: request}, most + _HEADER_BYTES_MAX, seconds) as file:
            return read_opening(file, max_bytes=most)

    def claim(self, digest: bytes, segment: int, request: str, seconds: float | None = None) -> Claim:
        """What each operator of a segment made, as the node claims.

        Args:
            digest: the receipt's, 32 bytes.
            segment: its number.
            request: the header that asks for an opening, as `sign_request` makes it.
            seconds: the most that it may take.

        Raises: as `opening`.
        """
        path, most = f"/claims/0x{digest.hex()}?segment={segment}", self._opening_bytes
        with self._get(path, {HEADER: request}, most + _HEADER_BYTES_MAX, seconds) as file:
            return read_claim(file, max_bytes=most)

    def inclusion(self, digest: bytes) -> Inclusion:
        """The proof that a receipt, given by its digest of 32 bytes, is anchored; nothing of it is checked.

        Raises:
            NotFoundError: the node has none, or none yet.
            UnreachableError: no answer in time.
            FormatError: an answer of another form.
        """
        with self._get(f"/proofs/0x{digest.hex()}", {}, INCLUSION_BYTES_MAX) as file:
            return Inclusion.from_json(file.read())

    def document(self, path: str, most: int) -> bytes:
        """What the node answers at a path, of at most `most` bytes.

        Raises:
            NotFoundError: there is nothing.
            UnreachableError: no answer.
            FormatError: it is longer.
        """
        with self._get(path, {}, most) as file:
            return file.read()

    @contextmanager
    def _get(
        self, path: str, headers: Mapping[str, str], most: int, seconds: float | None = None
    ) -> Iterator[BinaryIO]:
        with SpooledTemporaryFile(_IN_MEMORY) as kept:
            file = cast("BinaryIO", kept)
            try:
                self._ask(path, headers, file, most, self._seconds if seconds is None else seconds)
            except (OSError, HTTPException, UnicodeError) as error:
                found = str(error)[:200] or type(error).__name__
                raise UnreachableError(f"no answer from {self._host}", found=ascii(found)) from None
            file.seek(0)
            yield file

    def _ask(self, path: str, headers: Mapping[str, str], file: BinaryIO, most: int, seconds: float) -> None:
        kind = HTTPSConnection if self._safe else HTTPConnection
        connection = kind(self._host, self._port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            # An opening is computed before its first byte comes: that can take long.
            connection.sock.settimeout(seconds)
            with _deadline(connection.sock, seconds):
                headers = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
                connection.request("GET", self._base + path, headers=headers)
                _take(connection.getresponse(), file, most, seconds)
        finally:
            connection.close()


@contextmanager
def _deadline(connected: socket.socket, seconds: float) -> Iterator[None]:
    """End a connection after so long, whoever waits for it: a timeout begins anew with each byte."""

    def stop() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _take(answer: HTTPResponse, file: BinaryIO, most: int, seconds: float) -> None:
    """Write the body to a file. Raises as `NodeClient.opening`, and what the connection raises."""
    end = time.monotonic() + seconds
    if answer.status != _OK:
        final: type[ModelregError] = NotFoundError if answer.status < _SERVER_ERRORS else UnreachableError
        kind = _STATUSES.get(answer.status, final)
        reason = ascii(answer.read(2048).decode("utf-8", "replace"))[:200]
        raise kind(f"the node answers with status {answer.status}", found=reason)
    size = 0
    while piece := answer.read(_STEP):
        size += len(piece)
        if size > most:
            raise FormatError("answer of the node", expected=f"at most {most} bytes", found="more")
        _keep(file, piece)
    _keep(file, b"")
    if time.monotonic() >= end or answer.length:
        raise IncompleteRead(b"", answer.length)


def _keep(file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
        if not piece:
            file.flush()
    except OSError as error:
        raise KeepingError("cannot keep what the node answers", found=error.strerror) from None
