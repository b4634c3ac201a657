"""The only module that imports py-evm. Specified in docs/spec/chain.md, section 7.

py-evm gives the Prague instruction set, its gas schedule and its state trie. Everything else that it could do
(decoding, signatures, admission, headers, storage) is done elsewhere, because it is archived upstream, checks
no chain id, and would bring its own database (ADR 0004).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from eth.abc import ComputationAPI, SignedTransactionAPI
from eth.db.backends.base import BaseAtomicDB
from eth.exceptions import OutOfGas, Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.computation import PRAGUE_PRECOMPILES, PragueComputation
from eth.vm.forks.prague.state import PragueState, PragueTransactionExecutor
from eth.vm.interrupt import EVMMissingData

from modelreg.chain.header import BASE_FEE, COINBASE, EMPTY_ROOT, GAS_LIMIT
from modelreg.chain.message import Change, Environment, Message, Outcome
from modelreg.chain.receipt import Log
from modelreg.chain.rpcerror import LIMIT_EXCEEDED, SERVER_ERROR, RpcError
from modelreg.chain.state import NodeSource
from modelreg.chain.transaction import floor_gas
from modelreg.errors import VerificationError

__all__ = ["call", "genesis_state", "transact"]

# A precompile runs to its end without a look at the clock, and pairings are pure Python.
_PRECOMPILE_GAS = 500_000
_TICKS_PER_LOOK = 512


class _Nodes(BaseAtomicDB):
    """py-evm's view of the node table: reads through, keeps writes."""

    def __init__(self, source: NodeSource) -> None:
        self._source = source
        self.written: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        found = self.written.get(key)
        if found is None:
            found = self._source(key)
        if found is None:
            raise KeyError(key)  # the trie asks for nodes that it made and dropped again
        return found

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.written[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self.written[key]

    def _exists(self, key: bytes) -> bool:
        return key in self.written or self._source(key) is not None

    @contextmanager
    def atomic_batch(self) -> "Iterator[_Nodes]":  # type: ignore[override]
        yield self


def _bounded(precompile: Callable[[ComputationAPI], object]) -> Callable[[ComputationAPI], object]:
    def run(computation: ComputationAPI) -> object:
        computation.charge_limit = _PRECOMPILE_GAS  # type: ignore[attr-defined]
        return precompile(computation)

    return run


class _Computation(PragueComputation):
    """Prague, with a look at the clock now and then."""

    _precompiles = {address: _bounded(run) for address, run in PRAGUE_PRECOMPILES.items()}  # noqa: RUF012
    charge_limit: int | None = None

    def consume_gas(self, amount: int, reason: str) -> None:
        self._gas_meter.consume_gas(amount, reason)
        if self.charge_limit is not None and amount > self.charge_limit:
            raise RpcError(
                LIMIT_EXCEEDED, f"{reason} asks for {amount} gas; this chain allows {self.charge_limit}"
            )
        self.state.tick()  # type: ignore[attr-defined]

    @classmethod
    def consume_initcode_gas_cost(cls, computation: ComputationAPI) -> None:
        """Nothing: `Message.intrinsic_gas` has charged it already (EIP-3860)."""


class _Executor(PragueTransactionExecutor):
    def validate_transaction(self, transaction: SignedTransactionAPI) -> None:
        """Nothing: modelreg.chain.admission has validated it."""


class _State(PragueState):
    computation_class = _Computation
    transaction_executor_class = _Executor
    seconds: float | None = None
    _deadline = 0.0
    _ticks = 0

    def set_system_contracts(self) -> None:
        """Nothing: this chain has none (docs/spec/chain.md, section 3)."""

    def limit(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._deadline = time.monotonic() + (seconds or 0.0)

    def tick(self) -> None:
        self._ticks += 1
        if self._ticks % _TICKS_PER_LOOK == 0 and self.seconds and time.monotonic() > self._deadline:
            raise RpcError(SERVER_ERROR, f"execution aborted (timeout = {self.seconds:.0f}s)")


def _state(environment: Environment, state_root: bytes, nodes: _Nodes) -> _State:
    context = ExecutionContext(
        coinbase=COINBASE,  # type: ignore[arg-type]
        timestamp=environment.timestamp,
        block_number=environment.number,  # type: ignore[arg-type]
        difficulty=0,
        mix_hash=environment.prev_randao,  # type: ignore[arg-type]
        gas_limit=GAS_LIMIT,
        prev_hashes=environment.ancestors,  # type: ignore[arg-type]
        chain_id=environment.chain_id,
        base_fee_per_gas=BASE_FEE,
        excess_blob_gas=0,
    )
    return _State(nodes, context, state_root)  # type: ignore[arg-type]


def _outcome(message: Message, computation: ComputationAPI) -> Outcome:
    """Gas by EIP-3529 and EIP-7623; py-evm's own receipt takes the refund's cap after the floor."""
    peak = message.gas - computation.get_gas_remaining()
    used = max(peak - min(computation.get_gas_refund(), peak // 5), floor_gas(message.data))
    error = computation.error if computation.is_error else None
    logs = tuple(
        Log(address, tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data))
        for address, topics, data in computation.get_log_entries()
    )
    return Outcome(
        gas_used=used,
        peak_gas=max(peak, used),
        output=bytes(computation.output),
        logs=logs,
        failure="" if error is None else _failure(error),
        reverted=isinstance(error, Revert),
        out_of_gas=isinstance(error, OutOfGas),
    )


_FAILURES = {
    "OutOfGas": "out of gas",
    "Revert": "execution reverted",
    "InvalidInstruction": "invalid opcode",
    "InvalidJumpDestination": "invalid jump destination",
    "InsufficientStack": "stack underflow",
    "FullStack": "stack limit reached",
    "WriteProtection": "write protection",
    "OutOfBoundsRead": "return data out of bounds",
    "ContractCreationCollision": "contract address collision",
    "ReservedBytesInCode": "invalid code: must not begin with 0xef",
}


def _failure(error: Exception) -> str:
    return _FAILURES.get(type(error).__name__, f"{type(error).__name__}: {error}")


def _run(state: _State, message: Message, seconds: float | None) -> Outcome:
    state.limit(seconds)
    with _complete():
        return _outcome(message, state.apply_transaction(message))  # type: ignore[arg-type]


@contextmanager
def _complete() -> Iterator[None]:
    """Translate what stops py-evm half-way; nothing of the block is kept then."""
    try:
        yield
    except RecursionError:
        raise RpcError(LIMIT_EXCEEDED, "execution aborted (call depth beyond this process's stack)") from None
    except EVMMissingData as error:
        raise VerificationError("the chain file is damaged: trie node or code", found="nothing") from error


def call(
    message: Message, environment: Environment, state_root: bytes, nodes: NodeSource, seconds: float | None
) -> Outcome:
    """Run a message on a state and forget the changes. Raises RpcError after `seconds`."""
    return _run(_state(environment, state_root, _Nodes(nodes)), message, seconds)


def transact(
    message: Message, environment: Environment, state_root: bytes, nodes: NodeSource, seconds: float | None
) -> tuple[Outcome, Change]:
    """Run an admitted transaction and make the new state. Raises RpcError after `seconds` (None: never)."""
    view = _Nodes(nodes)
    state = _state(environment, state_root, view)
    outcome = _run(state, message, seconds)
    with _complete():
        state.persist()
    return outcome, Change(state.state_root, view.written)


def genesis_state(balances: Mapping[bytes, int], codes: Mapping[bytes, bytes]) -> Change:
    """The state before the first transaction; an account with code has nonce 1, as EIP-161 gives it."""
    view = _Nodes(lambda _: None)
    state = _state(Environment(0, 0, 0, bytes(32), ()), EMPTY_ROOT, view)
    for address, balance in balances.items():
        state.set_balance(address, balance)  # type: ignore[arg-type]
    for address, code in codes.items():
        state.set_nonce(address, 1)  # type: ignore[arg-type]
        state.set_code(address, code)  # type: ignore[arg-type]
    state.persist()
    return Change(state.state_root, view.written)
