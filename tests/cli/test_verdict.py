"""Auditing under a policy: what is attached, signed verdicts, and what a quorum of them costs."""

import json
import shutil
import time
from dataclasses import replace

import pytest

from modelreg.config import read_config
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg.keys import KeyStore
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg.ledger.receipt_log_policy import Outcome
from modelreg.ledger.signed_verdict import SignedVerdict
from tests.cli.command import done, modelreg, refused, start
from tests.cli.test_audit import (  # noqa: F401
    LIAR,
    MODEL,
    REF,
    World,
    _released,
    address,
    anchor,
    ask,
    serve,
)

# A node that commits to nothing, whatever its policy says.
BARE = """
from modelreg_verifier.trace.plans import PlanTable
from modelreg_verifier.serving import loader
PlanTable.candidates = lambda self, file, attached=(): ()
loader._require_kept = lambda *_: None
from modelreg_cli import main
main()
"""
# A node that opens its receipts to nobody.
SHUT = """
from modelreg_verifier.receipts.access import Access
from modelreg_verifier.serving.exchange import Refusal
def check(self, headers, receipt):
    raise Refusal(403, "not today")
Access.check = check
from modelreg_cli import main
main()
"""


class Judged(World):
    """A node under strict terms, and three auditors; the publisher attached what it measured."""

    def __init__(self, root, policy):
        super().__init__(root)
        self.policy = policy
        self.auditors = [root / name for name in ("auditor", "second", "third")]

    def audit(self, auditor, found, *options):
        words = ("--url", found.url, "--policy", self.policy, "--patience", 0, *options)
        return modelreg(auditor, "audit", self.address, *words)

    def bond(self):
        return float(done(self.node, "node", "status")["bond"])


@pytest.fixture(scope="module")
def _policed(_released, tmp_path_factory):  # noqa: F811
    root = tmp_path_factory.mktemp("policed") / "world"
    shutil.copytree(_released[0], root)
    node, homes = root / "node", [root / name for name in ("auditor", "second", "third")]
    for home in homes:
        done(home, "init", "--join", node)
    [plan] = root.glob("blocks/*.plan")
    words = ("--out", root / "blocks", "--plan", plan, "--batch", 1, "--samples", 2, "--attach")
    made = done(node, "calibrate", REF, *words)
    assert [row["digest"] for row in made["attached"]] == [made["plan_id"], made["calibration"]]
    auditors = [word for home in homes for word in ("--auditor", address(home))]
    options = ("--model", MODEL, *auditors, "--quorum", 2, "--penalty", "0.5", "--party", address(node))
    return root, done(node, "policy", "create", *options, "--strict")["policy"]


@pytest.fixture
def world(tmp_path, _policed):
    root = tmp_path / "world"
    shutil.copytree(_policed[0], root)
    # The copy is a chain of its own: the auditors' settings name the one that they joined.
    for name in ("auditor", "second", "third"):
        settings = root / name / "config.toml"
        settings.write_text(settings.read_text().replace(str(_policed[0]), str(root)))
    return Judged(root, _policed[1])


def verdicts_of(world, found, *options):
    """What two auditors signed."""
    folder = world.node.parent / "verdicts"
    for auditor in world.auditors[:2]:
        world.audit(auditor, found, "--verdicts", folder, *options)
    return sorted(folder.glob("*.verdict"))


def test_policy_says_whose_word_counts(world):
    shown = done(world.auditor, "policy", "show", world.policy)
    assert shown["strict"] is True
    assert set(shown["parties"]) == {world.address, *map(address, world.auditors)}


def test_attached_plan_is_served_and_judged(world, serve):  # noqa: F811
    done(world.node, "node", "enrol", world.policy)
    found = serve(world)
    ask(found.url, 4)
    anchor(world)
    folder = world.node.parent / "verdicts"
    outcome = world.audit(world.auditor, found, "--verdicts", folder, "--plan", world.plan)
    assert outcome.code == 0, outcome.err
    assert outcome.document["other_plans"] == 0
    assert outcome.document["report"]["outcomes"] == {"pass": 4}
    files = sorted(folder.glob("*.verdict"))
    shown = done(world.node, "verdict", "show", *files)
    assert [row["outcome"] for row in shown] == ["pass"] * 4
    assert {row["auditor"] for row in shown} == {address(world.auditor)}
    assert done(world.node, "verdict", "record", files[0])[0]["gas"] > 0
    # A pass costs nothing, and a single auditor convicts nobody.
    assert "no such verdict" in refused(world.node, "verdict", "slash", files[0], code=8)
    assert world.bond() == 2


def test_audit_under_a_policy_that_the_node_did_not_agree_to(world, serve):  # noqa: F811
    found = serve(world)
    ask(found.url, 1)
    anchor(world)
    outcome = world.audit(world.auditor, found)
    assert outcome.code == 8, outcome.err
    assert "not judged under this policy" in outcome.err


def test_quorum_slashes_a_node_that_withholds(world, serve):  # noqa: F811
    """withheld opening: two of three auditors see that the node shows nothing"""
    done(world.node, "node", "enrol", world.policy)
    found = serve(world, program=SHUT)
    ask(found.url, 1)
    batch = anchor(world)
    files = verdicts_of_strangers(world, found, batch)
    bond = world.bond()
    slashed = done(world.auditors[1], "verdict", "slash", *files)
    assert [row["outcome"] for row in slashed["slashed"]] == ["withheld"]
    assert world.bond() == bond - 0.5
    assert slashed["bonds"] == {world.address: f"{bond - 0.5:g}"}
    # The same verdicts cost nothing more, whoever brings them.
    done(world.auditor, "verdict", "slash", *files)
    assert world.bond() == bond - 0.5


def verdicts_of_strangers(world, found, batch):
    folder = world.node.parent / "verdicts"
    for auditor in world.auditors[1:]:
        outcome = world.audit(auditor, found, "--verdicts", folder)
        assert outcome.code == 6, outcome.err
        assert outcome.document["report"]["outcomes"] == {"withheld": batch["count"]}
    return sorted(folder.glob("*.verdict"))


def test_quorum_slashes_a_node_that_commits_to_nothing(world, serve):  # noqa: F811
    """bare plans under strict terms: nothing could ever be judged"""
    done(world.node, "node", "enrol", world.policy)
    found = serve(world, "--auditor", address(world.auditors[1]), program=BARE)
    ask(found.url, 1)
    anchor(world)
    files = verdicts_of(world, found)
    shown = done(world.node, "verdict", "show", *files)
    assert [row["outcome"] for row in shown] == ["fail", "fail"]
    bond = world.bond()
    done(world.auditor, "verdict", "slash", *files)
    assert world.bond() == bond - 0.5


def test_quorum_slashes_a_node_that_serves_other_weights(world, serve):  # noqa: F811
    """wrong model under the right name, from the answer to the bond"""
    done(world.node, "node", "enrol", world.policy)
    found = serve(world, "--auditor", address(world.auditors[1]), program=LIAR)
    ask(found.url, 2)
    anchor(world)
    files = verdicts_of(world, found, "--draws", 1)
    assert [row["outcome"] for row in done(world.node, "verdict", "show", *files)] == ["fail", "fail"]
    bond = world.bond()
    done(world.auditors[2], "verdict", "slash", *files)
    assert world.bond() == bond - 0.5
    # Whoever doubts it sees for themselves, without the node.
    [evidence] = files[0].parent.glob("*.evidence")
    found.stop()
    done(world.auditors[2], "sync", REF, "--to", world.node.parent / "copy")
    words = (world.node.parent / "copy", "--calibration", world.calibration)
    outcome = modelreg(world.auditors[2], "settle", evidence, *words)
    assert outcome.code == 7, outcome.err
    assert outcome.document["ruling"] == "fail"


def test_lying_auditor_convicts_nobody(world, serve):  # noqa: F811
    """auditor quorum of one bribed member: the honest node keeps its bond"""
    done(world.node, "node", "enrol", world.policy)
    found = serve(world)
    ask(found.url, 1)
    anchor(world)
    # The bribed one says that it got nothing, and brings its verdict twice.
    [honest] = verdicts_by(world, found, world.auditor)
    bribed = honest.with_name("bribed.verdict")
    bribed.write_bytes(bytes(false_verdict(world.auditors[2], honest)))
    bond = world.bond()
    for files in ([bribed], [bribed, bribed], [bribed, honest]):
        assert "too few auditors" in refused(world.node, "verdict", "slash", *files, code=8)
    assert world.bond() == bond


def false_verdict(home, honest):
    """What an auditor who lies signs about the receipt of somebody's honest verdict."""
    config = read_config(home / "config.toml")
    account = KeyStore(home / "keystore").load(config.key, config.password_file.read_text().strip())
    found = SignedVerdict.from_bytes(honest.read_bytes())
    verdict = replace(found.verdict, outcome=Outcome.WITHHELD)
    domain = receipt_domain(config.chain.chain_id)
    signer = Signer(bytes(account.key))
    return SignedVerdict.sign(signer, verdict, found.signed, found.anchored, found.proof, domain)


def test_policys_auditors_see_openings_and_strangers_do_not(world, serve):  # noqa: F811
    """an operator who names no auditor, and is not to lose the bond for that"""
    done(world.node, "node", "enrol", world.policy)
    found = serve(world)
    ask(found.url, 1)
    anchor(world)
    assert world.audit(world.auditors[1], found).code == 0
    stranger = ("--url", found.url, "--calibration", world.calibration, "--patience", 0)
    assert modelreg(world.node, "audit", world.address, *stranger).code == 6


def test_enrolling_while_serving_what_breaks_the_terms(world, serve, tmp_path):  # noqa: F811
    other = tmp_path / "bare.plan"
    other.write_bytes(bytes(TracePlan("model.onnx")))
    found = serve(world, "--plan", other)
    done(world.node, "node", "enrol", world.policy)
    assert found.wait_for("out")["model"] == MODEL
    assert "would break the terms" in found.wait_for("absent")["error"]


def verdicts_by(world, found, auditor):
    folder = auditor / "verdicts"
    world.audit(auditor, found, "--verdicts", folder)
    return sorted(folder.glob("*.verdict"))


def test_serve_refuses_to_break_the_terms(world, tmp_path):
    done(world.node, "node", "enrol", world.policy)
    other = tmp_path / "bare.plan"
    other.write_bytes(bytes(TracePlan("model.onnx")))
    line = refused(world.node, "serve", REF, "--port", 0, "--plan", other, code=8)
    assert "would break the terms" in line
    assert "plan without cuts" in line


def test_verdicts_need_an_auditor(world, serve):  # noqa: F811
    done(world.node, "node", "enrol", world.policy)
    found = serve(world)
    ask(found.url, 1)
    anchor(world)
    words = ("audit", world.address, "--url", found.url, "--policy", world.policy, "--patience", 0)
    outcome = modelreg(world.node, *words, "--verdicts", world.node / "verdicts")
    assert outcome.code == 8
    assert "no auditor of the policy" in outcome.err


def test_usage(world, tmp_path):
    words = ("audit", world.address, "--url", "http://127.0.0.1:1")
    refused(world.auditor, *words, code=2)
    refused(world.auditor, *words, "--calibration", world.calibration, "--verdicts", tmp_path, code=2)
    refused(world.auditor, *words, "--policy", "0x" + "55" * 32, code=4)
    refused(world.auditor, "verdict", "show", tmp_path / "none", code=4)
    refused(world.auditor, "verdict", "show", world.plan, code=3)


def test_watch_audits_each_batch(world, serve):  # noqa: F811
    done(world.node, "node", "enrol", world.policy)
    found = serve(world)
    ask(found.url, 1)
    anchor(world)
    words = ("--url", found.url, "--policy", world.policy, "--watch", "--every", 0.2)
    watching = start(world.auditor, "--json", "audit", world.address, *words)
    try:
        first = json.loads(watching.stdout.readline())
        time.sleep(0.5)
        ask(found.url, 2)
        anchor(world)
        second = json.loads(watching.stdout.readline())
    finally:
        watching.terminate()
        watching.communicate(timeout=60)
    assert [row["batch"] for row in (first, second)] == [0, 1]
    assert [row["report"]["count"] for row in (first, second)] == [1, 2]
    assert all(row["ok"] for row in (first, second))
