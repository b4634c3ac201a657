"""The command on a chain of somebody else's making: anvil with a block a second."""

import pytest

from tests import anvil
from tests.cli.command import done, modelreg, refused, tree
from tests.cli.conftest import MODEL
from tests.cli.test_chain import call
from tests.cli.test_serve import Serving, publish
from tests.cli.test_sync import Follower
from tests.serving import graphs

pytestmark = [
    pytest.mark.node,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not anvil.is_here(), reason="run `make node`"),
]
ONNX = "acme/tiny-onnx"


@pytest.fixture
def url():
    with anvil.running("--chain-id", 31337, "--block-time", 1) as address:
        # anvil's block 0 does not commit to its state.
        call(address, "evm_mine")
        yield address


@pytest.fixture
def publisher(url, tmp_path):
    """A home whose key has ether, on a chain on which it deployed the contracts."""
    home = tmp_path / "publisher"
    outcome = modelreg(home, "init", "--rpc-url", url)
    assert "send ether" in outcome.err
    assert "chain deploy" in refused(home, "ls", code=4)
    assert "cannot pay" in refused(home, "chain", "deploy", "--yes", code=8)
    call(url, "anvil_setBalance", outcome.document["address"], hex(10**20))
    call(url, "evm_mine")  # until then the newest block does not commit to it
    refused(home, "chain", "deploy", code=8)
    deployed = done(home, "chain", "deploy", "--yes")
    assert deployed["registry"]["gas"] > 10**6
    assert deployed["receipt_log"]["gas"] > 10**6
    assert done(home, "chain", "deploy", "--yes")["registry"]["contract"] == deployed["registry"]["contract"]
    return home


def joined(publisher, url, name="node"):
    node = publisher.with_name(name)
    assert modelreg(node, "init", "--rpc-url", url).err == ""
    config = node / "config.toml"
    config.write_text(config.read_text().replace("peers = []", f'peers = ["{publisher}"]'))
    return node


def test_from_nothing_to_a_node_that_follows(publisher, url, models, tmp_path):
    first, second = models
    assert "--yes" in refused(publisher, "publish", first, "--model", MODEL, "--version", "1.0.0", code=2)
    done(publisher, "publish", first, "--model", MODEL, "--version", "1.0.0", "--channel", "stable", "--yes")
    node, copy = joined(publisher, url), tmp_path / "copy"
    with Follower(node, f"{MODEL}@stable", "--to", copy) as follower:
        follower.next()
        assert tree(copy) == tree(first)
        done(publisher, "publish", second, "--model", MODEL, "--version", "1.1.0")
        block = done(publisher, "chain", "status")["block"] + 15
        done(publisher, "channel", "set", MODEL, "stable", MODEL, "--at-block", block)
        assert "ahead" in follower.process.stderr.readline()
        assert tree(copy) == tree(first)
        assert follower.next()["bytes"]["fetched"] == 0
        assert tree(copy) == tree(second)
        assert done(node, "chain", "status")["block"] >= block


def test_a_reorg_takes_a_release_back_and_the_next_run_brings_it_again(publisher, url, models):
    first, _ = models
    node = joined(publisher, url)
    call(url, "anvil_mine", "0x5")  # so that the contracts stay
    words = ("publish", first, "--model", MODEL, "--version", "1.0.0", "--yes")
    release = done(publisher, *words)["release_id"]
    assert [row["model"] for row in done(node, "ls")] == [MODEL]
    head = done(node, "chain", "status")
    call(url, "anvil_reorg", 5, [])
    again = done(publisher, *words)
    assert again["release_id"] == release
    assert done(node, "show", MODEL)["release_id"] == release
    assert done(node, "chain", "status")["block"] >= head["block"] - 5


def test_serving_with_receipts_that_are_anchored(publisher, url):
    publish(publisher, "1.0.0", graphs.WEIGHTS, "--channel", "stable", "--yes")
    found = Serving(publisher, f"{ONNX}@stable")
    try:
        done(publisher, "node", "register", "--endpoint", found.url, "--bond", "1")
        assert found.ask()[0] == "1.0.0"
        [batch] = done(publisher, "anchor")
        assert batch["count"] == 1
    finally:
        assert found.stop() == 0
