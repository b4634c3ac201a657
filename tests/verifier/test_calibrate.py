"""Measuring envelopes: in this interpreter, in others, and in ones that misbehave."""

import io
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from modelreg.errors import FormatError, InputError, UnreachableError, VerificationError
from modelreg.format.calibration import Calibration
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.verdict import Ruling
from modelreg_verifier.trace.calibrate import Grid, calibrate
from modelreg_verifier.trace.calibrate_node import node_in
from modelreg_verifier.trace.calibrate_worker import pack, read_message, unpack, write_message
from modelreg_verifier.trace.cuts import Limits, choose_cuts
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Settings, runtime_info
from tests.verifier import graphs
from tests.verifier.auditing import World

RELEASE = ReleaseId(b"\x77" * 32)
HERE = Path(sys.executable)
SMALL = Grid((Settings("all"),), (Settings("all"), Settings("disabled")), (1, 2), 2)


@pytest.fixture(scope="module")
def bert():
    model = graphs.bert()
    cuts = choose_cuts(Program.of(model), graphs.sentences(), Limits(cuts=3))
    return model, TracePlan("m.onnx", cuts=cuts)


@pytest.fixture(scope="module")
def measured(bert):
    return calibrate(*bert, RELEASE, SMALL)


def test_a_row_for_each_pair_of_runtimes_and_batch(bert, measured):
    own, plain = (runtime_info(settings) for settings in SMALL.replayed)
    keys = {(measured.runtimes[r.traced], measured.runtimes[r.replayed], r.batch) for r in measured.rows}
    assert keys == {(own, replayed, batch) for replayed in (own, plain) for batch in (1, 2)}
    assert (measured.release, measured.plan, measured.samples) == (RELEASE.value, bert[1].plan_id, 2)
    assert {len(row.distances) for row in measured.rows} == {len(bert[1].cuts) + 1}
    assert Calibration.from_bytes(bytes(measured)) == measured


def test_the_envelope_is_narrow_and_not_nothing(measured):
    own, plain = (runtime_info(settings).fingerprint for settings in SMALL.replayed)
    assert 0 < max(measured.envelope(own, plain)) < 1e-5
    assert measured.envelope(plain, own) is None


def test_it_is_the_same_again(bert, measured):
    assert calibrate(*bert, RELEASE, SMALL) == measured


def test_a_calibration_lets_honest_receipts_pass_and_no_cheat(bert, measured):
    model, plan = bert
    world = World(model, plan.cuts, graphs.sentences(batch=3, seed=5))
    world.calibrations = [measured]
    opening = world.opening()
    assert judge(opening, world.subject(opening)).ruling is Ruling.PASS
    cheat = world.traced(graphs.sentences(batch=3, seed=5), Program.of(graphs.bert(seed=1)).model)
    opening = world.opening(cheat)
    assert judge(opening, world.subject(opening)).ruling is Ruling.DISPUTE


def test_inputs_of_ones_own_and_progress(bert):
    asked, told = [], []

    def inputs(batch, number):
        asked.append((batch, number))
        return graphs.sentences(batch, number)

    grid = Grid((Settings("all"), Settings("basic")), (Settings("all"),), (2,), 3)
    made = calibrate(*bert, RELEASE, grid, inputs=inputs, on_runtime=lambda *row: told.append(row))
    assert {(2, 0), (2, 1), (2, 2)} == set(asked)
    assert told == [(1, 2), (2, 2)]
    assert len(made.rows) == 2


def test_a_batch_size_that_the_graph_does_not_take_is_left_out():
    model = graphs.parsed("g (float[1, 4] x) => (float[1, 4] y) { a = Abs(x) \n y = Exp(a) }")
    plan = TracePlan("m.onnx", cuts=(("a",),))
    made = calibrate(model, plan, RELEASE, Grid((Settings(),), (Settings(),), (1, 2, 4), 1))
    assert [row.batch for row in made.rows] == [1]


def test_results_without_a_distance_end_it():
    model = graphs.parsed("g (float[N, 4] x) => (float[N, 4] y) { a = RandomNormalLike(x) \n b = Abs(a) \n"
                          "c = Cast <to = 7> (b) \n y = Cast <to = 1> (c) }")  # fmt: skip
    plan = TracePlan("m.onnx", cuts=(("c",),))
    with pytest.raises(InputError, match="segment 0 have no distance"):
        calibrate(model, plan, RELEASE, Grid((Settings(),), (Settings(),), (1,), 8))


def test_an_invalid_plan_is_refused(bert):
    with pytest.raises(VerificationError):
        calibrate(bert[0], TracePlan("m.onnx", cuts=(("nothing",),)), RELEASE, SMALL)


@pytest.mark.parametrize("changes", [{"traced": ()}, {"batches": (0,)}, {"samples": 0}, {"pythons": ()}])
def test_an_empty_grid_is_refused(changes):
    with pytest.raises(InputError):
        Grid(**changes)


# Other interpreters


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_another_version_is_another_runtime(bert, tmp_path):
    """An interpreter whose onnxruntime says that it is older."""
    program = (
        "import sys, runpy, onnxruntime; onnxruntime.__version__ = '1.0.0'; "
        "runpy.run_path(sys.argv[-1], run_name='__main__')"
    )
    python = script(tmp_path / "python", f'exec "{HERE}" -c "{program}" "$@"')
    grid = Grid((Settings("all"),), (Settings("all"),), (1,), 1, (python,))
    made = calibrate(*bert, RELEASE, grid)
    assert {runtime.version for runtime in made.runtimes} == {"1.0.0", runtime_info(Settings()).version}


def test_what_an_interpreter_prints_is_no_answer(bert, tmp_path):
    program = (
        "import sys, runpy, onnxruntime as o, os; make = o.InferenceSession; "
        "o.InferenceSession = lambda *a, **k: (os.write(1, b'noise'), print('noise'), make(*a, **k))[2]; "
        "runpy.run_path(sys.argv[-1], run_name='__main__')"
    )
    python = script(tmp_path / "python", f'exec "{HERE}" -c "{program}" "$@"')
    with node_in(python, bert[0], Settings()) as node:
        assert node.run(graphs.sentences())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("exit 3", InputError),
        ("echo no such module >&2; exit 1", InputError),
        ("printf '%s' 12345678901234567890; exec cat >/dev/null", FormatError),
        (r"printf '\002\0\0\0\0\0\0\0ab'; exec cat >/dev/null", FormatError),
        (r"printf '\007\0\0\0\0\0\0\0ab'; exec cat >/dev/null", FormatError),
        ("exec sleep 60", UnreachableError),
    ],
    ids=["ends", "says why", "too long", "no version", "cut off", "hangs"],
)
def test_an_interpreter_that_misbehaves(bert, tmp_path, text, error):
    python = script(tmp_path / "python", text)
    with pytest.raises(error) as found, node_in(python, bert[0], Settings(), seconds=2):
        pytest.fail("started")
    if "no such" in text:
        assert "no such module" in str(found.value)


def test_no_such_interpreter(bert, tmp_path):
    with pytest.raises(InputError), node_in(tmp_path / "none", bert[0], Settings()):
        pytest.fail("started")


def test_what_the_runtime_refuses(bert):
    with node_in(HERE, bert[0], Settings()) as node, pytest.raises(InputError):
        node.run({"x": np.ones(3)})


def test_texts_are_no_inputs(bert):
    with node_in(HERE, bert[0], Settings()) as node, pytest.raises(InputError, match="numbers"):
        node.run({"x": np.array(["text"])})


def test_the_process_ends_with_the_block(bert):
    with node_in(HERE, bert[0], Settings()) as node:
        process = node._process._process
        assert process.poll() is None
    assert process.poll() is not None


def test_a_process_that_stays_is_ended(bert, tmp_path):
    answer = r"{\"version\": \"1.0.0\"}"
    text = f"""printf '\\024\\0\\0\\0\\0\\0\\0\\0'; printf "%s" "{answer}"; exec sleep 60"""
    start = time.monotonic()
    with node_in(script(tmp_path / "python", text), graphs.early(), Settings()) as node:
        assert node.version == "1.0.0"
    assert time.monotonic() - start < 30


def test_packages_of_this_environment_are_not_those_of_another(bert, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with node_in(HERE, bert[0], Settings()) as node:
        assert node.run(graphs.sentences())


# Messages


@pytest.mark.parametrize("name", ["x", "a/b", "../../etc", "names", "0", "file", "ünïcode \U0001f600"])
def test_any_name_survives(name):
    (found,) = unpack(pack({name: np.arange(3)})).items()
    assert found[0] == name and found[1].tolist() == [0, 1, 2]


def test_messages():
    file = io.BytesIO()
    write_message(file, b"one")
    write_message(file, b"")
    file.seek(0)
    assert [read_message(file), read_message(file), read_message(file)] == [b"one", b"", None]


@pytest.mark.parametrize("raw", [b"1", struct.pack("<Q", 5) + b"four", struct.pack("<Q", 1 << 40)])
def test_refused_messages(raw):
    with pytest.raises(ValueError, match="message"):
        read_message(io.BytesIO(raw))
