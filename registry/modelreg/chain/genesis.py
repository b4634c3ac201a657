"""Block 0: who has what before the first transaction. Specified in docs/spec/chain.md, section 3."""

import json
from collections.abc import Mapping

from modelreg.chain.header import EMPTY_BLOOM, EMPTY_ROOT, Header
from modelreg.errors import InputError, VerificationError

__all__ = [
    "DEPLOYMENT_PROXY",
    "EXTRA_DATA",
    "PROXY_CODE",
    "check_parameters",
    "make_genesis",
    "read_alloc",
    "write_alloc",
]

EXTRA_DATA = b"modelreg"
# github.com/Arachnid/deterministic-deployment-proxy: CREATE2 with the salt and the code that it is sent.
DEPLOYMENT_PROXY = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
PROXY_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)


def check_parameters(chain_id: int, alloc: Mapping[bytes, int], timestamp: int) -> None:
    """Raise InputError for what no chain can have."""
    if not 0 < chain_id < 1 << 53:
        raise InputError("chain id", expected="1 to 2^53 - 1, which JavaScript can count", found=chain_id)
    if not 0 <= timestamp < 1 << 40:
        raise InputError("genesis time", expected="unix seconds below 2^40", found=timestamp)
    for address, balance in alloc.items():
        if len(address) != 20 or not 0 <= balance < 1 << 200:
            raise InputError(
                "genesis balance", expected="20 bytes: wei below 2^200", found=f"{address.hex()}: {balance}"
            )


def make_genesis(alloc: Mapping[bytes, int], timestamp: int) -> tuple[Header, dict[bytes, bytes]]:
    """Block 0's header and the trie nodes of its state: the balances and the deployment proxy."""
    from modelreg.chain.execution import genesis_state

    change = genesis_state(alloc, {DEPLOYMENT_PROXY: PROXY_CODE})
    header = Header(
        parent_hash=bytes(32),
        state_root=change.state_root,
        transactions_root=EMPTY_ROOT,
        receipts_root=EMPTY_ROOT,
        bloom=EMPTY_BLOOM,
        number=0,
        gas_used=0,
        timestamp=timestamp,
        extra_data=EXTRA_DATA,
        prev_randao=bytes(32),
    )
    return header, dict(change.nodes)


def write_alloc(alloc: Mapping[bytes, int]) -> str:
    """The balances as JSON, so that a replay can begin from them."""
    return json.dumps({address.hex(): hex(balance) for address, balance in sorted(alloc.items())})


def read_alloc(text: str) -> dict[bytes, int]:
    """Read what `write_alloc` wrote."""
    try:
        return {bytes.fromhex(address): int(balance, 16) for address, balance in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise VerificationError("the chain file is damaged", expected="genesis balances") from error
