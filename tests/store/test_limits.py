"""A full disk, a file size limit, and no free file descriptors."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelreg.errors import UnreachableError
from modelreg.store.local import LocalStore
from modelreg.store.pins import Pins
from tests.store.blocks import files_under, leaf, leaves
from tests.store.unprivileged import without_privileges

NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def can_mount(directory):
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(directory)]
    return shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0


@contextmanager
def limit(kind, value):
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def test_full_disk_and_readonly_disk(tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("this machine does not let us mount a small disk")
    command = [*NAMESPACE, sys.executable, "-m", "tests.store.small_disk", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_full_disk_in_the_middle_of_a_block_leaves_no_half_block(tmp_path):
    def check():
        store, pins = LocalStore(Path("store")), Pins(Path("pins"))
        small, large = leaf(b"small"), leaf(bytes(200_000))
        with limit(resource.RLIMIT_FSIZE, 100_000):
            with pytest.raises(UnreachableError, match=r"File too large.*free some space"):
                store.put_many([small, large])
            with limit(resource.RLIMIT_FSIZE, 10), pytest.raises(UnreachableError):
                pins.add("name", small[0])
        assert files_under(Path("store/blocks")) == set()
        assert pins.list() == {}
        assert store.put_many([small, large]) == 200_005
        pins.add("name", small[0])
        assert pins.list() == {"name": small[0]}

    without_privileges(tmp_path, check)


def test_no_free_file_descriptors_is_an_error_and_leaves_nothing(tmp_path):
    def check():
        os.closerange(3, 1 << 16)  # what other tests have open is none of this one's
        store = LocalStore(Path("store"))
        with limit(resource.RLIMIT_NOFILE, 40):
            with pytest.raises(UnreachableError, match=r"Too many open files.*ulimit -n"):
                store.put_many(leaves(64))
            assert files_under(Path("store/blocks")) == set()
            assert store.put_many(leaves(8)) == 800
        with limit(resource.RLIMIT_NOFILE, 3), pytest.raises(UnreachableError, match="ulimit"):
            store.get(leaves(1)[0][0])
        assert store.put_many(leaves(64)) == 5600

    without_privileges(tmp_path, check)
