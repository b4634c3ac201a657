"""What holds for every test."""

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.kubo import kubo_node

# Whoever starts the tests in the background may have them ignore interrupts, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no defect of what is tested.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def running_kubo(tmp_path_factory):
    """A Kubo daemon that tests of a session share."""
    with kubo_node(tmp_path_factory.mktemp("kubo")) as node:
        yield node


@pytest.fixture
def kubo(running_kubo):
    """A Kubo daemon with an empty repository."""
    running_kubo.clear()
    return running_kubo
