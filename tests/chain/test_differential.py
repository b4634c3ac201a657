"""Random programs on this chain and on anvil: equal gas, status, output, logs and storage."""

import random

import pytest

from modelreg.chain import RpcError
from tests import anvil
from tests.chain.backends import embedded, on_anvil
from tests.chain.programs import creation

# Instructions that take what is on the stack; small numbers are pushed in between.
_PLAIN = [
    *range(0x01, 0x0C),
    *range(0x10, 0x1E),
    0x20,
    0x30,
    0x31,
    0x32,
    0x33,
    0x34,
    0x35,
    0x36,
    0x37,
    0x38,
    0x39,
]
_PLAIN += [
    0x3B,
    0x3C,
    0x3D,
    0x3E,
    0x3F,
    0x47,
    0x48,
    0x49,
    0x4A,
    0x50,
    0x51,
    0x52,
    0x53,
    0x54,
    0x55,
    0x58,
    0x59,
]
_PLAIN += [0x5A, 0x5B, 0x5C, 0x5D, 0x5E, *range(0x80, 0x88), *range(0x90, 0x96), 0xA0, 0xA1, 0xA2]
_RARE = [0xF0, 0xF1, 0xF2, 0xF4, 0xF5, 0xFA, 0xF3, 0xFD, 0xFF, 0x56, 0x57, 0x0C, 0xFE, 0x00]


def program(chance):
    parts = []
    for _ in range(chance.randrange(5, 60)):
        if chance.random() < 0.5:
            number = chance.choice([0, 1, 2, 3, 4, 5, 9, 16, 32, 64, 255, chance.randrange(1 << 16)])
            parts.append(bytes([0x61]) + number.to_bytes(2, "big"))
        elif chance.random() < 0.04:
            parts.append(bytes([0x7F]) + chance.randbytes(32))
        else:
            parts.append(bytes([chance.choice(_PLAIN if chance.random() < 0.92 else _RARE)]))
    return b"".join(parts)


def observed(node, codes):
    """What each program did: in deployment, when called twice, and as an eth_call."""
    seen = []
    for code in codes:
        made = node.send(node.alice, data=creation(code), gas=5_000_000)
        where = made["contractAddress"]
        facts = [made["gasUsed"], made["status"]]
        for _ in range(2):
            receipt = node.send(node.bob, to=where, data=b"\1\0\2" * 30, gas=400_000, value=3)
            logs = [(log["address"].lower(), log["topics"], log["data"]) for log in receipt["logs"]]
            facts += [receipt["gasUsed"], receipt["status"], logs]
        facts += [node.request("eth_getStorageAt", [where, hex(slot), "latest"]) for slot in range(6)]
        facts.append(node.request("eth_getBalance", [where, "latest"]))
        facts.append(node.request("eth_getCode", [where, "latest"]))
        facts.append(called(node, where))
        seen.append(facts)
    return seen


def called(node, where):
    try:
        return node.request("eth_call", [{"to": where, "from": node.bob.address, "gas": "0x61a80"}, "latest"])
    except RpcError as error:
        return "reverted " + str(error.data) if error.code == 3 else "failed"


@pytest.mark.node
@pytest.mark.parametrize(
    "rounds", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_random_programs_match_anvil(tmp_path, rounds):
    if not anvil.is_here():
        pytest.skip("no anvil under tests/interop/node_modules")
    chance = random.Random(rounds)
    codes = [program(chance) for _ in range(rounds)]
    with embedded(tmp_path) as ours, on_anvil(tmp_path) as theirs:
        for code in codes:
            assert observed(ours, [code]) == observed(theirs, [code]), code.hex()
