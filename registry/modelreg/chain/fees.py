"""eth_feeHistory. Specified in docs/spec/chain.md, section 8."""

from collections.abc import Sequence

from modelreg.chain.header import BASE_FEE, GAS_LIMIT
from modelreg.chain.params import block_ref, invalid, quantity, take
from modelreg.chain.render import Json
from modelreg.chain.view import Block, View

__all__ = ["history"]

_MAX_HISTORY = 1024
_MAX_PERCENTILES = 100


def _percentiles(value: object) -> list[float]:
    items = value if isinstance(value, list) else []
    numbers = [float(item) for item in items if isinstance(item, int | float) and 0 <= item <= 100]
    if len(numbers) != len(items) or numbers != sorted(numbers) or len(numbers) > _MAX_PERCENTILES:
        raise invalid(f"want at most {_MAX_PERCENTILES} rising reward percentiles between 0 and 100")
    return numbers


def history(view: View, params: Sequence[object]) -> Json:
    """eth_feeHistory; base fees are zero, the reward is what the one transaction of a block paid above."""
    count, newest, percentiles = take(params, 2, 3)
    wanted = count if isinstance(count, int) and not isinstance(count, bool) else quantity(count, 64)
    marks = _percentiles(percentiles)
    last = view.header_at(block_ref(newest)).number
    first = max(0, last + 1 - max(0, min(wanted, _MAX_HISTORY)))
    blocks = [stored for number in range(first, last + 1) if (stored := view.block(number))]
    history: dict[str, Json] = {
        "oldestBlock": hex(first),
        "baseFeePerGas": [hex(BASE_FEE)] * (len(blocks) + 1),
        "gasUsedRatio": [stored.header.gas_used / GAS_LIMIT for stored in blocks],
        "baseFeePerBlobGas": ["0x1"] * (len(blocks) + 1),
        "blobGasUsedRatio": [0.0] * len(blocks),
    }
    if marks:
        history["reward"] = [[hex(_tip(stored))] * len(marks) for stored in blocks]
    return history


def _tip(stored: Block) -> int:
    return 0 if stored.tx is None else stored.tx.effective_gas_price(BASE_FEE) - BASE_FEE
