"""A release of 1 GB between two Kubo daemons on loopback, beside Kubo's own import and export of its blocks.

    python -m benchmarks.kubo [--megabytes 1000] [--rounds 3]

Prints a table in Markdown, and exits with 1 if a bar is missed. Needs `make kubo`.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tests.kubo import BINARY, KuboNode, kubo_node

MODELREG = Path(sys.executable).with_name("modelreg")
BAR = 1.3
MEMORY_BAR = 500e6
MODEL = "bench/large"
_LAYER = 8 << 20


@dataclass(frozen=True)
class Run:
    """Seconds of wall time and bytes of peak memory of one command."""

    seconds: float
    memory: int


def run(*words: object, environment: dict[str, str] | None = None, to: Path | None = None) -> Run:
    """Run a command to its end; what it writes goes to a file and to the disk, if one is given."""
    # An installed command finds its bytecode.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with (to or Path(os.devnull)).open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in words], env=inherited | (environment or {}), stdout=out
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if to:
            os.fsync(out.fileno())
    if process.returncode:
        raise SystemExit(f"{words[0]} failed")
    return Run(time.perf_counter() - began, usage.ru_maxrss * 1024)


def ipfs(node: KuboNode, *words: object, to: Path | None = None) -> Run:
    """Run Kubo's own command against a daemon."""
    return run(BINARY, *words, environment={"IPFS_PATH": str(node.repository)}, to=to)


def modelreg(home: Path, *words: object) -> Run:
    """Run ours."""
    return run(MODELREG, "-q", "--home", home, *words)


def daemon(stack: ExitStack, place: Path, peer: KuboNode | None = None) -> KuboNode:
    """A daemon with an empty repository, which knows a peer."""
    node = stack.enter_context(kubo_node(place))
    if peer is not None:
        node.connect(peer)
    return node


def write_weights(path: Path, megabytes: int, seed: int) -> None:
    """A model that no encoding makes smaller."""
    shape = megabytes * 1_000_000 // _LAYER, _LAYER // 4
    words = np.random.default_rng(seed).integers(0, 2**32, shape, "u4")
    save_file({f"layer.{number}": row.view("f4") for number, row in enumerate(words)}, path)


def once(work: Path, weights: Path) -> dict[str, Run]:
    """Publish, import, sync and export the same release."""
    words = ("publish", weights, "--model", MODEL, "--version", "1.0.0", "--effort", "0")
    with ExitStack() as stack:
        first, both = daemon(stack, work / "first"), daemon(stack, work / "both")
        home, node = work / "publisher", work / "node"
        modelreg(home, "init", "--store", "kubo", "--kubo-api", first.url)
        found = {"publish": modelreg(home, *words)}
        pins = first.run("pin", "ls", "--type=recursive", "--names").splitlines()
        manifest = next(line.split()[0] for line in pins if MODEL in line)
        archive = work / "release.car"
        ipfs(first, "dag", "export", "-p=false", manifest, to=archive)
        found["import"] = ipfs(daemon(stack, work / "import"), "dag", "import", archive)
        modelreg(work / "double", "init", "--store", "local,kubo", "--kubo-api", both.url)
        found["publish both"] = modelreg(work / "double", *words)

        second, other = daemon(stack, work / "second", first), daemon(stack, work / "other", first)
        modelreg(node, "init", "--join", home, "--store", "kubo", "--kubo-api", second.url)
        config = node / "config.toml"
        lines = config.read_text().splitlines()
        config.write_text("\n".join("peers = []" if line.startswith("peers") else line for line in lines))
        found["sync"] = modelreg(node, "sync", f"{MODEL}@1.0.0", "--to", work / "copy")
        found["export"] = ipfs(other, "dag", "export", "-p=false", manifest, to=work / "other.car")
        found["sync near"] = modelreg(node, "sync", f"{MODEL}@1.0.0", "--to", work / "again")
        found["export near"] = ipfs(second, "dag", "export", "-p=false", manifest, to=work / "near.car")
    return found


def compare(megabytes: int, rounds: int) -> list[tuple[str, float, float, float, int]]:
    """Rows: what, our seconds, Kubo's, the ratio, our memory; medians of rounds."""
    found = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            weights = Path(directory) / "model.safetensors"
            # In a process of its own: what forks from a large one counts as large.
            writer = multiprocessing.get_context("spawn").Process(
                target=write_weights, args=(weights, megabytes, number)
            )
            writer.start()
            writer.join()
            found.append(once(Path(directory), weights))
    rows = []
    for what, ours, theirs in (
        ("publish with `--store kubo` / `ipfs dag import`", "publish", "import"),
        ("publish with `--store local,kubo` / `ipfs dag import`", "publish both", "import"),
        ("sync over bitswap / `ipfs dag export`", "sync", "export"),
        ("sync, the blocks at the own daemon / `ipfs dag export`", "sync near", "export near"),
    ):
        ratio = statistics.median(each[ours].seconds / each[theirs].seconds for each in found)
        memory = max(each[ours].memory for each in found)
        ours_, theirs_ = (statistics.median(each[name].seconds for each in found) for name in (ours, theirs))
        rows.append((what, ours_, theirs_, ratio, memory))
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    version = json.loads(subprocess.check_output([BINARY, "version", "--enc=json"]))["Version"]
    print(f"| {options.megabytes} MB, Kubo {version} | seconds | Kubo's | ratio | bar | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    rows = compare(options.megabytes, options.rounds)
    for what, ours, theirs, ratio, memory in rows:
        print(f"| {what} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {BAR} | {memory / 1e6:.0f} |")
    return int(any(ratio > BAR or memory > MEMORY_BAR for *_, ratio, memory in rows))


if __name__ == "__main__":
    sys.exit(main())
