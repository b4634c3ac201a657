"""A store on a disk that fills up, then turns read-only. Run in a mount namespace of its own:

unshare --mount python -m tests.store.small_disk DIRECTORY
"""

import subprocess
import sys
from pathlib import Path

import pytest

from modelreg.errors import NotPermittedError, UnreachableError
from modelreg.store.local import LocalStore
from modelreg.store.pins import Pins
from tests.store.blocks import files_under, leaf, leaves


def mount(*options):
    subprocess.run(["mount", *options], check=True)


def fill(directory):
    store, pins = LocalStore(directory / "store"), Pins(directory / "pins")
    kept, _ = kept_block = leaf(b"kept before the disk was full")
    store.put_many([kept_block])
    pins.add("kept", kept)
    with pytest.raises(UnreachableError, match=r"No space left on device.*free some space"):
        store.put_many(leaves(100, size=100_000))
    assert files_under(directory / "store" / "blocks" / "tmp") == set()
    assert [len(store.get(cid)) for cid in store.cids()]
    (directory / "ballast").write_bytes(b"")
    with pytest.raises(OSError, match="No space"), (directory / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(512))
    with pytest.raises(UnreachableError, match="free some space"):
        pins.add("kept", leaf(b"other")[0])
    assert pins.list() == {"kept": kept}
    (directory / "ballast").unlink()
    store.delete(cid for cid in store.cids() if cid != kept)
    assert store.put_many(leaves(3, size=100_000)) == 300_000
    assert store.get(kept)


def turn_readonly(directory):
    store, pins = LocalStore(directory / "store"), Pins(directory / "pins")
    count = store.stat().blocks
    mount("-o", "remount,ro", str(directory))
    for write in (
        lambda: store.put_many(leaves(1, seed=9)),
        lambda: store.delete(list(store.cids())),
        lambda: LocalStore(directory / "store"),
        lambda: pins.add("new", leaf(b"")[0]),
        lambda: pins.remove("kept"),
    ):
        with pytest.raises(NotPermittedError, match="Read-only file system"):
            write()
    assert LocalStore(directory / "store", readonly=True).stat().blocks == count
    assert set(pins.list()) == {"kept"}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    mount("-t", "tmpfs", "-o", "size=1m", "none", str(place))
    fill(place)
    turn_readonly(place)
