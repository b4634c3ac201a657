"""When a follower looks again: on a chain that the test lets grow, by a clock that it moves."""

from types import SimpleNamespace

import pytest

from modelreg.errors import UnreachableError
from modelreg_verifier import pace
from modelreg_verifier.pace import Pace


class World:
    def __init__(self, block_seconds=2.0):
        self.now, self.block_seconds = 1000.0, block_seconds
        self.glances = 0

    @property
    def number(self):
        return int(self.now / self.block_seconds) if self.block_seconds else 7

    def view(self):
        return SimpleNamespace(
            header=SimpleNamespace(number=self.number), block_seconds=lambda: self.block_seconds
        )

    def height(self):
        self.glances += 1
        return self.number


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(pace.time, "monotonic", lambda: made.now)
    return made


def test_without_a_move_every_look_is_due(world):
    found = Pace(15)
    assert found.is_due(world.height)
    found.looked(world.view(), None)
    assert found.seconds == 15
    world.now += 14.5
    assert not found.is_due(world.height)
    assert found.seconds == 0.5
    world.now += 0.5
    assert found.is_due(world.height)
    assert found.seconds == 0
    assert world.glances == 0


@pytest.mark.parametrize("left", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("every", [0.5, 15, 10_000])
def test_a_move_is_seen_within_half_a_block(world, left, every):
    found = Pace(every)
    move = world.number + left
    found.looked(world.view(), move)
    while True:
        world.now += found.seconds
        if found.is_due(world.height):
            if world.number >= move:
                break
            found.looked(world.view(), move)
    assert world.now - move * world.block_seconds <= world.block_seconds / 2
    if every > left * world.block_seconds:
        assert world.glances <= 20


def test_looks_go_on_while_a_move_is_far_away(world):
    found = Pace(15)
    found.looked(world.view(), world.number + 10_000)
    assert found.seconds == 15
    world.now += 14
    assert not found.is_due(world.height)
    world.now += 1
    assert found.is_due(world.height)


def test_a_glance_that_fails_is_a_look(world):
    def broken():
        raise UnreachableError("the chain")

    found = Pace(3600)
    found.looked(world.view(), world.number + 3)
    assert found.is_due(broken)


def test_a_look_that_fails_is_repeated_soon_while_a_move_is_planned(world):
    found = Pace(3600)
    found.looked(world.view(), world.number + 3)
    found.failed()
    assert found.seconds == 2
    assert not found.is_due(world.height)
    world.now += 2
    assert found.is_due(world.height)
    found.failed()
    assert found.seconds == 2
    world.now += 2
    found.looked(world.view(), None)
    found.failed()
    assert found.seconds == 3600


def test_what_is_late_is_looked_after_soon(world):
    found = Pace(3600)
    found.looked(world.view(), None)
    found.late()
    assert found.seconds == 2


def test_how_far_a_move_is_away(world):
    found = Pace(15)
    found.looked(world.view(), world.number + 30)
    assert found.seconds_to(world.number + 30) == 60
    assert found.seconds_to(world.number + 300) == 600
    assert found.seconds_to(world.number - 3) == 0


@pytest.mark.parametrize("block_seconds", [0, 0.0, None])
def test_blocks_without_a_pace(world, block_seconds):
    """Many blocks in a second, or an endpoint that does not say: neither a busy loop nor a long sleep."""
    world.block_seconds = block_seconds
    found = Pace(15)
    found.looked(world.view(), world.number + 1)
    assert 0.05 <= found.seconds <= 15
