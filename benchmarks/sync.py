"""What `sync` takes for an update, beside what decoding it takes.

    python -m benchmarks.sync --corpus DIR [--work DIR] [--rounds N]

The command runs in this process, which has done it once before, so that its start is left out; decoding is
that of benchmarks.delta, of the same release, on one processor. Both have numba. Prints a table in Markdown,
and exits with 1 if the bar is missed.
"""

import argparse
import contextlib
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.delta_ours import Node
from benchmarks.pairs import Pair, pairs
from benchmarks.transfer import modelreg
from modelreg_cli.app import run

MODEL, FIRST, SECOND = "bench/pair", "1.0.0", "1.1.0"
BAR = 2.0


def seconds_of(function: Callable[[], object]) -> float:
    """What a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Leave this process one of its processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def publish(pair: Pair, root: Path) -> None:
    """Both releases, in a home of their own."""
    modelreg(root / "publisher", "init")
    for version, file in ((FIRST, pair.parent), (SECOND, pair.child)):
        release = root / f"model{file.suffix}"
        shutil.copyfile(file, release)
        modelreg(root / "publisher", "publish", release, "--model", MODEL, "--version", version)


def synced(root: Path) -> float:
    """Seconds of an update on a node that has the first release."""
    node, copy = root / "node", root / "copy"
    modelreg(node, "init", "--join", root / "publisher")
    words = ["--quiet", "--home", str(node), "sync", "--to", str(copy)]
    with contextlib.redirect_stdout(io.StringIO()):
        if run([*words, f"{MODEL}@{FIRST}"]):
            raise SystemExit("the first release could not be synced")
        seconds = seconds_of(lambda: run([*words, f"{MODEL}@{SECOND}"]))
    shutil.rmtree(node)
    shutil.rmtree(copy)
    return seconds


def main() -> int:
    """Measure one pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="the folder with unpack.py and index.json")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "modelreg-bench")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    pair = next(pair for pair in pairs(options.corpus, options.work) if "fp32 0" in pair.name)
    node, times = Node(pair.parent), []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        publish(pair, root)
        patch, out = root / "patch", root / "out"
        node.encode(pair.parent, pair.child, patch, "")
        synced(root)
        for _ in range(options.rounds):
            with one_processor():
                decoding = seconds_of(lambda: node.decode(pair.parent, patch, out))
            out.unlink()
            times.append((synced(root), decoding))
    ratio = statistics.median(ours / decoding for ours, decoding in times)
    ours, decoding = (statistics.median(column) for column in zip(*times, strict=True))
    print("| pair | sync s | decode s | ratio | bar |\n|---|---|---|---|---|")
    bar = f"{BAR:g}{', missed' if ratio > BAR else ''}"
    print(f"| {pair.name} | {ours:.3f} | {decoding:.3f} | {ratio:.2f} | {bar} |")
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
