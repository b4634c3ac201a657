"""Processes for the crash and concurrency tests.

python -m tests.store.worker publish|gc ROOT SEED

`publish` puts small DAGs that share leaves, pins every third and says so in a line for each; `gc` collects
over and over. Both go on until they are killed.
"""

import sys
from itertools import count
from pathlib import Path

from modelreg.store.gc import collect
from modelreg.store.local import LocalStore
from modelreg.store.lock import StoreLock
from modelreg.store.pins import Pins
from tests.store.blocks import dag, leaves, node


def release(number):
    """A DAG of a few blocks of its own and some that other releases have too."""
    shared = leaves(8, seed=number % 5, size=3000)
    own = dag(number, size=2000)
    root = node({"own": own[-1][0], "shared": [cid for cid, _ in shared]})
    return [*shared, *own, root]


def publish(root, seed):
    store, pins, lock = LocalStore(root), Pins(root / "pins"), StoreLock(root)
    for number in count(seed * 1_000_000):
        with lock.shared():
            blocks = release(number)
            store.put_many(blocks)
            if number % 3 == 0:
                pins.add(str(number), blocks[-1][0])
                print(number, flush=True)


def sweep(root, _):
    store, pins, lock = LocalStore(root), Pins(root / "pins"), StoreLock(root)
    while True:
        collect(store, lock, lambda: pins.list().values())
        print("collected", flush=True)


if __name__ == "__main__":
    {"publish": publish, "gc": sweep}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
