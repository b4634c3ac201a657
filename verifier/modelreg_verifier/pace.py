"""When a follower of a channel looks at the ledger next. Specified in docs/spec/serve.md, section 1."""

import time
from collections.abc import Callable
from contextlib import suppress

from modelreg.errors import ModelregError
from modelreg.ledger.view import View

__all__ = ["Pace"]

_SHORTEST = 0.05
_AGAIN = 2.0


class Pace:
    """Looks come every so often, and closer together as the block of a planned move comes near.

    A look reads the ledger with its proofs; between two, where a move is near, a glance reads only how high
    the chain is.

    Args:
        every: seconds between looks.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._looked, self._pause = -every, every
        self._move: int | None = None
        self._height = 0
        self._block_seconds = every

    def looked(self, view: View, move: int | None) -> None:
        """Note a look, and the block of the next planned move, if there is one."""
        self._looked, self._pause = time.monotonic(), self._every
        self._move, self._height = move, view.header.number
        if move is not None:
            with suppress(ModelregError):
                self._block_seconds = view.block_seconds() or self._every

    def failed(self) -> None:
        """Note a look that could not be had; while a move is planned the next one comes sooner."""
        self._looked = time.monotonic()
        self._pause = self._every if self._move is None else min(self._every, _AGAIN)

    def late(self) -> None:
        """Note that something is still to be done that the block of this look asks for."""
        self._pause = min(self._every, _AGAIN)

    def seconds_to(self, block: int) -> float:
        """How long a block is away, by the pace of the last ones; known while a move is planned."""
        return max(0, block - self._height) * self._block_seconds

    def is_due(self, height: Callable[[], int]) -> bool:
        """Whether to look now; `height` gives the number of the newest block."""
        if self._rest <= 0:
            return True
        if self._move is None or self._pause < self._every:
            return False
        try:
            self._height = height()
        except ModelregError:
            return True
        return self._height >= self._move

    @property
    def seconds(self) -> float:
        """How long to wait before `is_due` is asked again."""
        rest = max(self._rest, 0.0)
        if self._move is None or self._pause < self._every:
            return rest
        # Halving what is left takes few glances, though blocks come unevenly; the last block gets four.
        left = max((self._move - self._height - 1) / 2, 0.25) * self._block_seconds
        return min(rest, max(left, _SHORTEST))

    @property
    def _rest(self) -> float:
        """Seconds until a look is due in any case."""
        return self._looked + self._pause - time.monotonic()
