"""`challenge`: what a node owes, demanded by others and answered by it, or paid for with its bond."""

import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelreg.config import read_config
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SignedReceipt
from modelreg.format.signature import Signer
from modelreg.keys import KeyStore
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.receipts.service import journal_of
from tests.cli.command import checked_refusal, done, modelreg, refused
from tests.cli.conftest import MODEL
from tests.cli.test_node import URL, address
from tests.cli.test_serve import MODEL as SERVED
from tests.cli.test_serve import Serving, publish
from tests.receipts.making import draft
from tests.serving import graphs

STRANGER, OTHER = b"\x11" * 20, "0x" + "22" * 20
RECEIPTS = 3


def sign_receipts(home, count=RECEIPTS, **changes):
    """What `serve` does, with commitments that can be opened; the signed receipts."""
    config = read_config(home / "config.toml")
    account = KeyStore(home / "keystore").load(config.key, config.password_file.read_text().strip())
    path = journal_of(home, config.key)
    path.parent.mkdir(exist_ok=True)
    journal = Journal(path, Signer(bytes(account.key)), receipt_domain(config.chain.chain_id))
    made = [draft(number, response=bytes(range(128)), **changes) for number in range(count)]
    signed = [journal.append(each)[0] for each in made]
    journal.close()
    return signed


@pytest.fixture
def node(tmp_path, _empty_home):
    """A node with a bond of 3 ether that anchored a batch of three receipts."""
    home = Path(shutil.copytree(_empty_home, tmp_path / "node"))
    done(home, "node", "register", "--endpoint", URL, "--bond", "3")
    return home


@pytest.fixture
def receipts(node):
    made = sign_receipts(node)
    done(node, "anchor")
    return made


@pytest.fixture
def client(node):
    """Another home on the node's chain, with some ether."""
    home = node.parent / "client"
    done(home, "init", "--join", node)
    done(node, "key", "send", address(home), "1")
    return home


@pytest.fixture
def later(monkeypatch):
    """Moves the clock."""
    real, ahead = time.time, 0

    def move(seconds):
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    return move


def saved(home, signed: SignedReceipt):
    path = home.parent / "receipt"
    path.write_bytes(bytes(signed))
    return path


def status(node, name):
    return done(node, "node", "status")[name]


def test_a_node_answers_from_its_journal(node, receipts, client):
    opened = done(client, "challenge", "open", saved(client, receipts[1]))
    place = done(client, "challenge", "place", address(node), 2, "--batch", 0)
    assert (opened["node"], status(node, "open_challenges")) == (address(node), 2)
    listed = done(client, "challenge", "list", address(node))
    assert [(row["id"], row["of"]) for row in listed] == [
        (place["id"], "batch 0, seq 2"), (opened["id"], "a receipt"),
    ]  # fmt: skip
    assert done(node, "challenge", "list") == listed
    height = done(node, "chain", "status")["block"]
    dry = done(node, "challenge", "answer", "--dry-run")
    assert [(row["id"], row["outcome"]) for row in dry] == [(opened["id"], "open"), (place["id"], "open")]
    assert done(node, "chain", "status")["block"] == height
    rows = done(node, "challenge", "answer")
    assert [(row["id"], row["outcome"]) for row in rows] == [
        (opened["id"], "answered"), (place["id"], "answered"),
    ]  # fmt: skip
    assert (status(node, "open_challenges"), status(node, "bond"), status(node, "balance")) == (
        0,
        "3",
        "0.02",
    )
    assert done(node, "challenge", "answer") == done(node, "challenge", "list") == []


def test_what_answered_a_place_can_be_challenged(node, receipts, client):
    place = done(client, "challenge", "place", address(node), 2, "--batch", 0)
    assert done(client, "challenge", "claim")[0]["outcome"] == "open"
    done(node, "challenge", "answer")
    [row] = done(client, "challenge", "claim")
    assert (row["id"], row["outcome"]) == (place["id"], "answered")
    assert Path(row["receipt"]).read_bytes() == bytes(receipts[2])
    done(client, "challenge", "open", row["receipt"])
    done(node, "challenge", "answer")
    assert [row["outcome"] for row in done(client, "challenge", "claim")] == ["answered"]
    assert done(client, "challenge", "claim") == []


def test_a_node_that_lost_its_journal_is_slashed(node, receipts, client, later):
    challenged = done(client, "challenge", "open", saved(client, receipts[0]))
    place = done(client, "challenge", "place", address(node), 1, "--batch", 0)
    shutil.rmtree(node / "receipts")
    refused(node, "challenge", "answer", code=4)
    sign_receipts(node, 1)
    outcome = modelreg(node, "challenge", "answer")
    assert outcome.code == 4
    assert [row["id"] for row in outcome.document] == [challenged["id"], place["id"]]
    assert all("journal" in row["error"] or "expected 3" in row["error"] for row in outcome.document)
    later(4 * 86_400)
    rows = done(client, "challenge", "claim")
    assert {row["outcome"] for row in rows} == {"missed"}
    assert (status(node, "bond"), status(node, "open_challenges")) == ("0", 0)
    assert done(client, "node", "withdraw")["withdrawn"] == "0.32"
    assert done(client, "challenge", "claim") == []


def test_an_answer_that_fails_holds_up_no_other(node, receipts, client):
    done(client, "challenge", "place", address(node), 0, "--batch", 0)
    first = journal_of(node, read_config(node / "config.toml").key)
    with closing(Records(first)) as records:
        records._connection.execute("UPDATE receipt SET response = zeroblob(128) WHERE seq = 1")
        records._connection.commit()
    done(client, "challenge", "open", saved(client, receipts[1]))
    done(client, "challenge", "open", saved(client, receipts[2]))
    outcome = modelreg(node, "challenge", "answer")
    assert outcome.code == 3
    assert [row["outcome"] for row in outcome.document] == ["answered", "open", "answered"]
    assert "opening" in outcome.document[1]["error"]


def test_batches_that_the_journal_has_not_noted_are_found(node, receipts, client):
    """Killed between anchoring and noting it."""
    with closing(Records(journal_of(node, read_config(node / "config.toml").key))) as records:
        [row] = records.batches()
        records.note_anchor(replace(row, position=None, block=None, at=None))
    done(client, "challenge", "open", saved(client, receipts[0]))
    done(client, "challenge", "place", address(node), 1, "--batch", 0)
    assert [row["outcome"] for row in done(node, "challenge", "answer")] == ["answered", "answered"]


def test_a_repeated_challenge_is_paid_once(node, receipts, client):
    file = saved(client, receipts[0])
    first = done(client, "challenge", "open", file)
    assert done(client, "challenge", "open", file) == first
    assert done(client, "challenge", "place", address(node), 0, "--batch", 0)["id"] != first["id"]
    assert status(node, "open_challenges") == 2


def test_refuses_challenges(node, receipts, client):
    forged = bytearray(bytes(receipts[0]))
    forged[100] ^= 1
    (client.parent / "forged").write_bytes(forged)
    refused(client, "challenge", "open", client.parent / "forged", code=3)
    refused(client, "challenge", "open", client.parent / "none", code=4)
    [unanchored] = sign_receipts(node, 1)
    assert "not anchored" in refused(client, "challenge", "open", saved(client, unanchored), code=4)
    for words, code in (
        (("place", address(node), 3, "--batch", 0), 2),
        (("place", address(node), 0, "--batch", 1), 4),
        (("place", address(client), 0, "--batch", 0), 4),
        (("place", address(node), 0), 2),
        (("place", address(node), -1, "--batch", 0), 2),
        (("place", "0x12", 0, "--batch", 0), 2),
        (("list",), 4),
        (("answer",), 4),
    ):
        refused(client, "challenge", *words, code=code)
    assert status(node, "open_challenges") == 0
    assert not list((client / "challenges").glob("0x*"))


def test_only_the_client_challenges_a_receipt_of_its_own(node, client):
    [strangers] = sign_receipts(node, 1, client=STRANGER)
    [own] = sign_receipts(node, 1, client=bytes.fromhex(address(client)[2:]))
    done(node, "anchor")
    assert "--policy" in refused(client, "challenge", "open", saved(client, strangers), code=8)
    unknown = "0x" + "55" * 32
    refused(client, "challenge", "open", saved(client, strangers), "--policy", unknown, code=4)
    done(client, "challenge", "open", saved(client, own))
    [row] = done(client, "challenge", "claim")
    assert (row["outcome"], status(node, "open_challenges")) == ("open", 1)


def test_an_auditor_of_a_policy_challenges_the_receipts_of_others(world):
    node, auditor = world.publisher, world.node("auditor")
    done(node, "key", "send", address(auditor), "1")
    crowd = [word for each in (address(auditor), OTHER) for word in ("--auditor", each)]
    made = done(node, "policy", "create", "--model", MODEL, *crowd, "--quorum", 2, "--penalty", "1")["policy"]
    done(node, "node", "register", "--endpoint", URL, "--bond", "2")
    done(node, "node", "enrol", made)
    release = ReleaseId.parse(done(node, "show", f"{MODEL}@1.0.0")["release_id"])
    [signed] = sign_receipts(node, 1, client=STRANGER, release=release)
    done(node, "anchor")
    opened = done(auditor, "challenge", "open", saved(auditor, signed), "--policy", made)
    assert [row["outcome"] for row in done(node, "challenge", "answer")] == ["answered"]
    assert [row["id"] for row in done(auditor, "challenge", "claim")] == [opened["id"]]


def test_a_forged_note_of_a_challenge_is_refused(node, receipts, client):
    done(client, "challenge", "open", saved(client, receipts[0]))
    [note] = (client / "challenges").glob("0x*")
    raw = bytearray(note.read_bytes())
    raw[50] ^= 1
    note.write_bytes(raw)
    checked_refusal(modelreg(client, "challenge", "claim"), 3)


def test_serving_answers(tmp_path, _empty_home):
    node = Path(shutil.copytree(_empty_home, tmp_path / "home"))
    publish(node, "1.0.0", graphs.WEIGHTS)
    done(node, "node", "register", "--endpoint", URL, "--bond", "3")
    serving = Serving(node, f"{SERVED}@1.0.0")
    try:
        serving.ask()
        done(node, "anchor")
        place = done(node, "challenge", "place", address(node), 0, "--batch", 0)
        told = serving.wait_for("challenge")
        assert (told["id"], told["outcome"], told["error"]) == (place["id"], "answered", None)
        [row] = done(node, "challenge", "claim")
        opened = done(node, "challenge", "open", row["receipt"])
        deadline = time.monotonic() + 30
        while len(serving.events()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [line["id"] for line in serving.events()] == [place["id"], opened["id"]]
        assert serving.ask()[0] == "1.0.0"
    finally:
        assert serving.stop() == 0
    assert (status(node, "bond"), status(node, "open_challenges")) == ("3", 0)
