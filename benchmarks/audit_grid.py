"""Audits of honest nodes and of cheats, on real models: one line of JSON for each."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.audit_cheats import MODEL_CHEATS, edited, random, single_weights, truncated
from benchmarks.audit_models import Inputs, read
from benchmarks.audit_subject import SETTINGS, Runner, Subject, runners
from modelreg.errors import ModelregError
from modelreg.format.calibration import Calibration
from modelreg_verifier.audit.verdict import Verdict
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Settings

WEIGHTS = 16
CHEATING = (Settings("all", 1), Settings("disabled", 2))
Row = tuple[int, int, Inputs]
"""Elements of the batch, a number, and the inputs."""
Place = tuple[str, int, int]
"""A node, and the first two of a row."""
Truth = dict[Place, Inputs]


class Journal:
    """What was measured, a line each, so that a run that was stopped goes on where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._done = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key) for key in ("kind", "cheat", "node", "batch", "number"))

    def has(self, **row: object) -> bool:
        return self._key(row) in self._done

    def put(self, **row: Any) -> None:
        self.rows.append(row)
        self._done.add(self._key(row))
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True)
class Counts:
    """Inputs for each batch size: that make the envelope, that are audited, and that cheats get."""

    calibrate: int
    audit: int
    cheat: int


def measure(subject: Subject, pythons: list[Path], wheels: Path, counts: Counts, journal: Journal) -> None:
    """Calibrate, audit honest nodes, then cheats."""
    nodes = [(python, settings) for settings in SETTINGS for python in pythons]
    with runners(subject.program.model, subject.names, nodes) as honest:
        for batch, number, inputs in _inputs(subject, "calibration", counts.calibrate):
            _calibrate(subject, honest, (batch, number, inputs), journal)
        calibration = _calibration(subject, honest, journal, counts.calibrate)
        for batch, number, inputs in _inputs(subject, "honest", counts.audit):
            _audit(subject, calibration, honest, (batch, number, inputs), journal)
    _Cheating(subject, calibration, pythons, wheels, journal).run(counts.cheat)


def _inputs(subject: Subject, kind: str, numbers: int) -> Iterator[Row]:
    """Smallest batches first; the inputs of each kind are others."""
    seed = ("calibration", "honest", "cheat").index(kind)
    model = subject.model
    for batch in model.batches:
        for number in range(model.samples(batch, numbers)):
            yield batch, number, model.sample(np.random.default_rng([batch, number, seed]), batch)


def _calibrate(subject: Subject, honest: list[Runner], row: Row, journal: Journal) -> None:
    batch, number, inputs = row
    for runner in honest:
        key = {"kind": "calibration", "node": runner.name, "batch": batch, "number": number}
        if not journal.has(**key):
            trace = runner.node.run(inputs)
            journal.put(**key, distances=subject.distances(runner.runtime, trace, inputs))
        subject.forget(but=runner.runtime)


def _calibration(subject: Subject, honest: list[Runner], journal: Journal, samples: int) -> Calibration:
    runtimes = {runner.name: runner.runtime for runner in honest}
    rows = [row for row in journal.rows if row["kind"] == "calibration"]
    measured = [(runtimes[row["node"]], row["batch"], row["distances"]) for row in rows]
    return subject.calibration(measured, samples)


def _audit(
    subject: Subject,
    calibration: Calibration,
    honest: list[Runner],
    row: Row,
    journal: Journal,
) -> None:
    batch, number, inputs = row
    for runner in honest:
        key = {"kind": "honest", "node": runner.name, "batch": batch, "number": number}
        if not journal.has(**key):
            trace = runner.node.run(inputs)
            journal.put(**key, **_shown(subject.judge(calibration, runner.runtime, trace, inputs)))
        subject.forget(but=runner.runtime)


def _shown(verdict: Verdict) -> dict[str, Any]:
    ratios = [(row.ratio or 0.0, row.segment, row.tensor) for row in verdict.segments]
    ratio, segment, tensor = max(ratios, default=(0.0, 0, None))
    return {
        "ruling": verdict.ruling.value,
        "reason": verdict.reason.value,
        "ratio": ratio,
        "segment": segment,
        "tensor": tensor,
    }


class _Cheating:
    """Nodes that cheat, each in two environments and two settings."""

    def __init__(
        self, subject: Subject, calibration: Calibration, pythons: list[Path], wheels: Path, journal: Journal
    ) -> None:
        self._subject, self._calibration, self._wheels = subject, calibration, wheels
        self._nodes = list(zip(pythons, CHEATING, strict=False))
        self._journal = journal

    def run(self, inputs: int) -> None:
        """Every cheat on inputs of batch 1, and fewer of the next size."""
        subject, rows = self._subject, list(_inputs(self._subject, "cheat", inputs))
        rows = [row for row in rows if row[0] == 1] + [row for row in rows if row[0] == 2][: inputs // 3]
        with runners(subject.program.model, subject.names, self._nodes) as honest:
            truth, others = (
                self._truth(honest, rows, lambda row: row[2]),
                self._truth(honest, rows, self._other_of),
            )
            self._try("truncated input", honest, rows, truth, lambda r, row: r.node.run(truncated(row[2])))
            for name, made in self._made_up(truth, others).items():
                self._try(name, honest, rows, truth, lambda r, row, m=made: m((r.name, *row[:2])))
        for name, graph in self._graphs():
            try:
                with runners(graph, subject.names, self._nodes) as cheats:
                    self._try(name, cheats, rows, truth, lambda r, row: r.node.run(row[2]))
            except ModelregError as error:
                print(f"{subject.model.name}: {name}: {str(error)[:200]}", file=sys.stderr, flush=True)
                if name == "older release":
                    self._older_outputs(graph, rows, truth)

        self._single_weights(rows[0], truth)

    def _single_weights(self, row: Row, truth: Truth) -> None:
        """Noise of 1e-3 in one weight alone, for weights spread over the graph."""
        for number, (name, graph) in enumerate(single_weights(self._subject.program.model, WEIGHTS)):
            key = {"kind": "weight", "cheat": name, "number": number}
            if self._journal.has(**key):
                continue
            with runners(graph, self._subject.names, self._nodes[-1:]) as [runner]:
                made, honest = self._kept(runner.node.run(row[2])), truth[runner.name, *row[:2]]
                same = all(made[k].tobytes() == honest[k].tobytes() for k in made)
                found = self._subject.judge(self._calibration, runner.runtime, made, row[2])
            self._journal.put(**key, same=same, **_shown(found))
            self._subject.forget()

    def _kept(self, trace: Inputs) -> Inputs:
        wanted = {*self._subject.names, *self._subject.program.outputs}
        return {name: array for name, array in trace.items() if name in wanted}

    def _other_of(self, row: Row) -> Inputs:
        return self._other(*row)

    @staticmethod
    def _truth(honest: list[Runner], rows: list[Row], inputs: Callable[[Row], Inputs]) -> Truth:
        return {
            (runner.name, row[0], row[1]): runner.node.run(inputs(row))
            for runner, row in product(honest, rows)
        }

    def _made_up(self, truth: Truth, others: Truth) -> dict[str, Callable[[Place], Inputs]]:
        """What a node says that did not compute it, from what an honest one says, also to other inputs."""
        outputs = self._subject.program.outputs
        return {
            "copied output": lambda place: others[place],
            "random output": lambda place: truth[place] | {k: random(truth[place][k]) for k in outputs},
            "edited output": lambda place: truth[place] | {k: edited(truth[place][k]) for k in outputs},
            "honest trace, altered output": lambda place: (
                truth[place] | {k: others[place][k] for k in outputs}
            ),
        }

    def _other(self, batch: int, number: int, inputs: Inputs) -> Inputs:
        """Other inputs of the same shapes."""
        for seed in count():
            found = self._subject.model.sample(np.random.default_rng([batch, number, 3, seed]), batch)
            if all(found[name].shape == array.shape for name, array in inputs.items()):
                return found
        raise AssertionError

    def _graphs(self) -> Iterator[tuple[str, onnx.ModelProto]]:
        model = self._subject.model
        for name, cheat in MODEL_CHEATS.items():
            copy = onnx.ModelProto()
            copy.CopyFrom(self._subject.program.model)
            changed = cheat(copy)
            if changed is not None:
                yield name, changed
        if model.older:
            older = Program.of(read(self._wheels, *model.older), self._subject.plan.fixed)
            yield "older release", older.model

    def _older_outputs(self, graph: onnx.ModelProto, rows: list[Row], truth: Truth) -> None:
        """Another architecture: its outputs beside the trace that an honest node would have."""
        outputs = self._subject.program.outputs
        single = [row for row in rows if row[0] == 1]
        with runners(graph, (), self._nodes) as cheats:
            self._try(
                "older release",
                cheats,
                single,
                truth,
                lambda r, row: (
                    truth[r.name, row[0], row[1]]
                    | {k: v for k, v in r.node.run(row[2]).items() if k in outputs}
                ),
            )

    def _try(
        self,
        name: str,
        nodes: list[Runner],
        rows: list[Row],
        truth: Truth,
        trace: Callable[[Runner, Row], Inputs],
    ) -> None:
        for runner, row in product(nodes, rows):
            batch, number, inputs = row
            key = {"kind": "cheat", "cheat": name, "node": runner.name, "batch": batch, "number": number}
            if self._journal.has(**key):
                continue
            made, honest = self._kept(trace(runner, row)), truth[runner.name, batch, number]
            same = all(made[k].tobytes() == honest[k].tobytes() for k in made)
            found = self._subject.judge(self._calibration, runner.runtime, made, inputs)
            self._journal.put(**key, same=same, **_shown(found))
            self._subject.forget()
