"""Blocks, transactions, receipts and logs as JSON-RPC prints them. docs/spec/chain.md, section 8."""

from typing import TypeAlias

from modelreg.chain import rlp
from modelreg.chain.header import BASE_FEE, COINBASE, EMPTY_REQUESTS, EMPTY_ROOT, EMPTY_UNCLES, GAS_LIMIT
from modelreg.chain.receipt import Log, bloom_of
from modelreg.chain.transaction import Transaction
from modelreg.chain.view import Block
from modelreg.format.digest import keccak256

__all__ = ["Json", "block", "hexadecimal", "log", "quantity", "receipt", "transaction"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def quantity(value: int) -> str:
    """A number as JSON-RPC writes it: no leading zeros."""
    return hex(value)


def hexadecimal(value: bytes) -> str:
    """Bytes as JSON-RPC writes them."""
    return "0x" + value.hex()


def _transactions(stored: Block, full: bool) -> list[Json]:  # noqa: FBT001
    if stored.tx is None:
        return []
    return [transaction(stored)] if full else [hexadecimal(stored.tx.hash)]


def _size(stored: Block) -> int:
    bodies: list[rlp.Item] = []
    if stored.tx is not None:
        bodies = [stored.tx.raw if stored.tx.type_id else rlp.decode(stored.tx.raw)]
    return len(rlp.encode([rlp.decode(stored.header.encode()), bodies, [], []]))


def block(stored: Block, *, full: bool) -> Json:
    """A block, with its transaction's hash or (`full`) the transaction."""
    header = stored.header
    return {
        "number": quantity(header.number),
        "hash": hexadecimal(stored.hash),
        "parentHash": hexadecimal(header.parent_hash),
        "sha3Uncles": hexadecimal(EMPTY_UNCLES),
        "miner": hexadecimal(COINBASE),
        "stateRoot": hexadecimal(header.state_root),
        "transactionsRoot": hexadecimal(header.transactions_root),
        "receiptsRoot": hexadecimal(header.receipts_root),
        "logsBloom": hexadecimal(header.bloom),
        "difficulty": "0x0",
        "gasLimit": quantity(GAS_LIMIT),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": hexadecimal(header.extra_data),
        "mixHash": hexadecimal(header.prev_randao),
        "nonce": hexadecimal(bytes(8)),
        "baseFeePerGas": quantity(BASE_FEE),
        "withdrawalsRoot": hexadecimal(EMPTY_ROOT),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": hexadecimal(bytes(32)),
        "requestsHash": hexadecimal(EMPTY_REQUESTS),
        "size": quantity(_size(stored)),
        "uncles": [],
        "withdrawals": [],
        "transactions": _transactions(stored, full),
    }


def _access_list(tx: Transaction) -> Json:
    return [
        {
            "address": hexadecimal(address),
            "storageKeys": [hexadecimal(key.to_bytes(32, "big")) for key in keys],
        }
        for address, keys in tx.access_list
    ]


def _typed_fields(tx: Transaction) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    if tx.type_id:
        fields |= {"accessList": _access_list(tx), "yParity": quantity(tx.v)}
    if tx.type_id == 2:
        fields["maxFeePerGas"] = quantity(tx.max_fee_per_gas)
        fields["maxPriorityFeePerGas"] = quantity(tx.max_priority_fee_per_gas)
    return fields


def transaction(stored: Block) -> Json:
    """The transaction of a block; None for an empty block, which has none."""
    tx = stored.tx
    if tx is None:
        return None
    return {
        "hash": hexadecimal(tx.hash),
        "type": quantity(tx.type_id),
        "chainId": quantity(tx.chain_id or 0),
        "nonce": quantity(tx.nonce),
        "from": hexadecimal(stored.sender),
        "to": hexadecimal(tx.to) if tx.to else None,
        "value": quantity(tx.value),
        "input": hexadecimal(tx.data),
        "gas": quantity(tx.gas),
        "gasPrice": quantity(tx.effective_gas_price(BASE_FEE)),
        "v": quantity(tx.v),
        "r": quantity(tx.r),
        "s": quantity(tx.s),
        "blockHash": hexadecimal(stored.hash),
        "blockNumber": quantity(stored.header.number),
        "blockTimestamp": quantity(stored.header.timestamp),
        "transactionIndex": "0x0",
        **_typed_fields(tx),
    }


def log(entry: Log, position: int, *, block_hash: bytes, tx_hash: bytes, number: int, timestamp: int) -> Json:
    """One event with the place where it happened."""
    return {
        "address": hexadecimal(entry.address),
        "topics": [hexadecimal(topic) for topic in entry.topics],
        "data": hexadecimal(entry.data),
        "blockHash": hexadecimal(block_hash),
        "blockNumber": quantity(number),
        "blockTimestamp": quantity(timestamp),
        "transactionHash": hexadecimal(tx_hash),
        "transactionIndex": "0x0",
        "logIndex": quantity(position),
        "removed": False,
    }


def _logs(stored: Block, tx: Transaction, logs: tuple[Log, ...]) -> list[Json]:
    number, timestamp = stored.header.number, stored.header.timestamp
    place = {"block_hash": stored.hash, "tx_hash": tx.hash}
    return [
        log(entry, position, number=number, timestamp=timestamp, **place)
        for position, entry in enumerate(logs)
    ]


def receipt(stored: Block) -> Json:
    """The receipt of a block's transaction; None for an empty block."""
    tx, outcome = stored.tx, stored.receipt
    if tx is None or outcome is None:
        return None
    created = keccak256(rlp.encode([stored.sender, rlp.uint(tx.nonce)]))[12:]
    return {
        "transactionHash": hexadecimal(tx.hash),
        "transactionIndex": "0x0",
        "blockHash": hexadecimal(stored.hash),
        "blockNumber": quantity(stored.header.number),
        "from": hexadecimal(stored.sender),
        "to": hexadecimal(tx.to) if tx.to else None,
        "contractAddress": None if tx.to else hexadecimal(created),
        "type": quantity(tx.type_id),
        "status": quantity(int(outcome.succeeded)),
        "gasUsed": quantity(outcome.gas_used),
        "cumulativeGasUsed": quantity(outcome.gas_used),
        "effectiveGasPrice": quantity(tx.effective_gas_price(BASE_FEE)),
        "logsBloom": hexadecimal(bloom_of(outcome.logs)),
        "logs": _logs(stored, tx, outcome.logs),
    }
