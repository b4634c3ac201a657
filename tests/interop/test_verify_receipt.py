"""The program of docs/verify-a-receipt.md, run as it stands there against `chain serve`."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from eth_utils import to_checksum_address

from modelreg.format.names import ReleaseId
from modelreg.ledger.artifact import load_artifact
from tests.cli.command import done
from tests.cli.test_receipt_anchored import Anchored, sign_receipts
from tests.interop.test_release import served

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "verify-a-receipt.md"
CHECKS = [
    "it is a receipt for this chain",
    "its node signed it",
    "the batch has its place",
    "the proof leads to the batch's root",
    "its node anchored the batch, and that is final",
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The code in the document, beside the packages that `make node` installed."""
    root = tmp_path_factory.mktemp("program")
    [code] = re.findall(r"^```js\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    [name] = re.findall(r"`([\w-]+\.mjs)` is this file", DOCUMENT.read_text())
    (root / name).write_text(code)
    (root / "node_modules").symlink_to(HERE / "node_modules")
    return root / name


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A chain on which a node anchored five receipts and then two; its URL, the node, and the receipts."""
    home = tmp_path_factory.mktemp("chain") / "home"
    done(home, "init")
    (home.parent / "weights.txt").write_text("0.25 0.5\n")
    published = done(
        home, "publish", home.parent / "weights.txt", "--model", "acme/tiny", "--version", "1.0.0"
    )
    done(home, "node", "register", "--endpoint", "http://127.0.0.1:1", "--bond", "1")
    release = ReleaseId.parse(published["release_id"])
    batches = []
    for count in (5, 2):
        batches.append(sign_receipts(home, release, count))
        done(home, "anchor")
    with served(home) as url:
        yield url, Anchored(home), batches


def run(program, url, receipt, proof):
    """Exit code, and the checks that hold."""
    for name, document in (("receipt.json", receipt), ("proof.json", proof)):
        (program.parent / name).write_text(json.dumps(document))
    command = ["node", program.name, "receipt.json", "proof.json", url]
    ended = subprocess.run(
        command, cwd=program.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert not ended.stderr, ended.stderr
    return ended.returncode, re.findall(r"^yes  (.*)$", ended.stdout, re.MULTILINE)


def files(world, batch, place):
    """The two objects that a node hands out."""
    _, node, batches = world
    signed = batches[batch][place]
    return json.loads(node.receipt(signed).read_text()), node.found(signed).to_object()


@pytest.mark.parametrize(("batch", "place"), [(0, 0), (0, 3), (0, 4), (1, 1)])
def test_program_verifies_what_was_anchored(world, program, batch, place):
    assert run(program, world[0], *files(world, batch, place)) == (0, CHECKS)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ("another chain", 0),
        ("another contract", 0),
        ("changed receipt", 1),
        ("another batch", 2),
        ("another receipt's proof", 3),
        ("sibling less", 3),
        ("sibling more", 3),
        ("batch that nobody anchored", 4),
    ],
)
def test_program_refuses(world, program, change, passed):
    receipt, proof = files(world, 0, 1)
    other = files(world, 1, 1)[1]
    match change:
        case "another chain":
            receipt["domain"]["chainId"] += 1
        case "another contract":
            receipt["domain"]["verifyingContract"] = "0x" + "11" * 20
        case "changed receipt":
            receipt["receipt"]["issuedAt"] += 1
        case "another batch":
            proof["batch"] = other["batch"]
        case "another receipt's proof":
            proof = files(world, 0, 2)[1]
        case "sibling less":
            proof["siblings"].pop()
        case "sibling more":
            proof["siblings"].append("0x" + "00" * 32)
        case _:
            proof["batch"]["anchoredAt"] += 1
    assert run(program, world[0], receipt, proof) == (3, CHECKS[:passed])


def test_program_has_the_address_of_the_contract():
    address = to_checksum_address(load_artifact("ReceiptLog").address)
    assert f'RECEIPT_LOG = "{address}"' in DOCUMENT.read_text()
