"""Publishing and syncing through real Kubo daemons."""

import json
import shutil
import urllib.request

import pytest

from modelreg.config import read_config
from modelreg.format.cid import Cid
from modelreg.home import Home
from modelreg.store import kubo_pins
from modelreg.store.kubo_pins import KuboPins
from modelreg.store.kubo_push import push
from modelreg.store.pins import Pins
from tests.cli.command import done, modelreg, refused, tree
from tests.cli.conftest import MODEL
from tests.cli.models import fine_tuned, weights, write_huggingface
from tests.kubo import kubo_node

pytestmark = pytest.mark.kubo


@pytest.fixture
def second_kubo(tmp_path, kubo):
    """Another daemon, which knows the first."""
    with kubo_node(tmp_path / "second-kubo") as node:
        node.connect(kubo)
        yield node


@pytest.fixture(params=["local,kubo", "kubo,local", "kubo"])
def publisher(request, tmp_path, kubo):
    home = tmp_path / "publisher"
    done(home, "init", "--store", request.param, "--kubo-api", kubo.url)
    return home


def publish(home, path, version):
    return done(home, "publish", path, "--model", MODEL, "--version", version)


def node_on(publisher, kubo, home, stores="kubo"):
    """A home that shares the publisher's ledger, and has its blocks from Kubo alone."""
    done(home, "init", "--join", publisher, "--store", stores, "--kubo-api", kubo.url)
    config = home / "config.toml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join("peers = []" if line.startswith("peers") else line for line in lines))
    return home


def pinned_at(kubo):
    lines = kubo.run("pin", "ls", "--type=recursive", "--names").splitlines()
    return {line.split()[0]: line.split()[2] for line in lines if len(line.split()) > 2}


def test_a_release_is_pinned_by_its_manifest_under_a_name(publisher, models, kubo):
    published = publish(publisher, models[0], "1.0.0")
    assert pinned_at(kubo) == {published["manifest_cid"]: f"modelreg/{MODEL}@1.0.0"}
    kubo.run("repo", "gc")
    kubo.run("dag", "stat", "--offline", published["manifest_cid"])


def test_only_what_is_missing_is_sent(publisher, models, kubo):
    publish(publisher, models[0], "1.0.0")
    before = int(json.loads(kubo.run("repo", "stat", "--enc=json"))["RepoSize"])
    update = publish(publisher, models[1], "1.1.0")
    grown = int(json.loads(kubo.run("repo", "stat", "--enc=json"))["RepoSize"]) - before
    assert grown < update["bytes"]["stored"] + 64_000
    assert update["bytes"]["stored"] < update["bytes"]["full"] / 5


def test_a_release_published_at_one_daemon_is_synced_through_another(
    publisher, models, kubo, second_kubo, tmp_path
):
    publish(publisher, models[0], "1.0.0")
    publish(publisher, models[1], "1.1.0")
    node = node_on(publisher, second_kubo, tmp_path / "node")
    done(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(models[1])


def test_the_publisher_goes_away_after_one_pin_elsewhere(publisher, models, kubo, second_kubo, tmp_path):
    published = publish(publisher, models[0], "1.0.0")
    keeper = node_on(publisher, second_kubo, tmp_path / "keeper")
    done(keeper, "pin", f"{MODEL}@1.0.0")
    assert published["manifest_cid"] in pinned_at(second_kubo)
    kubo.clear()
    kubo.stop()
    try:
        with kubo_node(tmp_path / "third-kubo") as third:
            third.connect(second_kubo)
            node = node_on(publisher, third, tmp_path / "node")
            done(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    finally:
        kubo.start()
    assert tree(tmp_path / "copy") == tree(models[0])


def test_a_synced_release_is_pinned_at_the_nodes_daemon(publisher, models, kubo, second_kubo, tmp_path):
    published = publish(publisher, models[0], "1.0.0")
    node = node_on(publisher, second_kubo, tmp_path / "node")
    done(node, "sync", f"{MODEL}@1.0.0")
    assert published["manifest_cid"] in pinned_at(second_kubo)
    assert done(node, "doctor")
    second_kubo.clear()
    assert "lost 1 pins" in json.dumps(refused_findings(node))
    done(node, "pin", f"{MODEL}@1.0.0")
    assert published["manifest_cid"] in pinned_at(second_kubo)


def refused_findings(home):
    outcome = modelreg(home, "doctor")
    assert outcome.code == 1
    return outcome.document


def test_gc_unpins_at_kubo_what_the_home_keeps_no_longer(publisher, models, kubo):
    first = publish(publisher, models[0], "1.0.0")
    second = publish(publisher, write_huggingface(publisher.parent / "other", weights(7)), "2.0.0")
    done(publisher, "unpin", f"{MODEL}@2.0.0")
    assert done(publisher, "gc", "--dry-run")["unpinned_at_kubo"] == 1
    assert set(pinned_at(kubo)) == {first["manifest_cid"], second["manifest_cid"]}
    assert done(publisher, "gc")["unpinned_at_kubo"] == 1
    assert set(pinned_at(kubo)) == {first["manifest_cid"]}
    assert list(Pins(publisher / "kubo-pins").list()) == [first["manifest_cid"]]


@pytest.mark.parametrize("stores", ["kubo", "local,kubo"])
def test_two_homes_at_one_daemon_unpin_only_for_themselves(publisher, models, kubo, stores, tmp_path):
    manifest = publish(publisher, models[0], "1.0.0")["manifest_cid"]
    node = node_on(publisher, kubo, tmp_path / "node", stores)
    done(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    done(node, "pin", f"{MODEL}@1.0.0")
    assert set(pinned_at(kubo).values()) == {f"modelreg/{MODEL}@1.0.0"}
    [hold] = pinned_at(kubo).keys() - {manifest}
    assert kubo.run("refs", hold).split() == [manifest]

    done(publisher, "unpin", f"{MODEL}@1.0.0")
    assert done(publisher, "gc")["unpinned_at_kubo"] == 1
    assert set(pinned_at(kubo)) == {hold}
    kubo.run("repo", "gc")
    kubo.run("dag", "stat", "--offline", manifest)
    assert done(node, "doctor")

    kubo.run("pin", "rm", hold)
    assert "lost 1 pins" in json.dumps(refused_findings(node))
    done(node, "pin", f"{MODEL}@1.0.0")
    assert set(pinned_at(kubo)) == {hold}
    shutil.rmtree(tmp_path / "copy")
    done(node, "unpin", f"{MODEL}@1.0.0")
    assert done(node, "gc")["unpinned_at_kubo"] == 1
    assert pinned_at(kubo) == {}


def test_homes_that_pin_at_the_same_time_pin_each_for_itself(publisher, models, kubo, tmp_path, monkeypatch):
    manifest = Cid.parse(publish(publisher, models[0], "1.0.0")["manifest_cid"])
    kubo.run("pin", "rm", str(manifest))
    home = Home(publisher)
    one, other = (KuboPins(tmp_path / name, home.kubo) for name in ("one", "other"))

    def overtaken(*words):
        monkeypatch.setattr(kubo_pins, "push", push)
        other.keep(manifest, "other", home.blocks)
        return push(*words)

    monkeypatch.setattr(kubo_pins, "push", overtaken)
    one.keep(manifest, "one", home.blocks)
    assert set(pinned_at(kubo).values()) == {"one", "other"}
    assert other.unpin_others(set(), dry_run=False) == 1
    assert one.lost() == []
    one.keep(manifest, "again", home.blocks)
    assert set(pinned_at(kubo).values()) == {"one"}


def test_a_release_lost_by_kubo_is_pushed_again(models, kubo, tmp_path):
    home = tmp_path / "publisher"
    done(home, "init", "--store", "local,kubo", "--kubo-api", kubo.url)
    published = publish(home, models[0], "1.0.0")
    kubo.clear()
    done(home, "pin", f"{MODEL}@1.0.0")
    assert published["manifest_cid"] in pinned_at(kubo)
    kubo.run("dag", "stat", "--offline", published["manifest_cid"])


def test_an_interrupted_push_is_resumed(models, kubo, tmp_path):
    home = tmp_path / "publisher"
    done(home, "init", "--store", "local,kubo", "--kubo-api", kubo.url)
    published = publish(home, models[0], "1.0.0")
    kubo.run("pin", "rm", published["manifest_cid"])
    gone = kubo.run("refs", "-r", published["manifest_cid"]).split()[:2]
    kubo.run("block", "rm", "-f", *gone)
    opened = Home(home)
    sent = opened.keep(Pins(home / "pins").list()[published["release_id"]], "again")
    assert 0 < sent < published["bytes"]["full"]
    assert published["manifest_cid"] in pinned_at(kubo)


def test_without_its_daemon_publish_records_nothing(publisher, models, kubo):
    kubo.stop()
    try:
        line = refused(publisher, "publish", models[0], "--model", MODEL, "--version", "1.0.0", code=6)
    finally:
        kubo.start()
    assert "no answer from Kubo" in line
    assert done(publisher, "ls") == []
    publish(publisher, models[0], "1.0.0")


@pytest.mark.parametrize(
    ("kind", "secret", "wrong"),
    [("basic:alice:pass word", "alice:pass word", "alice:other"), ("bearer:t0ken-t0ken", "t0ken-t0ken", "x")],
    ids=["basic", "bearer"],
)
def test_a_daemon_that_asks_for_a_secret(models, kubo, tmp_path, kind, secret, wrong):
    kubo.stop()
    allowed = {"modelreg": {"AuthSecret": kind, "AllowedPaths": ["/api/v0"]}}
    kubo.configure("API.Authorizations", allowed)
    kubo.start()
    try:
        file = tmp_path / "secret"
        file.write_text(wrong)
        words = ("init", "--store", "local,kubo", "--kubo-api", kubo.url, "--kubo-secret-file", file)
        assert "refuses us" in refused(tmp_path / "home", *words, code=8)
        file.write_text(secret + "\n")
        done(tmp_path / "home", *words)
        assert read_config(tmp_path / "home" / "config.toml").kubo.secret_file == file
        publish(tmp_path / "home", models[0], "1.0.0")
    finally:
        kubo.stop()
        kubo.configure("API.Authorizations", None)
        kubo.start()


def test_a_long_lineage_through_kubo(publisher, kubo, second_kubo, tmp_path):
    """Bases of bases come through Kubo too."""
    tensors = weights()
    for patch in range(4):
        path = write_huggingface(tmp_path / f"v{patch}", tensors)
        publish(publisher, path, f"1.{patch}.0")
        tensors = fine_tuned(tensors, seed=patch)
    node = node_on(publisher, second_kubo, tmp_path / "node")
    done(node, "sync", f"{MODEL}@1.3.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(tmp_path / "v3")


def test_a_release_comes_from_kubos_own_gateway(publisher, models, kubo, tmp_path):
    """Somebody else's trustless gateway, read by ours."""
    publish(publisher, models[0], "1.0.0")
    node = tmp_path / "node"
    done(node, "init", "--join", publisher)
    config = node / "config.toml"
    lines = config.read_text().splitlines()
    peers = f'peers = ["{kubo.gateway}"]'
    config.write_text("\n".join(peers if line.startswith("peers") else line for line in lines))
    done(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(models[0])


def test_kubo_imports_the_archive_that_our_gateway_gives(
    publisher, models, kubo, second_kubo, serving, tmp_path
):
    published = publish(publisher, models[0], "1.0.0")
    url, _ = serving(publisher)
    archive = tmp_path / "release.car"
    with urllib.request.urlopen(f"{url}/ipfs/{published['manifest_cid']}?format=car") as answer:
        archive.write_bytes(answer.read())
    assert "Pinned root" in second_kubo.run("dag", "import", archive)
    assert published["manifest_cid"] in second_kubo.run("pin", "ls", "--type=recursive", "-q")
