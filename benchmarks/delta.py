"""Updates by this project and by its peers, side by side: bytes, seconds and memory.

    python -m benchmarks.delta --corpus DIR [--work DIR] [--peers PYTHON] [--rounds N] [--pair WORDS]

Ours is what a node fetches through `publish` and `sync`, and the seconds of codec and manifest alone, on one
processor. PYTHON is an environment with benchmarks/peers.txt; zstd and xdelta3 are commands. What is not
installed is left out. Prints tables in Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pairs import Pair, pairs
from benchmarks.transfer import modelreg, update

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 30
# By the words of a pair's name: at most these shares of what zstd and BitX need.
BARS = {
    "fine-tune bf16": (0.20, 0.55),
    "fine-tune fp32": (0.33, 0.76),
    "RL bf16": (0.035, 0.36),
    "LoRA merged fp32, adapter": (0.04, 0.06),
    "LoRA merged bf16, adapter": (0.09, 0.25),
    "LoRA merged fp32": (0.06, 0.09),
    "LoRA merged bf16": (0.15, 0.42),
    "int8 0": (0.06, 0.57),
    "smart-turn": (0.62, 0.88),
    "magika": (0.91, 0.97),
    "nudenet": (0.91, 0.97),
    "silero": (0.95, 1.00),
}
# By type, how many times as fast as zstd to decode; and to encode.
FASTER = {"bf16": 1.3, "f32": 2.5}
ENCODE = 0.8
ZSTD, STRONG, BITX, OURS = "zstd -3", "zstd -19", "BitX", "modelreg"


@dataclass
class Figures:
    """What a codec made of a pair: bytes, seconds of each round, MB at most."""

    size: int = 0
    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    peak: float = 0.0

    def seconds(self) -> str:
        """Medians, encoding and decoding."""
        return f"{statistics.median(self.encode):.2f} / {statistics.median(self.decode):.3f}"


Run = Callable[[str, Path, Path, Path], tuple[float, float]]
"""Encode or decode, from a parent and a file to a file: seconds and MB."""


def kind_of(pair: Pair) -> str:
    """The type of most words."""
    if "bf16" in pair.name or "header" in pair.name:
        return "bf16"
    return "i8" if "int8" in pair.name or "smart-turn" in pair.name else "f32"


def library(python: Path, codec: str, kind: str, processors: str) -> Run:
    """A codec of benchmarks.delta_codecs in an interpreter."""

    def run(way: str, parent: Path, file: Path, out: Path) -> tuple[float, float]:
        words = [python, "-m", "benchmarks.delta_codecs", codec, way, parent, file, out, kind]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            ["taskset", "-c", processors, *map(str, words)],
            check=True,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return found["seconds"], found["peak_mb"]

    return run


def command(encode: str, decode: str) -> Run:
    """A command of the system, with PARENT, FILE and OUT in its words; it starts within milliseconds."""

    def run(way: str, parent: Path, file: Path, out: Path) -> tuple[float, float]:
        places = {"PARENT": str(parent), "FILE": str(file), "OUT": str(out)}
        words = (encode if way == "encode" else decode).split()
        for name, place in places.items():
            words = [word.replace(name, place) for word in words]
        started = time.perf_counter()
        process = subprocess.Popen(["taskset", "-c", "0", *words], stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise subprocess.CalledProcessError(status, words)
        return time.perf_counter() - started, usage.ru_maxrss / 1024

    return run


def codecs(kind: str, peers: Path | None) -> Iterator[tuple[str, Run]]:
    """Those that are installed, by name."""
    if shutil.which("zstd"):
        for name in (ZSTD, STRONG):
            level = name.split()[1]
            yield (
                name,
                command(
                    f"zstd -q -f -T1 {level} --long=27 --patch-from=PARENT FILE -o OUT",
                    "zstd -q -d -f --long=27 --memory=1024MB --patch-from=PARENT FILE -o OUT",
                ),
            )
    yield BITX, library(Path(sys.executable), "bitx", kind, "0")
    if shutil.which("xdelta3"):
        yield (
            "xdelta3",
            command(
                "xdelta3 -e -f -9 -B 134217728 -s PARENT FILE OUT",
                "xdelta3 -d -f -B 134217728 -s PARENT FILE OUT",
            ),
        )
    for name, codec in (("ZipNN", "zipnn"), ("z4ai", "z4ai"), ("CDC 64 KiB", "chunks"), ("bsdiff", "bsdiff")):
        if peers is not None:
            yield name, library(peers, codec, kind, "0")


def tried(run: Run, pair: Pair, work: Path, rounds: int) -> Figures | None:
    """A codec's figures; None where it fails, or does not finish."""
    patch, copy, found = work / "patch", work / "copy.out", Figures()
    try:
        for _ in range(rounds):
            for way, file, out in (("encode", pair.child, patch), ("decode", patch, copy)):
                out.unlink(missing_ok=True)  # to empty an old one is no codec's work
                seconds, peak = run(way, pair.parent, file, out)
                getattr(found, way).append(seconds)
                found.peak = max(found.peak, peak)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    if not filecmp.cmp(copy, pair.child, shallow=False):
        return None
    found.size = patch.stat().st_size
    return found


def all_figures(
    pair: Pair, work: Path, peers: Path | None, rounds: int, chosen: list[str] | None
) -> dict[str, Figures | None]:
    """Of every codec, ours on one processor and on two; slow ones run once."""
    kind = kind_of(pair)
    ours = library(Path(sys.executable), "modelreg", kind, "0")
    found: dict[str, Figures | None] = {OURS: tried(ours, pair, work, rounds)}
    if len(os.sched_getaffinity(0)) > 1:
        two = library(Path(sys.executable), "modelreg", kind, "0-1")
        found["two threads"] = tried(two, pair, work, rounds)
    for name, run in codecs(kind, peers):
        if chosen and name not in chosen:
            continue
        found[name] = tried(run, pair, work, rounds if name in (ZSTD, BITX) else 1)
    return found


def ratio(ours: float, other: float | None, bar: float | None) -> str:
    """A share, with its bar."""
    if not other:
        return "-"
    share = ours / other
    text = f"{share:.3f}" if share < 0.1 else f"{share:.2f}"
    return text if bar is None else f"{text} ({bar:g}{', missed' if share > bar else ''})"


def size_row(pair: Pair, fetched: int, found: dict[str, Figures | None]) -> str:
    """A pair's bytes, as shares of the file, and ours over the peers'."""
    size = pair.child.stat().st_size
    bars = next((bars for words, bars in BARS.items() if words in pair.name), (None, None))
    shown = [fetched, *(figures.size if figures else None for name, figures in peers_of(found))]
    cells = [f"{100 * each / size:.3f}" if each else "-" for each in shown]
    zstd, bitx = found.get(ZSTD), found.get(BITX)
    shares = [
        ratio(fetched, each.size if each else None, bar) for each, bar in zip((zstd, bitx), bars, strict=True)
    ]
    return "| " + " | ".join([pair.name, f"{size / 1e6:.1f}", *cells, *shares]) + " |"


def peers_of(found: dict[str, Figures | None]) -> list[tuple[str, Figures | None]]:
    """All but ours."""
    return [(name, figures) for name, figures in found.items() if name not in (OURS, "two threads")]


def speed_row(pair: Pair, found: dict[str, Figures | None]) -> str:
    """A pair's seconds, and how many times as fast as zstd ours is."""
    cells = [f"{each.seconds()} / {each.peak:.0f}" if each else "-" for each in found.values()]
    ours, two, zstd = found[OURS], found.get("two threads"), found.get(ZSTD)
    if ours is None or zstd is None:
        return "| " + " | ".join([pair.name, *cells, "-", "-", "-"]) + " |"
    shares = [
        faster(zstd.encode, ours.encode, ENCODE),
        faster(zstd.decode, ours.decode, FASTER.get(kind_of(pair)) if "fine-tune" in pair.name else None),
        faster(ours.decode, two.decode, None) if two else "-",
    ]
    return "| " + " | ".join([pair.name, *cells, *shares]) + " |"


def faster(theirs: list[float], ours: list[float], bar: float | None) -> str:
    """How many times as fast."""
    times = statistics.median(theirs) / statistics.median(ours)
    return f"{times:.2f}" if bar is None else f"{times:.2f} ({bar:g}{', missed' if times < bar else ''})"


def tables(rows: list[tuple[Pair, int, dict[str, Figures | None]]]) -> str:
    """Bytes, then seconds and memory, then a chart."""
    names = [name for name, _ in peers_of(rows[0][2])]
    head = ["pair", "MB", "fetched %", *(f"{name} %" for name in names), "over zstd -3", "over BitX"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [size_row(*row) for row in rows]
    head = ["pair", *rows[0][2], "encode", "decode", "2 threads"]
    lines += ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [speed_row(pair, found) for pair, _, found in rows if pair.adapter is None]
    return "\n".join([*lines, "", chart(rows)])


def chart(rows: list[tuple[Pair, int, dict[str, Figures | None]]]) -> str:
    """Bytes of pairs with a bar as shares of zstd's: ours bars, BitX's a line, in Mermaid."""
    rows = [row for row in rows if any(words in row[0].name for words in BARS)]
    whole = [(pair, fetched, found[ZSTD], found[BITX]) for pair, fetched, found in rows if found.get(ZSTD)]
    ours = [f"{fetched / zstd.size:.3f}" for _, fetched, zstd, _ in whole if zstd]
    bitx = [f"{each.size / zstd.size if each else 0:.3f}" for _, _, zstd, each in whole if zstd]
    names = ", ".join(f'"{pair.name.split(" ")[0]} {number}"' for number, (pair, *_) in enumerate(whole, 1))
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            '  title "Bytes beside zstd --patch-from: modelreg (bars), BitX (line)"',
            f"  x-axis [{names}]",
            '  y-axis "share" 0 --> 1.2',
            f"  bar [{', '.join(ours)}]",
            f"  line [{', '.join(bitx)}]",
            "```",
        ]
    )


def main() -> int:
    """Measure every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="the folder with unpack.py and index.json")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "modelreg-bench")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pair", action="append")
    parser.add_argument("--codec", action="append", help="only these of the others, as the tables name them")
    options = parser.parse_args()
    rows: list[tuple[Pair, int, dict[str, Figures | None]]] = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        modelreg(root / "publisher", "init")
        modelreg(root / "node", "init", "--join", root / "publisher")
        for number, pair in enumerate(pairs(options.corpus, options.work)):
            if options.pair and not any(words in pair.name for words in options.pair):
                continue
            fetched, _, _ = update(pair, number, root / "publisher", root / "node", root)
            same = next((found for other, _, found in rows if other.child == pair.child), None)
            found = same or all_figures(pair, root, options.peers, options.rounds, options.codec)
            rows.append((pair, fetched, found))
            print(pair.name, file=sys.stderr, flush=True)
    page = tables(rows)
    print(page)
    return int("missed" in page)


if __name__ == "__main__":
    sys.exit(main())
