"""Time and memory of large releases, beside `cp` and b3sum of the same file in the same run.

    python -m benchmarks.throughput [--work DIR] [--megabytes 4096 --small 512] [--rounds 3]

The release is random bytes, so that nothing compresses. Times are of whole commands less that of
`modelreg --version`. Prints a table in Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TENSOR_BYTES = 16 << 20
MODELREG = Path(sys.executable).with_name("modelreg")
B3SUM = "from blake3 import *; import sys; blake3(max_threads=blake3.AUTO).update_mmap(sys.argv[1])"
# Bars: peak memory in MB, its growth from the small to the large release, time over that of cp and b3sum.
MOST_MEMORY_MB = 700
MOST_GROWTH = 1.3
MOST_TIME = {"verify": 1.5, "cold sync": 3.0}


@dataclass(frozen=True)
class Run:
    """One command's wall time in seconds and peak memory in MB."""

    seconds: float
    megabytes: float


def run(*command: object) -> Run:
    """Run a command to its end."""
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Run(time.perf_counter() - started, usage.ru_maxrss / 1024)


def modelreg(home: Path, *arguments: object) -> Run:
    """Run the command."""
    return run(MODELREG, "--json", "-q", "--home", home, *arguments)


def write_random(path: Path, megabytes: int) -> None:
    """A safetensors file of random bytes."""
    count = (megabytes << 20) // TENSOR_BYTES
    header = {
        f"layer.{index}.weight": {
            "dtype": "U8",
            "shape": [TENSOR_BYTES],
            "data_offsets": [index * TENSOR_BYTES, (index + 1) * TENSOR_BYTES],
        }
        for index in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(count):
            file.write(os.urandom(TENSOR_BYTES))


def measure(megabytes: int, work: Path, rounds: int) -> dict[str, Run]:
    """Median time and highest memory of each operation on a release of that size."""
    work.mkdir()
    release, copy = work / "release.safetensors", work / "copy"
    write_random(release, megabytes)
    found: dict[str, list[Run]] = {}
    for _ in range(rounds):
        base, publisher, node = work / "cp", work / "publisher", work / "node"
        run(MODELREG, "-q", "--home", publisher, "init")
        run(MODELREG, "-q", "--home", node, "init", "--join", publisher)
        steps = {
            "start": lambda: run(MODELREG, "--version"),
            "cp": lambda base=base: run("cp", release, base),
            "b3sum": lambda: run(sys.executable, "-c", B3SUM, release),
            "publish": lambda publisher=publisher: modelreg(
                publisher, "publish", release, "--model", "b/m", "--version", "1.0.0", "--effort", "0"
            ),
            "cold sync": lambda node=node: modelreg(node, "sync", "b/m@1.0.0", "--to", copy),
            "verify": lambda node=node: modelreg(node, "verify", copy),
        }
        for name, step in steps.items():
            found.setdefault(name, []).append(step())
        base.unlink()
        for directory in (publisher, node, copy):
            shutil.rmtree(directory)
    release.unlink()
    return {
        name: Run(statistics.median(r.seconds for r in runs), max(r.megabytes for r in runs))
        for name, runs in found.items()
    }


def main() -> int:
    """Measure both sizes and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--megabytes", type=int, default=4096)
    parser.add_argument("--small", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        small = measure(options.small, Path(directory) / "small", options.rounds)
        large = measure(options.megabytes, Path(directory) / "large", options.rounds)
    missed = report(large, small, options.megabytes, options.small)
    return 1 if missed else 0


def report(large: dict[str, Run], small: dict[str, Run], megabytes: int, small_megabytes: int) -> bool:
    """Print the table; whether a bar is missed."""
    plain = large["cp"].seconds + large["b3sum"].seconds
    print(f"| {megabytes} MB | s | over cp + b3sum | peak MB | peak over that for {small_megabytes} MB |")
    print("|---|---|---|---|---|")
    print(f"| cp + b3sum | {plain:.1f} | 1 | | |")
    missed = False
    for name in ("publish", "cold sync", "verify"):
        seconds = large[name].seconds - large["start"].seconds
        ratio, growth = seconds / plain, large[name].megabytes / small[name].megabytes
        print(f"| {name} | {seconds:.1f} | {ratio:.2f} | {large[name].megabytes:.0f} | {growth:.2f} |")
        missed |= ratio > MOST_TIME.get(name, ratio)
        missed |= name != "verify" and (growth > MOST_GROWTH or large[name].megabytes > MOST_MEMORY_MB)
    return missed


if __name__ == "__main__":
    sys.exit(main())
