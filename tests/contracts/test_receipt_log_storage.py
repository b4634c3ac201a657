"""The storage layout of docs/spec/receipt-log.md, section 8: as compiled, and as found in the state."""

import pytest

from tests.contracts.abi import DEPLOYER, RECEIPT_LOG, keccak256
from tests.contracts.evm import ALICE
from tests.contracts.receipt_log_model import DEPOSIT, EXIT_DELAY, EXITING, OPEN, RESPONSE_TIME
from tests.contracts.receipt_log_pair import AUDITORS, CLIENT, ETHER, MINILM, NODE, WATCHER, sign, word
from tests.reference import receipt_log as reference

LAYOUT = RECEIPT_LOG.artifact["storageLayout"]

VARIABLES = [
    (0, "_nodes", "mapping(address => struct IReceiptLog.Node)"),
    (1, "_nodeList", "address[]"),
    (2, "_balances", "mapping(address => uint256)"),
    (3, "_burned", "uint256"),
    (4, "_policies", "mapping(PolicyId => struct IReceiptLog.Policy)"),
    (5, "_policiesOf", "mapping(ModelId => PolicyId[])"),
    (6, "_enrolments", "mapping(address => mapping(PolicyId => struct IReceiptLog.Enrolment))"),
    (7, "_recorded", "mapping(bytes32 => mapping(address => uint256))"),
    (8, "_batches", "mapping(address => mapping(uint256 => bytes32))"),
    (9, "_challenges", "mapping(ReceiptId => struct IReceiptLog.Challenge)"),
    (10, "_charged", "mapping(PolicyId => mapping(ReceiptId => uint256))"),
    (11, "_announced", "mapping(bytes32 => uint256)"),
    (12, "_attachments", "mapping(ReleaseId => mapping(address => bytes32[]))"),
]
# (word, byte from the low end, name, type)
STRUCTS = {
    "Node": [
        (0, 0, "epoch", "uint64"),
        (0, 8, "nextSeq", "uint64"),
        (0, 16, "batches", "uint40"),
        (0, 21, "registeredAt", "uint40"),
        (0, 26, "exitableAt", "uint40"),
        (0, 31, "status", "enum IReceiptLog.Status"),
        (1, 0, "bond", "uint128"),
        (1, 16, "openChallenges", "uint64"),
        (2, 0, "endpoint", "string"),
    ],
    "Policy": [
        (0, 0, "model", "ModelId"),
        (1, 0, "terms", "bytes32"),
        (2, 0, "penalty", "uint128"),
        (2, 16, "withheldPenalty", "uint128"),
        (3, 0, "minimumBond", "uint128"),
        (3, 16, "deadline", "uint40"),
        (3, 21, "quorum", "uint8"),
        (4, 0, "auditors", "address[]"),
    ],
    "Enrolment": [(0, 0, "since", "uint40"), (0, 5, "until", "uint40")],
    "Challenge": [
        (0, 0, "challenger", "address"),
        (0, 20, "deadline", "uint40"),
        (0, 25, "state", "enum IReceiptLog.ChallengeState"),
    ],
}


def test_the_receipt_logs_variables_are_those_of_the_specification():
    types = LAYOUT["types"]
    found = [(int(v["slot"]), v["label"], types[v["type"]]["label"]) for v in LAYOUT["storage"]]
    assert found == VARIABLES
    assert all(v["offset"] == 0 for v in LAYOUT["storage"])


@pytest.mark.parametrize("name", STRUCTS)
def test_the_receipt_logs_structs_are_those_of_the_specification(name):
    types = LAYOUT["types"]
    (struct,) = (t for t in types.values() if t["label"] == f"struct IReceiptLog.{name}")
    found = [(int(m["slot"]), m["offset"], m["label"], types[m["type"]]["label"]) for m in struct["members"]]
    assert found == STRUCTS[name]


def _slot(variable: int, *keys: bytes) -> int:
    place = variable.to_bytes(32, "big")
    for key in keys:
        place = keccak256(key.rjust(32, b"\0") + place)
    return int.from_bytes(place, "big")


def _element(slot: int, index: int) -> int:
    return int.from_bytes(keccak256(slot.to_bytes(32, "big")), "big") + index


def _fields(word: bytes, *sizes: int) -> list[int]:
    """The word cut from its low end into fields of so many bits."""
    number, fields = int.from_bytes(word, "big"), []
    for size in sizes:
        fields.append(number & ((1 << size) - 1))
        number >>= size
    assert number == 0
    return fields


@pytest.fixture
def read(story):
    """read(slot) -> the word there, whole or as a number."""
    return lambda slot: story.pair.machine.storage(slot, RECEIPT_LOG.address)


def test_nodes_in_storage(story, read):
    pair = story.pair
    registered = pair.model.nodes[NODE.address].registeredAt
    pair.ok(*story.challenge(), value=DEPOSIT)
    pair.ok(NODE, "requestExit")
    end = pair.machine.time + EXIT_DELAY
    node = _slot(0, bytes(NODE))
    assert _fields(read(node), 64, 64, 40, 40, 40, 8) == [0, 5, 1, registered, end, EXITING]
    assert _fields(read(node + 1), 128, 64) == [10 * ETHER, 1]
    url = b"https://node.example"
    assert read(node + 2) == url.ljust(31, b"\0") + bytes([2 * len(url)])
    assert _fields(read(1), 64) == [1]
    assert read(_element(1, 0))[12:] == bytes(NODE)


def test_batches_in_storage(story, read):
    """One proof of the node's first word and one of this word authenticate a batch."""
    assert read(_slot(8, bytes(NODE), bytes(32))) == reference.batch_hash(story.batch)


def test_challenges_in_storage(story, read):
    story.pair.ok(*story.challenge(), value=DEPOSIT)
    slot = _slot(9, story.receipts[0].digest())
    end = story.pair.machine.time + RESPONSE_TIME
    assert _fields(read(slot), 160, 40, 8) == [int.from_bytes(bytes(CLIENT), "big"), end, OPEN]
    story.pair.ok(ALICE, "slashTimeout", story.receipts[0], after=RESPONSE_TIME + 1)
    assert _fields(read(_slot(2, bytes(CLIENT))), 128) == [DEPOSIT + ETHER]
    assert _fields(read(3), 128) == [9 * ETHER]


def test_challenges_of_places_in_storage(story, read):
    story.pair.ok(*story.place_challenge(3), value=DEPOSIT)
    slot = _slot(9, keccak256(bytes(NODE).rjust(32, b"\0") + bytes(63) + b"\3"))
    end = story.pair.machine.time + RESPONSE_TIME
    assert _fields(read(slot), 160, 40, 8) == [int.from_bytes(bytes(WATCHER), "big"), end, OPEN]


def test_attachments_in_storage(story, read):
    for digest in (word("a"), word("b")):
        story.pair.ok(WATCHER, "attach", story.release, digest)
    slot = _slot(12, story.release, bytes(WATCHER))
    assert _fields(read(slot), 64) == [2]
    assert [read(_element(slot, at)) for at in range(3)] == [word("a"), word("b"), bytes(32)]


def test_policies_and_enrolments_in_storage(story, read):
    policy = _slot(4, story.policy)
    assert [read(policy), read(policy + 1)] == [MINILM, word("terms")]
    assert _fields(read(policy + 2), 128, 128) == [4 * ETHER, 6 * ETHER]
    assert _fields(read(policy + 3), 128, 40, 8) == [8 * ETHER, 10 * 86_400, 2]
    assert _fields(read(policy + 4), 8) == [3]
    for index, auditor in enumerate(AUDITORS):
        assert read(_element(policy + 4, index))[12:] == bytes(auditor)
    assert _fields(read(_slot(5, MINILM)), 8) == [1]
    assert read(_element(_slot(5, MINILM), 0)) == story.policy
    since, _ = story.pair.model.enrolments[NODE.address, story.policy]
    story.pair.ok(NODE, "resign", story.policy)
    slot = _slot(6, bytes(NODE), story.policy)
    assert _fields(read(slot), 40, 40) == [since, story.pair.machine.time + EXIT_DELAY]


def test_verdicts_and_announcements_in_storage(story, read):
    pair, verdict = story.pair, story.verdict()
    pair.ok(ALICE, "recordVerdict", verdict, sign(AUDITORS[0], verdict.digest()))
    assert _fields(read(_slot(7, verdict.digest(), bytes(AUDITORS[0]))), 64) == [pair.machine.time]
    votes = [story.vote(auditor) for auditor in AUDITORS]
    pair.ok(ALICE, "slashByQuorum", *story.judgement(votes))
    assert _fields(read(_slot(10, story.policy, story.receipts[0].digest())), 128) == [4 * ETHER]
    pair.ok(ALICE, "announce", word("commitment"))
    assert _fields(read(_slot(11, word("commitment"))), 64) == [pair.machine.block]


def test_the_receipt_logs_address_follows_from_its_code_alone(story):
    """EIP-1014 with the deterministic deployment proxy and salt zero."""
    address = keccak256(b"\xff" + DEPLOYER + bytes(32) + keccak256(RECEIPT_LOG.init_code))[12:]
    assert address == RECEIPT_LOG.address
    assert story.pair.machine.code(address) == bytes.fromhex(RECEIPT_LOG.artifact["deployedBytecode"][2:])
    assert not RECEIPT_LOG.items("constructor")
