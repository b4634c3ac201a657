"""What a node that is ten releases behind fetches: all differences, what was published, or one squash.

    python -m benchmarks.squash --corpus DIR [--work DIR]

The chain is composed of the corpus's real difference of ten training steps: each release adds it once more,
with the layers' parts handed round and the other tensors' rows rolled, so that no two steps are alike. Prints
a table in Markdown, and exits with 1 if the bar is missed.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.pairs import pairs
from benchmarks.transfer import modelreg

STEPS = 10
LAYERS = 6
MODEL = "bench/chain"
PRECISIONS = {"bf16": ml_dtypes.bfloat16, "fp32": np.float32}
BAR = 0.6
_LAYER = re.compile(r"(.*layer\.)(\d+)(\..*)")
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """Bytes fetched by a node that followed each step, by one that came late, and by one with the squash."""

    precision: str
    steps: int
    late: int
    squashed: int

    @property
    def missed(self) -> bool:
        """Whether the bar is missed."""
        return self.squashed > BAR * self.steps

    def __str__(self) -> str:
        cells = [
            self.precision,
            *(f"{count:,}" for count in (self.steps, self.late, self.squashed)),
            f"{self.squashed / self.steps:.3f}",
            f"{self.squashed / self.late:.3f}",
            "missed" if self.missed else "met",
        ]
        return "| " + " | ".join(cells) + " |"


def change(name: str, step: int, difference: Tensors) -> np.ndarray:
    """What a step adds to a tensor."""
    part = _LAYER.fullmatch(name)
    if part is None:
        return np.roll(difference[name], 97 * step, axis=0)
    return difference[f"{part[1]}{(int(part[2]) + step) % LAYERS}{part[3]}"]


def releases(base: Tensors, difference: Tensors) -> Iterator[Tensors]:
    """The base, and a release for each step."""
    yield base
    for step in range(STEPS):
        base = {name: array + change(name, step, difference) for name, array in base.items()}
        yield base


def measure(precision: str, base: Tensors, difference: Tensors, root: Path) -> Row:
    """Publish the chain, and sync it in three ways."""
    publisher, follower = root / "publisher", root / "follower"
    modelreg(publisher, "init")
    nodes = [root / name for name in ("follower", "late", "lucky")]
    for node in nodes:
        modelreg(node, "init", "--join", publisher)
    fetched = []
    for step, tensors in enumerate(releases(base, difference)):
        file = root / "model.safetensors"
        save_file({name: array.astype(PRECISIONS[precision]) for name, array in tensors.items()}, file)
        modelreg(publisher, "publish", file, "--model", MODEL, "--version", f"1.{step}.0")
        fetched.append(sync(follower, step))
        if step == 0:
            for node in nodes[1:]:
                sync(node, step)
    late = sync(nodes[1], STEPS)
    modelreg(publisher, "squash", f"{MODEL}@1.{STEPS}.0", "--from", f"{MODEL}@1.0.0")
    return Row(precision, sum(fetched[1:]), late, sync(nodes[2], STEPS))


def sync(node: Path, step: int) -> int:
    """Bring a node to a step; the bytes that it fetched."""
    document, _ = modelreg(node, "sync", f"{MODEL}@1.{step}.0", "--to", node.with_name(f"{node.name}-copy"))
    return document["bytes"]["fetched"]


def main() -> int:
    """Measure both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="the folder with unpack.py and index.json")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "modelreg-bench")
    options = parser.parse_args()
    pair = next(pair for pair in pairs(options.corpus, options.work) if "fp32 0" in pair.name)
    base, tuned = load_file(pair.parent), load_file(pair.child)
    difference = {name: tuned[name] - array for name, array in base.items()}
    print("| precision | all ten steps | coming late | squashed | of the steps | of coming late | bar |")
    print("|---|---|---|---|---|---|---|")
    missed = 0
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as directory:
            row = measure(precision, base, difference, Path(directory))
        missed += row.missed
        print(row, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
