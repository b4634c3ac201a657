"""Running the command, in this process or in one of its own, and looking at what a home holds."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelreg.config import read_config
from modelreg.store.pins import Pins
from modelreg_cli.app import run

PROGRAM = (sys.executable, "-c", "from modelreg_cli import main; main()")


@dataclass(frozen=True)
class Outcome:
    """What a run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def modelreg(home: Path, *arguments: object, json_mode: bool = True) -> Outcome:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    words = ["--home", str(home), *(["--json"] if json_mode else []), *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    return Outcome(code, out.getvalue(), err.getvalue())


def done(home: Path, *arguments: object) -> Any:
    """Run the command, which must succeed; returns its document."""
    outcome = modelreg(home, *arguments)
    assert outcome.code == 0, outcome.err
    return outcome.document


def refused(home: Path, *arguments: object, code: int) -> str:
    """Run the command, which must fail as documented: one line and one document. Returns the line."""
    return checked_refusal(modelreg(home, *arguments), code)


def checked_refusal(outcome: Outcome, code: int) -> str:
    """The line of a failed run with --json."""
    assert outcome.code == code, outcome.err
    lines = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert "unexpected" not in lines[0]
    error = outcome.document["error"]
    assert error["exit_code"] == code
    assert f"error: {error['message']}" == lines[0]
    return lines[0]


def start(home: Path, *arguments: object, env: dict[str, str] | None = None, **options: Any) -> Any:
    """Start the command in a process of its own, which the caller ends."""
    words = [*PROGRAM, "--home", str(home), *map(str, arguments)]
    settings = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.DEVNULL,
        "text": True,
        "start_new_session": True,
        "env": os.environ | (env or {}),
    }
    return subprocess.Popen(words, **(settings | options))


def execute(home: Path, *arguments: object, env: dict[str, str] | None = None, **options: Any) -> Outcome:
    """Run the command in a process of its own, to its end."""
    process = start(home, *arguments, env=env, **options)
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out or "", err or "")


def blocks(home: Path) -> set[Path]:
    """The files of a home's own blocks."""
    return set((home / "store" / "blocks").glob("??/b*"))


def kept(home: Path) -> tuple[Any, ...]:
    """What a refused command must leave as it was: blocks, pins, records, copies and the ledger."""
    store = home / "store" / "blocks"
    files = {str(path): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    pins = Pins(home / "pins").list()
    others = sorted(str(path) for name in ("installed", "models") for path in (home / name).rglob("*"))
    chain = read_config(home / "config.toml").chain.file
    return files, pins, others, done(home, "chain", "status")["block"] if chain else None


def tree(root: Path) -> dict[str, bytes]:
    """The files below a directory, or the file itself, with their bytes."""
    if root.is_file():
        return {root.name: root.read_bytes()}
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip(path: Path, offset: int | None = None) -> None:
    """Change one bit of a file, in its middle unless said otherwise."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 if offset is None else offset] ^= 1
    path.write_bytes(raw)
