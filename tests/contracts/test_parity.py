"""Every contract call on py-evm and on anvil: equal gas, results, events and storage.

The tests of the rules, the attacks and the layout run again here, each step on both machines.
"""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts import abi, anvil, gas, test_stateful
from tests.contracts.evm import ALICE, Evm
from tests.contracts.pair import Pair
from tests.contracts.test_attacks import *  # noqa: F403
from tests.contracts.test_registry import *  # noqa: F403
from tests.contracts.test_storage import *  # noqa: F403

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def other():
    with anvil.running() as machine:
        machine.deployment = machine.prepare()
        yield machine


@pytest.fixture
def empty(other) -> Pair:
    return Pair(anvil.Lockstep.beside(other))


@pytest.fixture
def pair(empty) -> Pair:
    empty.ok(ALICE, "claimNamespace", abi.label("acme"))
    return empty


def test_deployment(other):
    """Equal gas and the address that the artifact names."""
    assert other.deployment == Evm.bare().send_raw(ALICE, abi.DEPLOYER, bytes(32) + abi.INIT_CODE)
    assert other.deployment.output == abi.ADDRESS


def test_the_gas_snapshot(other):
    assert gas.measure(anvil.Lockstep.beside(other)) == gas.committed()["ModelRegistry"]


def test_random_histories_on_both(other):
    class OnBoth(test_stateful.Histories):
        def machine(self):
            return anvil.Lockstep.beside(other)

    quick = settings(max_examples=10, stateful_step_count=30, **test_stateful.QUIET)
    run_state_machine_as_test(OnBoth, settings=quick)
