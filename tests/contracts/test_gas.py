"""Gas is in git, so that a change shows what it costs."""

from tests.contracts import gas
from tests.contracts.evm import Evm


def test_gas_is_what_the_snapshot_says():
    """Run `python -m tests.contracts.gas` after a deliberate change."""
    assert gas.measure(Evm.fresh()) == gas.committed()
