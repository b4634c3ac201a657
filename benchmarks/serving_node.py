"""One model behind the project's server until standard input ends; with a plan, traced and with receipts."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import onnx

from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.halving import Halves
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.recorder import ReceiptRecorder
from modelreg_verifier.serving.engine import Engine, limit_memory
from modelreg_verifier.serving.models import Served, ServedModels
from modelreg_verifier.serving.recorder import Recorder
from modelreg_verifier.serving.server import InferenceServer, ServerSettings
from modelreg_verifier.serving.tuning import tune_process
from modelreg_verifier.trace.plans import PlanTable

MODEL, FILE = "acme/model", "model.onnx"
RELEASE = ReleaseId(b"\x77" * 32)


def traced(raw: bytes, plan: TracePlan, journal: Path, threads: int) -> tuple[Engine, Recorder]:
    """As `serve --plan` loads it."""
    table = PlanTable([plan])
    found = table.trace(RELEASE, FILE, onnx.load_model_from_string(raw), [plan])
    engine = Engine(found.raw, threads=threads, cuts=found.cuts, outputs=found.outputs)
    signs = Journal(journal, Signer(b"\x01" * 32), Domain(31337, b"\x11" * 20))
    return engine, ReceiptRecorder(signs, table.plan_of, hashing=Halves())


async def serve(engine: Engine, recorder: Recorder | None) -> None:
    """Serve, print the URL, and end when whoever started this does."""
    served = Served(MODEL, "1.0.0", "1.0.0", RELEASE, bytes(32), FILE, engine)
    models = ServedModels([(MODEL, "1.0.0")])
    models.put(served)
    server = InferenceServer(models, ServerSettings(port=0, workers=2), recorder=recorder)
    await server.start()
    print(server.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


def main() -> None:
    """Load and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--plan", type=Path)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    raw, recorder = given.file.read_bytes(), None
    limit_memory(2 << 30)
    tune_process()
    if given.plan is None:
        engine = Engine(raw, threads=given.threads)
    else:
        plan = TracePlan.from_bytes(given.plan.read_bytes())
        engine, recorder = traced(raw, plan, given.journal, given.threads)
    asyncio.run(serve(engine, recorder))


if __name__ == "__main__":
    main()
