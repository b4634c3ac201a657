"""The squashed differences of a home, and those that others offer. docs/spec/manifest.md, section 6."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from modelreg.errors import ModelregError
from modelreg.format.cid import Cid
from modelreg.format.squash import Squash
from modelreg.store.gateway import Gateway
from modelreg.store.pins import Pins

__all__ = ["Squashes", "offered_by"]

_FROM = " from "


class Squashes:
    """The squashes of one home, by the content root of the release that they lead to.

    Args:
        directory: where they are noted.
    """

    def __init__(self, directory: Path) -> None:
        self._pins = Pins(directory)

    def add(self, release: bytes, squash: Squash) -> None:
        """Note a squash that leads to the content root `release`, in place of one from the same base."""
        self._pins.add(f"{release.hex()}{_FROM}{squash.base.hex()}", squash.manifest)

    def of(self, release: bytes) -> tuple[Squash, ...]:
        """Those that lead to a content root. Raises VerificationError where the notes are damaged."""
        return tuple(
            Squash(bytes.fromhex(base), manifest)
            for name, manifest in self._pins.list().items()
            for to, _, base in [name.partition(_FROM)]
            if to == release.hex()
        )

    def remove(self, release: bytes) -> None:
        """Forget those that lead to a content root; their blocks stay until gc."""
        for squash in self.of(release):
            self._pins.remove(f"{release.hex()}{_FROM}{squash.base.hex()}")

    def manifests(self) -> Iterable[Cid]:
        """What gc keeps."""
        return self._pins.list().values()


def offered_by(gateways: Iterable[Gateway], release: bytes, *, seconds: float) -> tuple[Squash, ...]:
    """What nodes offer that leads to a content root; who does not answer in time offers nothing.

    Everything in it is the word of strangers.
    """
    import asyncio  # not for commands that have nobody to ask

    return asyncio.run(_ask_all(list(gateways), release, seconds))


async def _ask_all(gateways: list[Gateway], release: bytes, seconds: float) -> tuple[Squash, ...]:
    import asyncio

    import aiohttp

    found: dict[Squash, None] = {}

    async def ask(gateway: Gateway) -> None:
        with suppress(ModelregError):
            found.update(dict.fromkeys(await gateway.squashes(release, session)))

    async with aiohttp.ClientSession() as session:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as asking:
                for gateway in gateways:
                    asking.create_task(ask(gateway))
    return tuple(found)
