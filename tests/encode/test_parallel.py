"""Work in threads: the consumer may be away for a while, and memory is bounded all the same."""

import threading
import time

import pytest

from modelreg.parallel import map_ordered

AWAY = 30  # results that are ready when a consumer comes back from writing a batch of 64 blocks
QUEUED, TOGETHER = 32, 4


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
            if count > QUEUED + TOGETHER * (workers + 1):
                over.set()
        return item

    results = map_ordered(work, range(1000), workers=workers)
    assert next(results) == 0
    assert enough.wait(20)
    assert not over.wait(0.2)
    assert list(results) == list(range(1, 1000))


@pytest.mark.parametrize("bad", [0, 3, 4, 6])
def test_an_error_ends_the_work_behind_the_results_before_it(bad):
    def work(item):
        if item == bad:
            raise KeyError(item)
        return item

    results, found = map_ordered(work, range(10**9), workers=2), []
    with pytest.raises(KeyError):
        found.extend(results)
    assert found == list(range(bad))


def test_little_more_is_done_when_the_consumer_is_gone():
    done = []

    def work(item):
        time.sleep(0.02)
        done.append(item)
        return item

    results = map_ordered(work, range(10**9), workers=2)
    assert next(results) == 0
    results.close()
    assert len(done) <= 2 * TOGETHER  # not the rest of the two groups that were begun


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_nothing_is_lost_where_items_end(together, count):
    assert list(map_ordered(str, range(count), workers=2, together=together)) == list(map(str, range(count)))
