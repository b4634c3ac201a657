"""Anvil beside py-evm: every transaction and call goes to both and must come out the same.

Needs the npm packages of tests/interop (`npm ci` there).
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests import anvil
from tests.contracts import abi
from tests.contracts.evm import (
    ACCOUNTS,
    ALICE,
    BALANCE,
    CHAIN_ID,
    DEPLOYER_CODE,
    GAS_LIMIT,
    GENESIS_TIME,
    Evm,
    Outcome,
)


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


class Anvil:
    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._ids = itertools.count()
        self._start = ""

    def ask(self, method: str, *params) -> dict:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        self._connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    def get(self, method: str, *params):
        answer = self.ask(method, *params)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def prepare(self) -> Outcome:
        """Make the accounts, deploy the registry as `Evm.fresh` does, and remember this state."""
        for account in ACCOUNTS:
            self.get("anvil_setBalance", account.address, hex(BALANCE))
        self.get("anvil_setCode", _hex(abi.DEPLOYER), _hex(DEPLOYER_CODE))
        transaction = Evm.bare().sign(ALICE, abi.DEPLOYER, bytes(32) + abi.INIT_CODE)
        outcome = self.mine(transaction, GENESIS_TIME + 12)
        self._start = self.get("evm_snapshot")
        return outcome

    def reset(self) -> None:
        """Back to what `prepare` left."""
        assert self.get("evm_revert", self._start)
        self._start = self.get("evm_snapshot")

    def mine(self, transaction, time: int) -> Outcome:
        ok, output = self._try(transaction, time)
        self.get("evm_setNextBlockTimestamp", time)
        receipt = self.get("eth_sendRawTransactionSync", _hex(transaction.encode()))
        assert ok == (receipt["status"] == "0x1")
        logs = tuple(
            (_unhex(log["address"]), tuple(map(_unhex, log["topics"])), _unhex(log["data"]))
            for log in receipt["logs"]
        )
        return Outcome(ok, output, int(receipt["gasUsed"], 16), logs)

    def _try(self, transaction, time: int) -> tuple[bool, bytes]:
        """What it would give in the next block."""
        blocks = {"number": hex(int(self.get("eth_blockNumber"), 16) + 1), "time": hex(time)}
        return self._call(transaction.sender, transaction.to, transaction.data, transaction.value, blocks)

    def call_raw(self, sender: bytes, to: bytes, data: bytes) -> tuple[bool, bytes]:
        return self._call(sender, to, data, 0)

    def _call(self, sender: bytes, to: bytes, data: bytes, value: int, *block) -> tuple[bool, bytes]:
        call = {"from": _hex(sender), "to": _hex(to), "data": _hex(data), "gas": hex(GAS_LIMIT)}
        call["value"] = hex(value)
        answer = self.ask("eth_call", call, "latest", *([{}, *block] if block else []))
        if "result" in answer:
            return True, _unhex(answer["result"])
        return False, _unhex(answer["error"].get("data", "0x"))


class Lockstep(Evm):
    """A fresh `Evm` whose every step is repeated on anvil and compared: result, events and gas."""

    @classmethod
    def beside(cls, anvil: Anvil) -> "Lockstep":
        fresh = Evm.fresh()
        self = cls(fresh._chain, fresh._store, fresh._nonces)
        self._anvil = anvil
        anvil.reset()
        return self

    def mine(self, transaction, after: int) -> Outcome:
        outcome = super().mine(transaction, after)
        assert self._anvil.mine(transaction, self.time) == outcome
        return outcome

    def call_raw(self, sender: bytes, to: bytes, data: bytes) -> tuple[bool, bytes]:
        answer = super().call_raw(sender, to, data)
        assert self._anvil.call_raw(sender, to, data) == answer
        return answer

    def storage(self, slot: int, address: bytes = abi.ADDRESS) -> bytes:
        word = super().storage(slot, address)
        assert _unhex(self._anvil.get("eth_getStorageAt", _hex(address), hex(slot), "latest")) == word
        return word

    def balance(self, address: bytes) -> int:
        amount = super().balance(address)
        assert int(self._anvil.get("eth_getBalance", _hex(address), "latest"), 16) == amount
        return amount

    def code(self, address: bytes) -> bytes:
        code = super().code(address)
        assert _unhex(self._anvil.get("eth_getCode", _hex(address), "latest")) == code
        return code


@contextmanager
def running() -> Iterator[Anvil]:
    """One with the chain that `Evm` has."""
    options = ("--accounts", 1, "--timestamp", GENESIS_TIME, "--gas-limit", 30_000_000)
    with anvil.running("--chain-id", CHAIN_ID, *options) as url:
        yield Anvil(urlsplit(url).port)
