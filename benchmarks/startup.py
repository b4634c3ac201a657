"""How long the command takes to start, beside what Python takes to import the libraries that it stands on.

    python -m benchmarks.startup [--rounds 15]

Times are processor time of whole processes, run in turn: the median of the ratios counts. Prints a table in
Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MODELREG = Path(sys.executable).with_name("modelreg")
MODEL = "acme/tiny"


def cpu_seconds(*command: object) -> float:
    """Processor time of one run."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def make_home(root: Path) -> Path:
    """A home with one release on its chain."""
    home, model = root / "home", root / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(bytes(range(256)) * 64)
    for arguments in (["init"], ["publish", model, "--model", MODEL, "--version", "1.0.0"]):
        subprocess.run([MODELREG, "-q", "--home", home, *arguments], check=True, stdout=subprocess.DEVNULL)
    return home


def compare(command: Sequence[object], library: str, rounds: int) -> tuple[float, float, float]:
    """Medians of the command's time, of the import's time, and of their ratio round by round."""
    yardstick = (sys.executable, "-c", f"import {library}")
    pairs = [(cpu_seconds(*command), cpu_seconds(*yardstick)) for _ in range(rounds + 1)][1:]
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(ours), statistics.median(theirs), ratio


def main() -> int:
    """Compare, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    missed = False
    print("| command | s | beside | s | ratio | bar |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        home = make_home(Path(root))
        for words, library, bar in (
            (["--help"], "click", 2.5),
            (["--home", home, "log", MODEL], "web3", 1.5),
        ):
            ours, theirs, ratio = compare([MODELREG, *words], library, rounds)
            missed |= ratio > bar
            name = "--help" if words == ["--help"] else "log"
            print(f"| modelreg {name} | {ours:.2f} | import {library} | {theirs:.2f} | {ratio:.2f} | {bar} |")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
