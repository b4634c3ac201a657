"""Inferences, journals and what else the tests of receipts need."""

import contextlib
import math
import struct

from modelreg.format.commitments import Tensor
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import NumericClass, TracePlan
from modelreg.format.values import lay_out
from modelreg_verifier.receipts.committing import Committed
from modelreg_verifier.receipts.journal import Draft, Journal, Ran
from modelreg_verifier.receipts.kept import write_kept
from modelreg_verifier.receipts.log import segments_of
from modelreg_verifier.receipts.recorder import ReceiptRecorder
from modelreg_verifier.receipts.segments import remove_segments
from modelreg_verifier.serving.recorder import Inference, Loaded
from tests.reference.receipt_log import commit

DOMAIN = Domain(31337, b"\x11" * 20)
NODE, OTHER = Signer(b"\x01" * 32), Signer(b"\x02" * 32)
RELEASE = ReleaseId(b"\x77" * 32)
RUNTIME = RuntimeInfo(
    "onnxruntime", "1.20.1", "CPUExecutionProvider", "all", 2, NumericClass.FP32, "x86-64", ("avx2",)
)
PLAN = TracePlan("m.onnx", cuts=(("a",), ("a", "b"), ("c",)))
NOW = 1_790_000_000.0


def floats(*values):
    return Tensor("FP32", (len(values),), struct.pack(f"<{len(values)}f", *values))


_A = floats(1.0, 2.0)
CUTS = ({"a": _A}, {"a": _A, "b": floats(3.0)}, {"c": floats()})
INPUTS = {"x": floats(0.25, 0.5)}
OUTPUTS = {"y": floats(4.0)}


class Clock:
    """Stands still until it is set."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


def inference(cuts=CUTS, **changes):
    given = {
        "loaded": Loaded(RELEASE, "m.onnx", RUNTIME, tuple(map(tuple, cuts))),
        "parameters": {},
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "cuts": cuts,
    }
    return Inference(**{**given, **changes})


def draft(number=0, size=0, *, release=RELEASE, client=bytes(20), response=bytes(128)):
    """A draft whose commitments are opened by `response`, with no cuts; `size` bytes are kept."""
    salts, values = (response[:32], response[64:96]), (response[32:64], response[96:])
    layout, tensors = lay_out([{"x": Tensor("UINT8", (size,), bytes(size))}, {}])
    kept = write_kept(salts, layout, tensors, outputs=True, everything=False)
    ran = Ran(release, b"\x01" * 32, b"\x02" * 32, {b"\x01" * 32: b"plan"})
    commitments = [commit(tag, *pair) for tag, *pair in zip((7, 8), salts, values, strict=True)]
    committed = Committed(*commitments, b"\x02" * 32, salts, values)
    return Draft(ran, number.to_bytes(32, "big"), client, committed, kept)


@contextlib.contextmanager
def journal(path, **options):
    options.setdefault("clock", Clock())
    opened = Journal(
        path / "journal.sqlite", options.pop("signer", NODE), options.pop("domain", DOMAIN), **options
    )
    try:
        yield opened
    finally:
        opened.close()


def recorder(opened, plan=PLAN, **options):
    return ReceiptRecorder(opened, lambda *_: plan, **options)


def record(opened, found=None, **options):
    """Record one inference; what is added to its answer."""
    return recorder(opened, **options).record(found or inference())


def appended(opened, count, **options):
    """Have the journal sign so many receipts, one after the other."""
    return [opened.append(draft(number, **options))[0] for number in range(count)]


def check_chain(page):
    """Every guarantee of a journal about the receipts of an epoch, from its first."""
    previous = bytes(32)
    for seq, raw in enumerate(page):
        signed = SignedReceipt.from_bytes(raw)
        assert signed.receipt.seq == seq
        assert signed.receipt.prev_receipt == previous
        previous = signed.verify(DOMAIN)


def segment_files(path):
    return sorted(file.name for file in (path / "journal.sqlite-openings").iterdir())


def remove_openings(path):
    """Remove all files of a journal's log; returns how many. The newest is never removed, so one is made."""
    newest = segments_of(path) / f"{2**60:016x}-00000001"
    newest.touch()
    removed = remove_segments(segments_of(path), {}, math.inf)
    newest.unlink()
    return removed
