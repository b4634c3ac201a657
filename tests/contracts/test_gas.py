"""Gas is in git, so that a change shows what it costs."""

from tests.contracts import gas, receipt_log_gas
from tests.contracts.evm import Evm


def test_gas_is_what_the_snapshot_says():
    """Run `python -m tests.contracts.gas` after a deliberate change."""
    assert gas.measure(Evm.fresh()) == gas.committed()["ModelRegistry"]
    assert receipt_log_gas.measure(Evm.fresh()) == gas.committed()["ReceiptLog"]


def test_an_anchor_costs_60_000_gas_at_most():
    """Whatever was anchored before."""
    table = gas.committed()["ReceiptLog"]
    assert max(cost for name, cost in table.items() if name.startswith("anchor")) <= 60_000
