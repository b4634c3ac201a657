"""`node`, `policy` and `anchor`: being a node with a bond, who judges it, and what it posts."""

import shutil
import time
from contextlib import closing
from dataclasses import replace

import pytest

from modelreg.config import read_config
from modelreg.errors import ConflictError
from modelreg.format.signature import Signer
from modelreg.keys import KeyStore
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg_cli.output import Output
from modelreg_cli.serve_receipts import open_receipts
from modelreg_cli.session import Session
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.receipts.service import journal_of
from modelreg_verifier.trace.plans import PlanTable
from tests.cli.command import done, modelreg, refused
from tests.cli.conftest import MODEL
from tests.receipts.making import draft

URL = "http://127.0.0.1:8080"
STRANGER = "0x" + "11" * 20
AUDITORS = ("0x" + "22" * 20, "0x" + "33" * 20, STRANGER)
NO_POLICY = "0x" + "55" * 32


def address(home):
    return next(key["address"] for key in done(home, "key", "list") if key["signs"])


def height(home):
    return done(home, "chain", "status")["block"]


def sign(home, count, clock=time.time):
    """What `serve` does: begin an epoch and sign receipts."""
    config = read_config(home / "config.toml")
    account = KeyStore(home / "keystore").load(config.key, config.password_file.read_text().strip())
    path = journal_of(home, config.key)
    path.parent.mkdir(exist_ok=True)
    domain = receipt_domain(config.chain.chain_id)
    journal = Journal(path, Signer(bytes(account.key)), domain, clock=clock)
    for number in range(count):
        journal.append(draft(number))
    journal.close()
    return path, journal.epoch


@pytest.fixture
def node(home):
    done(home, "node", "register", "--endpoint", URL, "--bond", "3")
    return home


def test_registers_and_is_listed(home):
    assert done(home, "node", "list") == []
    refused(home, "node", "status", code=4)
    shown = done(home, "node", "register", "--endpoint", URL, "--bond", "0.5")
    assert (shown["address"], shown["status"], shown["bond"]) == (address(home), "active", "0.5")
    assert shown["gas"] > 20_000
    assert [row["endpoint"] for row in done(home, "node", "list")] == [URL]
    before = height(home)
    done(home, "node", "register", "--endpoint", URL, "--bond", "0.5")
    assert height(home) == before
    assert done(home, "node", "bond", "2")["bond"] == "2"
    assert done(home, "node", "status", address(home))["balance"] == "0"
    text = modelreg(home, "node", "list", json_mode=False).out
    assert text == f"{address(home)}  active           2 ETH  {URL}\n"


def test_somebody_else_adds_to_a_bond(world):
    """A home that joined has no ether on an embedded chain; the one that made it has."""
    node = world.node()
    done(node, "node", "register", "--endpoint", URL)
    refused(node, "node", "register", "--endpoint", URL, "--bond", "1", code=8)
    assert done(world.publisher, "node", "bond", "1", "--node", address(node))["bond"] == "1"


def test_a_home_that_joined_pays_its_own_bond_once_it_has_ether(world):
    node = world.node()
    sent = done(world.publisher, "key", "send", address(node), "1.5")
    assert (sent["to"], sent["amount"], sent["balance"], sent["gas"]) == (address(node), "1.5", "1.5", 21_000)
    assert done(node, "node", "register", "--endpoint", URL, "--bond", "1")["bond"] == "1"
    text = modelreg(world.publisher, "key", "send", address(node), "2", json_mode=False).out
    assert text == (f"sent 2 ETH to {address(node)}, which has 2.5\n")
    for words, code in (
        ((STRANGER, "0"), 2),
        ((STRANGER, "-1"), 2),
        (("0x12", "1"), 2),
        ((STRANGER, "9000000"), 8),
    ):
        refused(world.publisher, "key", "send", *words, code=code)


def test_leaves(node, monkeypatch):
    refused(node, "node", "withdraw", "--password-file", "/nowhere", code=4)
    assert done(node, "node", "withdraw")["tx"] is None
    leaving = done(node, "node", "exit")
    assert leaving["status"] == "exiting"
    assert leaving["exitable_at"] is not None
    assert "too early" in refused(node, "node", "exit", code=5)
    assert done(node, "node", "exit", "--cancel")["status"] == "active"
    done(node, "node", "exit")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 15 * 86_400)
    assert done(node, "node", "exit")["status"] == "exited"
    assert done(node, "node", "withdraw")["withdrawn"] == "3"
    assert done(node, "node", "status")["balance"] == "0"


def test_refuses(home):
    for words, code in (
        (("register",), 2),
        (("register", "--endpoint", "node.example"), 2),
        (("register", "--endpoint", "ftp://node.example"), 2),
        (("register", "--endpoint", "http://node.example/ä"), 2),
        (("register", "--endpoint", "http://[1"), 2),
        (("register", "--endpoint", "http://node.example/" + "x" * 256), 2),
        (("register", "--endpoint", URL, "--bond", "-1"), 2),
        (("register", "--endpoint", URL, "--bond", "1e3"), 2),
        (("register", "--endpoint", URL, "--bond", "2000000"), 8),
        (("bond", "1"), 5),
        (("status", "0x12"), 2),
        (("exit",), 4),
        (("enrol", "0x12"), 2),
        (("enrol", NO_POLICY), 5),
        (("resign", NO_POLICY), 5),
    ):
        refused(home, "node", *words, code=code)


def create(*more, model=MODEL):
    auditors = [word for auditor in AUDITORS for word in ("--auditor", auditor)]
    return "policy", "create", "--model", model, *auditors, "--quorum", 2, "--penalty", "1.5", *more


def test_a_policy_is_made_shown_and_enrolled_in(world):
    home = world.publisher
    made = done(home, *create())
    assert made["auditors"] == sorted(AUDITORS)
    assert (made["penalty"], made["minimum_bond"], made["deadline"]) == ("1.5", "1.5", 13 * 86_400)
    shown = done(home, "policy", "show", made["policy"])
    assert shown == {key: value for key, value in made.items() if key not in ("tx", "gas")}
    done(home, "node", "register", "--endpoint", URL, "--bond", "1")
    assert "too low" in refused(home, "node", "enrol", made["policy"], code=5)
    done(home, "node", "bond", "1.5")
    assert done(home, "node", "enrol", made["policy"])["until"] is None
    assert [row["enrolled"] for row in done(home, "policy", "list", MODEL)] == [True]
    assert done(home, "node", "resign", made["policy"])["until"] is not None
    assert [row["enrolled"] for row in done(home, "policy", "list", MODEL)] == [False]
    assert done(home, "policy", "list", "acme/other") == []


def test_a_policy_from_a_file(world, tmp_path):
    file = tmp_path / "policy.toml"
    auditors = ", ".join(f'"{auditor}"' for auditor in AUDITORS)
    file.write_text(f'model = "{MODEL}"\nauditors = [{auditors}]\nquorum = 2\npenalty = "1.5"\n')
    made = done(world.publisher, "policy", "create", file)
    assert done(world.publisher, *create())["policy"] == made["policy"]
    assert (made["terms"], made["strict"], made["parties"]) == (None, False, sorted(AUDITORS))
    file.write_text(file.read_text() + f'parties = ["{NO_POLICY[:42]}"]\nstrict = true\n')
    strict = done(world.publisher, "policy", "create", file)
    assert (strict["strict"], set(strict["parties"])) == (True, {*AUDITORS, NO_POLICY[:42]})
    assert done(world.publisher, "policy", "show", strict["policy"])["parties"] == strict["parties"]
    assert done(world.publisher, "policy", "create", file, "--quorum", 3)["quorum"] == 3
    for text in (
        "quorum = true",
        "auditors = 5",
        "unknown = 1",
        "strict = 1",
        "parties = 5",
        "model = ",
        'penalty = "many"',
    ):
        file.write_text(text + "\n")
        assert modelreg(world.publisher, "policy", "create", file).code in (2, 3)
    refused(world.publisher, "policy", "create", tmp_path / "none.toml", code=4)


def test_refuses_policies(world):
    for words, code in (
        (("policy", "create"), 2),
        (create("--quorum", 1), 2),
        (create("--penalty", "0"), 2),
        (create("--minimum-bond", "1"), 2),
        (create("--deadline", 13 * 86_400 + 1), 2),
        (create("--auditor", STRANGER), 2),
        (("policy", "show", NO_POLICY), 4),
    ):
        refused(world.publisher, *words, code=code)
    refused(world.node(), *create(), code=8)


def test_anchors_what_was_signed_once(node):
    path, first = sign(node, 3)
    _, second = sign(node, 2)
    rows = done(node, "anchor")
    assert [(row["index"], row["epoch"], row["count"]) for row in rows] == [(0, first, 3), (1, second, 2)]
    assert all(row["gas"] <= 60_000 for row in rows)
    before = height(node)
    assert done(node, "anchor") == []
    assert height(node) == before
    records = Records(path)
    assert [(row.position, row.block) for row in records.batches()] == [
        (row["index"], row["block"]) for row in rows
    ]
    records.close()
    shown = done(node, "node", "status")
    assert (shown["batches"], shown["epoch"], shown["next_seq"]) == (2, second, 2)


def test_a_killed_anchor_goes_on(node):
    """Killed after the batch was noted; after it was mined; and with the chain's block taken back."""
    path, epoch = sign(node, 2)
    records = Records(path)
    tree = records.tree(*records.unbatched())
    records.add_batch(tree.batch)
    saved = path.with_suffix(".saved")
    shutil.copy(path, saved)
    [row] = done(node, "anchor")
    assert (row["epoch"], row["root"]) == (epoch, f"0x{tree.batch.root.hex()}")
    [noted] = records.batches()
    assert noted.position == 0
    records.note_anchor(replace(noted, position=None, block=None, at=None))
    before = height(node)
    assert done(node, "anchor") == [row]
    records.note_anchor(replace(noted, block=noted.block + 1))
    assert done(node, "anchor") == [row]
    assert height(node) == before
    records.close()


def test_an_old_copy_of_the_journal_is_noticed(node):
    path, _ = sign(node, 2, clock=lambda: 1_000.0)
    done(node, "anchor")
    shutil.rmtree(path.parent)
    sign(node, 1, clock=lambda: 999.0)
    assert "old copy" in refused(node, "anchor", code=5)


def test_a_new_journal_goes_on_behind_what_the_ledger_has(node):
    """The key served with a clock that ran ahead, and its journal is gone."""
    path, ahead = sign(node, 1, clock=lambda: time.time() + 86_400)
    done(node, "anchor")
    shutil.rmtree(path.parent)
    session = Session(node, Output(json_mode=True, quiet=True))
    with closing(open_receipts(session, None, (), None, PlanTable(), None)) as service:
        assert service.journal.epoch == ahead + 1


def test_refuses_to_anchor(home):
    refused(home, "anchor", code=4)
    path, _ = sign(home, 1)
    assert "register" in refused(home, "anchor", code=5)
    done(home, "node", "register", "--endpoint", URL)
    assert len(done(home, "anchor")) == 1
    records = Records(path)
    with pytest.raises(ConflictError):
        records.add_batch(records.batches()[0].batch)
    records.close()
    done(home, "key", "use", done(home, "key", "new")["address"])
    own = journal_of(home, read_config(home / "config.toml").key)
    shutil.copy(path, own)
    assert "another node" in refused(home, "anchor", code=5)


def test_an_older_home_gets_the_receipt_log_when_it_is_needed(tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr("modelreg.ledger.receipt_log_writer.ReceiptLogWriter.deploy", lambda _: None)
        done(tmp_path / "home", "init")
    home = tmp_path / "home"
    assert "chain deploy" in refused(home, "node", "list", code=4)
    done(home, "node", "register", "--endpoint", URL)
    assert len(done(home, "node", "list")) == 1
    assert done(home, "chain", "deploy")["receipt_log"]["tx"] is None


def test_a_chain_that_is_not_embedded_is_asked_for(home, serving, tmp_path):
    url, _ = serving(home)
    other = tmp_path / "other"
    done(other, "init", "--rpc-url", url)
    refused(other, "chain", "deploy", code=8)
    assert done(other, "chain", "deploy", "--yes")["receipt_log"]["tx"] is None
    assert done(other, "node", "list") == []
