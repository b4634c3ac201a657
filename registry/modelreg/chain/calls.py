"""eth_call and eth_estimateGas. Specified in docs/spec/chain.md, section 9.

The search for the least gas follows go-ethereum's (eth/gasestimator): a first run with all the gas, a guess
from what it used, then halving until the range is within 1.5 % of its upper end.
"""

import time
from collections.abc import Callable

from modelreg.chain.header import TRANSACTION_GAS_LIMIT, Header
from modelreg.chain.message import Environment, Message, Outcome
from modelreg.chain.params import CallRequest
from modelreg.chain.rpcerror import REVERTED, SERVER_ERROR, RpcError
from modelreg.chain.state import EMPTY_CODE, account_at
from modelreg.chain.transaction import MAX_INITCODE, floor_gas, intrinsic_gas
from modelreg.chain.view import View

__all__ = ["estimate", "run"]

_SECONDS = 10.0
_ERROR_RATIO = 0.015
_STIPEND = 2300
_ERROR_SELECTOR = bytes.fromhex("08c379a0")  # Error(string)


def run(view: View, header: Header, request: CallRequest) -> bytes:
    """What the call returns on the state after a block. Raises RpcError where it reverts or fails."""
    gas = min(request.gas or TRANSACTION_GAS_LIMIT, TRANSACTION_GAS_LIMIT)
    outcome = _runner(view, header, request)(gas)
    _raise_failure(outcome)
    return outcome.output


def _raise_failure(outcome: Outcome) -> None:
    if outcome.reverted:
        raise RpcError(REVERTED, "execution reverted" + _reason(outcome.output), "0x" + outcome.output.hex())
    if outcome.failure:
        raise RpcError(SERVER_ERROR, outcome.failure)


def _reason(output: bytes) -> str:
    """The text of Solidity's Error(string), if that is what was reverted with."""
    head, length = output[4:36], int.from_bytes(output[36:68], "big")
    if output[:4] != _ERROR_SELECTOR or int.from_bytes(head, "big") != 32 or len(output) < 68 + length:
        return ""
    return ": " + output[68 : 68 + length].decode("utf-8", "replace")


def _runner(view: View, header: Header, request: CallRequest) -> Callable[[int], Outcome]:
    """A function that runs the request with some gas; all its runs share one time limit."""
    from modelreg.chain.execution import call

    deadline = time.monotonic() + _SECONDS
    balance = account_at(header.state_root, request.sender, view.node)[0].balance

    def attempt(gas: int) -> Outcome:
        _check_funds(request, gas, balance)
        _check_gas(request, gas)
        message = Message(
            sender=request.sender,
            to=request.to,
            value=request.value,
            data=request.data,
            gas=gas,
            max_fee_per_gas=request.max_fee_per_gas,
            max_priority_fee_per_gas=request.max_priority_fee_per_gas,
            access_list=request.access_list,
        )
        block = (header.number, header.timestamp, header.prev_randao, view.ancestors(header.number))
        environment = Environment(view.chain_id, *block)
        return call(
            message, environment, header.state_root, view.node, max(0.001, deadline - time.monotonic())
        )

    return attempt


def _check_funds(request: CallRequest, gas: int, balance: int) -> None:
    sender = "0x" + request.sender.hex()
    fee = gas * request.max_fee_per_gas
    if fee and balance < fee + request.value:
        text = f"address {sender} have {balance} want {fee + request.value}"
        raise RpcError(SERVER_ERROR, f"insufficient funds for gas * price + value: {text}")
    if balance < request.value:
        raise RpcError(SERVER_ERROR, f"insufficient funds for transfer: address {sender}")


def _least_gas(request: CallRequest) -> int:
    return max(intrinsic_gas(request.to, request.data, request.access_list), floor_gas(request.data))


def _check_gas(request: CallRequest, gas: int) -> None:
    if not request.to and len(request.data) > MAX_INITCODE:
        raise RpcError(
            SERVER_ERROR, f"max initcode size exceeded: code size {len(request.data)} limit {MAX_INITCODE}"
        )
    if gas < _least_gas(request):
        raise RpcError(
            SERVER_ERROR,
            f"intrinsic gas too low: have {gas}, want {_least_gas(request)} (supplied gas {gas})",
        )


def _ceiling(request: CallRequest, balance: int) -> int:
    """The most gas to try: what the caller allows, the chain allows and the sender can pay."""
    most = min(request.gas or TRANSACTION_GAS_LIMIT, TRANSACTION_GAS_LIMIT)
    if not request.max_fee_per_gas:
        return most
    if balance < request.value:
        raise RpcError(SERVER_ERROR, "insufficient funds for transfer")
    return min(most, (balance - request.value) // request.max_fee_per_gas)


def estimate(view: View, header: Header, request: CallRequest) -> int:
    """The least gas, within 1.5 %, with which the call succeeds. Raises RpcError where it does with none."""
    nodes = view.node
    most = _ceiling(request, account_at(header.state_root, request.sender, nodes)[0].balance)
    if most < _least_gas(request):
        raise RpcError(SERVER_ERROR, f"gas required exceeds allowance ({most})")
    attempt = _runner(view, header, request)
    plain = request.to and not request.data and not request.access_list
    if plain and account_at(header.state_root, request.to, nodes)[0].code_hash == EMPTY_CODE:
        attempt(most)
        return _least_gas(request)
    outcome = attempt(most)
    if outcome.out_of_gas:
        raise RpcError(SERVER_ERROR, f"gas required exceeds allowance ({most})")
    _raise_failure(outcome)
    return _search(outcome, attempt, max(_least_gas(request), outcome.gas_used) - 1, most)


def _search(first: Outcome, attempt: Callable[[int], Outcome], low: int, high: int) -> int:
    """Narrow (low fails, high succeeds]."""
    guess = (first.peak_gas + _STIPEND) * 64 // 63
    while low + 1 < high and (high - low) / high >= _ERROR_RATIO:
        middle = guess if low < guess < high else min((low + high) // 2, 2 * low)
        guess = 0
        if attempt(middle).failure:
            low = middle
        else:
            high = middle
    return high
