"""Which source is asked for which block. Specified in docs/spec/store.md, section 10."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from modelreg.errors import ModelregError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.cid import Cid
from modelreg.store.base import BadAnswer
from modelreg.store.remote import AsyncSource, BusyError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Dispatcher", "Want"]

_FEWEST, _MOST = 1.0, 16.0
_QUICK_SECONDS, _LONG_SECONDS = 0.5, 2.0
_AT_ONCE = 3
_TRIES = 5
_FAILURES = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_LONGEST_WISH = 30.0
_TICK_SECONDS = 0.05
_IDLE_SECONDS = 5.0
_CONNECT_SECONDS, _SILENT_SECONDS, _BLOCK_SECONDS = 5.0, 15.0, 120.0


@dataclass(eq=False, slots=True)
class Want:
    """A block that is asked for; `users` wait for it now."""

    cid: Cid
    number: int
    future: "Future[bytes]"
    users: int = 0
    running: "dict[_Peer, asyncio.Task[None]]" = field(default_factory=dict)
    since: float = 0.0
    errors: "dict[_Peer, list[ModelregError]]" = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Peer:
    """A source and how it does: `seconds` are what its blocks took lately."""

    source: AsyncSource
    slots: float = 2.0
    running: int = 0
    failures: int = 0
    failed_at: float = 0.0
    resumes: float = 0.0
    banned: bool = False
    seconds: float = _QUICK_SECONDS

    @property
    def is_lost(self) -> bool:
        return self.banned or self.failures >= _FAILURES

    def is_free(self, now: float) -> bool:
        return not self.is_lost and self.running < int(self.slots) and now >= self.resumes

    def succeeded(self, seconds: float) -> None:
        """More at once while blocks come quickly, fewer when they queue up at the source."""
        self.failures = 0
        self.seconds += (seconds - self.seconds) / 4
        if seconds < _QUICK_SECONDS:
            self.slots = min(self.slots + 1 / self.slots, _MOST)
        elif seconds > _LONG_SECONDS:
            self.slots = max(self.slots / 2, _FEWEST)

    def failed(self, began: float, now: float, least: float) -> None:
        """Leave it alone for a while, longer each time; what fails together counts once."""
        if began < self.failed_at:
            return
        self.failures, self.failed_at = self.failures + 1, now
        self.slots = max(self.slots / 2, _FEWEST)
        self.resumes = now + max(least, min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE))


class Dispatcher:
    """Hands wants to sources. `add` and `hasten` are called from any thread, all else from the loop.

    Args:
        sources: whom to ask.
        note: told what they got wrong.
    """

    def __init__(self, sources: Sequence[AsyncSource], note: Callable[[BadAnswer], None]) -> None:
        self._peers = [_Peer(source) for source in sources]
        self._names = ", ".join(source.name for source in sources)
        self._note = note
        self._hasty: deque[Want] = deque()
        self._fresh: deque[Want] = deque()
        self._flying: dict[Want, None] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: asyncio.Task[None] | None = None

    def add(self, want: Want) -> None:
        """Ask for a block."""
        _loop().call_soon_threadsafe(self._take, want, self._fresh)

    def hasten(self, want: Want) -> None:
        """Ask for a block before others: somebody waits for it."""
        if not want.future.done():
            _loop().call_soon_threadsafe(self._take, want, self._hasty)

    def _take(self, want: Want, queue: deque[Want]) -> None:
        queue.append(want)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        self._assign()

    async def _run(self) -> None:
        """Look again now and then, for pauses end and blocks take too long; stop when nothing is asked."""
        idle = time.monotonic()
        while time.monotonic() < idle + _IDLE_SECONDS:
            await asyncio.sleep(_TICK_SECONDS)
            if self._hasty or self._fresh or self._flying:
                idle = time.monotonic()
                self._tidy()
                self._assign()
        session, self._session, self._runner = self._session, None, None
        if session is not None:
            await session.close()

    def _tidy(self) -> None:
        """Settle what nobody can give, or nobody wants any more."""
        for want in (*self._hasty, *self._fresh):
            if not want.running:
                self._give_up_if_hopeless(want)
        for want in self._flying:
            for task in want.running.values() if want.future.done() else ():
                task.cancel()

    def _assign(self) -> None:
        now = time.monotonic()
        for peer in sorted(self._peers, key=lambda peer: peer.seconds):
            while peer.is_free(now) and (want := self._next(peer, now)) is not None:
                self._start(peer, want, now)

    def _next(self, peer: _Peer, now: float) -> Want | None:
        return _first(self._hasty, peer) or _first(self._fresh, peer) or self._overdue(peer, now)

    def _overdue(self, peer: _Peer, now: float) -> Want | None:
        """The block that others have held longest, if this one would have had it by now."""
        for want in self._flying:
            late = now - want.since > peer.seconds
            if late and len(want.running) < _AT_ONCE and _may_ask(want, peer):
                return want
        return None

    def _start(self, peer: _Peer, want: Want, now: float) -> None:
        if not want.running:
            want.since = now
        self._flying[want] = None
        peer.running += 1
        want.running[peer] = task = asyncio.create_task(self._fetch(peer, want))
        # Not at the end of `_fetch`: what is cancelled before it begins never gets there.
        task.add_done_callback(lambda _: self._end(peer, want))

    async def _fetch(self, peer: _Peer, want: Want) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_BLOCK_SECONDS):
                block = await peer.source.fetch(want.cid, self._open_session())
        except asyncio.CancelledError:
            pass  # another was faster, or nobody wants it any more
        except TimeoutError:
            text = f"no whole block in {_BLOCK_SECONDS:g} s"
            self._failed(peer, want, UnreachableError(f"{peer.source.name} is too slow", found=text), began)
        except ModelregError as error:
            self._failed(peer, want, error, began)
        except Exception as error:  # noqa: BLE001  a defect of one source must not leave anybody waiting
            text = f"{type(error).__name__}: {error}"[:300]
            self._failed(peer, want, UnreachableError(f"{peer.source.name} failed", found=text), began)
        else:
            peer.succeeded(time.monotonic() - began)
            _finish(want, block)

    def _end(self, peer: _Peer, want: Want) -> None:
        peer.running -= 1
        want.running.pop(peer, None)
        if want.future.done():
            self._flying.pop(want, None)
            for task in want.running.values():
                task.cancel()
        elif not want.running:
            self._flying.pop(want, None)
            if not self._give_up_if_hopeless(want):
                (self._hasty if want.users else self._fresh).appendleft(want)
        self._assign()

    def _failed(self, peer: _Peer, want: Want, error: ModelregError, began: float) -> None:
        want.errors.setdefault(peer, []).append(error)
        if isinstance(error, NotFoundError):
            peer.failures = 0
            want.errors[peer] *= _TRIES  # it answered: asking again changes nothing
            return
        if isinstance(error, VerificationError):
            peer.banned = True
        else:
            least = min(error.seconds, _LONGEST_WISH) if isinstance(error, BusyError) else 0.0
            peer.failed(began, time.monotonic(), least)
        if peer.is_lost or not _may_try(want, peer):
            self._note(BadAnswer(peer.source.name, want.cid, error))

    def _give_up_if_hopeless(self, want: Want) -> bool:
        if any(_may_ask(want, peer) for peer in self._peers if not peer.is_lost):
            return False
        errors = [error for errors in want.errors.values() for error in errors]
        with suppress(InvalidStateError):
            want.future.set_exception(_worst(want.cid, self._names, errors))
        return True

    def _open_session(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _may_ask(want: Want, peer: _Peer) -> bool:
    return peer not in want.running and _may_try(want, peer)


def _may_try(want: Want, peer: _Peer) -> bool:
    """Whether it has not failed on this block too often; to be busy is no failure."""
    return sum(not isinstance(error, BusyError) for error in want.errors.get(peer, ())) < _TRIES


def _first(queue: deque[Want], peer: _Peer) -> Want | None:
    """Take the first want that this source may be asked for, and drop what is settled or under way."""
    for _ in range(len(queue)):
        want = queue.popleft()
        if want.future.done() or want.running:
            continue
        if _may_ask(want, peer):
            return want
        queue.append(want)
    return None


def _finish(want: Want, block: bytes) -> None:
    with suppress(InvalidStateError):  # given up, or another was as fast
        want.future.set_result(block)


def _worst(cid: Cid, names: str, errors: Iterable[ModelregError]) -> ModelregError:
    """Wrong bytes are worse than no answer, and that is worse than an absent block."""
    others = [error for error in errors if not isinstance(error, NotFoundError)]
    if not others:
        return NotFoundError(f"block {cid}", expected=f"in one of: {names}")
    wrong = [error for error in others if isinstance(error, VerificationError)]
    kind = VerificationError if wrong else UnreachableError
    return kind(f"no source has a good block {cid}", found=str((wrong or others)[0]))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The one loop of this process, in a thread that ends with it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="modelreg-blocks", daemon=True).start()
    return loop
