"""`calibrate`, `serve --plan` and `audit`: an honest node passes, one that serves other weights does not."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tritonclient.http as triton

from modelreg.format.calibration import Calibration
from modelreg.format.trace_plan import TracePlan
from tests.cli import test_serve
from tests.cli.command import checked_refusal, done, execute, modelreg, refused
from tests.verifier import graphs

MODEL = "acme/bert"
REF = f"{MODEL}@1.0.0"
# A node that verifies the release, and then runs other weights under its name.
LIAR = """
import numpy as np, onnx
from onnx import numpy_helper
from modelreg_verifier.serving import copies
honest = copies.VerifiedCopy.model
def model(self, path):
    raw, external = honest(self, path)
    graph = onnx.ModelProto.FromString(raw)
    for tensor in graph.graph.initializer:
        if tensor.name.startswith("encoder.layer.1") and len(tensor.dims) == 2:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.01), tensor.name))
    return graph.SerializeToString(), external
copies.VerifiedCopy.model = model
from modelreg_cli import main
main()
"""


class World:
    """A node that released a model and calibrated it, and an auditor's home that joined the node's."""

    def __init__(self, root):
        self.node, self.auditor = root / "node", root / "auditor"
        [plan], [calibration] = (
            list((root / "blocks").glob(f"*.{kind}")) for kind in ("plan", "calibration")
        )
        self.plan, self.calibration = plan, calibration

    @property
    def address(self):
        return address(self.node)


def address(home):
    return next(key["address"] for key in done(home, "key", "list") if key["signs"])


@pytest.fixture(scope="module")
def _released(tmp_path_factory, _empty_home):
    root = tmp_path_factory.mktemp("audit")
    shutil.copytree(_empty_home, root / "node")
    (root / "source").mkdir()
    (root / "source" / "model.onnx").write_bytes(graphs.bert().SerializeToString())
    done(root / "node", "publish", root / "source", "--model", MODEL, "--version", "1.0.0")
    done(root / "node", "node", "register", "--endpoint", "http://127.0.0.1:1", "--bond", "1")
    made = done(root / "node", "calibrate", REF, "--out", root / "blocks", "--batch", 1, "--samples", 2)
    return root, made


@pytest.fixture
def world(tmp_path, _released):
    shutil.copytree(_released[0], tmp_path / "world")
    done(tmp_path / "world" / "auditor", "init", "--join", tmp_path / "world" / "node")
    return World(tmp_path / "world")


@pytest.fixture
def serve(monkeypatch):
    running = []

    def begin(world, *arguments, program=None):
        words = ("--auditor", address(world.auditor), *arguments)
        with monkeypatch.context() as patch:
            if program is not None:
                patch.setattr("tests.cli.command.PROGRAM", (sys.executable, "-c", program))
            running.append(test_serve.Serving(world.node, REF, *words))
        return running[-1]

    yield begin
    for found in running:
        if found.process.poll() is None:
            found.stop()


def ask(url, count):
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        for seed in range(count):
            given = []
            for name, array in graphs.sentences(seed=seed).items():
                given.append(triton.InferInput(name, array.shape, "INT64"))
                given[-1].set_data_from_numpy(array)
            outputs = client.infer(MODEL, given).get_response()["outputs"]
    return [row["name"] for row in outputs]


def anchor(world):
    """Anchor what was signed, and have a block come after."""
    [batch] = done(world.node, "anchor")
    bond = float(done(world.node, "node", "status")["bond"])
    done(world.node, "node", "bond", bond + 1)
    return batch


def audit(world, found, *options, **settings):
    words = ("--url", found.url, "--calibration", world.calibration, *options)
    return modelreg(world.auditor, "audit", world.address, *words, **settings)


def test_calibration_is_written(_released):
    root, made = _released
    plan = TracePlan.from_bytes(Path(made["files"]["plan"]).read_bytes())
    calibration = Calibration.from_bytes(Path(made["files"]["calibration"]).read_bytes())
    assert made["plan_id"] == f"0x{plan.plan_id.hex()}" == f"0x{Path(made['files']['plan']).stem}"
    assert made["calibration"] == f"0x{calibration.digest.hex()}"
    assert (plan.file, [list(cut) for cut in plan.cuts]) == ("model.onnx", made["cuts"])
    assert (calibration.plan, calibration.samples) == (plan.plan_id, 2)
    assert len(made["distances"]) == len(plan.cuts) + 1
    assert all(0 <= distance < 1e-4 for distance in made["distances"])
    assert (root / "blocks").is_dir()


def test_honest_node_passes_and_a_liar_does_not(world, serve):
    """a node that serves other weights under the release's id"""
    found = serve(world, "--plan", world.plan)
    assert ask(found.url, 6) == [value.name for value in graphs.bert().graph.output]
    batch = anchor(world)
    page = world.node.parent / "report.html"
    outcome = audit(world, found, "--plan", world.plan, "--report", page)
    assert outcome.code == 0, outcome.err
    report = outcome.document["report"]
    assert (outcome.document["ok"], outcome.document["other_plans"]) == (True, 0)
    assert (report["root"], report["count"]) == (batch["root"], 6)
    assert report["outcomes"] == {"pass": len(report["receipts"])}
    assert json.loads(page.with_name("report.html.json").read_bytes()) == report
    assert "<svg" in page.read_text()
    text = audit(world, found, "--draws", 2, json_mode=False)
    assert (text.code, "pass 2" in text.out) == (0, True)
    assert found.stop() == 0

    liar = serve(world, "--plan", world.plan, program=LIAR)
    ask(liar.url, 3)
    anchor(world)
    outcome = audit(world, liar, "--detect", 0.9, "--share", 1)
    assert outcome.code == 7, outcome.err
    assert not outcome.document["ok"]
    assert outcome.document["report"]["outcomes"] == {"fail": 1}
    assert outcome.document["report"]["receipts"][0]["reason"] == "operator"
    assert "did not run what its receipts say" in outcome.err
    # What the honest node committed to cannot be computed with other weights.
    assert audit(world, liar, "--batch", 0, "--draws", 1, "--patience", 0).code == 6


def test_node_that_withholds(world, serve):
    """a withheld opening, and a batch whose sample cannot be drawn yet"""
    found = serve(world)
    ask(found.url, 1)
    outcome = audit(world, found)
    assert outcome.code == 4, outcome.err
    done(world.node, "anchor")
    assert "no block after" in audit(world, found).err
    done(world.node, "node", "bond", 2)
    # A bare plan shows nothing, and accuses nobody; but nobody calls it clean.
    outcome = audit(world, found, "--plan", world.plan)
    assert outcome.code == 6, outcome.err
    assert "could not be decided" in outcome.err
    assert outcome.document["other_plans"] == 1
    assert outcome.document["report"]["receipts"][0]["reason"] == "bare plan"
    text = audit(world, found, json_mode=False)
    assert "not accused" in text.out
    # The node's own key is not among those that it shows openings to.
    words = ("audit", world.address, "--url", found.url, "--calibration", world.calibration, "--patience", 0)
    outcome = modelreg(world.node, *words)
    assert outcome.code == 6
    assert outcome.document["report"]["outcomes"] == {"withheld": 1}
    assert "withheld 1 of 1" in outcome.err
    found.stop()
    assert "no answer" in refused(world.auditor, *words, code=6)


def test_usage(world, tmp_path):
    words = ("audit", world.address, "--url", "http://127.0.0.1:1")
    given = ("--calibration", world.calibration)
    refused(world.auditor, *words, "--calibration", world.plan, code=3)
    refused(world.auditor, *words, "--calibration", tmp_path / "none", code=4)
    refused(world.auditor, *words, *given, "--draws", 1, "--detect", 0.5, code=2)
    refused(world.auditor, *words[:3], "ftp://here", *given, code=2)
    assert "no batch" in refused(world.auditor, *words, *given, code=4)
    other = tmp_path / "other.plan"
    other.write_bytes(bytes(TracePlan("other.onnx")))
    outcome = execute(world.node, "--json", "serve", REF, "--plan", other, "--port", 0)
    assert "not served" in checked_refusal(outcome, 2)
    other.write_bytes(bytes(TracePlan("model.onnx", cuts=(("nowhere",),))))
    outcome = execute(world.node, "--json", "serve", REF, "--plan", other, "--port", 0)
    assert "cut 0 of the plan" in checked_refusal(outcome, 3)
