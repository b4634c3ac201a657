"""What an update costs a node, on real pairs: publish both releases, sync them on a second home, count bytes.

    python -m benchmarks.transfer --corpus DIR [--work DIR]

Prints a table in Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import zstandard

from benchmarks.pairs import EXTRA_ROWS, Pair, pairs

ZSTD_LEVEL = 19
ZSTD_ALLOWANCE = 1.01
GROWN_SHARE = 0.001
MODELREG = Path(sys.executable).with_name("modelreg")


@dataclass(frozen=True)
class Row:
    """A pair's figures: bytes, and seconds of whole commands."""

    pair: Pair
    size: int
    fetched: int
    zstd: int
    publish_seconds: float
    sync_seconds: float

    @property
    def missed(self) -> bool:
        """Whether a bar is missed."""
        bars = [self.zstd * ZSTD_ALLOWANCE]
        if self.pair.bitx is not None:
            bars.append(self.pair.bitx * self.size)
        if str(EXTRA_ROWS) + " rows" in self.pair.name:
            bars.append(GROWN_SHARE * self.size)
        return self.fetched > min(bars)

    def __str__(self) -> str:
        bitx = f"{100 * self.pair.bitx:.2f}" if self.pair.bitx is not None else "-"
        cells = [
            self.pair.name,
            f"{self.size / 1e6:.1f}",
            f"{self.fetched:,}",
            f"{100 * self.fetched / self.size:.3f}",
            bitx,
            f"{100 * self.zstd / self.size:.1f}",
            f"{self.publish_seconds:.1f}",
            f"{self.sync_seconds:.1f}",
            "missed" if self.missed else "met",
        ]
        return "| " + " | ".join(cells) + " |"


def modelreg(home: Path, *arguments: object) -> tuple[dict, float]:
    """Run the command; its document and the seconds it took."""
    command = [str(word) for word in (MODELREG, "--json", "-q", "--home", home, *arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), time.perf_counter() - started


def update(pair: Pair, number: int, publisher: Path, node: Path, work: Path) -> tuple[int, float, float]:
    """Publish and sync a pair: what the child cost to fetch in bytes, to publish and to sync in seconds."""
    model = f"bench/pair-{number}"
    name = "model" + pair.parent.suffix
    copy = work / "copy"
    hint = ["--adapter", pair.adapter] if pair.adapter else []
    for version, file in (("1.0.0", pair.parent), ("1.1.0", pair.child)):
        release = work / "release"
        release.mkdir()
        shutil.copyfile(file, release / name)
        _, published = modelreg(publisher, "publish", release, "--model", model, "--version", version, *hint)
        synced, seconds = modelreg(node, "sync", f"{model}@{version}", "--to", copy)
        if not filecmp.cmp(copy / name, file, shallow=False):
            raise SystemExit(f"{pair.name}: the copy of {version} differs")
        shutil.rmtree(release)
    shutil.rmtree(copy)
    return synced["bytes"]["fetched"], published, seconds


def measure(pair: Pair, number: int, publisher: Path, node: Path, work: Path) -> Row:
    """A pair's update, and the child alone by zstd."""
    fetched, published, synced = update(pair, number, publisher, node, work)
    child = pair.child.read_bytes()
    packed = len(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(child))
    return Row(pair, len(child), fetched, packed, published, synced)


def main() -> int:
    """Measure every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="the folder with unpack.py and index.json")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "modelreg-bench")
    options = parser.parse_args()
    print("| pair | MB | fetched bytes | % of file | BitX % | zstd -19 alone % | publish s | sync s | bars |")
    print("|---|---|---|---|---|---|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        modelreg(root / "publisher", "init")
        modelreg(root / "node", "init", "--join", root / "publisher")
        for number, pair in enumerate(pairs(options.corpus, options.work)):
            row = measure(pair, number, root / "publisher", root / "node", root)
            missed += row.missed
            print(row, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
