"""Every call of the receipt log on py-evm and on anvil, as test_parity.py does it for the registry."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts import anvil, gas, receipt_log_gas, test_receipt_log_stateful, test_stateful
from tests.contracts.receipt_log_pair import LogPair, Story
from tests.contracts.test_receipt_log import *  # noqa: F403
from tests.contracts.test_receipt_log_attacks import *  # noqa: F403
from tests.contracts.test_receipt_log_storage import *  # noqa: F403

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def other():
    with anvil.running() as machine:
        machine.prepare()
        yield machine


@pytest.fixture
def log(other) -> LogPair:
    return LogPair(anvil.Lockstep.beside(other))


@pytest.fixture
def story(log) -> Story:
    return Story.told(log)


def test_the_gas_snapshot(other):
    assert receipt_log_gas.measure(anvil.Lockstep.beside(other)) == gas.committed()["ReceiptLog"]


def test_random_histories_on_both(other):
    class OnBoth(test_receipt_log_stateful.Histories):
        def machine(self):
            return anvil.Lockstep.beside(other)

    quick = settings(max_examples=5, stateful_step_count=30, **test_stateful.QUIET)
    run_state_machine_as_test(OnBoth, settings=quick)
