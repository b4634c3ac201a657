"""Endpoints that lie to a reader: docs/spec/ledger.md, sections 3, 4 and 6; the attacks by their names."""

import pytest

from modelreg.errors import FormatError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.names import AtBranch, ModelName
from modelreg.ledger.pinned import PinnedState, fetch_header
from modelreg.ledger.reader import Reader
from tests.ledger.adversary import LyingRpc, in_proof
from tests.ledger.forge import with_time
from tests.ledger.world import CHAIN_ID, MODEL, REGISTRY


@pytest.fixture
def history(world):
    """Two releases; returns the world, their ids and the block of the first."""
    first = world.publish("1.0.0")
    block = world.view().header.number
    second = world.publish("1.1.0", first)
    return world, first, second, block


def read(world, **lies):
    rpc = LyingRpc(world.rpc, **lies)
    return world.reader(rpc).at_head().resolve(AtBranch(MODEL))


def test_the_liar_is_believed_when_it_does_not_lie(history):
    world, _, second, _ = history
    assert read(world, eth_getProof=lambda _rpc, _params, answer: answer).release_id == second


def swapped_value(entries):
    entries[0]["value"] = hex(int(entries[0]["value"], 16) ^ 1)


def truncated(entries):
    entries[0]["proof"].pop()


def emptied(entries):
    entries[0]["proof"] = []
    entries[0]["value"] = "0x0"


def other_key(entries):
    entries[0]["key"] = hex(int(entries[0]["key"], 16) ^ 1)


def missing(entries):
    entries.pop()


def doubled(entries):
    entries.append(entries[-1])


def garbage(entries):
    entries[0]["proof"][-1] = "0x" + "f8" * 60


def node_too_large(entries):
    entries[0]["proof"][-1] = "0x" + "00" * 5_000_000


def too_many_nodes(entries):
    entries[0]["proof"] *= 100


def no_list(entries):
    entries[0]["proof"] = {"0": "0x"}


def no_object(entries):
    entries[0] = "proof"


PROOF_LIES = [
    swapped_value,
    truncated,
    emptied,
    other_key,
    missing,
    doubled,
    garbage,
    node_too_large,
    too_many_nodes,
    no_list,
    no_object,
]


@pytest.mark.parametrize("lie", PROOF_LIES)
def test_lies_in_storage_proofs_are_refused(history, lie):
    with pytest.raises(VerificationError):
        read(history[0], eth_getProof=in_proof(lie))


def test_swapped_storage_values_are_refused(history):
    """Each proof is good, but they stand under each other's slots."""

    def swap(entries):
        if len(entries) > 1:
            entries[2]["proof"], entries[3]["proof"] = entries[3]["proof"], entries[2]["proof"]
            entries[2]["value"], entries[3]["value"] = entries[3]["value"], entries[2]["value"]

    with pytest.raises(VerificationError):
        read(history[0], eth_getProof=in_proof(swap))


def test_mix_and_match_of_blocks_is_refused(history):
    """Proofs of an older state under the header of a newer one."""
    world, _, _, old = history

    def stale(rpc, params, _):
        return rpc.request("eth_getProof", [params[0], params[1], hex(old)])

    with pytest.raises(VerificationError):
        read(world, eth_getProof=stale)


def test_an_invented_account_is_refused(history):
    def lie(_rpc, _params, answer):
        answer["accountProof"][-1] = answer["accountProof"][-1][:-2] + "00"
        return answer

    with pytest.raises(VerificationError):
        read(history[0], eth_getProof=lie)


@pytest.mark.parametrize("field", ["stateRoot", "number", "timestamp", "hash", "parentHash"])
def test_an_invented_header_is_refused(history, field):
    def lie(_rpc, _params, answer):
        answer[field] = answer[field][:-1] + ("0" if answer[field][-1] != "0" else "1")
        return answer

    with pytest.raises(VerificationError):
        read(history[0], eth_getBlockByNumber=lie)


def test_another_block_than_asked_for_is_refused(history):
    world, _, _, old = history

    def lie(rpc, params, _answer):
        return rpc.request("eth_getBlockByNumber", [hex(old), False])

    with pytest.raises(VerificationError, match="another block"):
        fetch_header(LyingRpc(world.rpc, eth_getBlockByNumber=lie), old + 1)


@pytest.mark.parametrize("answer", [None, [], "0x", 5, {}])
@pytest.mark.parametrize("method", ["eth_getBlockByNumber", "eth_getProof", "eth_chainId"])
def test_answers_in_no_form_are_refused(history, method, answer):
    with pytest.raises((VerificationError, UnreachableError)):
        read(history[0], **{method: lambda *_: answer})


def test_another_chain_is_refused(history):
    with pytest.raises(VerificationError, match="another chain") as caught:
        read(history[0], eth_chainId=lambda *_: "0x1")
    assert (caught.value.expected, caught.value.found) == (CHAIN_ID, 1)


def test_no_contract_at_the_address(world):
    with pytest.raises(NotFoundError, match="no contract"):
        Reader(world.rpc, b"\x09" * 20, CHAIN_ID).at_head()


def test_arbitrary_content_another_contract_is_refused(world):
    proxy = bytes.fromhex("4e59b44847b379578588920cA78FbF26c0B4956C")
    with pytest.raises(VerificationError, match="not this version's"):
        Reader(world.rpc, proxy, CHAIN_ID).at_head()


def test_a_wrong_proof_is_asked_for_again_before_the_endpoint_is_blamed(history, monkeypatch):
    monkeypatch.setattr("modelreg.ledger.pinned._PAUSES", (0.0, 0.0))
    world, _, second, _ = history
    wrong = []

    def lie_twice(entries):
        if len(wrong) < 2:
            wrong.append(entries[0]["proof"].pop())

    assert read(world, eth_getProof=in_proof(lie_twice)).release_id == second
    assert len(wrong) == 2


def test_reorg_while_reading_is_told_from_a_lie(history):
    world, _, _, _ = history
    asked = []

    def reorganised(_rpc, _params, answer):
        asked.append(1)
        return answer if len(asked) == 1 else with_time(answer, 5)

    def wrong(_rpc, _params, answer):
        if answer["storageProof"]:
            answer["storageProof"][0]["proof"].pop()
        return answer

    rpc = LyingRpc(world.rpc, eth_getBlockByNumber=reorganised, eth_getProof=wrong)
    with pytest.raises(UnreachableError, match="reorganised"):
        world.reader(rpc).at_head().head(MODEL, "main")


def test_one_command_reads_one_block(history):
    """A view goes on reading its own block while the chain grows."""
    world, _, second, _ = history
    view = world.view()
    world.publish("1.2.0", second)
    assert view.head(MODEL, "main") == second


def test_nothing_is_read_by_logs_or_calls(history):
    world = history[0]
    rpc = LyingRpc(world.rpc)
    view = world.reader(rpc).at_head()
    list(view.lineage(view.head(MODEL, "main")))
    list(view.models())
    view.model(MODEL)
    assert set(rpc.asked) == {"eth_chainId", "eth_getBlockByNumber", "eth_getProof"}


def test_many_slots_are_asked_in_steps(history):
    world = history[0]
    sizes = []

    def note(_rpc, params, answer):
        sizes.append(len(params[1]))
        return answer

    rpc = LyingRpc(world.rpc, eth_getProof=note)
    state = PinnedState(rpc, REGISTRY, fetch_header(rpc, "latest"))
    assert state.words(range(600))[8] == 1
    assert sizes == [0, 256, 256, 88]


def test_an_absurd_list_is_refused_before_it_is_read(history, monkeypatch):
    world = history[0]
    monkeypatch.setattr("modelreg.ledger.pinned.prove_word", lambda *_: 2**60)
    monkeypatch.setattr(
        "modelreg.ledger.pinned.quantity", lambda value, what: 2**60 if "value" in what else int(value, 16)
    )
    with pytest.raises(FormatError, match="at most"):
        list(world.view().models())


def test_a_model_that_nobody_published(history):
    assert history[0].view().model(ModelName("acme", "other")) is None
