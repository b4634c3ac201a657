"""An honest node's opening of a small graph, and what auditors of it need; tests change one thing each."""

from dataclasses import dataclass, replace

import blake3
import numpy as np

from modelreg.format.calibration import Calibration, Distance, Row
from modelreg.format.commitments import Tensor, cut_leaves, prove_cut
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, Receipt, sign
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg.format.values import lay_out
from modelreg_verifier.audit.judge import Subject
from modelreg_verifier.receipts.committing import commit_to
from modelreg_verifier.receipts.opening import CutOpening, Opening, SetOpening
from modelreg_verifier.trace.bench import bench_of
from modelreg_verifier.trace.datatypes import from_array
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, runtime_info, with_outputs
from tests.verifier import graphs

DOMAIN = Domain(31337, b"\x11" * 20)
NODE = Signer(b"\x01" * 32)
RELEASE = ReleaseId(b"\x77" * 32)
SETTINGS = Settings("all", 1)
DATATYPES = {
    "float32": "FP32",
    "int64": "INT64",
    "int32": "INT32",
    "int8": "INT8",
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "float64": "FP64",
    "object": "BYTES",
}


def tensors(arrays):
    return {name: from_array(DATATYPES[array.dtype.name], array) for name, array in arrays.items()}


@dataclass(frozen=True)
class Trace:
    """What a node computed, as tensors."""

    inputs: dict
    outputs: dict
    cuts: tuple

    def changed(self, name, array):
        """Another value, wherever the name stands among outputs and cuts."""
        tensor = array if isinstance(array, Tensor) else from_array(DATATYPES[array.dtype.name], array)
        outputs, *cuts = ({n: tensor if n == name else t for n, t in part.items()}
                          for part in (self.outputs, *self.cuts))  # fmt: skip
        return replace(self, outputs=outputs, cuts=tuple(cuts))


class World:
    """A model, its plan, an honest trace, and the calibration that the auditor trusts."""

    def __init__(self, model, cuts, inputs, envelope=1e-6):
        self.model = model
        self.plan = TracePlan("m.onnx", cuts=tuple(map(tuple, cuts)))
        self.program = Program.of(model)
        self.runtime = runtime_info(SETTINGS)
        self.trace = self.traced(inputs)
        self.calibrations = [self.calibration([envelope] * (len(cuts) + 1))]

    def traced(self, inputs, model=None):
        names = [name for cut in self.plan.cuts for name in cut]
        made = tensors(Session(with_outputs(model or self.program.model, names), SETTINGS).run(inputs))
        outputs = {name: made[name] for name in self.program.outputs}
        cuts = tuple({name: made[name] for name in cut} for cut in self.plan.cuts)
        return Trace(tensors(inputs), outputs, cuts)

    def calibration(self, envelope, runtime=None, release=RELEASE.value, plan=None):
        row = Row(0, 0, 1, tuple(map(Distance.above, envelope)))
        plan_id = (plan or self.plan).plan_id
        return Calibration(release, plan_id, 1, (runtime or self.runtime,), (row,))

    def opening(self, trace=None, plan=None, runtime=None, salts=None, **fields):
        """Sign for a trace, and open it."""
        trace, plan = trace or self.trace, plan or self.plan
        plan, runtime = (
            block if isinstance(block, bytes) else bytes(block) for block in (plan, runtime or self.runtime)
        )
        laid = lay_out([trace.inputs, trace.outputs, *trace.cuts])
        made = commit_to(*laid, *([salts] if salts else []))
        leaves = cut_leaves(made.salts[2:], made.values[2:])
        signed = sign(self.receipt(made, plan, runtime, fields), DOMAIN, NODE)
        cuts = tuple(
            CutOpening(number, made.salts[2 + number], prove_cut(leaves, number), cut)
            for number, cut in enumerate(trace.cuts)
        )
        inputs = SetOpening(made.salts[0], trace.inputs)
        return Opening(signed, plan, runtime, inputs, SetOpening(made.salts[1], trace.outputs), cuts)

    def receipt(self, made, plan, runtime, fields):
        values = {
            "schema": 1,
            "node": NODE.address,
            "release_id": RELEASE,
            "plan_id": blake3.blake3(plan).digest(),
            "request_id": b"\x05" * 32,
            "client": bytes(20),
            "input_commit": made.input_commit,
            "output_commit": made.output_commit,
            "trace_root": made.trace_root,
            "runtime_fingerprint": blake3.blake3(runtime).digest(),
            "epoch": 1,
            "seq": 0,
            "issued_at": 1_790_000_000,
            "prev_receipt": bytes(32),
        }
        return Receipt(**{**values, **fields})

    def subject(self, opening, **changes):
        given = {
            "domain": DOMAIN,
            "receipt": opening.receipt.receipt.digest(DOMAIN),
            "release": RELEASE,
            "files": frozenset({"m.onnx"}),
            "calibrations": self.calibrations,
            "prepare": lambda plan, _: bench_of(self.model, plan, SETTINGS),
        }
        return Subject(**{**given, **changes})


def early(**options):
    x = {"x": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)}
    return World(graphs.early(), [["kept"], ["first", "kept"], ["kept", "next"]], x, **options)


def other_runtime(world, **changes):
    """A runtime that no calibration has."""
    return replace(world.runtime, **{"version": "0.0.1", **changes})


def array_of(trace, name):
    """A copy of a tensor that a node committed to."""
    found = next(part[name] for part in (*trace.cuts, trace.outputs) if name in part)
    return np.frombuffer(found.data, np.float32).reshape(found.dims).copy()
