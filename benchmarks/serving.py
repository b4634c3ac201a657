"""What trace and receipt cost: two servers of one model, one plain, one with both, asked in turn.

    python -m benchmarks.serving --wheels DIR [--model NAME] [--requests 600] [--threads N]

DIR holds the wheels of benchmarks/wheels.txt. Both servers run all the time; a client asks one and the other
for the same input of batch 1, in an order that changes each time. Both are started anew a few times, since a
process is faster or slower by several percent all its life. Prints a table in Markdown, and exits with 1 if
the median of the ratios misses a bar.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from benchmarks.audit_models import MODELS, Inputs, Model, read
from benchmarks.serving_node import FILE, MODEL
from modelreg.format.trace_plan import FixedInput, TracePlan
from modelreg_verifier.trace.cuts import choose_cuts
from modelreg_verifier.trace.program import Program

BARS = {"minilm": 1.10}
OTHERS = 1.25
WARM = 20
STARTS = 8
DATATYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32"}
Request = tuple[bytes, dict[str, str]]


def request(inputs: Inputs) -> Request:
    """An inference in the protocol's binary form."""
    rows = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": DATATYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    head = json.dumps({"inputs": rows, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(array.tobytes() for array in inputs.values())
    return body, {"Inference-Header-Content-Length": str(len(head))}


class Client:
    """A connection that stays."""

    def __init__(self, process: int, url: str) -> None:
        self._stat = Path(f"/proc/{process}/stat")
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)

    def ticks(self) -> int:
        """Processor time that the server has taken, all threads."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def ask(self, given: Request) -> float:
        """Milliseconds of one inference."""
        started = time.perf_counter()
        self._connection.request("POST", f"/v2/models/{MODEL}/infer", *given)
        answer = self._connection.getresponse()
        body = answer.read()
        spent = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(body.decode(errors="replace"))
        return 1000 * spent


@contextmanager
def node(file: Path, threads: int, *options: object) -> Iterator[Client]:
    """A server in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.serving_node", file, "--threads", threads, *options]
    command = [str(word) for word in words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Client(process.pid, process.stdout.readline().strip())
        process.communicate()


def measure(root: Path, wheels: Path, model: Model, requests: int, threads: int) -> tuple[str, float]:
    """The row of a model, and the median of its ratios."""
    proto = read(wheels, model.wheel, model.inside)
    rng = np.random.default_rng(0)
    samples = [model.sample(rng, 1) for _ in range(16)]
    fixed = tuple(
        FixedInput(name, DATATYPES[value.dtype.name], value.tobytes()) for name, value in model.fixed.items()
    )
    cuts = choose_cuts(Program.of(proto, fixed), samples[0])
    (root / FILE).write_bytes(proto.SerializeToString())
    (root / "plan").write_bytes(bytes(TracePlan(FILE, fixed, cuts=cuts)))
    whole = {name: np.asarray(value) for name, value in model.fixed.items()}
    pairs = [(request({**sample, **whole}), request(sample)) for sample in samples]
    options = ("--plan", root / "plan", "--journal", root / "journal.sqlite")
    times, ticks = [], [0, 0]
    for _ in range(STARTS):
        with ExitStack() as held:
            plain = held.enter_context(node(root / FILE, threads))
            ours = held.enter_context(node(root / FILE, threads, *options))
            in_turn((plain, ours), pairs, WARM)
            before = plain.ticks(), ours.ticks()
            times += in_turn((plain, ours), pairs, requests // STARTS)
            ticks = [
                spent + one.ticks() - at for spent, one, at in zip(ticks, (plain, ours), before, strict=True)
            ]
    effort = ticks[1] / ticks[0]
    ratio = statistics.median(b / a for a, b in times)
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    cells = [
        model.name,
        len(cuts),
        *(f"{one:.2f}" for one in (*medians, medians[1] / medians[0], effort, ratio)),
    ]
    bar = BARS.get(model.name, OTHERS)
    return "| " + " | ".join(map(str, [*cells, f"{bar:.2f}"])) + " |", ratio / bar


def in_turn(
    nodes: tuple[Client, Client], pairs: Sequence[tuple[Request, Request]], requests: int
) -> list[tuple[float, float]]:
    """Milliseconds of both for each pair of requests; first one begins, then the other."""
    times = []
    for number in range(requests):
        spent = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            spent[which] = nodes[which].ask(pairs[number % len(pairs)][which])
        times.append((spent[0], spent[1]))
    return times


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--model", choices=[model.name for model in MODELS], action="append")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    print("| model | cuts | plain | receipts | ratio of medians | processor time | median of ratios | bar |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    missed = False
    for model in MODELS:
        if given.model and model.name not in given.model:
            continue
        with tempfile.TemporaryDirectory() as root:
            row, over = measure(Path(root), given.wheels, model, given.requests, given.threads)
        print(row, flush=True)
        missed |= over > 1
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
