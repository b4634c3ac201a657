"""Honest distances and cheats on real models: what separates them, and by how much.

    python -m benchmarks.audit_grid --wheels DIR --node PYTHON [--node PYTHON …] [--only MODEL …]

Each PYTHON is an environment with some onnxruntime and numpy, where nodes run; the auditor runs in this one.
Half of the samples make the envelope, the other half are judged by it, and every cheat is.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.audit_cheats import MODEL_CHEATS, edited, single_weights, truncated
from benchmarks.audit_models import MODELS, Inputs, Model, read
from modelreg.errors import ModelregError
from modelreg.format.trace_plan import FixedInput
from modelreg_verifier.cuts import Limits, choose_cuts
from modelreg_verifier.distance import Outcome, batch_of, compare
from modelreg_verifier.program import Program
from modelreg_verifier.runtime import Session, Settings, with_outputs
from modelreg_verifier.segments import Replay

FLOOR = 3e-7
PASS, DISPUTE = 10.0, 20.0
NODE_SETTINGS = tuple(product(("disabled", "basic", "extended", "all"), (1, 2)))
AUDITORS = (Settings("all", 1), Settings("disabled", 1))
DATATYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32", "bool": "BOOL"}


@dataclass(frozen=True)
class Trial:
    """One trace: where it was made, from which inputs, and the distances that each auditor found."""

    node: str
    batch: int
    held_out: bool
    distances: Mapping[int, npt.NDArray[Any]]


class Subject:
    """A model, its program and plan, and auditors for it."""

    def __init__(self, model: Model, wheels: Path, limits: Limits) -> None:
        fixed = [FixedInput(name, DATATYPES[v.dtype.name], v.tobytes()) for name, v in model.fixed.items()]
        self.model = model
        self.fixed = fixed
        self.program = Program.of(read(wheels, model.wheel, model.inside), fixed)
        sample = model.sample(np.random.default_rng(0), 1)
        self.cuts = choose_cuts(self.program, sample, limits)
        self.names = sorted({name for cut in self.cuts for name in cut})
        self.replays = [Replay(self.program, self.cuts, settings) for settings in AUDITORS]
        self._seen: dict[Any, Any] = {}

    def distances(self, auditor: int, trace: Inputs, inputs: Inputs) -> npt.NDArray[Any]:
        """The distance of each segment; infinite for what no honest machine does."""
        replay, batch = self.replays[auditor], batch_of(inputs)
        found = []
        for number in range(len(self.cuts) + 1):
            made = self._replayed(auditor, number, trace, inputs)
            judged = compare(trace, made, batch, self.program.quantized)
            found.append(judged.distance if judged.outcome in (Outcome.EQUAL, Outcome.NEAR) else np.inf)
        assert len(found) == len(replay.segments)
        return np.array(found)

    def _replayed(self, auditor: int, number: int, trace: Inputs, inputs: Inputs) -> Inputs:
        segment = self.replays[auditor].segments[number]
        key = hashlib.blake2b(repr((auditor, number)).encode())
        for name in segment.starts:
            key.update(np.ascontiguousarray(trace[name]).tobytes())
        for name in segment.inputs:
            key.update(inputs[name].tobytes())
        digest = key.digest()
        if digest not in self._seen:
            self._seen[digest] = self.replays[auditor].run(number, trace, inputs)
        return self._seen[digest]

    def forget(self) -> None:
        """Replays are kept for traces of the same inputs only."""
        self._seen.clear()


def inputs_of(model: Model, samples: int) -> Iterator[tuple[int, bool, Inputs]]:
    """Batch size, whether it is held out from the envelope, and the inputs."""
    for batch, number in product(model.batches, range(2 * samples)):
        rng = np.random.default_rng([batch, number, 17])
        yield batch, number >= samples, model.sample(rng, batch)


def node_traces(subject: Subject, python: str, rows: list[Any], folder: Path) -> tuple[str, list[Path]]:
    """Run a node's environment over all inputs; the traces are files, by setting and input."""
    path = folder / "traced.onnx"
    onnx.save(with_outputs(subject.program.model, subject.names), path)
    files = []
    for number, (_, _, inputs) in enumerate(rows):
        files.append(str(folder / f"input-{number}.npz"))
        np.savez(files[-1], **inputs)
    out = folder / "traces"
    out.mkdir()
    job = {"model": str(path), "settings": NODE_SETTINGS, "inputs": files, "out": str(out)}
    script = Path(__file__).with_name("audit_node.py")
    done = subprocess.run(
        [python, str(script)], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.strip(), [
        out / f"{s}-{i}.npz" for i in range(len(rows)) for s in range(len(NODE_SETTINGS))
    ]


def load(path: Path) -> Inputs:
    with np.load(path) as stored:
        return {str(name): stored[str(number)] for number, name in enumerate(stored["names"])}


def honest(subject: Subject, nodes: list[str], samples: int) -> list[Trial]:
    """Trace in every environment and setting, and replay with every auditor."""
    rows = list(inputs_of(subject.model, samples))
    trials = []
    for python in nodes:
        with tempfile.TemporaryDirectory() as name:
            version, paths = node_traces(subject, python, rows, Path(name))
            for (row, (level, threads)), path in zip(product(rows, NODE_SETTINGS), paths, strict=True):
                batch, held_out, inputs = row
                trace = load(path)
                found = {a: subject.distances(a, trace, inputs) for a in range(len(AUDITORS))}
                trials.append(Trial(f"{version} {level}/{threads}", batch, held_out, found))
                if (level, threads) == NODE_SETTINGS[-1]:
                    subject.forget()
    return trials


def envelope(trials: list[Trial], node: str, auditor: int) -> npt.NDArray[Any]:
    """By segment, from the samples that are not held out."""
    rows = [t.distances[auditor] for t in trials if t.node == node and not t.held_out]
    return np.maximum(np.max(rows, axis=0), FLOOR)


def honest_ratios(trials: list[Trial]) -> list[tuple[float, str]]:
    """The worst segment of each held-out trace, over its envelope."""
    found = []
    for trial, auditor in product([t for t in trials if t.held_out], range(len(AUDITORS))):
        ratios = trial.distances[auditor] / envelope(trials, trial.node, auditor)
        segment = int(np.argmax(ratios))
        found.append((float(ratios[segment]), f"{trial.node} batch {trial.batch} segment {segment}"))
    return found


def cheated(subject: Subject, node: str, trials: list[Trial], samples: int, wheels: Path) -> dict[str, Any]:
    """For each cheat and auditor the ratio of the worst segment, in the sample where it is smallest."""
    rows = [row for row in inputs_of(subject.model, samples) if row[0] == 1 and row[1]]
    bounds = [envelope(trials, node, auditor) for auditor in range(len(AUDITORS))]
    found: dict[str, Any] = {}
    truth = Session(with_outputs(subject.program.model, subject.names), Settings("all", 1))
    traces = [truth.run(inputs) for _, _, inputs in rows]
    other = truth.run(subject.model.sample(np.random.default_rng(99), 1))

    def judge(name: str, made: list[Inputs]) -> None:
        worst: list[tuple[float, int]] = [(np.inf, 0)] * len(bounds)
        for (_, _, inputs), trace in zip(rows, made, strict=True):
            for auditor, bound in enumerate(bounds):
                ratios = subject.distances(auditor, trace, inputs) / bound
                worst[auditor] = min(worst[auditor], (float(ratios.max()), int(np.argmax(ratios))))
            subject.forget()
        found[name] = worst

    for name, made in cheating_sessions(subject, wheels):
        try:
            judge(name, [made.run(inputs) for _, _, inputs in rows])
        except ModelregError as error:
            found[name] = str(error)[:60]
    judge("truncated input", [truth.run(truncated(inputs)) for _, _, inputs in rows])
    outputs = subject.program.outputs
    judge("output off by 1e-3", [t | {n: edited(t[n]) for n in outputs} for t in traces])
    judge("output of another", [trace | {n: other[n] for n in outputs} for trace in traces])
    return found


def cheating_sessions(subject: Subject, wheels: Path) -> Iterator[tuple[str, Session]]:
    for name, cheat in MODEL_CHEATS.items():
        copy = onnx.ModelProto()
        copy.CopyFrom(subject.program.model)
        try:
            changed = cheat(copy)
            if changed is not None:
                yield name, Session(with_outputs(changed, subject.names), Settings("all", 1))
        except Exception as error:  # noqa: BLE001 - the runtime and its tools raise anything
            print(f"    {name}: {str(error)[:100]}", file=sys.stderr)
    if subject.model.older:
        try:
            older = Program.of(read(wheels, *subject.model.older), subject.fixed)
            yield "older release", Session(with_outputs(older.model, subject.names), Settings("all", 1))
        except ModelregError as error:
            print(f"    older release: {str(error)[:100]}", file=sys.stderr)


def blind_spots(subject: Subject, bound: npt.NDArray[Any], most: int) -> dict[str, float]:
    """The ratio that noise of 1e-3 in one weight alone comes to, for the weights that were tried."""
    inputs = subject.model.sample(np.random.default_rng(3), 1)
    found = {}
    for name, changed in single_weights(subject.program.model, most):
        trace = Session(with_outputs(changed, subject.names), Settings("all", 1)).run(inputs)
        found[name] = float((subject.distances(0, trace, inputs) / bound).max())
        subject.forget()
    return found


def overhead(subject: Subject, rounds: int) -> float:
    """Time of this thread, traced over plain, in turns: the median of the ratios."""
    inputs = subject.model.sample(np.random.default_rng(1), 1)
    plain = Session(subject.program.model, Settings("all", 1))
    traced = Session(with_outputs(subject.program.model, subject.names), Settings("all", 1))
    ratios = []
    for number in range(rounds + 3):
        spent = {}
        for session in (plain, traced) if number % 2 else (traced, plain):
            start = time.thread_time()
            session.run(inputs)
            spent[session] = time.thread_time() - start
        ratios.append(spent[traced] / spent[plain])
    return float(np.median(ratios[3:]))


def report(
    subject: Subject, trials: list[Trial], cheats: dict[str, Any], spots: dict[str, float], cost: float
) -> dict[str, Any]:
    """Print one model's tables, and give its numbers."""
    one = next(inputs_of(subject.model, 1))[2]
    trace = Session(with_outputs(subject.program.model, subject.names), Settings("all", 1)).run(one)
    size = sum(trace[name].nbytes for name in subject.names)
    ratios = honest_ratios(trials)
    values = np.array([ratio for ratio, _ in ratios])
    parts = np.array([t.distances[a] for t in trials for a in range(len(AUDITORS))])
    print(
        f"\n{subject.model.name}: {len(subject.cuts)} cuts, {len(subject.names)} tensors, {size / 1e6:.2f} MB"
    )
    print(f"  time traced/plain: {cost:.3f}")
    for name, row in (("median", np.median(parts, axis=0)), ("largest", np.max(parts, axis=0))):
        print(f"  honest distance by segment, {name}: " + " ".join(f"{value:.1e}" for value in row))
    print(
        f"  honest ratio in {len(values)} audits: median {np.median(values):.2f}, "
        f"99 % {np.quantile(values, 0.99):.2f}, largest {values.max():.2f} ({max(ratios)[1]}); "
        f"over {PASS:g}: {(values > PASS).sum()}, over {DISPUTE:g}: {(values > DISPUTE).sum()}"
    )
    for name, row in cheats.items():
        shown = row if isinstance(row, str) else ", ".join(f"{r:.3g} in segment {k}" for r, k in row)
        print(f"  {name:20} {shown}")
    blind = {name: round(ratio, 2) for name, ratio in spots.items() if ratio <= DISPUTE}
    least = min(spots.values(), default=np.nan)
    print(f"  one weight off by 1e-3: {len(spots)} tried, least ratio {least:.3g}, not seen: {blind}")
    return {
        "model": subject.model.name,
        "cuts": len(subject.cuts),
        "bytes": size,
        "overhead": cost,
        "honest": sorted(values.tolist()),
        "honest_distances": parts.max(axis=0).tolist(),
        "cheats": cheats,
        "single_weights": spots,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--node", action="append", required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--weights", type=int, default=16)
    parser.add_argument("--tensors", type=int, default=8)
    parser.add_argument("--cuts", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for model in MODELS:
        if options.only and model.name not in options.only:
            continue
        start = time.monotonic()
        subject = Subject(model, options.wheels, Limits(cuts=options.cuts, tensors=options.tensors))
        trials = honest(subject, options.node, options.samples)
        # The last environment's fastest setting is what cheats are measured as.
        node = next(t.node for t in reversed(trials) if t.node.endswith(" all/1"))
        cheats = cheated(subject, node, trials, options.samples, options.wheels)
        spots = blind_spots(subject, envelope(trials, node, 0), options.weights)
        results.append(report(subject, trials, cheats, spots, overhead(subject, 15)))
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
