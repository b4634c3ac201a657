"""Work in threads: the consumer may be away for a while, and memory is bounded all the same."""

import threading

import pytest

from modelreg.parallel import map_ordered

AWAY = 30  # results that are ready when a consumer comes back from writing a batch of 64 blocks
MOST = 48


def test_results_come_in_the_order_of_the_items():
    assert list(map_ordered(lambda n: n * n, range(500), workers=4)) == [n * n for n in range(500)]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_work_goes_on_while_the_consumer_is_away_but_not_without_end(workers):
    enough, over = threading.Event(), threading.Event()
    count = 0
    lock = threading.Lock()

    def work(item):
        nonlocal count
        with lock:
            count += 1
            if count >= AWAY:
                enough.set()
            if count > MOST:
                over.set()
        return item

    results = map_ordered(work, range(1000), workers=workers)
    assert next(results) == 0
    assert enough.wait(20)
    assert not over.wait(0.2)
    assert list(results) == list(range(1, 1000))


def test_an_error_ends_the_work():
    def work(item):
        if item == 3:
            raise KeyError(item)
        return item

    results = map_ordered(work, range(10**9), workers=2)
    with pytest.raises(KeyError):
        list(results)
