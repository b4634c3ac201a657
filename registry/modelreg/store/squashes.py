"""The squashed differences of a home, and those that others offer. docs/spec/manifest.md, section 6."""

import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from modelreg.errors import ModelregError
from modelreg.format.cid import Cid
from modelreg.format.squash import Squash
from modelreg.store.gateway import Gateway
from modelreg.store.pins import Pins

__all__ = ["Squashes", "offered_by"]

_NAME = re.compile(r"([0-9a-f]{64}) from ([0-9a-f]{64})")


class Squashes:
    """The squashes of one home, by the content root of the release that they lead to.

    Args:
        directory: where they are noted.
    """

    def __init__(self, directory: Path) -> None:
        self._pins = Pins(directory)

    def add(self, release: bytes, squash: Squash) -> None:
        """Note a squash that leads to the content root `release`, in place of one from the same base."""
        self._pins.add(_name(release, squash.base), squash.manifest)

    def of(self, release: bytes) -> tuple[Squash, ...]:
        """Those that lead to a content root. Raises VerificationError where the notes are damaged."""
        named = ((_NAME.fullmatch(name), manifest) for name, manifest in self._pins.list().items())
        return tuple(
            Squash(bytes.fromhex(match[2]), manifest)
            for match, manifest in named
            if match and match[1] == release.hex()
        )

    def remove(self, release: bytes) -> int:
        """Forget those that lead to a content root, and say how many; their blocks stay until gc."""
        found = self.of(release)
        for squash in found:
            self._pins.remove(_name(release, squash.base))
        return len(found)

    def manifests(self) -> Iterable[Cid]:
        """What gc keeps."""
        return self._pins.list().values()


def _name(release: bytes, base: bytes) -> str:
    return f"{release.hex()} from {base.hex()}"


def offered_by(gateways: Sequence[Gateway], release: bytes, *, seconds: float) -> list[tuple[Squash, ...]]:
    """What each node offers that leads to a content root; who does not answer in time offers nothing.

    Everything in it is the word of strangers.
    """
    found: dict[int, tuple[Squash, ...]] = {}
    # Not in this thread: whoever makes a name resolve slowly would hold it up beyond the time.
    asking = threading.Thread(target=_ask_all, args=(gateways, release, seconds, found), daemon=True)
    asking.start()
    asking.join(seconds)
    return [found.get(number, ()) for number in range(len(gateways))]


def _ask_all(
    gateways: Sequence[Gateway], release: bytes, seconds: float, found: dict[int, tuple[Squash, ...]]
) -> None:
    import asyncio  # not for commands that have nobody to ask

    import aiohttp

    async def ask(number: int, session: aiohttp.ClientSession) -> None:
        with suppress(ModelregError):
            found[number] = await gateways[number].squashes(release, session)

    async def run() -> None:
        async with aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as asking:
                    for number in range(len(gateways)):
                        asking.create_task(ask(number, session))

    asyncio.run(run())
