"""What a transaction offers for gas (EIP-1559). Specified in docs/spec/ledger.md, section 8."""

from dataclasses import dataclass

from modelreg.errors import UnreachableError

__all__ = ["FeePolicy", "Fees", "with_margin"]

_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per unit of gas: the most in all, and the tip within it."""

    most: int
    tip: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """What the user is ready to pay, in wei per unit of gas.

    Args:
        cap: the most in all; None for no limit.
        tip_max: the most of a tip. The endpoint suggests the tip and is not trusted with more.
        default_tip: for an endpoint that suggests none.
    """

    cap: int | None = None
    tip_max: int = 50 * _GWEI
    default_tip: int = _GWEI

    def offer(self, base_fee: int, suggested_tip: int | None) -> Fees:
        """Fees that survive six full blocks. Raises UnreachableError if the cap is below the base fee."""
        tip = min(self.default_tip if suggested_tip is None else suggested_tip, self.tip_max)
        most = 2 * base_fee + tip
        if self.cap is not None:
            if self.cap < base_fee:
                raise UnreachableError(
                    "the chain is too expensive now",
                    expected=f"at most {self.cap} wei per gas",
                    found=f"a base fee of {base_fee}",
                    hint="wait, or raise the cap",
                )
            most = min(most, self.cap)
        return Fees(most, min(tip, most))

    def outbid(self, old: Fees, fresh: Fees) -> Fees | None:
        """Fees that replace a stuck transaction: an eighth more, as nodes demand; None beyond the cap."""
        most = max(_more(old.most), fresh.most)
        tip = max(_more(old.tip), fresh.tip)
        if self.cap is not None and most > self.cap:
            return None
        return Fees(most, min(tip, most))


def _more(wei: int) -> int:
    return wei + max(1, -(-wei // 8))


def with_margin(gas: int) -> int:
    """A gas limit for an estimate: the state may have moved when the transaction is executed."""
    return gas + gas // 4 + 5_000
