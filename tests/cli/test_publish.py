"""`publish`: every option, what it reports, and that doing it again does no harm."""

import threading

import pytest

from modelreg.store.pins import Pins
from tests.cli.command import blocks, done, execute, kept, modelreg, refused, tree
from tests.cli.conftest import MODEL
from tests.cli.models import fine_tuned, weights, write_huggingface, write_onnx


def publish(home, path, version, *options, model=MODEL):
    return done(home, "publish", path, "--model", model, "--version", version, *options)


def test_reports_what_became_of_the_files(home, models):
    first = publish(home, models[0], "1.0.0")
    size = sum(map(len, tree(models[0]).values()))
    assert first.keys() >= {
        *("release_id", "content_root", "manifest_cid", "model", "parent", "branch", "version"),
        *("bytes", "chunks", "gas", "tx"),
    }
    assert (first["model"], first["version"], first["branch"], first["parent"]) == (
        MODEL,
        "1.0.0",
        "main",
        None,
    )
    assert first["bytes"]["full"] == first["bytes"]["new"] == size
    assert first["gas"] > 50_000
    second = publish(home, models[1], "1.1.0")
    assert second["parent"] == first["release_id"]
    assert second["bytes"]["stored"] < second["bytes"]["new"] < size / 2
    assert second["content_root"] != first["content_root"]


def test_prints_the_same_without_json(world, models):
    outcome = modelreg(
        world.publisher, "publish", models[0], "--model", MODEL, "--version", "1.2.0", json_mode=False
    )
    assert outcome.code == 0
    assert outcome.out.startswith("published acme/tiny@1.2.0\n  release   0x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_publishes_one_file(home, models, name, tmp_path):
    publish(home, models[0] / name, "1.0.0")
    done(home, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(models[0] / name)


def test_publishes_onnx_with_external_data(home, tmp_path):
    first = write_onnx(tmp_path / "first", weights())
    second = write_onnx(tmp_path / "second", fine_tuned(weights()))
    publish(home, first, "1.0.0")
    assert publish(home, second, "1.1.0")["bytes"]["new"] < 300_000
    shown = done(home, "show", MODEL)["files"]
    tensors = {file["path"]: [tensor["name"] for tensor in file["tensors"]] for file in shown}
    assert "layer.0.weight" in tensors["model.onnx.data"]
    done(home, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(second)


def test_begins_a_branch_from_any_release(world, models):
    first = done(world.publisher, "log", MODEL)[-1]["release_id"]
    dev = publish(world.publisher, models[1], "2.0.0-dev", "--parent", f"{MODEL}@1.0.0", "--branch", "dev")
    assert (dev["parent"], dev["branch"]) == (first, "dev")
    assert [row["version"] for row in done(world.publisher, "log", MODEL, "--branch", "dev")] == [
        "2.0.0-dev",
        "1.0.0",
    ]
    assert done(world.publisher, "show", MODEL)["version"] == "1.1.0"


def test_begins_a_branch_from_nothing(world, models):
    assert publish(world.publisher, models[0], "2.0.0", "--branch", "fresh")["parent"] is None


def test_moves_a_channel(world, models):
    released = publish(world.publisher, models[0], "1.2.0", "--channel", "stable")
    [channel] = done(world.publisher, "channel", "list", MODEL)
    assert (channel["channel"], channel["release_id"]) == ("stable", released["release_id"])
    publish(world.publisher, models[1], "1.3.0", "--channel", "stable")
    assert done(world.publisher, "show", f"{MODEL}@stable")["version"] == "1.3.0"


def test_a_variant_has_a_version_and_a_branch_of_its_own(world, models):
    variant = publish(world.publisher, models[0], "1.1.0", "--variant", "bf16")
    assert (variant["version"], variant["branch"]) == ("1.1.0+bf16", "main.bf16")
    assert done(world.publisher, "show", MODEL)["version"] == "1.1.0"


def test_a_dry_run_keeps_nothing(world, tmp_path):
    third = write_huggingface(tmp_path / "third", weights(seed=3))
    before = kept(world.publisher)
    options = ("--model", MODEL, "--version", "1.2.0", "--channel", "stable")
    dry = done(world.publisher, "publish", third, *options, "--dry-run")
    assert kept(world.publisher) == before
    assert (dry["release_id"], dry["tx"]) == (None, None)
    real = done(world.publisher, "publish", third, *options)
    assert real["bytes"] == dry["bytes"]
    assert real["content_root"] == dry["content_root"]


def test_a_dry_run_needs_no_password(world, models, tmp_path):
    options = ("--version", "1.2.0", "--dry-run", "--password-file", tmp_path / "missing")
    done(world.publisher, "publish", models[0], "--model", MODEL, *options)


def test_effort_trades_work_for_size(home, models):
    publish(home, models[0], "1.0.0", model="acme/a")
    publish(home, models[0], "1.0.0", model="acme/b")
    stored = [
        publish(home, models[1], "1.1.0", "--effort", effort, model=f"acme/{name}")["bytes"]["stored"]
        for effort, name in ((0, "a"), (2, "b"))
    ]
    assert stored[1] < stored[0] / 2


def test_publishing_again_after_a_crash_finds_the_release(world, models):
    release = done(world.publisher, "show", MODEL)
    again = publish(world.publisher, models[1], "1.1.0")
    assert again["release_id"] == release["release_id"]
    assert again["parent"] == release["parent"]
    assert again["tx"] is not None
    assert len(done(world.publisher, "log", MODEL)) == 2


def test_publishing_again_moves_the_channel_that_a_crash_left(world, models):
    again = publish(world.publisher, models[1], "1.1.0", "--channel", "stable")
    assert done(world.publisher, "channel", "list", MODEL)[0]["release_id"] == again["release_id"]


def test_the_version_stays_taken_for_other_content(world, models):
    before = kept(world.publisher)
    line = refused(world.publisher, "publish", models[0], "--model", MODEL, "--version", "1.1.0", code=5)
    assert "version 1.1.0 of acme/tiny is taken" in line
    assert done(world.publisher, "show", MODEL)["release_id"] in line
    assert kept(world.publisher)[1:] == before[1:]


def test_the_version_stays_taken_for_another_branch(world, models):
    options = ("--model", MODEL, "--version", "1.1.0", "--branch", "dev")
    refused(world.publisher, "publish", models[1], *options, code=5)


def test_a_moved_head_names_both_heads(world, models):
    newest, oldest = (row["release_id"] for row in done(world.publisher, "log", MODEL))
    before = kept(world.publisher)
    options = ("--model", MODEL, "--version", "1.2.0", "--parent", oldest)
    line = refused(world.publisher, "publish", models[0], *options, code=5)
    assert newest in line
    assert oldest in line
    assert kept(world.publisher) == before


def test_the_loser_of_a_race_names_both_heads_and_keeps_no_pin(world, models, monkeypatch):
    from modelreg_cli import publish as command

    encode, moved = command._encode, []

    def overtaken(*arguments):
        encoded = encode(*arguments)
        if not moved:
            moved.append(True)
            moved.append(publish(world.publisher, models[0], "1.2.0")["release_id"])
        return encoded

    head = done(world.publisher, "show", MODEL)["release_id"]
    monkeypatch.setattr(command, "_encode", overtaken)
    line = refused(world.publisher, "publish", models[0], "--model", MODEL, "--version", "1.3.0", code=5)
    assert head in line
    assert moved[1] in line
    assert len(Pins(world.publisher / "pins").list()) == 3
    assert done(world.publisher, "show", MODEL)["version"] == "1.2.0"


@pytest.mark.parametrize("parent", ["acme/tiny@9.9.9", "acme/other", "0x" + "11" * 32, "acme/tiny@stable"])
def test_refuses_an_unknown_parent(world, models, parent):
    options = ("--model", MODEL, "--version", "1.2.0", "--parent", parent)
    refused(world.publisher, "publish", models[0], *options, code=4)


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "acme", "--version", "1.0.0"),
        ("--model", "Acme/x", "--version", "1.0.0"),
        ("--model", "acme/../x", "--version", "1.0.0"),
        ("--model", MODEL, "--version", "one"),
        ("--model", MODEL, "--version", "1.0.0-" + "x" * 40),
        ("--model", MODEL, "--version", "1.0.0", "--branch", "Main"),
        ("--model", MODEL, "--version", "1.0.0", "--channel", "1.0.0"),
        ("--model", MODEL, "--version", "1.0.0", "--variant", "b f"),
        ("--model", MODEL, "--version", "1.0.0", "--effort", "3"),
        ("--model", MODEL),
    ],
)
def test_refuses_bad_names(world, models, options):
    before = kept(world.publisher)
    refused(world.publisher, "publish", models[0], *options, code=2)
    assert kept(world.publisher) == before


def test_refuses_a_wrong_password_before_the_work(world, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("modelreg:" + "A" * 43)
    third = write_huggingface(tmp_path / "third", weights(seed=3))
    before = kept(world.publisher)
    options = ("--model", MODEL, "--version", "1.2.0", "--password-file", wrong)
    assert "wrong password" in refused(world.publisher, "publish", third, *options, code=8)
    assert kept(world.publisher) == before


def test_asks_for_no_password_without_a_terminal(world, models):
    config = world.publisher / "config.toml"
    config.write_text(config.read_text().replace('password_file = "password"', ""))
    line = refused(world.publisher, "publish", models[0], "--model", MODEL, "--version", "1.2.0", code=2)
    assert "--password-file or ETH_PASSWORD" in line


def test_refuses_a_namespace_of_others(world, models):
    node = world.node()
    before = kept(node)
    line = refused(node, "publish", models[0], "--model", "acme/mine", "--version", "1.0.0", code=8)
    assert "may not publish in acme" in line
    assert kept(node) == before


def test_a_joined_home_publishes_in_a_namespace_of_its_own(world, models):
    node = world.node()
    publish(node, models[0], "1.0.0", model="other/tiny")
    assert [row["model"] for row in done(world.publisher, "ls")] == [MODEL, "other/tiny"]


def test_publishes_on_top_of_a_release_that_was_synced(world, models, tmp_path):
    """A second machine with the publisher's key takes over."""
    node = world.node()
    done(node, "sync", MODEL, "--to", tmp_path / "copy")
    own, theirs = (done(home, "key", "list")[0]["address"] for home in (node, world.publisher))
    for name in ("keystore", "password"):
        (node / name).rename(node / (name + ".old"))
        (node / name).symlink_to(world.publisher / name)
    config = node / "config.toml"
    config.write_text(config.read_text().replace(own, theirs))
    taken_over = publish(node, models[0], "1.2.0")
    assert taken_over["bytes"]["stored"] < taken_over["bytes"]["full"]


def test_needs_the_blocks_of_the_parent(world, models):
    for block in blocks(world.publisher):
        block.unlink()
    line = refused(world.publisher, "publish", models[0], "--model", MODEL, "--version", "1.2.0", code=4)
    assert "modelreg sync" in line


def test_asks_before_it_claims_a_namespace_on_a_foreign_chain(world, models, serving):
    url, _ = serving(world.publisher)
    home = world.publisher.parent / "far"
    done(home, "init", "--rpc-url", url)
    options = ("--model", "far/tiny", "--version", "1.0.0")
    assert "--yes" in refused(home, "publish", models[0], *options, code=2)
    assert done(home, "publish", models[0], *options, "--yes")["version"] == "1.0.0"


def test_two_publishers_at_once(world, tmp_path):
    """Either both find their place, one after the other, or the loser says who was first."""
    sources = [write_huggingface(tmp_path / f"m{n}", weights(seed=n)) for n in (7, 8)]
    outcomes = [None, None]

    def run(number):
        options = ("--model", MODEL, "--version", f"2.{number}.0")
        outcomes[number] = execute(world.publisher, "--json", "publish", sources[number], *options)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.code for outcome in outcomes) in ([0, 0], [0, 5])
    versions = {row["version"] for row in done(world.publisher, "log", MODEL)}
    winners = {f"2.{number}.0" for number, outcome in enumerate(outcomes) if outcome.code == 0}
    assert versions == winners | {"1.0.0", "1.1.0"}
