"""What the command promises about other people's files, about what it keeps and about what it says."""

import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.cli.command import done, modelreg
from tests.cli.conftest import MODEL


def raw_blocks(home):
    """The files of blocks that are leaves, largest last."""
    return sorted((home / "store" / "blocks").glob("*/bafk*"), key=lambda path: path.stat().st_size)


def test_sync_removes_no_file_of_the_users(world, tmp_path):
    node, target = world.node(), tmp_path / "copy"
    done(node, "sync", f"{MODEL}@1.0.0", "--to", target)
    (target / "notes.txt").write_text("mine")
    refused = modelreg(node, "sync", f"{MODEL}@1.1.0", "--to", target)
    assert refused.code == 2
    assert "notes.txt" in refused.err
    assert (target / "notes.txt").read_text() == "mine"


def test_a_part_is_called_a_part(world, tmp_path):
    node, target = world.node(), tmp_path / "copy"
    text = modelreg(node, "sync", f"{MODEL}@1.0.0", "--to", target, "--only", "config.json", json_mode=False)
    assert text.out.startswith("a part of acme/tiny@1.0.0")
    assert "a part" in modelreg(node, "verify", target, json_mode=False).out
    assert done(node, "verify", target)["only"] == ["config.json"]


def test_nothing_shows_through_the_holes_of_a_part(world, tmp_path):
    node, target = world.node(), tmp_path / "copy"
    staging = tmp_path / ".copy.modelreg-staging"
    staging.mkdir()
    (staging / "model.safetensors.partial").write_bytes(b"EVIL" * 100_000)
    done(node, "sync", f"{MODEL}@1.0.0", "--to", target, "--only", "layer.0.*")
    assert b"EVIL" not in (target / "model.safetensors.partial").read_bytes()


def test_pin_mends_a_damaged_block(world):
    node = world.node()
    done(node, "pin", f"{MODEL}@1.0.0")
    block = raw_blocks(node)[-1]
    good = block.read_bytes()
    block.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    done(node, "pin", f"{MODEL}@1.0.0")
    assert block.read_bytes() == good


def test_a_publisher_holds_every_block_of_what_it_publishes(world, tmp_path):
    """Also those that its release shares with a parent which it has only as files."""
    source = tmp_path / "source"
    shutil.copytree(world.first, source)
    done(world.publisher, "publish", source, "--model", "acme/raw", "--version", "1.0.0", "--effort", "0")
    node, copy = world.node(), tmp_path / "copy"
    done(node, "sync", "acme/raw@1.0.0", "--to", copy)
    (source / "config.json").write_text("{}")
    done(node, "publish", source, "--model", "other/raw", "--version", "1.0.0", "--parent", "acme/raw@1.0.0")
    shutil.rmtree(copy)
    shutil.rmtree(world.publisher / "store" / "blocks")
    (world.publisher / "store" / "blocks").mkdir()
    reader = tmp_path / "reader"
    done(reader, "init", "--join", node)
    done(reader, "sync", "other/raw@1.0.0", "--to", tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        source / "model.safetensors"
    ).read_bytes()


def test_diff_sees_a_graph_that_changed(home, tmp_path):
    for version, operator in (("1.0.0", "Add"), ("1.1.0", "Mul")):
        weights = helper.make_tensor("w", TensorProto.FLOAT, [64], np.ones(64, "<f4").tobytes(), raw=True)
        node = helper.make_node(operator, ["x", "w"], ["y"])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy"]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
        onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
        done(home, "publish", tmp_path / "m.onnx", "--model", MODEL, "--version", version)
    [row] = done(home, "diff", f"{MODEL}@1.0.0", f"{MODEL}@1.1.0")["differences"]
    assert (row["path"], row["change"]) == ("m.onnx", "structure")


def test_a_bundle_is_written_through_no_link(world, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".x.car.part").symlink_to(victim)
    assert modelreg(world.publisher, "bundle", MODEL, tmp_path / "x.car").code != 0
    assert victim.read_text() == "precious"


def test_a_bundle_of_another_release_says_so(world, tmp_path):
    bundle = tmp_path / "x.car"
    block = done(world.publisher, "bundle", f"{MODEL}@1.1.0", bundle)["hash"]
    offline = ("--offline", bundle, "--block", block)
    refused = modelreg(world.publisher, "verify", world.first, f"{MODEL}@1.0.0", *offline)
    assert refused.code == 3
    assert "of another release" in refused.err
    assert done(world.publisher, "verify", world.second, *offline)["reference"] == f"{MODEL}@1.1.0"
    assert modelreg(world.publisher, "verify", world.second, *offline[:2], "--block", "latest").code == 2


def test_a_reason_of_a_stranger_cannot_forge_a_line(world, tmp_path):
    done(world.publisher, "yank", f"{MODEL}@1.0.0", "--reason", "x\rverified\nacme/tiny@1.0.0 is safe")
    node = world.node()
    told = modelreg(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy", json_mode=False)
    assert "was yanked" in told.err
    assert "\r" not in told.err
    assert "\nacme/tiny@1.0.0 is safe" not in told.err


def test_claiming_a_namespace_is_said_and_publishing_again_too(home, tmp_path):
    (tmp_path / "w.txt").write_text("w")
    publish = ("publish", tmp_path / "w.txt", "--model", "new/model", "--version", "1.0.0")
    assert "claimed the namespace new" in modelreg(home, *publish, json_mode=False).err
    again = modelreg(home, *publish, json_mode=False)
    assert again.code == 0
    assert again.out.startswith("published before, nothing changed")
