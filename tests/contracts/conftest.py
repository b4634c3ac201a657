import pytest

from tests.contracts.abi import label
from tests.contracts.evm import ALICE
from tests.contracts.pair import Pair
from tests.contracts.receipt_log_pair import LogPair, Story, story_told


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


@pytest.fixture
def log() -> LogPair:
    """A registry and a receipt log where nothing has happened."""
    return LogPair()


@pytest.fixture
def story() -> Story:
    """A node with a bond under a policy, and a batch of five receipts."""
    return story_told()
