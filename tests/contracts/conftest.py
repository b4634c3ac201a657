import pytest

from tests.contracts.abi import label
from tests.contracts.evm import ALICE
from tests.contracts.pair import Pair


@pytest.fixture
def empty() -> Pair:
    """Nothing claimed yet."""
    return Pair()


@pytest.fixture
def pair() -> Pair:
    """Alice owns `acme`."""
    pair = Pair()
    pair.ok(ALICE, "claimNamespace", label("acme"))
    return pair
