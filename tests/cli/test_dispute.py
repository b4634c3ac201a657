"""`dispute` and `settle`: a liar is convicted by one operator, here and on a machine that never met it."""

import pytest

from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg_verifier.audit.node_client import NodeClient
from tests.cli.command import done, modelreg, refused
from tests.cli.test_audit import LIAR, REF, World, _released, anchor, ask, serve, world

__all__ = ["World", "_released", "serve", "world"]  # fixtures

ENTRY = "from modelreg_cli import main\n"
# It answers with other weights, and claims what the release makes.
DENIER = LIAR.replace(ENTRY, f"""
from modelreg_verifier.serving import programs
whole = programs.released_programs
def released(*arguments):
    made = whole(*arguments)
    def program(*key):
        copies.VerifiedCopy.model = honest
        try:
            return made(*key)
        finally:
            copies.VerifiedCopy.model = model
    return program
programs.released_programs = released
{ENTRY}""")  # fmt: skip
SILENT = LIAR.replace(ENTRY, f"""
from modelreg.errors import UnreachableError
from modelreg_verifier.receipts.claiming import Claims
def silent(*_):
    raise UnreachableError("not now")
Claims.make = silent
{ENTRY}""")  # fmt: skip


def asked(world, serve, program=None):
    """A node that answered once and anchored, and the digest of its receipt."""
    found = serve(world, "--plan", world.plan, program=program)
    ask(found.url, 1)
    batch = anchor(world)
    [signed] = NodeClient(found.url).receipts(batch["epoch"], batch["first"], 1)
    chain = done(world.node, "chain", "status")["chain_id"]
    return found, f"0x{signed.receipt.digest(receipt_domain(chain)).hex()}"


def dispute(world, found, receipt, *options, **settings):
    words = ("--url", found.url, "--calibration", world.calibration, "--receipt", receipt, *options)
    return modelreg(world.auditor, "dispute", world.address, *words, **settings)


def test_a_liar_is_convicted_by_one_operator_and_offline_too(world, serve, tmp_path):
    """other weights under the release's id: the operator is named, and a third machine finds the same"""
    found, receipt = asked(world, serve, LIAR)
    file = tmp_path / "evidence"
    outcome = dispute(world, found, receipt, "--evidence", file)
    assert outcome.code == 7, outcome.err
    ruling = outcome.document
    assert (ruling["ok"], ruling["ruling"], ruling["kind"]) == (False, "fail", "MatMul")
    assert (ruling["ratio"] > 1, ruling["receipt"]) == (True, receipt)
    text = dispute(world, found, receipt, "--segment", ruling["segment"], json_mode=False)
    assert (text.code, "cannot have made" in text.out) == (7, True)
    assert found.stop() == 0

    copy, bundle = tmp_path / "copy", tmp_path / "bundle"
    done(world.auditor, "sync", REF, "--to", copy)
    block = done(world.auditor, "bundle", REF, bundle)["hash"]
    words = ("settle", file, copy, "--calibration", world.calibration)
    online = modelreg(world.auditor, *words)
    assert (online.code, online.document) == (7, ruling)
    away = ("--offline", bundle, "--block", block)
    world.node.rename(tmp_path / "gone")
    world.auditor.rename(tmp_path / "gone too")
    outcome = modelreg(tmp_path / "third", *words, *away)
    assert (outcome.code, outcome.document) == (7, ruling), outcome.err
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    (tmp_path / "forged").write_bytes(raw)
    outcome = modelreg(tmp_path / "third", "settle", tmp_path / "forged", *words[2:], *away)
    assert (outcome.code, outcome.document["ruling"]) == (6, "withheld")
    file.write_bytes(raw[:-1])
    refused(tmp_path / "third", *words, *away, code=3)
    (tmp_path / "forged").replace(file)
    (copy / "model.onnx").write_bytes(b"other")
    refused(tmp_path / "third", *words, *away, code=3)


def test_an_honest_node_is_cleared(world, serve, tmp_path):
    found, receipt = asked(world, serve)
    outcome = dispute(world, found, receipt)
    assert (outcome.code, outcome.document["ruling"], outcome.document["segment"]) == (0, "cleared", None)
    for segment in (0, 1):
        outcome = dispute(world, found, receipt, "--segment", segment, "--evidence", tmp_path / "file")
        assert outcome.code == 0, outcome.err
        assert (outcome.document["ruling"], outcome.document["ratio"] <= 1) == ("cleared", True)
    outcome = dispute(world, found, receipt, "--segment", 999)
    assert (outcome.code, outcome.document["ruling"]) == (0, "undecidable")


@pytest.mark.parametrize(("program", "code", "ruling"), [(DENIER, 7, "fail"), (SILENT, 6, "withheld")])
def test_a_liar_who_denies_or_is_silent(world, serve, program, code, ruling):
    """claims what the release makes, which is not what it committed to; and claims nothing"""
    found, receipt = asked(world, serve, program)
    outcome = dispute(world, found, receipt)
    assert outcome.code == code, outcome.err
    assert (outcome.document["ruling"], outcome.document["operator"]) == (ruling, None)


def test_usage(world, serve):
    words = ("--calibration", world.calibration, "--receipt", "0x" + "00" * 32)
    refused(world.auditor, "dispute", world.address, "--url", "http://127.0.0.1:1", *words, code=6)
    refused(world.auditor, "dispute", world.address, "--url", "ftp://here", *words, code=2)
    refused(world.auditor, "settle", world.plan, world.plan.parent, *words[:2], code=3)
    found, receipt = asked(world, serve)
    refused(world.auditor, "dispute", world.address, "--url", found.url, *words, code=4)
    other = "0x" + "22" * 20
    words = ("--url", found.url, *words[:2], "--receipt", receipt)
    assert "one of node" in refused(world.auditor, "dispute", other, *words, code=3)
