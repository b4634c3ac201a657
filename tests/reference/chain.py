"""The chain's blocks by the yellow paper and the EIPs, slowly: whole tries, no EVM, no code of modelreg.

Regenerate the vectors with `python -m tests.reference.chain`.
"""

import hashlib
import json
from pathlib import Path

import rlp
from Crypto.Hash import keccak as _keccak
from eth_account import Account
from trie import HexaryTrie

VECTORS = Path(__file__).parents[1] / "vectors" / "chain" / "blocks.json"
CHAIN_ID = 31415
PROXY = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
PROXY_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f580"
    "15156039578182fd5b8082525050506014600cf3"
)
# Stores word 1 of its input under word 0, and logs it (tests/chain/programs.py spells it out).
VAULT = bytes.fromhex(
    "36604014610037573660201461004a576308c379a060e01b5f5260206004526008602452676261642063616c6c60c01b"
    "60445260645ffd5b602035805f525f35555f3560aa60205fa2005b5f35545f5260205ff3"
)
INIT = bytes.fromhex(f"61{len(VAULT):04x}80600a5f395ff3") + VAULT
COINBASE = bytes(20)


def keccak(data):
    return _keccak.new(digest_bits=256, data=data).digest()


def word(number):
    return number.to_bytes(32, "big")


def trie_root(pairs):
    trie = HexaryTrie({})
    for key, value in pairs:
        trie[key] = value
    return trie.root_hash


def list_root(values):
    return trie_root((rlp.encode(index), value) for index, value in enumerate(values))


class World:
    """Every account, and the state root over all of them."""

    def __init__(self):
        self.accounts = {}

    def at(self, address):
        return self.accounts.setdefault(address, {"nonce": 0, "balance": 0, "storage": {}, "code": b""})

    def root(self):
        pairs = []
        for address, account in self.accounts.items():
            if not (account["nonce"] or account["balance"] or account["code"]):
                continue
            storage = trie_root((keccak(word(k)), rlp.encode(v)) for k, v in account["storage"].items() if v)
            fields = [account["nonce"], account["balance"], storage, keccak(account["code"])]
            pairs.append((keccak(address), rlp.encode(fields)))
        return trie_root(pairs)


def bloom(logs):
    bits = 0
    for address, topics, _ in logs:
        for item in (address, *topics):
            digest = keccak(item)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") % 2048)
    return bits.to_bytes(256, "big")


def header(parent_hash, world, number, timestamp, txs, receipts, gas_used, logs):
    return rlp.encode(
        [
            parent_hash, keccak(rlp.encode([])), COINBASE, world.root(), list_root(txs), list_root(receipts),
            bloom(logs), 0, number, 120_000_000, gas_used, timestamp, b"modelreg",
            keccak(parent_hash) if number else bytes(32), bytes(8), 0, list_root([]), 0, 0, bytes(32),
            hashlib.sha256(b"").digest(),
        ]
    )  # fmt: skip


def people():
    """Keys that are derived, so that none is written down."""
    return {name: Account.from_key(keccak(b"reference " + name.encode())) for name in ("alice", "bob")}


def raw_address(account):
    return bytes.fromhex(account.address[2:])


def story():
    """Who signs what, what gas it uses (measured on anvil), and what it does to the world."""
    alice, bob = people().values()
    created = keccak(rlp.encode([raw_address(alice), 1]))[12:]
    carol = b"\xca" * 20
    free = {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}

    def pays(sender, to, value, tip=0):
        def effect(world, gas_used):
            world.at(raw_address(sender))["balance"] -= value + gas_used * tip
            world.at(to)["balance"] += value
            world.at(COINBASE)["balance"] += gas_used * tip

        return effect

    def creates(world, _):
        world.at(created).update(nonce=1, code=VAULT)

    def stores(world, _):
        world.at(created)["storage"][7] = 42

    log = (created, (word(0xAA), word(7)), word(42))
    keys = ["0x" + word(key).hex() for key in (7, 8)]
    listed = [{"address": "0x" + created.hex(), "storageKeys": keys}]
    tipped = {"maxFeePerGas": 5, "maxPriorityFeePerGas": 3}
    return [
        (alice, {"to": carol, "value": 7, "gas": 21000, "gasPrice": 0}, 21000, [], pays(alice, carol, 7)),
        (alice, {"data": INIT, "gas": 200_000, **free}, 71296, [], creates),
        (alice, {"to": created, "data": word(7) + word(42), "gas": 100_000, **free}, 44818, [log], stores),
        (alice, {"to": carol, "value": 1, "gas": 30000, **tipped}, 21000, [], pays(alice, carol, 1, 3)),
        (
            bob,
            {"to": carol, "gas": 50000, "gasPrice": 0, "type": 1, "accessList": listed},
            27200,
            [],
            pays(bob, carol, 0),
        ),
    ]


def sign(signer, nonce, fields):
    base = {"chainId": CHAIN_ID, "nonce": nonce, "value": 0, "data": b""}
    signed = Account.sign_transaction({**base, **fields}, signer.key)
    return bytes(signed.raw_transaction)


def make():
    world, times = (
        World(),
        [1_700_000_000, 1_700_000_005, 1_700_000_005, 1_600_000_000, 1_700_000_100, 1_700_000_101],
    )
    alloc = {raw_address(account): 10**18 * (n + 1) for n, account in enumerate(people().values())}
    for address, balance in alloc.items():
        world.at(address)["balance"] = balance
    world.at(PROXY).update(nonce=1, code=PROXY_CODE)
    block = header(bytes(32), world, 0, times[0], [], [], 0, [])
    blocks, last = [{"header": block.hex(), "hash": keccak(block).hex()}], times[0]
    for number, (signer, fields, gas_used, logs, effect) in enumerate(story(), 1):
        nonce = world.at(raw_address(signer))["nonce"]
        raw = sign(signer, nonce, fields)
        effect(world, gas_used)
        world.at(raw_address(signer))["nonce"] += 1
        last = max(last + 1, times[number])
        kind = raw[:1] if raw[0] < 0xC0 else b""
        receipt = kind + rlp.encode([1, gas_used, bloom(logs), [[a, list(t), d] for a, t, d in logs]])
        block = header(keccak(block), world, number, last, [raw], [receipt], gas_used, logs)
        blocks.append(
            {
                "raw": raw.hex(),
                "clock": times[number],
                "receipt": receipt.hex(),
                "header": block.hex(),
                "hash": keccak(block).hex(),
            }
        )
    balances = {address.hex(): str(balance) for address, balance in alloc.items()}
    return {"chain_id": CHAIN_ID, "timestamp": times[0], "alloc": balances, "blocks": blocks}


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(make(), indent=1) + "\n")
