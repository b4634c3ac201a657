"""Several endpoints of which some lie, hang or are stuck: docs/spec/ledger.md, section 9."""

import copy
import random
import threading
import time

import pytest

from modelreg.errors import ConflictError, ModelregError, UnreachableError, VerificationError
from modelreg.ledger.quorum import QuorumRpc
from modelreg.ledger.rpc import RpcRefusedError
from tests.ledger.adversary import LyingRpc, in_proof
from tests.ledger.forge import with_time
from tests.ledger.world import MODEL, draft


class Named(LyingRpc):
    def __init__(self, name, rpc, **lies):
        super().__init__(rpc, **lies)
        self.name = name


def silent(*_):
    raise UnreachableError("no answer")


def forked(_rpc, _params, answer):
    return answer and with_time(answer, int(answer["timestamp"], 16) + 1)


def quorum(world, *lies, **options):
    """Endpoints with these lies, each."""
    endpoints = [Named(f"http://{number}", world.rpc, **lie) for number, lie in enumerate(lies)]
    return QuorumRpc(endpoints, **options)


def head(world, *lies, **options):
    return world.reader(quorum(world, *lies, **options)).at_head().head(MODEL, "main")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("modelreg.ledger.pinned._PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def release(world):
    world.writer().claim_namespace("acme")
    return world.publish("1.0.0")


def test_all_agree(world, release):
    assert head(world, {}, {}, {}) == release
    assert head(world, {}, {}) == release


def test_equivocating_rpc_is_outvoted_and_named(world, release):
    def late(_rpc, _params, answer):
        time.sleep(0.05)  # so that the liar has answered when the others agree
        return answer

    honest = {"eth_getBlockByNumber": late}
    rpc = quorum(world, {"eth_getBlockByNumber": forked}, honest, honest)
    assert world.reader(rpc).at_head().head(MODEL, "main") == release
    assert list(rpc.suspects) == ["http://0 (1)"]
    assert "has another block" in rpc.suspects["http://0 (1)"]


def test_two_that_disagree_are_no_majority(world, release):
    with pytest.raises(VerificationError, match="disagree"):
        head(world, {"eth_getBlockByNumber": forked}, {})


def test_too_few_answer(world, release):
    down = {"eth_chainId": silent, "eth_getBlockByNumber": silent}
    with pytest.raises(UnreachableError, match="too few"):
        head(world, down, down, {})
    with pytest.raises(UnreachableError, match="too few"):
        head(world, down, {})
    assert head(world, down, {}, {}) == release


def test_one_of_another_chain_is_outvoted(world, release):
    assert head(world, {"eth_chainId": lambda *_: "0x1"}, {}, {}) == release
    with pytest.raises(VerificationError, match="another chain"):
        other = {"eth_chainId": lambda *_: "0x1"}
        head(world, other, other, {})


@pytest.mark.parametrize("first", [0, 1, 2])
def test_wrong_proofs_of_one_are_replaced_by_anothers(world, release, first):
    lies = [{}, {}, {}]
    lies[first] = {"eth_getProof": in_proof(lambda entries: entries[0]["proof"].pop())}
    assert head(world, *lies) == release


def test_a_stuck_endpoint_is_outvoted_and_named(world, release):
    old = world.rpc.request("eth_getBlockByNumber", ["latest", False])
    later = world.publish("1.1.0", release)

    def stuck(_rpc, params, answer):
        return old if params[0] == "latest" else answer

    rpc = quorum(world, {"eth_getBlockByNumber": stuck}, {}, {})
    assert world.reader(rpc).at_head().head(MODEL, "main") == later
    assert rpc.suspects == {}  # it is a block behind, which is nothing
    ancient = with_time(old, int(old["timestamp"], 16) - 600)

    def frozen(_rpc, params, answer):
        return ancient if params[0] == "latest" else answer

    rpc = quorum(world, {"eth_getBlockByNumber": frozen}, {}, {})
    assert world.reader(rpc).at_head().head(MODEL, "main") == later
    assert "is stuck at block" in rpc.suspects["http://0 (1)"]


def test_a_head_that_only_one_has_is_not_believed(world, release):
    def ahead(_rpc, params, answer):
        return forked(_rpc, params, answer) if params[0] == "latest" else answer

    assert head(world, {"eth_getBlockByNumber": ahead}, {}, {}) == release


def test_a_slow_endpoint_holds_up_nothing(world, release):
    ended = threading.Event()

    def slow(_rpc, _params, answer):
        ended.wait(20)
        return answer

    began = time.monotonic()
    assert head(world, {"eth_getBlockByNumber": slow, "eth_chainId": slow}, {}, {}) == release
    assert time.monotonic() - began < 8
    ended.set()


@pytest.mark.parametrize("hanging", [0, 1, 2])
def test_who_hangs_over_a_proof_holds_it_up_once(world, release, monkeypatch, hanging):
    monkeypatch.setattr("modelreg.ledger.quorum._PATIENCE_SECONDS", 0.5)
    ended, asked = threading.Event(), []

    def slow(_rpc, params, answer):
        asked.append(params)
        ended.wait(20)
        return answer

    rpc = quorum(world, *({"eth_getProof": slow} if number == hanging else {} for number in range(3)))
    began = time.monotonic()
    for _ in range(3):
        assert world.reader(rpc).at_head().head(MODEL, "main") == release
    assert time.monotonic() - began < 4
    assert len(asked) <= 1
    ended.set()


@pytest.mark.parametrize("liar", [0, 1])
def test_a_slow_honest_proof_is_waited_for_where_the_quick_one_is_wrong(world, release, monkeypatch, liar):
    monkeypatch.setattr("modelreg.ledger.quorum._PATIENCE_SECONDS", 0.1)

    def slow(_rpc, _params, answer):
        time.sleep(0.4)
        return answer

    lies = [{"eth_getProof": slow}, {"eth_getProof": slow}]
    lies[liar] = {"eth_getProof": in_proof(lambda entries: entries[0]["proof"].pop())}
    assert head(world, *lies) == release


def test_the_same_record_is_not_proven_twice_running(world, release):
    state = world.reader(world.rpc).at_head()._state
    first, asked = state.words([1, 2, 3]), []
    state.rpc = Named("http://0", world.rpc, eth_getProof=lambda *_: asked.append(1))
    assert state.words(range(1, 4)) == first
    assert not asked


def test_when_all_hang_over_a_proof_the_ledger_is_unreachable(world, release):
    ended = threading.Event()
    hanging = {"eth_getProof": lambda *_: ended.wait(20)}
    with pytest.raises(UnreachableError):
        head(world, hanging, hanging, deadline=0.5)
    ended.set()


def test_a_hanging_majority_is_unreachable(world, release):
    ended = threading.Event()
    hanging = {"eth_chainId": lambda *_: ended.wait(20)}
    with pytest.raises(UnreachableError):
        head(world, hanging, hanging, {}, deadline=0.5)
    ended.set()


def test_a_transaction_goes_to_all_and_one_that_swallows_it_changes_nothing(world, release):
    taken = []

    class Swallowing(Named):
        def request(self, method, params):
            if method == "eth_sendRawTransaction":
                taken.append(method)
                return "0x" + "11" * 32
            return super().request(method, params)

    honest = [Named(f"http://{number}", world.rpc) for number in range(2)]
    rpc = QuorumRpc([Swallowing("http://liar", world.rpc), *honest])
    found = world.writer(rpc=rpc).publish(draft("1.1.0", release))
    assert found.release.release_id == world.view().head(MODEL, "main")
    assert taken == ["eth_sendRawTransaction"]


@pytest.mark.parametrize(
    "lie",
    [
        {"eth_getTransactionReceipt": lambda _r, _p, answer: answer and {**answer, "status": "0x0"}},
        {"eth_getTransactionReceipt": lambda *_: None},
        {"eth_estimateGas": lambda *_: "0xffffffffff"},
        {"eth_estimateGas": lambda *_: "0x1"},
        {"eth_maxPriorityFeePerGas": lambda *_: hex(10**24)},
        {"eth_getTransactionCount": lambda *_: "0x7fff"},
        {"eth_getTransactionCount": lambda *_: "0x0"},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_publication_is_not_misled(world, release, lie):
    rpc = quorum(world, {}, lie, {})
    found = world.writer(rpc=rpc).publish(draft("1.1.0", release))
    assert found.receipt.succeeded
    assert found.receipt.gas_used < 400_000
    assert world.view().head(MODEL, "main") == found.release.release_id


def test_a_revert_that_most_report_is_the_ledgers_own_error(world, release):
    with pytest.raises(ConflictError):
        world.writer(rpc=quorum(world, {}, {}, {"eth_estimateGas": lambda *_: "0x5208"})).publish(
            draft("1.1.0", None)
        )


def test_a_refusal_of_one_is_outvoted(world, release):
    def refuse(*_):
        raise RpcRefusedError("http://0", "eth_chainId", -32000, "not today")

    assert head(world, {"eth_chainId": refuse}, {}, {}) == release


LIES = {
    "forked": {"eth_getBlockByNumber": forked},
    "silent": dict.fromkeys(("eth_getBlockByNumber", "eth_getProof", "eth_chainId"), silent),
    "no blocks": {"eth_getBlockByNumber": lambda *_: None},
    "garbage": {"eth_getBlockByNumber": lambda *_: {"hash": "0x00"}},
    "another chain": {"eth_chainId": lambda *_: "0x1"},
    "no proofs": {"eth_getProof": lambda *_: None},
    "short proofs": {"eth_getProof": in_proof(lambda entries: entries[0]["proof"].pop())},
    "other values": {"eth_getProof": in_proof(lambda entries: entries[0].update(value="0x5"))},
    "failed receipts": {
        "eth_getTransactionReceipt": lambda _r, _p, answer: answer and {**answer, "status": "0x0"}
    },
    "early receipts": {
        "eth_getTransactionReceipt": lambda _r, params, _a: {
            "transactionHash": params[0],
            "status": "0x1",
            "blockNumber": "0x1",
            "gasUsed": "0x1",
            "effectiveGasPrice": "0x1",
        }
    },
    "gas": {"eth_estimateGas": lambda *_: "0x1"},
    "nonce": {"eth_getTransactionCount": lambda *_: "0x7f"},
    "tip": {"eth_maxPriorityFeePerGas": lambda *_: hex(10**24)},
}


def stuck_at(old):
    """An endpoint that shows an old chain, in every respect."""

    def block(rpc, params, answer):
        number = old["number"]
        if params[0] == "latest" or int(params[0], 16) > int(number, 16):
            return copy.deepcopy(old) if params[0] == "latest" else None
        return answer

    return {"eth_getBlockByNumber": block}


def runs(world, count, seed):
    """Read and publish through three endpoints of which one does something else each time."""
    chance = random.Random(seed)
    world.writer().claim_namespace("acme")
    truth, olds, refused = world.publish("1.0.0"), [], 0
    for number in range(count):
        olds.append(world.rpc.request("eth_getBlockByNumber", ["latest", False]))
        kinds = {**LIES, "stuck": stuck_at(chance.choice(olds[-20:]))}
        lie = {}
        for kind in chance.sample(sorted(kinds), chance.randint(1, 3)):
            lie |= kinds[kind]
        lies = [{}, {}, {}]
        lies[chance.randrange(3)] = lie
        try:
            assert head(world, *lies) == truth
            if number % 10 == 0:
                new = draft(f"1.{number + 1}.0", truth)
                truth = world.writer(rpc=quorum(world, *lies)).publish(new).release.release_id
                assert world.view().head(MODEL, "main") == truth
        except ModelregError:
            refused += 1
            assert world.view().head(MODEL, "main") == truth
    return refused


def test_a_liar_among_three_at_random(world):
    assert runs(world, 40, seed=1) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_liar_among_three_in_a_thousand_runs(world):
    assert runs(world, 1000, seed=20261128) == 0


def test_a_lone_refusal_does_not_lose_a_transaction_that_others_may_have(world, release):
    def refuse(*_):
        raise RpcRefusedError("http://0", "eth_sendRawTransaction", -32000, "insufficient funds")

    class Deaf(Named):
        def request(self, method, params):
            return silent() if method == "eth_sendRawTransaction" else super().request(method, params)

    class Refusing(Named):
        def request(self, method, params):
            return refuse() if method == "eth_sendRawTransaction" else super().request(method, params)

    rpc = QuorumRpc(
        [Refusing("http://a", world.rpc), Deaf("http://b", world.rpc), Deaf("http://c", world.rpc)]
    )
    with pytest.raises(UnreachableError, match="too few") as caught:
        rpc.request("eth_sendRawTransaction", ["0x00"])
    assert not isinstance(caught.value, RpcRefusedError)


def test_a_fast_liar_does_not_use_up_the_patience_for_a_slow_honest_one(world, release):
    def late(_rpc, _params, answer):
        time.sleep(1.5)
        return answer

    lies = {"eth_getBlockByNumber": lambda *_: None}, {}, {"eth_getBlockByNumber": late}
    assert head(world, *lies) == release
    lies = {"eth_blockNumber": lambda *_: "0x0"}, {}, {"eth_blockNumber": late}
    honest = world.rpc.request("eth_blockNumber", [])
    assert quorum(world, *lies).request("eth_blockNumber", []) == honest != "0x0"


def test_an_endpoint_that_is_behind_is_no_liar(world, release):
    behind = {"eth_getBlockByNumber": lambda _rpc, params, answer: None if params[0] == "0x1" else answer}
    down = {"eth_getBlockByNumber": silent}
    with pytest.raises(UnreachableError, match="too few"):
        quorum(world, behind, down, {}).request("eth_getBlockByNumber", ["0x1", False])


def test_the_threads_end_with_the_endpoints(world, release):
    before = threading.active_count()
    for _ in range(5):
        rpc = quorum(world, {}, {}, {})
        rpc.request("eth_chainId", [])
        rpc.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
