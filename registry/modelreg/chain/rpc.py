"""The table of JSON-RPC methods, without transport. Specified in docs/spec/chain.md, section 8.

Every method gets a snapshot and its parameters and returns what JSON can hold; `eth_sendRawTransaction` is
the only one that writes, and lives in modelreg.chain.chain.
"""

from collections.abc import Callable, Sequence

from modelreg import __version__
from modelreg.chain import accounts, calls, fees, logs, render
from modelreg.chain.header import BASE_FEE
from modelreg.chain.params import (
    block_ref,
    call_request,
    data,
    flag,
    hash32,
    invalid,
    quantity,
    take,
)
from modelreg.chain.render import Json, hexadecimal
from modelreg.chain.rpcerror import METHOD_NOT_FOUND, RpcError
from modelreg.chain.view import Block, View
from modelreg.format.digest import keccak256

__all__ = ["METHODS", "call_method"]

Params = Sequence[object]


def _chain_id(view: View, params: Params) -> Json:
    take(params, 0, 0)
    return hex(view.chain_id)


def _net_version(view: View, params: Params) -> Json:
    take(params, 0, 0)
    return str(view.chain_id)


def _block_number(view: View, params: Params) -> Json:
    take(params, 0, 0)
    return hex(view.head_number())


def _sha3(_: View, params: Params) -> Json:
    return hexadecimal(keccak256(data(take(params, 1, 1)[0])))


def _block_by_number(view: View, params: Params) -> Json:
    reference, full = take(params, 1, 2)
    number = view.resolve(block_ref(reference))
    stored = None if number is None else view.block(number)
    return None if stored is None else render.block(stored, full=flag(full))


def _block_by_hash(view: View, params: Params) -> Json:
    block_hash, full = take(params, 1, 2)
    number = view.number_of(hash32(block_hash))
    stored = None if number is None else view.block(number)
    return None if stored is None else render.block(stored, full=flag(full))


def _block_receipts(view: View, params: Params) -> Json:
    (reference,) = take(params, 1, 1)
    by_hash = isinstance(reference, str) and len(reference) == 66
    number = view.number_of(hash32(reference)) if by_hash else view.resolve(block_ref(reference))
    stored = None if number is None else view.block(number)
    if stored is None:
        return None
    return [] if stored.tx is None else [render.receipt(stored)]


def _by_transaction(show: Callable[[Block], Json]) -> Callable[[View, Params], Json]:
    def method(view: View, params: Params) -> Json:
        stored = view.block_of_transaction(hash32(take(params, 1, 1)[0]))
        return None if stored is None else show(stored)

    return method


def _transaction_in_block(view: View, params: Params) -> Json:
    reference, index = take(params, 2, 2)
    by_hash = isinstance(reference, str) and len(reference) == 66
    number = view.number_of(hash32(reference)) if by_hash else view.resolve(block_ref(reference))
    stored = None if number is None else view.block(number)
    return None if stored is None or quantity(index, 64) else render.transaction(stored)


def _call(view: View, params: Params) -> Json:
    request, reference, *overrides = take(params, 1, 4)
    if any(overrides):
        raise invalid("state and block overrides are not supported on this chain")
    return hexadecimal(
        calls.run(view, view.header_at(block_ref(reference)), call_request(request, view.chain_id))
    )


def _estimate(view: View, params: Params) -> Json:
    request, reference, overrides = take(params, 1, 3)
    if overrides:
        raise invalid("state overrides are not supported on this chain")
    return hex(
        calls.estimate(view, view.header_at(block_ref(reference)), call_request(request, view.chain_id))
    )


def _get_logs(view: View, params: Params) -> Json:
    return logs.find(view, take(params, 1, 1)[0])


def _constant(value: Json) -> Callable[[View, Params], Json]:
    def method(_: View, params: Params) -> Json:
        take(params, 0, 0)
        return value

    return method


METHODS: dict[str, Callable[[View, Params], Json]] = {
    "web3_clientVersion": _constant(f"modelreg/v{__version__}/py-evm"),
    "web3_sha3": _sha3,
    "net_version": _net_version,
    "net_listening": _constant(True),
    "rpc_modules": _constant({"eth": "1.0", "net": "1.0", "rpc": "1.0", "web3": "1.0"}),
    "eth_chainId": _chain_id,
    "eth_syncing": _constant(False),
    "eth_accounts": _constant([]),
    "eth_blockNumber": _block_number,
    "eth_gasPrice": _constant(hex(BASE_FEE)),
    "eth_maxPriorityFeePerGas": _constant("0x0"),
    "eth_feeHistory": fees.history,
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getBlockReceipts": _block_receipts,
    "eth_getTransactionByHash": _by_transaction(render.transaction),
    "eth_getTransactionReceipt": _by_transaction(render.receipt),
    "eth_getTransactionByBlockNumberAndIndex": _transaction_in_block,
    "eth_getTransactionByBlockHashAndIndex": _transaction_in_block,
    "eth_getBalance": accounts.balance,
    "eth_getTransactionCount": accounts.nonce,
    "eth_getCode": accounts.code,
    "eth_getStorageAt": accounts.storage,
    "eth_getProof": accounts.proof,
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_getLogs": _get_logs,
}


def call_method(view: View, method: str, params: Params) -> Json:
    """Run a reading method. Raises RpcError."""
    run = METHODS.get(method)
    if run is None:
        raise RpcError(METHOD_NOT_FOUND, f"the method {method[:80]} does not exist/is not available")
    return run(view, params)
