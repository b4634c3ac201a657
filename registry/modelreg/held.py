"""What a home gives to other nodes."""

import threading
from pathlib import Path

from modelreg.format.squash import Squash
from modelreg.home import Home
from modelreg.store.base import BlockSource

__all__ = ["HeldBlocks"]


class HeldBlocks:
    """The blocks that a home holds, in stores and in copies, for others; copies come and go meanwhile.

    Called from several threads.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._source: BlockSource | None = None

    def __call__(self) -> BlockSource:
        """What there is now."""
        records = self._root / "installed"
        with self._lock:
            changed = records.stat().st_mtime_ns if records.exists() else 0
            if self._source is None or changed != self._seen:
                self._source, self._seen = Home(self._root).held, changed
            return self._source

    def squashes(self, content_root: bytes) -> tuple[Squash, ...]:
        """The squashed differences that lead to a release."""
        return Home(self._root).squashes.of(content_root)
