"""`demo`: the story that the README shows, told with small models."""

import json
import tempfile

import pytest

from modelreg_cli import demo_nodes
from tests.cli.command import modelreg, refused, tree
from tests.cli.models import fine_tuned, weights, write_huggingface
from tests.verifier import graphs


@pytest.fixture
def small_models(tmp_path, monkeypatch):
    """Stands for the real ones, which are downloaded."""
    states = {"1.0.0": weights()}
    states["1.1.0"] = fine_tuned(states["1.0.0"], seed=1)
    states["1.1.1"] = fine_tuned(states["1.1.0"], seed=2)
    made = {
        version: write_huggingface(tmp_path / "made" / version, state) for version, state in states.items()
    }
    monkeypatch.setattr("modelreg_cli.demo_models.make_models", lambda *_: made)
    monkeypatch.setattr("modelreg_cli.demo._can_infer", lambda: False)
    return made


@pytest.fixture
def small_onnx(small_models, tmp_path, monkeypatch):
    """A small graph for the second half, and questions for it."""
    directory = tmp_path / "made" / "onnx"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(graphs.bert().SerializeToString())
    monkeypatch.setattr("modelreg_cli.demo._can_infer", lambda: True)
    monkeypatch.setattr("modelreg_cli.demo_models.make_onnx", lambda *_: directory)
    monkeypatch.setattr("modelreg_cli.demo_questions._question", lambda number: graphs.sentences(seed=number))


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The user's own directories, and a temporary one that the demo works in."""
    for name in ("user", "temporary"):
        (tmp_path / name).mkdir()
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "user"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "user"


def steps_of(document, command):
    return [step for step in document if f" {command} " in step["command"]]


def test_the_story(small_models, user, tmp_path):
    before = {version: tree(path) for version, path in small_models.items()}
    outcome = modelreg(tmp_path / "home", "demo")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    published = [step["result"]["bytes"] for step in steps_of(document, "publish")]
    assert len(published) == 3
    assert published[1]["stored"] < 0.3 * published[0]["stored"]
    synced = steps_of(document, "sync")
    fetched = [step["result"]["bytes"]["fetched"] for step in synced if step["exit_code"] == 0]
    assert fetched[0] > 0
    assert fetched[1] < 0.3 * fetched[0]
    assert fetched[3] == 0
    # Both attempts at cheating are caught, and both are mended.
    assert [step["exit_code"] for step in synced] == [0, 0, 3, 0, 0]
    assert "holds other bytes" in synced[2]["result"]["error"]["message"]
    assert [step["exit_code"] for step in steps_of(document, "verify")] == [3, 0]
    assert [row["version"] for row in document[-1]["result"]] == ["1.1.1", "1.1.0", "1.0.0"]
    assert list(user.iterdir()) == list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "home").exists()
    assert {version: tree(path) for version, path in small_models.items()} == before


def test_the_story_as_text_names_no_place_of_this_machine(small_models, user, tmp_path):
    outcome = modelreg(tmp_path / "home", "demo", json_mode=False)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("\n# ") == 8
    assert "$ modelreg --home node sync acme/minilm@1.1.0 --to model" in outcome.out
    assert str(tmp_path) not in outcome.out


def test_keeps_what_it_made_where_it_is_told(small_models, user, tmp_path):
    kept = tmp_path / "kept"
    assert modelreg(tmp_path / "home", "demo", "--keep", kept).code == 0
    assert {path.name for path in kept.iterdir()} == {"publisher", "node", "model"}
    assert tree(kept / "model") == tree(small_models["1.1.1"])
    assert json.loads(modelreg(kept / "node", "verify", kept / "model").out)
    assert "is not empty" in refused(tmp_path / "home", "demo", "--keep", kept, code=2)


def test_a_cheat_that_is_not_caught_fails_the_demo(small_models, user, tmp_path, monkeypatch):
    monkeypatch.setattr("modelreg_cli.demo._flip", lambda *_: None)
    outcome = modelreg(tmp_path / "home", "demo")
    assert outcome.code == 3
    assert "expected exit code 3, found 0" in outcome.err
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
def test_the_second_half(small_onnx, user, tmp_path):
    """a node that serves an int8 model under the release's name"""
    outcome = modelreg(tmp_path / "home", "demo")
    assert outcome.code == 0, outcome.err
    honest, *cheat = steps_of(outcome.document, "audit")
    assert (honest["exit_code"], honest["result"]["report"]["outcomes"]) == (0, {"pass": 3})
    assert [(step["exit_code"], step["result"]["report"]["outcomes"]) for step in cheat] == [
        (7, {"fail": 3})
    ] * 2
    assert [step["result"]["bond"] for step in outcome.document[-2:]] == ["2", "0"]
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
def test_a_cheat_that_is_honest_fails_the_demo(small_onnx, user, tmp_path, monkeypatch):
    monkeypatch.setitem(demo_nodes._NODES, "cheat", "modelreg_cli")
    outcome = modelreg(tmp_path / "home", "demo")
    assert outcome.code == 3
    assert "expected exit code 7, found 0" in outcome.err


def test_without_the_extra_it_says_what_to_install(small_models, user, tmp_path):
    outcome = modelreg(tmp_path / "home", "demo", json_mode=False)
    assert outcome.code == 0, outcome.err
    assert "pip install 'modelreg[inference]'" in outcome.err
