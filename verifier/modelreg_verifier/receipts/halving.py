"""Hashing the tensors of one large inference in two threads. The hash function releases the interpreter."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

from modelreg.format.values import hash_each

__all__ = ["Halves"]

# Below, handing half of the work over takes as long as doing it.
_BYTES_MIN = 1 << 20


class Halves:
    """Has a thread of its own for one half."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hashing")

    def __call__(self, data: Sequence[bytes | memoryview]) -> list[bytes]:
        """BLAKE3 of each, as `hash_each` has it."""
        if sum(map(len, data)) < _BYTES_MIN:
            return hash_each(data)
        ends = list(accumulate(map(len, data)))
        middle = sum(end <= ends[-1] // 2 for end in ends)
        rest = self._pool.submit(hash_each, data[middle:])
        return hash_each(data[:middle]) + rest.result()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()
