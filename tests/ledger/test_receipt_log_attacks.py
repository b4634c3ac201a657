"""Endpoints that lie about the receipt log, and crashes while it is written to."""

import pytest

from modelreg.errors import ConflictError, FormatError, NotFoundError, UnreachableError, VerificationError
from modelreg.ledger import receipt_log_batches, receipt_log_view, receipt_log_writer
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.receipt_log_batches import find_batch_at, newest_batches
from modelreg.ledger.receipt_log_challenges import DEPOSIT
from modelreg.ledger.receipt_log_evidence import reporter_salt
from modelreg.ledger.receipt_log_open import open_challenges
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.rpc import RpcRefusedError
from modelreg.ledger.sender import Patience
from tests.ledger.adversary import LyingRpc, in_proof
from tests.ledger.receipt_log_world import (
    ADDRESSES,
    ETHER,
    NODE,
    OTHER,
    OWNER,
    URL,
    LogWorld,
    policy_of,
    word,
)
from tests.ledger.test_sender import Crash, CrashingRpc
from tests.ledger.world import MODEL

ANCHORED = "0x" + word("Anchored(address,uint64,uint64,uint64,uint32,bytes32)").hex()
HURRY = Patience(turn=5, mined=3, replace=0.05)


@pytest.fixture
def node(world):
    made = LogWorld(world)
    made.writer(OWNER).deploy()
    made.writer().register(URL, 5 * ETHER)
    return made


@pytest.fixture
def batches(node):
    """The node's three batches."""
    return [node.anchored(2, epoch)[1] for epoch in range(3)]


def found(node, **lies):
    return list(newest_batches(node.log(LyingRpc(node.world.rpc, **lies)), ADDRESSES[NODE]))


def of_events(change):
    """A lie about events; `change` gets the list, oldest first, and returns another."""
    return {"eth_getLogs": lambda _rpc, _params, answer: change(answer)}


def changed(entry, word_at, value):
    raw = bytearray.fromhex(entry["data"][2:])
    raw[32 * word_at : 32 * word_at + 32] = value
    return entry | {"data": "0x" + raw.hex()}


def test_an_honest_endpoint_shows_all(node, batches):
    assert found(node) == batches[::-1]
    assert found(node, **of_events(lambda entries: entries[::-1] + entries)) == batches[::-1]


def test_a_lying_rpc_invents_a_root(node, batches):
    with pytest.raises(VerificationError, match="batch 2"):
        found(node, **of_events(lambda entries: [*entries[:-1], changed(entries[-1], 3, word("fake"))]))


@pytest.mark.parametrize("index", range(3))
def test_a_lying_rpc_invents_the_batch_that_is_asked_for(node, batches, index):
    lie = of_events(lambda entries: [changed(each, 3, word("fake")) for each in entries])
    with pytest.raises(VerificationError, match=f"batch {index}"):
        find_batch_at(node.log(LyingRpc(node.world.rpc, **lie)), ADDRESSES[NODE], index)


def test_a_withheld_batch_is_not_taken_for_its_neighbour(node, batches):
    lie = of_events(lambda entries: [entries[0], entries[2]])
    with pytest.raises(UnreachableError, match="batch 1"):
        find_batch_at(node.log(LyingRpc(node.world.rpc, **lie)), ADDRESSES[NODE], 1)


def test_a_lying_rpc_invents_a_count(node, batches):
    with pytest.raises(VerificationError, match="batch 2"):
        found(
            node,
            **of_events(lambda entries: [*entries[:-1], changed(entries[-1], 2, (7).to_bytes(32, "big"))]),
        )


def test_a_lying_rpc_moves_a_batch_to_another_block(node, batches):
    def moved(entries):
        block = hex(int(entries[-1]["blockNumber"], 16) - 1)
        return [*entries[:-1], entries[-1] | {"blockNumber": block}]

    with pytest.raises(VerificationError, match="batch 2"):
        found(node, **of_events(moved))


def test_an_odd_batch_hides_no_other(node, batches, monkeypatch):
    """What is proven and yet not understood is passed over; what is not proven is a lie before it is read."""
    real = receipt_log_batches.Batch

    def picky(node, epoch, *rest):
        if epoch == 1:
            raise FormatError("batch", expected="another epoch", found=epoch)
        return real(node, epoch, *rest)

    monkeypatch.setattr(receipt_log_batches, "Batch", picky)
    assert found(node) == [batches[2], batches[0]]


def test_a_lying_rpc_invents_a_batch_that_nobody_understands(node, batches):
    odd = (1 << 255).to_bytes(32, "big")
    with pytest.raises(VerificationError, match="batch 2"):
        found(node, **of_events(lambda entries: [*entries[:-1], changed(entries[-1], 2, odd)]))


@pytest.mark.parametrize("left_out", range(3))
def test_a_withheld_batch_is_noticed(node, batches, left_out):
    with pytest.raises(UnreachableError, match=f"does not show batch {left_out}"):
        found(node, **of_events(lambda entries: [e for at, e in enumerate(entries) if at != left_out]))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [None],
        [{}],
        [{"topics": []}],
        [{"topics": ["0x"] * 3, "blockNumber": "0x1", "data": "0x"}],
        [{"topics": ["0x" + "00" * 32] * 3, "blockNumber": "0x1", "data": "0x" + "00" * 128}],
        [{"topics": [ANCHORED] * 3, "blockNumber": "0x1", "data": "0x" + "00" * 129}],
        [{"topics": [ANCHORED] * 3, "blockNumber": "0x1", "data": "0x" + "00" * 127}],
        [{"topics": [ANCHORED] * 3, "blockNumber": "0xffffff", "data": "0x" + "00" * 128}],
    ],
)
def test_events_of_no_form(node, batches, answer):
    with pytest.raises(FormatError):
        found(node, **of_events(lambda _: answer))


def test_the_batches_of_another_node_are_replayed(node, batches):
    node.writer(OTHER).register("https://thief.example")
    node.anchored(2, key=OTHER)
    theirs = node.world.rpc.request("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "latest"}])[-1:]
    with pytest.raises((VerificationError, UnreachableError)):
        found(node, **of_events(lambda _: theirs))


def test_an_endpoint_that_gives_few_blocks_at_once(node, batches):
    asked = []

    class Stingy(LyingRpc):
        def request(self, method, params):
            if method == "eth_getLogs":
                first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
                asked.append((first, last))
                if last - first >= 2:
                    raise RpcRefusedError(self.name, method, -32005, "block range too wide")
            return super().request(method, params)

    log = node.log(Stingy(node.world.rpc))
    assert list(newest_batches(log, ADDRESSES[NODE])) == batches[::-1]
    assert len(asked) > 3


def test_an_endpoint_that_knows_no_events(node, batches):
    def refuse(_rpc, _params, _answer):
        raise RpcRefusedError("http://liar", "eth_getLogs", -32601, "no such method")

    with pytest.raises(UnreachableError):
        found(node, eth_getLogs=refuse)


@pytest.fixture
def challenged(node):
    """A receipt and a place of the node are challenged."""
    _, anchored = node.anchored()
    node.challenges().challenge(node.receipt(0), anchored)
    node.challenges().challenge_place(anchored, 1)
    return node


def opened(node, **lies):
    return [
        each.place for each in open_challenges(node.log(LyingRpc(node.world.rpc, **lies)), ADDRESSES[NODE])
    ]


def test_a_lying_rpc_invents_a_challenge(challenged):
    def invented(entries):
        made_up = [changed(entries[-1], 0, (2).to_bytes(32, "big"))]
        for key in (word("receipt"), b"\xff" * 32):
            other = [*entries[0]["topics"][:2], "0x" + key.hex()]
            made_up.append(entries[0] | {"topics": other})
        return [*entries, *made_up, changed(entries[-1], 0, b"\xff" * 32), *entries]

    assert opened(challenged) == [(0, 1), None]
    assert opened(challenged, **of_events(invented)) == [(0, 1), None]


def test_a_withheld_challenge_is_missed_in_the_count(challenged):
    assert (
        len(opened(challenged, **of_events(lambda entries: entries[:1]))) < challenged.node().open_challenges
    )


def test_what_is_attached_stays_attached(node, monkeypatch):
    """a party that attaches rubbish until a plan that nodes run is not read any more"""
    for number in range(3):
        node.writer(OTHER).attach(node.release, word(f"row {number}"))
    monkeypatch.setattr(receipt_log_view, "ATTACHMENTS_MAX", 2)
    monkeypatch.setattr(receipt_log_writer, "ATTACHMENTS_MAX", 2)
    assert node.log().attachments(node.release, ADDRESSES[OTHER]) == (word("row 0"), word("row 1"))
    assert node.writer(OTHER).attach(node.release, word("row 1")) is not None
    with pytest.raises(ConflictError, match="is full"):
        node.writer(OTHER).attach(node.release, word("row 4"))


def test_a_lying_rpc_about_an_attachment(node):
    node.writer(OTHER).attach(node.release, word("row"))

    def longer(entries):
        entries[0]["value"] = hex(int(entries[0]["value"], 16) + 1)

    with pytest.raises(VerificationError):
        log = node.log(LyingRpc(node.world.rpc, eth_getProof=in_proof(longer)))
        log.attachments(node.release, ADDRESSES[OTHER])


def test_a_lying_rpc_about_a_bond(node):
    def richer(entries):
        entries[1]["value"] = hex(int(entries[1]["value"], 16) + 1)

    with pytest.raises(VerificationError):
        node.log(LyingRpc(node.world.rpc, eth_getProof=in_proof(richer))).node(ADDRESSES[NODE])


def test_a_chain_without_the_log(world):
    with pytest.raises(NotFoundError, match="chain deploy"):
        ReceiptLogView.beside(world.view())


def test_another_contract_at_the_address(node, monkeypatch):
    artifact = load_artifact("ReceiptLog")
    monkeypatch.setitem(artifact.__dict__, "code_hash", bytes(32))
    with pytest.raises(VerificationError, match="ReceiptLog"):
        node.log()


def test_wrong_chain(node):
    rpc = LyingRpc(node.world.rpc, eth_chainId=lambda *_: "0x1")
    for act in (lambda: node.log(rpc), lambda: node.writer(rpc=rpc).anchor(node.tree(1).batch)):
        with pytest.raises(VerificationError, match="another chain"):
            act()


@pytest.mark.parametrize("after", [False, True])
def test_a_killed_command_is_run_again_and_acts_once(node, after):
    node.writer(OWNER).create_policy(MODEL, policy := policy_of())
    batch = node.tree(3).batch
    acts = {
        "bond": lambda writer: writer.register(URL, 8 * ETHER),
        "anchor": lambda writer: writer.anchor(batch),
        "enrol": lambda writer: writer.enrol(policy.policy_id),
        "exit": lambda writer: writer.request_exit(),
    }
    for act in acts.values():
        nonce = node.world.view().account(ADDRESSES[NODE]).nonce
        with pytest.raises(Crash):
            act(node.writer(rpc=CrashingRpc(node.world.rpc, after=after), patience=HURRY))
        act(node.writer(patience=HURRY))
        assert node.world.view().account(ADDRESSES[NODE]).nonce == nonce + 1
    assert (node.node().bond, node.node().batches) == (8 * ETHER, 1)


@pytest.mark.parametrize("after", [False, True])
def test_a_killed_challenge_and_its_answer_are_run_again_and_act_once(node, after):
    tree, anchored = node.anchored()
    acts = [
        (OTHER, lambda calls: calls.challenge_place(anchored, 1)),
        (NODE, lambda calls: calls.respond_place(node.receipt(1), anchored, tree.prove(1))),
    ]
    for key, act in acts:
        nonce = node.world.view().account(ADDRESSES[key]).nonce
        with pytest.raises(Crash):
            act(node.challenges(key, rpc=CrashingRpc(node.world.rpc, after=after), patience=HURRY))
        act(node.challenges(key, patience=HURRY))
        assert node.world.view().account(ADDRESSES[key]).nonce == nonce + 1
    assert node.log().balance(ADDRESSES[NODE]) == DEPOSIT


@pytest.mark.parametrize("after", [False, True])
def test_evidence_of_a_killed_reporter_is_paid_once(node, after):
    first, second = node.receipt(4), node.receipt(4, request_id=word("another"))
    salt = reporter_salt(b"\1" * 32, word("a"), word("b"))
    with pytest.raises(Crash):
        rpc = CrashingRpc(node.world.rpc, after=after)
        node.evidence(rpc=rpc, patience=HURRY).slash_equivocation(first, second, salt)
    node.evidence(patience=HURRY).slash_equivocation(first, second, salt)
    assert node.log().balance(ADDRESSES[OTHER]) == ETHER // 2
    assert node.world.view().account(ADDRESSES[OTHER]).nonce == 2
