"""Headers, Merkle-Patricia proofs and storage slots by py-evm's, `trie`'s and `eth_abi`'s means.

Shares nothing with the client. `python -m tests.reference.ledger` writes tests/vectors/ledger/ again.
"""

import json
import random
from pathlib import Path

import rlp
from eth_abi import encode as abi_encode
from eth_utils import keccak
from trie import HexaryTrie

VECTORS = Path(__file__).parent.parent / "vectors" / "ledger"

FORKS = {
    "frontier": [],
    "london": ["baseFeePerGas"],
    "shanghai": ["baseFeePerGas", "withdrawalsRoot"],
    "cancun": ["baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot"],
    "prague": [
        "baseFeePerGas",
        "withdrawalsRoot",
        "blobGasUsed",
        "excessBlobGas",
        "parentBeaconBlockRoot",
        "requestsHash",
    ],
}
LENGTHS = {
    "parentHash": 32,
    "sha3Uncles": 32,
    "miner": 20,
    "stateRoot": 32,
    "transactionsRoot": 32,
    "receiptsRoot": 32,
    "logsBloom": 256,
    "difficulty": None,
    "number": None,
    "gasLimit": None,
    "gasUsed": None,
    "timestamp": None,
    "extraData": 12,
    "mixHash": 32,
    "nonce": 8,
    "baseFeePerGas": None,
    "withdrawalsRoot": 32,
    "blobGasUsed": None,
    "excessBlobGas": None,
    "parentBeaconBlockRoot": 32,
    "requestsHash": 32,
}
BASIC = list(LENGTHS)[:15]


def reference_header(names, rng):
    """A random block as JSON-RPC gives it, with its hash."""
    values = {n: rng.randbytes(LENGTHS[n]) if LENGTHS[n] else rng.randrange(2**40) for n in [*BASIC, *names]}
    values["difficulty"] = 0 if names else values["difficulty"]
    raw = rlp.encode(
        [v if isinstance(v, bytes) else rlp.sedes.big_endian_int.serialize(v) for v in values.values()]
    )
    block = {n: "0x" + v.hex() if isinstance(v, bytes) else hex(v) for n, v in values.items()}
    return {
        **block,
        "hash": "0x" + keccak(raw).hex(),
        "size": hex(len(raw)),
        "transactions": [],
        "uncles": [],
    }


# The first block of Ethereum's main network, as every node has it.
MAINNET_GENESIS = {
    "parentHash": "0x" + "00" * 32,
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x" + "00" * 20,
    "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
    "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "logsBloom": "0x" + "00" * 256,
    "difficulty": "0x400000000",
    "number": "0x0",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x0",
    "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000042",
    "hash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
}


def headers():
    rng = random.Random(1186)
    rows = [{"name": "main network, block 0", "block": MAINNET_GENESIS}]
    return rows + [{"name": fork, "block": reference_header(names, rng)} for fork, names in FORKS.items()]


def storage_key(slot):
    return keccak(slot.to_bytes(32, "big"))


def reference_trie(words):
    trie = HexaryTrie({})
    for slot, word in words.items():
        trie[storage_key(slot)] = rlp.encode(rlp.sedes.big_endian_int.serialize(word))
    return trie


def reference_proof(trie, key):
    """The nodes on the path that have a hash of their own, as go-ethereum lists them."""
    nodes = [rlp.encode(node) for node in trie.get_proof(key)]
    return [node for place, node in enumerate(nodes) if place == 0 or len(node) >= 32]


def proofs():
    rng = random.Random(1187)
    rows = []
    for size in (0, 1, 2, 17, 300):
        words = {
            rng.randrange(2**256): rng.randrange(1, 2 ** rng.choice((1, 8, 200, 256))) for _ in range(size)
        }
        trie = reference_trie(words)
        absent = {rng.randrange(2**256): 0 for _ in range(4)}
        for slot, word in [*list(words.items())[:6], *absent.items()]:
            nodes = [] if not words else [n.hex() for n in reference_proof(trie, storage_key(slot))]
            rows.append(
                {
                    "name": f"{size} words, {'absent' if not word else 'present'}",
                    "root": trie.root_hash.hex(),
                    "slot": hex(slot),
                    "word": hex(word),
                    "nodes": nodes,
                }
            )
    return rows


def label(text):
    return text.encode().ljust(32, b"\0")


def mapping(position, *keys):
    slot = position.to_bytes(32, "big")
    for kind, key in keys:
        slot = keccak(abi_encode([kind, "bytes32"], [key, slot]))
    return "0x" + slot.hex()


def slots():
    model, account = keccak(b"acme/minilm"), "0x" + "ab" * 20
    release = bytes(range(32))
    b32 = "bytes32"
    return [
        {"name": "namespace_slot", "args": ["acme"], "slot": mapping(0, (b32, label("acme")))},
        {
            "name": "grant_slot",
            "args": ["acme", account],
            "slot": mapping(1, (b32, label("acme")), ("address", account)),
        },
        {"name": "model_slot", "args": ["0x" + model.hex()], "slot": mapping(2, (b32, model))},
        {
            "name": "head_slot",
            "args": ["0x" + model.hex(), "main"],
            "slot": mapping(3, (b32, model), (b32, label("main"))),
        },
        {
            "name": "version_slot",
            "args": ["0x" + model.hex(), "1.2.0"],
            "slot": mapping(4, (b32, model), (b32, label("1.2.0"))),
        },
        {
            "name": "channel_slot",
            "args": ["0x" + model.hex(), "stable"],
            "slot": mapping(5, (b32, model), (b32, label("stable"))),
        },
        {"name": "release_slot", "args": ["0x" + release.hex()], "slot": mapping(6, (b32, release))},
        {"name": "yank_reason_slot", "args": ["0x" + release.hex()], "slot": mapping(7, (b32, release))},
    ]


def releases():
    rng = random.Random(1188)
    rows = []
    for code, seq, parent in (
        (0x1E, 1, bytes(32)),
        (0x12, 1, bytes(32)),
        (0x1E, 2**32 - 1, rng.randbytes(32)),
    ):
        model, root, digest = (rng.randbytes(32) for _ in range(3))
        words = [
            keccak(b"modelreg/release/1"),
            model,
            label("1.2.0-rc.1"),
            label("main"),
            parent,
            root,
            digest,
            code,
            seq,
        ]
        raw = abi_encode(["bytes32"] * 7 + ["uint256"] * 2, words)
        rows.append(
            {
                "name": f"hash {code:#x}, seq {seq}",
                "model": model.hex(),
                "parent": parent.hex(),
                "content_root": root.hex(),
                "manifest_digest": digest.hex(),
                "version": "1.2.0-rc.1",
                "branch": "main",
                "manifest_hash": code,
                "seq": seq,
                "release_id": "0x" + keccak(raw).hex(),
            }
        )
    return rows


def documents():
    """The vector files by name."""
    return {
        "headers.json": headers(),
        "proofs.json": proofs(),
        "slots.json": slots(),
        "releases.json": releases(),
    }


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
