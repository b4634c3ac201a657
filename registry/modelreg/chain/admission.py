"""Which transactions enter the chain, refused with go-ethereum's texts. docs/spec/chain.md, section 4."""

from modelreg.chain.header import BASE_FEE, TRANSACTION_GAS_LIMIT
from modelreg.chain.rpcerror import SERVER_ERROR, RpcError
from modelreg.chain.state import EMPTY_CODE, Account
from modelreg.chain.transaction import MAX_INITCODE, Transaction, decode, floor_gas, intrinsic_gas
from modelreg.errors import FormatError

__all__ = ["admit", "read_transaction"]

_MAX_NONCE = 2**64 - 2  # EIP-2681


def _refuse(text: str) -> RpcError:
    return RpcError(SERVER_ERROR, text)


def read_transaction(raw: bytes, chain_id: int) -> Transaction:
    """Decode a raw transaction and check what needs no state. Raises RpcError."""
    try:
        tx = decode(raw)
        _check_chain(tx, chain_id)
        _check_gas(tx)
        tx.sender  # noqa: B018  recovers, or raises
    except FormatError as error:
        raise _refuse(str(error)) from error
    return tx


def _check_chain(tx: Transaction, chain_id: int) -> None:
    if tx.chain_id is None:
        raise _refuse("only replay-protected (EIP-155) transactions allowed over RPC")
    if tx.chain_id != chain_id:
        raise _refuse(f"invalid chain id for signer: have {tx.chain_id} want {chain_id}")


def _check_gas(tx: Transaction) -> None:
    if tx.max_priority_fee_per_gas > tx.max_fee_per_gas:
        fees = f"maxPriorityFeePerGas: {tx.max_priority_fee_per_gas}, maxFeePerGas: {tx.max_fee_per_gas}"
        raise _refuse(f"max priority fee per gas higher than max fee per gas: {fees}")
    if not tx.to and len(tx.data) > MAX_INITCODE:
        raise _refuse(f"max initcode size exceeded: code size {len(tx.data)} limit {MAX_INITCODE}")
    if tx.gas > TRANSACTION_GAS_LIMIT:
        raise _refuse(f"exceeds block gas limit: tx gas {tx.gas}, limit {TRANSACTION_GAS_LIMIT}")
    needed = intrinsic_gas(tx.to, tx.data, tx.access_list)
    if tx.gas < needed:
        raise _refuse(f"intrinsic gas too low: gas {tx.gas}, minimum needed {needed}")
    if tx.gas < floor_gas(tx.data):
        floor = floor_gas(tx.data)
        raise _refuse(f"insufficient gas for floor data gas cost: gas {tx.gas}, minimum needed {floor}")
    if tx.nonce > _MAX_NONCE:
        raise _refuse(f"nonce has max value: nonce {tx.nonce}")


def admit(tx: Transaction, account: Account) -> None:
    """Check a transaction against its sender's account in the parent state. Raises RpcError."""
    sender = "0x" + tx.sender.hex()
    if account.code_hash != EMPTY_CODE:
        raise _refuse(f"sender not an eoa: address {sender}, codehash: 0x{account.code_hash.hex()}")
    if tx.nonce < account.nonce:
        raise _refuse(f"nonce too low: address {sender}, tx: {tx.nonce} state: {account.nonce}")
    if tx.nonce > account.nonce:
        raise _refuse(f"nonce too high: address {sender}, tx: {tx.nonce} state: {account.nonce}")
    if tx.max_fee_per_gas < BASE_FEE:
        raise _refuse(
            f"max fee per gas less than block base fee: address {sender}, maxFeePerGas: {tx.max_fee_per_gas}"
        )
    cost = tx.gas * tx.max_fee_per_gas + tx.value
    if account.balance < cost:
        have = f"address {sender} have {account.balance} want {cost}"
        raise _refuse(f"insufficient funds for gas * price + value: {have}")
