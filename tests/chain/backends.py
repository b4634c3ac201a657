"""Chains that the conformance suite runs on: in-process, over HTTP, and anvil where npm installed it."""

import asyncio
import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from eth_account import Account

from modelreg.chain import RpcError, create, open_chain
from modelreg.chain.server import ChainServer
from tests import anvil

CHAIN_ID = 271828
ETHER = 10**18


def account(name):
    """A key that is derived, so that none is written down."""
    from Crypto.Hash import keccak

    return Account.from_key(keccak.new(digest_bits=256, data=b"modelreg test " + name.encode()).digest())


def raw(address):
    return bytes.fromhex(address[2:])


def post(url, body, headers=None, timeout=30):
    """POST bytes and return the status and the body."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Node:
    """A chain behind `request`, with two funded accounts."""

    def __init__(self, request, *, kind, url=None):
        self.request, self.kind, self.url = request, kind, url
        self.chain_id = CHAIN_ID
        self.alice, self.bob = account("alice"), account("bob")

    def sign(self, sender, **fields):
        nonce = int(self.request("eth_getTransactionCount", [sender.address, "latest"]), 16)
        fees = {} if "gasPrice" in fields else {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
        base = {"chainId": self.chain_id, "nonce": nonce, "gas": 1_000_000, "value": 0, "data": b""}
        if "to" in fields:
            fields["to"] = raw(fields["to"])
        signed = Account.sign_transaction({**base, **fees, **fields}, sender.key)
        return "0x" + bytes(signed.raw_transaction).hex()

    def send(self, sender, **fields):
        """Sign, send, and return the receipt."""
        tx_hash = self.request("eth_sendRawTransaction", [self.sign(sender, **fields)])
        for _ in range(100):  # anvil mines a moment later
            receipt = self.request("eth_getTransactionReceipt", [tx_hash])
            if receipt is not None or self.kind != "anvil":
                break
            time.sleep(0.05)
        return receipt


def make_chain(directory, balances=("alice", "bob"), timestamp=1_700_000_000):
    path = Path(directory) / "chain.sqlite"
    create(
        path,
        chain_id=CHAIN_ID,
        alloc={raw(account(n).address): 1000 * ETHER for n in balances},
        timestamp=timestamp,
    )
    return path


@contextlib.contextmanager
def served(chain, **options):
    """The chain over HTTP on a free port, in a thread of its own; yields the URL."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    server = ChainServer(chain, port=0, **options)

    async def run():
        await server.start()
        started.set()
        await stopping.wait()
        await server.stop()

    stopping = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield server.url
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(30)
        loop.close()


def http_request(url):
    def request(method, params):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = json.loads(post(url, json.dumps(body).encode())[1])
        if "error" in answer:
            error = answer["error"]
            raise RpcError(error["code"], error["message"], error.get("data"))
        return answer["result"]

    return request


@contextlib.contextmanager
def embedded(directory):
    with open_chain(make_chain(directory)) as chain:
        yield Node(chain.request, kind="embedded")


@contextlib.contextmanager
def over_http(directory):
    with open_chain(make_chain(directory)) as chain, served(chain) as url:
        yield Node(http_request(url), kind="http", url=url)


@contextlib.contextmanager
def on_anvil(_directory):
    options = ("--base-fee", 0, "--gas-limit", 120_000_000, "--accounts", 0)
    with anvil.running("--chain-id", CHAIN_ID, *options) as url:
        node = Node(http_request(url), kind="anvil", url=url)
        for person in (node.alice, node.bob):
            node.request("anvil_setBalance", [person.address, hex(1000 * ETHER)])
        node.request("evm_mine", [])
        yield node


BACKENDS = {"embedded": embedded, "http": over_http, "anvil": on_anvil}
