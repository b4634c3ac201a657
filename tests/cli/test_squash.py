"""`squash`: a node that lags fetches one difference in place of the chain, whoever offers it."""

import json
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from modelreg.errors import UnreachableError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import Base, Payload
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.squash import Squash
from modelreg.home import Home
from modelreg.store.multi import MultiStore
from modelreg.store.pins import Pins
from tests.cli.command import blocks, done, modelreg, refused, tree
from tests.cli.models import weights, write_huggingface

MODEL = "acme/steps"
STEPS = 6
LAST = f"1.{STEPS}.0"


def trained(tensors, seed):
    """One more step for every weight."""
    random = np.random.default_rng(seed)
    return {
        name: array + (random.normal(size=array.shape) * 1e-5).astype("<f4")
        for name, array in tensors.items()
    }


@pytest.fixture(scope="module")
def _chain(tmp_path_factory, _empty_home):
    root = tmp_path_factory.mktemp("chain")
    home, tensors = shutil.copytree(_empty_home, root / "home"), weights()
    for step in range(STEPS + 1):
        path = write_huggingface(root / f"step-{step}", tensors)
        done(home, "publish", path, "--model", MODEL, "--version", f"1.{step}.0")
        tensors = trained(tensors, step)
    return home, root / f"step-{STEPS}"


@pytest.fixture
def chain(_chain, tmp_path):
    """A home that published a chain of releases, a node that has the first, and the last one's files."""
    home = shutil.copytree(_chain[0], tmp_path / "home")
    node = tmp_path / "node"
    done(node, "init", "--join", home)
    done(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "old")
    return home, node, _chain[1]


def fetch(node, place="new"):
    document = done(node, "sync", f"{MODEL}@{LAST}", "--to", node.parent / place)
    return document["bytes"]["fetched"]


def content_root(home):
    return bytes.fromhex(done(home, "show", f"{MODEL}@{LAST}")["content_root"][2:])


def test_a_node_that_lags_fetches_the_squash(chain, tmp_path):
    home, node, files = chain
    other = tmp_path / "other"
    done(other, "init", "--join", home)
    done(other, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "other-old")
    by_chain = fetch(other, "by-chain")
    document = done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")
    [row] = document["squashes"]
    estimated = done(node, "sync", f"{MODEL}@{LAST}", "--to", tmp_path / "new", "--dry-run")
    by_squash = fetch(node)
    assert tree(tmp_path / "new") == tree(tmp_path / "by-chain") == tree(files)
    assert by_squash <= 0.6 * by_chain
    assert by_squash >= row["bytes"] // 2
    assert abs(estimated["bytes"]["fetched"] - by_squash) <= 0.02 * by_squash
    assert done(node, "verify", tmp_path / "new")["problems"] == []
    done(node, "gc")
    assert done(node, "doctor")
    done(node, "sync", f"{MODEL}@{LAST}", "--to", tmp_path / "again")
    assert tree(tmp_path / "again") == tree(files)


def test_a_squash_comes_over_http(chain, serving):
    home, node, files = chain
    [row] = done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")["squashes"]
    url, _ = serving(home)
    far = node.parent / "far"
    done(far, "init", "--join", url)
    done(far, "sync", f"{MODEL}@1.0.0", "--to", far.parent / "far-old")
    assert fetch(far, "far-new") <= 1.2 * row["bytes"]
    assert tree(far.parent / "far-new") == tree(files)
    root = done(home, "show", f"{MODEL}@{LAST}")["content_root"]
    with urllib.request.urlopen(f"{url}/squashes/{root}") as answer:
        base = done(home, "show", f"{MODEL}@1.0.0")["content_root"]
        assert json.load(answer) == {"squashes": [{"base": base, "manifest": row["manifest_cid"]}]}
    with urllib.request.urlopen(f"{url}/squashes/0x{'00' * 32}") as answer:
        assert json.load(answer) == {"squashes": []}
    for path, status in (("/squashes/", 400), ("/squashes/0x00", 400), (f"/squashes/{root[2:]}", 400)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url + path)
        assert caught.value.code == status


def test_a_node_offers_one_too(chain, tmp_path):
    """It need not be the publisher: whoever has both releases can."""
    home, node, files = chain
    helper = tmp_path / "helper"
    done(helper, "init", "--join", home)
    done(helper, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")
    config = node / "config.toml"
    config.write_text(config.read_text().replace("peers = [", f'peers = ["{helper}", '))
    other = tmp_path / "other"
    done(other, "init", "--join", home)
    done(other, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "other-old")
    assert fetch(node) <= 0.6 * fetch(other, "by-chain")
    assert tree(tmp_path / "new") == tree(files)
    done(helper, "unpin", f"{MODEL}@{LAST}")
    assert Home(helper).squashes.of(content_root(home)) == ()
    assert "is not pinned" in refused(helper, "unpin", f"{MODEL}@{LAST}", code=4)


def test_who_has_the_parent_or_nothing_takes_what_was_published(chain, tmp_path):
    home, node, _ = chain
    done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")
    manifest = done(home, "show", f"{MODEL}@{LAST}")["manifest_cid"]
    done(node, "sync", f"{MODEL}@1.{STEPS - 1}.0", "--to", tmp_path / "parent")
    step = fetch(node)
    empty = tmp_path / "empty"
    done(empty, "init", "--join", home)
    whole = fetch(empty, "whole")
    assert step < whole / 5
    assert Home(empty).local_store.has(Cid.parse(manifest))


def test_gc_keeps_a_squash_until_its_release_is_unpinned(chain):
    home, _, _ = chain
    before = blocks(home)
    done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0", "--from", f"{MODEL}@1.2.0")
    added = blocks(home) - before
    assert len(Home(home).squashes.of(content_root(home))) == 2
    (home / "squashing").mkdir()  # as a run that was killed leaves it
    done(home, "gc")
    assert not (home / "squashing").exists()
    assert added <= blocks(home)
    done(home, "unpin", f"{MODEL}@{LAST}")
    done(home, "gc")
    assert not added & blocks(home)
    assert Home(home).squashes.of(content_root(home)) == ()


def test_squash_refuses(chain):
    home, _, _ = chain
    refused(home, "squash", f"{MODEL}@{LAST}", code=2)
    refused(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@{LAST}", code=2)
    refused(home, "squash", f"{MODEL}@9.9.9", "--from", f"{MODEL}@1.0.0", code=4)
    refused(home, "squash", f"{MODEL}@{LAST}", "--from", "acme/none@1.0.0", code=4)
    assert (
        "1.0.0 to 1.6.0: "
        in modelreg(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0", json_mode=False).out
    )


class Liar:
    """Offers whatever the test makes of the true squash."""

    def __init__(self, home):
        self.home = Home(home)
        shown = done(home, "show", f"{MODEL}@{LAST}"), done(home, "show", f"{MODEL}@1.0.0")
        self.root, self.base = (bytes.fromhex(release["content_root"][2:]) for release in shown)
        [row] = done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")["squashes"]
        self.manifest = self.home.plaintext.manifest(Cid.parse(row["manifest_cid"]))

    def offer(self, manifest):
        cid, nodes = write_manifest(manifest)
        self.home.local_store.put_many(nodes)
        self.home.squashes.add(self.root, Squash(self.base, cid))

    def offer_changed(self, change):
        """The true squash but for its rows that start from the base."""
        rows = (change(chunk) if chunk.base else chunk for chunk in self.manifest.chunks)
        self.offer(replace(self.manifest, chunks=tuple(rows)))

    def block(self, data):
        cid = Cid.of(Codec.RAW, data, HashAlgorithm.BLAKE3_256)
        self.home.local_store.put_many([(cid, data)])
        return cid


def other_release(liar):
    """A squash that leads elsewhere."""
    manifest = done(liar.home.root, "show", f"{MODEL}@1.3.0")["manifest_cid"]
    liar.offer(liar.home.plaintext.manifest(Cid.parse(manifest)))


def wrong_payloads(liar):
    """Small, and it does not decode."""
    garbage = Payload(liar.block(os.urandom(64)), 0, 64)
    liar.offer_changed(lambda chunk: replace(chunk, payload=garbage, factors=None))


def absent_payloads(liar):
    gone = Payload(Cid.of(Codec.RAW, b"nobody has this", HashAlgorithm.BLAKE3_256), 0, 15)
    liar.offer_changed(lambda chunk: replace(chunk, payload=gone, factors=None))


def foreign_base(liar):
    """It starts from a release that the node has not."""
    manifest = Cid.parse(done(liar.home.root, "show", f"{MODEL}@1.3.0")["manifest_cid"])
    root = liar.home.plaintext.manifest(manifest).content_root
    liar.offer(replace(liar.manifest, bases=(Base(root, manifest),)))


def renamed_base(liar):
    """The base's content root, and another manifest."""
    other = Cid.parse(done(liar.home.root, "show", f"{MODEL}@1.3.0")["manifest_cid"])
    liar.offer(replace(liar.manifest, bases=(Base(liar.base, other),)))


def other_formats(liar):
    """What the content root does not bind: which of the bytes are tensors."""
    files = tuple(replace(file, tensors=()) for file in liar.manifest.files)
    liar.offer(replace(liar.manifest, files=files))


def wild_bases(liar):
    """Its rows start from a file that the base has not."""
    liar.offer_changed(lambda chunk: replace(chunk, base=replace(chunk.base, file=9999)))


def no_note(liar):
    """What nobody's squash is called."""
    Pins(liar.home.root / "squashes").add(f"{liar.root.hex()} from nothex", liar.block(b"whatever"))


def no_manifest(liar):
    liar.home.squashes.add(liar.root, Squash(liar.base, liar.block(b"no manifest")))


def absent_manifest(liar):
    gone = Cid.of(Codec.DAG_CBOR, b"nobody has this", HashAlgorithm.BLAKE3_256)
    liar.home.squashes.add(liar.root, Squash(liar.base, gone))


@pytest.mark.parametrize(
    "lie",
    [
        other_release,
        wrong_payloads,
        absent_payloads,
        foreign_base,
        renamed_base,
        other_formats,
        wild_bases,
        no_note,
        no_manifest,
        absent_manifest,
    ],
)
def test_malicious_peer_a_squash_that_is_none(chain, tmp_path, lie):
    home, node, files = chain
    liar = Liar(home)
    liar.home.squashes.remove(liar.root)
    lie(liar)
    outcome = modelreg(node, "sync", f"{MODEL}@{LAST}", "--to", tmp_path / "new")
    assert outcome.code == 0
    assert tree(tmp_path / "new") == tree(files)
    assert ("of no use" in outcome.err) == (lie in (wrong_payloads, absent_payloads))
    assert done(node, "verify", tmp_path / "new")["problems"] == []


def test_stalling_peer_a_squash_that_drips_is_given_up(chain, tmp_path, monkeypatch):
    """An honest peer has the published encoding; nobody else has the squash's blocks."""
    home, node, files = chain
    done(home, "squash", f"{MODEL}@{LAST}", "--from", f"{MODEL}@1.0.0")
    asked = []

    def slow(self, cid, seconds=None):
        if seconds is not None and cid.codec is Codec.RAW:
            asked.append(seconds)
            raise UnreachableError(f"block {cid}", found="no source was fast enough")
        return find(self, cid, seconds)

    find = MultiStore.find
    monkeypatch.setattr(MultiStore, "find", slow)
    outcome = modelreg(node, "sync", f"{MODEL}@{LAST}", "--to", tmp_path / "new")
    assert outcome.code == 0
    assert "of no use" in outcome.err
    assert tree(tmp_path / "new") == tree(files)
    assert 0 < max(asked) < 60


def test_releases_with_equal_content_in_a_chain(home, tmp_path, serving):
    """One was rolled back: two manifests have one content root, and different blocks."""
    made = [write_huggingface(tmp_path / f"made-{step}", trained(weights(), step)) for step in range(3)]
    for number, path in enumerate((made[0], made[1], made[2], made[1], made[2])):
        done(home, "publish", path, "--model", MODEL, "--version", f"1.{number}.0")
    url, _ = serving(home)
    node = tmp_path / "node"
    done(node, "init", "--join", url)
    done(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "old")
    done(home, "squash", f"{MODEL}@1.4.0", "--from", f"{MODEL}@1.0.0")
    done(node, "sync", f"{MODEL}@1.4.0", "--to", tmp_path / "new", "--dry-run")
    done(node, "sync", f"{MODEL}@1.4.0", "--to", tmp_path / "new")
    assert tree(tmp_path / "new") == tree(made[2])
