"""The attacks of docs/design.md, through the command: what a node sees, refuses, and leaves as it was."""

import os
import resource
import shutil
import time

import pytest

from modelreg.errors import ConflictError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import keccak256
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.records import Role
from modelreg.store.staging import place_of
from modelreg_verifier.trust import TrustedHead
from tests.cli.command import blocks, done, flip, modelreg, refused, start, tree
from tests.cli.conftest import MODEL
from tests.cli.hostile import BLAKE3, Hostile, bomb
from tests.cli.models import weights, write_huggingface

PROXY = bytes.fromhex("4e59b44847b379578588920cA78FbF26c0B4956C")


@pytest.fixture
def node(world):
    """A node that has a copy of 1.0.0."""
    home = world.node()
    done(home, "sync", f"{MODEL}@1.0.0", "--to", home.with_name("copy"))
    return home


@pytest.fixture
def copy(node):
    return node.with_name("copy")


def chain_files(home):
    return [path for path in home.iterdir() if path.name.startswith("chain.sqlite")]


def saved(home, tmp_path, name):
    """A copy of a home's chain as it is now."""
    place = tmp_path / name
    place.mkdir()
    for path in chain_files(home):
        shutil.copy(path, place)
    return place


def restore(home, place):
    """Put an older chain in place; its home is in league: it forgets what it saw, and would send again."""
    for path in (*chain_files(home), *home.glob("outbox*"), home / "trusted-head.json"):
        path.unlink()
    for path in place.iterdir():
        shutil.copy(path, home)


def publish(home, path, version, model=MODEL):
    return done(home, "publish", path, "--model", model, "--version", version)


def assert_untouched(world, node, copy):
    assert tree(copy) == tree(world.first)
    assert not list(copy.parent.glob(".copy.*/**/*.partial"))


# The ledger.


def test_rollback(world, node, copy, tmp_path):
    """The chain's file is replaced by an older copy of itself."""
    older = saved(world.publisher, tmp_path, "older")
    publish(world.publisher, world.first, "1.2.0")
    done(node, "ls")
    restore(world.publisher, older)
    for arguments in (("ls",), ("log", MODEL), ("sync", MODEL, "--to", copy), ("show", MODEL)):
        assert "rollback" in refused(node, *arguments, code=3)
    assert_untouched(world, node, copy)


def test_rollback_of_a_branch_behind_new_blocks(world, node, copy, tmp_path):
    """As above, and others publish until the chain is higher than what was seen: its blocks are others."""
    older = saved(world.publisher, tmp_path, "older")
    publish(world.publisher, world.first, "1.2.0")
    done(node, "ls")
    restore(world.publisher, older)
    for number in range(3):
        publish(world.publisher, world.first, f"1.0.{number}", "acme/other")
    assert "reorg" in refused(node, "sync", MODEL, "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_freeze(world, serving, tmp_path):
    """An endpoint that is stuck at an old head of a chain that goes on."""
    url, _ = serving(world.publisher)
    far = tmp_path / "far"
    done(far, "init", "--rpc-url", url)
    config = far / "config.toml"
    config.write_text(config.read_text().replace('block = "latest"', 'block = "latest"\nmax_age = 1'))
    time.sleep(max(0, done(world.publisher, "chain", "status")["time"] + 2.5 - time.time()))
    for arguments in (("ls",), ("sync", MODEL, "--to", tmp_path / "copy")):
        assert "freeze" in refused(far, *arguments, code=6)
    assert not (tmp_path / "copy").exists()


def test_fast_forward(world, serving, tmp_path, monkeypatch):
    """A block from the future, which would make every honest one a rollback."""
    url, _ = serving(world.publisher)
    far = tmp_path / "far"
    done(far, "init", "--rpc-url", url)
    config = far / "config.toml"
    config.write_text(config.read_text().replace('block = "latest"', 'block = "latest"\nmax_age = 3600'))
    done(far, "ls")
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 100_000)
        publish(world.publisher, world.first, "1.2.0")
    before = (far / "trusted-head.json").read_bytes()
    assert "fast-forward" in refused(far, "ls", code=3)
    assert (far / "trusted-head.json").read_bytes() == before


def test_a_clock_that_jumps(world, tmp_path, monkeypatch):
    """Back or ahead: on the embedded chain nothing breaks, and the order of blocks stays."""
    now = time.time
    for number, jump in enumerate((-100_000, 100_000, 0)):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda jump=jump: now() + jump)
            publish(world.publisher, world.first, f"1.2.{number}")
    times = [row["published_at"] for row in done(world.publisher, "log", MODEL)]
    assert times == sorted(times, reverse=True)
    assert done(world.publisher, "chain", "status", "--replay")["replayed"]


def test_equivocating_rpc(world, tmp_path, serving):
    """An endpoint that shows another history of the same chain."""
    other = saved(world.publisher, tmp_path, "other")
    publish(world.publisher, world.first, "1.2.0")
    url, stop = serving(world.publisher)
    far = tmp_path / "far"
    done(far, "init", "--rpc-url", url)
    config = far / "config.toml"
    config.write_text(config.read_text().replace('block = "latest"', "block = 0"))
    done(far, "ls")
    stop()
    restore(world.publisher, other)
    publish(world.publisher, world.second, "1.2.0")
    serving(world.publisher, port=url.rpartition(":")[2])
    assert "reorg" in refused(far, "ls", code=3)


def test_another_chain_under_the_same_id(world, node, copy, tmp_path):
    """A forger makes a chain with the id that the node knows, and publishes under the same names."""
    from modelreg.chain import create, open_chain
    from modelreg.ledger.rpc import EmbeddedRpc
    from modelreg.ledger.writer import Writer

    hostile = Hostile(world.publisher)
    chain_id = hostile.home.config.chain.chain_id
    for path in chain_files(world.publisher):
        path.unlink()
    (world.publisher / "outbox.sqlite").unlink()
    file = world.publisher / "chain.sqlite"
    create(file, chain_id=chain_id, alloc={hostile.home.key: 10**24}, timestamp=int(time.time()) - 50)
    with open_chain(file) as chain, hostile.writer() as writer:
        Writer(
            EmbeddedRpc(chain), load_artifact().address, chain_id, writer._sender._signer, hostile.home.outbox
        ).deploy()
    for number in range(3):
        hostile.publish_files(f"acme/tiny{number}", "6.6.6", [("a", b"evil")])
    assert "genesis" in refused(node, "sync", MODEL, "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_namespace_reuse(world, models):
    """A name that has an owner cannot be claimed, nor published in, by anybody else."""
    stranger = world.node("stranger")
    refused(stranger, "publish", models[0], "--model", MODEL, "--version", "6.6.6", code=8)
    refused(stranger, "publish", models[0], "--model", "acme/other", "--version", "6.6.6", code=8)
    with Hostile(stranger).writer() as writer, pytest.raises(ConflictError, match="namespace is taken"):
        writer.claim_namespace("acme")
    assert [row["model"] for row in done(world.publisher, "ls")] == [MODEL]


def test_version_reuse(world, node):
    """A version never moves: not to other content, and not after a yank."""
    release = done(node, "show", f"{MODEL}@1.1.0")["release_id"]
    done(world.publisher, "yank", f"{MODEL}@1.1.0", "--reason", "bad")
    refused(world.publisher, "publish", world.first, "--model", MODEL, "--version", "1.1.0", code=5)
    assert done(node, "show", f"{MODEL}@1.1.0")["release_id"] == release


def test_key_compromise(world, node, copy, models):
    """A stolen key publishes; its role is taken back, its release yanked, and every node is told."""
    thief = world.node("thief")
    account = Hostile(thief).home.key
    with Hostile(world.publisher).writer() as owner:
        owner.set_roles("acme", account, Role.PUBLISH)
    evil = write_huggingface(thief / "evil", weights(seed=66))
    done(thief, "sync", MODEL)
    publish(thief, evil, "1.2.0")
    refused(thief, "channel", "set", MODEL, "stable", f"{MODEL}@1.2.0", code=8)
    options = ("--model", MODEL, "--version", "1.3.0", "--channel", "stable")
    before = blocks(thief)
    assert "CHANNEL" in refused(thief, "publish", evil, *options, code=8)
    assert blocks(thief) == before
    with Hostile(world.publisher).writer() as owner:
        owner.set_roles("acme", account, Role(0))
    assert "PUBLISH" in refused(thief, "publish", models[0], "--model", MODEL, "--version", "1.2.1", code=8)
    refused(thief, "yank", f"{MODEL}@1.0.0", "--reason", "revenge", code=8)
    done(world.publisher, "yank", f"{MODEL}@1.2.0", "--reason", "stolen key")
    assert done(node, "show", f"{MODEL}@1.2.0")["yanked"] == "stolen key"
    publish(world.publisher, world.second, "1.2.1")
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)


def test_key_rotation(world, models):
    """A namespace goes over to a new key in two steps; the old one can do nothing afterwards."""
    heir = world.node("heir")
    account = Hostile(heir).home.key
    with Hostile(world.publisher).writer() as owner:
        owner.transfer_namespace("acme", account)
    refused(heir, "publish", models[0], "--model", "acme/new", "--version", "1.0.0", code=8)
    with Hostile(heir).writer() as owner:
        owner.accept_namespace("acme")
    publish(heir, models[0], "1.0.0", "acme/new")
    refused(world.publisher, "publish", models[0], "--model", "acme/new", "--version", "1.0.1", code=8)


# Content.


def test_arbitrary_content(world, node, copy):
    """A peer gives other bytes for every block."""
    for block in blocks(world.publisher):
        block.write_bytes(b"anything else" * 100)
    assert "holds other bytes" in refused(node, "sync", MODEL, "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_mix_and_match_of_blocks(world, node, copy):
    """A peer gives good blocks under each other's names."""
    names = sorted(blocks(world.publisher))
    contents = [path.read_bytes() for path in names]
    for path, content in zip(names, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    refused(node, "sync", MODEL, "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_mix_and_match_of_files(world, node, tmp_path):
    """A directory whose files come from two releases, each file good in itself."""
    mixed = tmp_path / "mixed"
    shutil.copytree(world.first, mixed)
    (mixed / "config.json").write_text('{"hidden_size": 128}\n')
    publish(world.publisher, mixed, "1.2.0")
    shutil.copy(world.second / "model.safetensors", mixed)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        outcome = modelreg(node, "verify", mixed, f"{MODEL}@{version}")
        assert outcome.code == 3
        assert not outcome.document["ok"]


def test_mix_and_match_of_releases(world, node, copy):
    """The manifest of one release under the content root of another."""
    hostile = Hostile(world.publisher)
    old, new = (done(node, "show", f"{MODEL}@{version}") for version in ("1.0.0", "1.1.0"))
    root = bytes.fromhex(new["content_root"][2:])
    release = hostile.publish("evil/tiny", "1.0.0", Cid.parse(old["manifest_cid"]), root)
    line = refused(node, "sync", str(release.release_id), "--to", copy, code=3)
    assert "content root" in line
    assert_untouched(world, node, copy)


def test_mix_and_match_of_chunks(world, node, copy):
    """Two files swap their chunks, under the content root of the honest order."""
    hostile = Hostile(world.publisher)
    from tests.cli.hostile import forge

    honest, _ = forge([("a", b"aaaa"), ("b", b"bbbb")])
    hostile.publish_files(
        "evil/tiny", "1.0.0", [("a", b"bbbb"), ("b", b"aaaa")], content_root=honest.content_root
    )
    assert "content root" in refused(node, "sync", "evil/tiny", "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_wrong_model_under_the_right_name(world, node, copy, tmp_path):
    """The same contract at another address, with other weights under the same name: in bundles and homes."""
    artifact = load_artifact()
    salt = (1).to_bytes(32, "big")
    other = keccak256(b"\xff" + PROXY + salt + keccak256(artifact.init_code))[12:]
    hostile = Hostile(world.publisher, other)
    with hostile.writer() as writer, writer._sender.turn():
        from modelreg.ledger.endpoint import Call

        writer._sender.send(Call(PROXY, salt + artifact.init_code), "deploy elsewhere")
    hostile.publish_files(MODEL, "1.1.0", [("model.safetensors", b"evil weights")])
    forger = tmp_path / "forger"
    done(forger, "init", "--join", world.publisher)
    config = forger / "config.toml"
    config.write_text(config.read_text().replace(artifact.address.hex(), other.hex()))
    evil = tmp_path / "evil"
    done(forger, "sync", f"{MODEL}@1.1.0", "--to", evil)
    bundle = done(forger, "bundle", f"{MODEL}@1.1.0", tmp_path / "evil.bundle")

    done(node, "ls")
    for home, options in (
        (node, ()),
        (node, ("--block", bundle["hash"])),
        (tmp_path / "no", ("--block", bundle["hash"])),
    ):
        arguments = ("verify", evil, f"{MODEL}@1.1.0", "--offline", bundle["file"], *options)
        assert "another contract" in refused(home, *arguments, code=3)
    assert modelreg(node, "verify", evil, f"{MODEL}@1.1.0").code == 3
    config = node / "config.toml"
    config.write_text(config.read_text().replace(artifact.address.hex(), other.hex()))
    assert "another contract" in refused(node, "sync", MODEL, "--to", copy, code=3)
    assert_untouched(world, node, copy)


def test_type_confusion(world, node, copy):
    """A chunk, or another node, is named as the manifest."""
    hostile = Hostile(world.publisher)
    shard = next(
        Cid.parse(path.name)
        for path in blocks(world.publisher)
        if Cid.parse(path.name).codec is Codec.DAG_CBOR and b"modelreg/chunks/1" in path.read_bytes()
    )
    chunk = b"\xa1\x64kind\x78" + b"weights"
    as_node = Cid.of(Codec.DAG_CBOR, chunk, BLAKE3)
    hostile.home.store.put_many([(as_node, chunk)])
    for number, cid in enumerate((shard, as_node)):
        hostile.publish("evil/tiny" + str(number), "1.0.0", cid, bytes([1]) * 32)
        refused(node, "sync", f"evil/tiny{number}", "--to", copy, code=3)
    assert_untouched(world, node, copy)


HOSTILE_PATHS = [
    ["../escaped"],
    ["/tmp/escaped"],
    ["a/../../escaped"],
    ["./escaped"],
    ["a//b"],
    ["a\\..\\b"],
    ["C:escaped"],
    ["con.txt"],
    ["aux"],
    ["a\x00b"],
    ["a\nb"],
    ["\u202eevil"],
    ["trailing "],
    ["trailing."],
    [""],
    ["Model.bin", "model.bin"],
    ["A/x", "a/y"],
    ["a", "a/b"],
    ["b", "a"],
    ["a", "a"],
    ["x" * 300],
    ["/".join("x" * 70)],
]


@pytest.mark.parametrize("paths", HOSTILE_PATHS, ids=lambda paths: ascii(paths)[:40])
def test_path_traversal_and_colliding_names(world, node, copy, paths):
    """A manifest that fits its content root and its release, with paths that no honest command writes."""
    hostile = Hostile(world.publisher)
    hostile.publish_files(
        "evil/tiny", "1.0.0", [(path, f"evil {n}".encode()) for n, path in enumerate(paths)]
    )
    before = sorted(copy.parent.iterdir())
    refused(node, "sync", "evil/tiny", "--to", copy, code=3)
    refused(node, "verify", copy, "evil/tiny", code=3)
    assert sorted(copy.parent.iterdir()) == before
    assert_untouched(world, node, copy)


def test_the_forged_manifests_are_good_but_for_their_paths(world, node, tmp_path):
    """Else the test above would prove nothing."""
    files = [("a/b.bin", b"evil 0"), ("c", b"evil 1")]
    Hostile(world.publisher).publish_files("evil/tiny", "1.0.0", files)
    done(node, "sync", "evil/tiny", "--to", tmp_path / "good")
    assert tree(tmp_path / "good") == dict(files)


def test_links_planted_in_a_copy(world, node, copy, tmp_path):
    """An update writes to new files: what links lead to stays as it is."""
    outside = tmp_path / "outside"
    outside.write_bytes((copy / "model.safetensors").read_bytes())
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").hardlink_to(outside)
    (copy / "config.json").unlink()
    (copy / "config.json").symlink_to(outside)
    before = outside.read_bytes()
    done(node, "sync", f"{MODEL}@1.1.0", "--to", copy)
    assert outside.read_bytes() == before
    assert tree(copy) == tree(world.second)
    assert not (copy / "config.json").is_symlink()


@pytest.mark.parametrize("declared", [100, 1 << 19])
def test_decompression_bomb(world, node, copy, declared):
    """A gigabyte behind a row of a few bytes: refused without unpacking it."""
    Hostile(world.publisher).publish_files("evil/tiny", "1.0.0", [("bomb.bin", bomb(declared, 1 << 30))])
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_DATA, (600 << 20, 600 << 20))}
    process = start(node, "--json", "sync", "evil/tiny", "--to", copy, **limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert errors.startswith("error: ")
    assert_untouched(world, node, copy)


# Peers.


@pytest.mark.parametrize("kind", ["truncated", "garbage", "longer", "endless", "fifo", "directory", "link"])
def test_malicious_peer(world, node, copy, kind):
    """Blocks that are cut off, replaced or never end; a second peer that is honest makes up for the first."""
    honest = world.publisher.with_name("honest")
    shutil.copytree(world.publisher, honest)
    for block in blocks(world.publisher):
        content = block.read_bytes()
        block.unlink()
        if kind == "truncated":
            block.write_bytes(content[:-1])
        elif kind == "garbage":
            block.write_bytes(os.urandom(len(content)))
        elif kind == "longer":
            block.write_bytes(content + b"x")
        elif kind == "endless":
            block.symlink_to("/dev/zero")
        elif kind == "fifo":
            os.mkfifo(block)
        elif kind == "directory":
            block.mkdir()
        else:
            block.symlink_to("/etc/passwd")
    assert modelreg(node, "sync", MODEL, "--to", copy).code in (3, 4)
    assert_untouched(world, node, copy)
    config = node / "config.toml"
    text = config.read_text()
    config.write_text(text.replace('peers = ["', f'peers = ["{world.publisher}", "{honest}"] #'))
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)


def test_a_peer_whose_records_lead_elsewhere(world, node, tmp_path):
    """A peer's record of a copy may name any file: nothing of it is taken that does not hash to a chunk."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "model.safetensors").write_bytes(os.urandom(1 << 20))
    done(world.publisher, "sync", MODEL, "--to", tmp_path / "theirs")
    [record] = (world.publisher / "installed").glob("*.json")
    record.write_text(record.read_text().replace(str(tmp_path / "theirs"), str(secret)))
    done(node, "sync", MODEL, "--to", tmp_path / "mine")
    assert tree(tmp_path / "mine") == tree(world.second)


def test_a_block_named_for_another(world, tmp_path):
    """A peer cannot plant a block that it was not asked for."""
    evil = b"evil weights"
    wanted = max(blocks(world.publisher), key=lambda path: path.stat().st_size)
    shard, name = place_of(Cid.of(Codec.RAW, evil, BLAKE3))
    planted = world.publisher / "store" / "blocks" / shard / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(evil)
    wanted.write_bytes(evil)
    node = world.node()
    refused(node, "sync", MODEL, "--to", tmp_path / "copy", code=3)
    assert not (node / "store" / "blocks" / shard / name).exists()


def test_the_state_that_stops_a_rollback_outlives_every_error(world, node, copy):
    """What failed must not make a node forget what it saw."""
    state = node / "trusted-head.json"
    publish(world.publisher, world.second, "1.2.0")
    for block in blocks(world.publisher):
        flip(block)
    done(node, "ls")
    seen = TrustedHead.from_json(state.read_text())
    refused(node, "sync", MODEL, "--to", copy, code=3)
    after = TrustedHead.from_json(state.read_text())
    assert after.number == seen.number
    assert len(after.branches) == 1
