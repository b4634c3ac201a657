"""A cache for several threads that is bounded by what it holds, not by how many things."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Cache"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Cache(Generic[_K, _V]):
    """Keeps the values used last, as long as their weights sum up to at most `most`, but at least one.

    Args:
        most: the sum of weights.
        weigh: the weight of a value.
    """

    def __init__(self, most: int, weigh: Callable[[_V], int]) -> None:
        self._most = most
        self._weigh = weigh
        self._weight = 0
        self._items: OrderedDict[_K, _V] = OrderedDict()
        self._making: dict[_K, Future[_V]] = {}
        self._lock = threading.Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """The value of a key; if several threads want it, one of them makes it.

        `make` must not come back to this cache: two threads could wait for each other.
        """
        with self._lock:
            if key in self._items:
                return self._use(key)
            making = self._making.get(key)
            mine = making is None
            if making is None:
                making = self._making[key] = Future()
        return self._make(key, make, making) if mine else making.result()

    def find(self, key: _K) -> _V | None:
        """The value of a key, if it is here."""
        with self._lock:
            return self._use(key) if key in self._items else None

    def keep(self, key: _K, value: _V) -> None:
        """Hold a value, and let go of those not used for longest."""
        with self._lock:
            if key in self._items:
                return
            self._items[key] = value
            self._weight += self._weigh(value)
            while self._weight > self._most and len(self._items) > 1:
                self._weight -= self._weigh(self._items.popitem(last=False)[1])

    def _use(self, key: _K) -> _V:
        self._items.move_to_end(key)
        return self._items[key]

    def _make(self, key: _K, make: Callable[[], _V], making: "Future[_V]") -> _V:
        try:
            value = make()
        except BaseException as error:
            making.set_exception(error)
            raise
        else:
            self.keep(key, value)
            making.set_result(value)
            return value
        finally:
            with self._lock:
                del self._making[key]
