"""`ls`, `log`, `show`, `search` and `diff`."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.command import blocks, done, modelreg, refused
from tests.cli.conftest import MODEL
from tests.cli.models import weights


def publish(home, path, version, model="acme/other", *options):
    return done(home, "publish", path, "--model", model, "--version", version, *options)


def test_ls_and_search(home, models):
    assert done(home, "ls") == []
    assert modelreg(home, "ls", json_mode=False).out == "no models\n"
    for model in ("acme/minilm", "acme/MobileNet", "zoo/a"):
        publish(home, models[0] / "config.json", "1.0.0", model)
    assert [row["model"] for row in done(home, "ls")] == ["acme/minilm", "acme/MobileNet", "zoo/a"]
    assert [row["model"] for row in done(home, "search", "MI")] == ["acme/minilm"]
    assert done(home, "search", "none") == []
    row = done(home, "ls")[0]
    assert row == {"model": "acme/minilm", "version": "1.0.0", "head": row["head"], "yanked": None}
    publish(home, models[0] / "config.json", "1.0.0", "zoo/b", "--branch", "dev")
    assert done(home, "ls")[3] == {"model": "zoo/b", "version": None, "head": None, "yanked": None}


def test_ls_and_search_tell_of_yanks(world):
    done(world.publisher, "yank", MODEL, "--reason", "evil\x1b[2J")
    for command in (("ls",), ("search", "tiny")):
        assert done(world.publisher, *command)[0]["yanked"] == "evil\x1b[2J"
        text = modelreg(world.publisher, *command, json_mode=False).out
        assert text == f"{MODEL}  1.1.0  yanked: evil\\x1b[2J\n"


def test_log(world):
    newest, oldest = done(world.publisher, "log", MODEL)
    assert (newest["version"], newest["seq"], newest["parent"]) == ("1.1.0", 2, oldest["release_id"])
    assert (oldest["version"], oldest["seq"], oldest["parent"]) == ("1.0.0", 1, None)
    assert newest["published_at"].endswith("Z")
    assert done(world.publisher, "log", MODEL, "-n", 1) == [newest]
    assert modelreg(world.publisher, "log", MODEL, json_mode=False).out.splitlines()[0].endswith("1.1.0")


def test_log_tells_of_yanks(world):
    done(world.publisher, "yank", f"{MODEL}@1.0.0", "--reason", "wrong tokenizer")
    assert [row["yanked"] for row in done(world.publisher, "log", MODEL)] == [None, "wrong tokenizer"]
    assert "yanked: wrong tokenizer" in modelreg(world.publisher, "log", MODEL, json_mode=False).out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("log", "acme/none"), 4),
        (("log", MODEL, "--branch", "none"), 4),
        (("log", MODEL, "--branch", "No"), 2),
        (("log", MODEL, "-n", "0"), 2),
        (("log", "acme"), 2),
        (("show", "acme/none"), 4),
        (("show", MODEL + "@1.9.0"), 4),
        (("show", MODEL + "@none"), 4),
        (("diff", MODEL, "acme/none"), 4),
        (("diff", MODEL), 2),
        (("nonsense",), 2),
        (("ls", "--nonsense"), 2),
    ],
)
def test_refusals(world, arguments, code):
    refused(world.publisher, *arguments, code=code)


def test_show(world):
    shown = done(world.publisher, "show", MODEL)
    files = {file["path"]: file for file in shown["files"]}
    assert list(files) == ["assets/empty.txt", "config.json", "model.safetensors", "tokenizer.json"]
    assert files["assets/empty.txt"]["size"] == 0
    bias = next(t for t in files["model.safetensors"]["tensors"] if t["name"] == "layer.0.bias")
    assert bias == {"name": "layer.0.bias", "dtype": "F32", "shape": [256], "bytes": 1024}
    text = modelreg(world.publisher, "show", MODEL, json_mode=False).out
    assert "layer.0.weight  F32 [256, 256]" in text


def test_show_without_the_manifest(world):
    for block in blocks(world.publisher):
        block.unlink()
    outcome = modelreg(world.publisher, "show", MODEL)
    assert outcome.code == 0
    assert outcome.document["files"] is None
    assert "modelreg sync" in outcome.err


def test_show_escapes_what_strangers_wrote(world, tmp_path):
    save_file({"evil\x1b[2J\nname": np.zeros(3, "<f4")}, tmp_path / "evil.safetensors")
    publish(world.publisher, tmp_path / "evil.safetensors", "1.0.0")
    outcome = modelreg(world.publisher, "show", "acme/other", json_mode=False)
    assert "\x1b" not in outcome.out
    assert "evil\\x1b[2J\\nname" in outcome.out


def test_diff_counts_what_changed(world):
    document = done(world.publisher, "diff", f"{MODEL}@1.0.0", f"{MODEL}@1.1.0")
    [row] = document["differences"]
    assert (row["path"], row["tensor"], row["change"]) == ("model.safetensors", "layer.1.weight", "changed")
    assert row["elements"] == 65536
    assert 60_000 < row["changed"] <= 65536
    assert done(world.publisher, "diff", MODEL, MODEL)["differences"] == []
    assert modelreg(world.publisher, "diff", MODEL, MODEL, json_mode=False).out == "no difference\n"
    text = modelreg(world.publisher, "diff", f"{MODEL}@1.0.0", MODEL, json_mode=False).out
    assert "of 65536 (" in text


def test_diff_tells_added_removed_and_retyped(home, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        root.mkdir()
    tensors = weights()
    save_file(tensors, first / "m.safetensors")
    del tensors["head.weight"]
    tensors |= {"new": np.ones(7, "<i8"), "layer.0.bias": tensors["layer.0.bias"].astype("<f2")}
    tensors["embeddings.weight"] = np.concatenate([tensors["embeddings.weight"], np.ones((8, 64), "<f4")])
    save_file(tensors, second / "m.safetensors")
    (first / "old.txt").write_text("old")
    (second / "new.txt").write_text("new")
    (second / "other.txt").write_text("other")
    publish(home, first, "1.0.0")
    publish(home, second, "1.1.0")
    rows = done(home, "diff", "acme/other@1.0.0", "acme/other@1.1.0")["differences"]
    told = {(row["path"], row["tensor"]): (row["change"], row["changed"]) for row in rows}
    assert told == {
        ("m.safetensors", None): ("structure", 392),
        ("m.safetensors", "new"): ("added", 7),
        ("m.safetensors", "head.weight"): ("removed", 64 * 256),
        ("m.safetensors", "layer.0.bias"): ("retyped", 256),
        ("m.safetensors", "embeddings.weight"): ("retyped", 1208 * 64),
        ("new.txt", None): ("added", 3),
        ("other.txt", None): ("added", 5),
        ("old.txt", None): ("removed", 3),
    }


def test_diff_follows_a_file_that_was_renamed(home, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        root.mkdir()
    tensors = weights()
    save_file(tensors, first / "pytorch_model.safetensors")
    tensors["layer.0.bias"][5] = 1
    save_file(tensors, second / "model.safetensors")
    publish(home, first, "1.0.0")
    publish(home, second, "1.1.0")
    renamed, changed = done(home, "diff", "acme/other@1.0.0", "acme/other@1.1.0")["differences"]
    assert (renamed["change"], renamed["path"], renamed["was"]) == (
        "renamed",
        "model.safetensors",
        "pytorch_model.safetensors",
    )
    assert (changed["tensor"], changed["change"], changed["changed"]) == ("layer.0.bias", "changed", 1)
    text = modelreg(home, "diff", "acme/other@1.0.0", "acme/other@1.1.0", json_mode=False).out
    assert "renamed  model.safetensors, was pytorch_model.safetensors" in text


def test_diff_follows_a_single_file(home, tmp_path):
    for version in ("1.0.0", "1.1.0"):
        file = tmp_path / f"model-{version}.gguf"
        file.write_bytes(b"GGUF" + bytes(5000) + version.encode())
        publish(home, file, version)
    rows = done(home, "diff", "acme/other@1.0.0", "acme/other@1.1.0")["differences"]
    assert [(row["change"], row["changed"]) for row in rows] == [("renamed", 0), ("changed", 1)]


def test_diff_of_nan_and_zero_counts_bits(home, tmp_path):
    for version, value in (("1.0.0", 0.0), ("1.1.0", -0.0)):
        save_file({"w": np.array([np.nan, value, 1], "<f4")}, tmp_path / "m.safetensors")
        publish(home, tmp_path / "m.safetensors", version)
    [row] = done(home, "diff", "acme/other@1.0.0", "acme/other@1.1.0")["differences"]
    assert (row["tensor"], row["changed"], row["elements"]) == ("w", 1, 3)


def test_diff_reads_from_peers_and_keeps_nothing(world):
    node = world.node()
    rows = done(node, "diff", f"{MODEL}@1.0.0", MODEL)["differences"]
    assert len(rows) == 1
    assert blocks(node) == set()


def test_diff_without_the_blocks(world):
    node = world.node()
    shutil.rmtree(world.publisher / "store" / "blocks")
    (world.publisher / "store" / "blocks" / "tmp").mkdir(parents=True)
    refused(node, "diff", f"{MODEL}@1.0.0", MODEL, code=4)
