"""Pins: names that keep DAGs, and what happens to their files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelreg.errors import InputError, NotFoundError, VerificationError
from modelreg.format import canonical
from modelreg.format.digest import keccak256
from modelreg.store.pins import MAX_NAME_BYTES, Pins
from tests.store.blocks import files_under, leaf

FIRST, SECOND = leaf(b"first")[0], leaf(b"second")[0]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "home" / "pins"


@pytest.fixture
def pins(directory):
    return Pins(directory)


def file_of(directory, name):
    return directory / keccak256(name.encode()).hex()


def test_no_pins_and_nothing_written(pins, directory):
    assert pins.list() == {}
    assert not directory.parent.exists()


def test_pins_in_the_order_of_their_names(pins, directory):
    pins.add("b/model@1.0.0", SECOND)
    pins.add("a/model@1.0.0", FIRST)
    assert list(Pins(directory).list().items()) == [("a/model@1.0.0", FIRST), ("b/model@1.0.0", SECOND)]


def test_a_name_pins_one_thing(pins):
    pins.add("name", FIRST)
    pins.add("name", SECOND)
    assert pins.list() == {"name": SECOND}


def test_removed_pins_are_gone(pins):
    pins.add("name", FIRST)
    pins.remove("name")
    assert pins.list() == {}
    for name in ("name", "never there", "\ud800", ""):
        with pytest.raises(NotFoundError, match="pin"):
            pins.remove(name)


@pytest.mark.parametrize(
    "name", ["a" * MAX_NAME_BYTES, "../../outside", "/absolute", ".", "é ok", "CON", "a\\b"]
)
def test_path_traversal_by_a_name_stays_in_the_directory(pins, directory, name):
    pins.add(name, FIRST)
    assert pins.list() == {name: FIRST}
    assert files_under(directory.parents[1]) == {
        "home/pins/.lock",
        f"home/pins/{keccak256(name.encode()).hex()}",
    }


@pytest.mark.parametrize(
    "name", ["", "a" * (MAX_NAME_BYTES + 1), "é" * 300, "a\nb", "\x1b[31m", "a\x00", "\ud800"]
)
def test_names_that_are_refused(pins, name):
    with pytest.raises(InputError, match="pin name"):
        pins.add(name, FIRST)
    assert pins.list() == {}


def test_the_file(pins, directory):
    pins.add("name", FIRST)
    assert canonical.decode(file_of(directory, "name").read_bytes()) == {"name": "name", "cid": FIRST}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"half",
        bytes(2000),
        canonical.encode(None),
        canonical.encode({"name": "name"}),
        canonical.encode({"name": "name", "cid": str(FIRST)}),
        canonical.encode({"name": 1, "cid": FIRST}),
        canonical.encode({"name": "name", "cid": FIRST, "x": 1}),
        canonical.encode({"name": "other", "cid": FIRST}),
    ],
    ids=range(9),
)
def test_a_damaged_pin_is_no_absent_pin(pins, directory, data):
    pins.add("name", FIRST)
    file_of(directory, "name").write_bytes(data)
    with pytest.raises(VerificationError, match="damaged pin"):
        pins.list()
    pins.add("name", SECOND)
    assert pins.list() == {"name": SECOND}


def test_a_symlink_in_place_of_a_pin_is_not_followed(pins, directory, tmp_path):
    pins.add("name", FIRST)
    path = file_of(directory, "name")
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(VerificationError, match="cannot list the pins"):
        pins.list()


def test_what_a_crash_left_is_passed_over_and_used_up(pins, directory):
    pins.add("name", FIRST)
    (directory / ".new").write_bytes(b"half")
    assert pins.list() == {"name": FIRST}
    pins.add("other", SECOND)
    assert pins.list() == {"name": FIRST, "other": SECOND}
    assert not (directory / ".new").exists()


def test_a_crash_before_the_rename_keeps_the_old_pin(pins, monkeypatch):
    pins.add("name", FIRST)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", crash)
        pins.add("name", SECOND)
    assert pins.list() == {"name": FIRST}


def test_concurrent_pins_are_all_kept(directory):
    def add(number):
        Pins(directory).add(f"name {number % 20}", FIRST)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    assert len(Pins(directory).list()) == 20
