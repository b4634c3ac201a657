"""`demo`."""

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click

from modelreg.errors import InputError, VerificationError
from modelreg_cli.session import Session, pass_session

__all__ = ["demo_command"]

_MODEL = "acme/minilm"
_WEIGHTS = "model.safetensors"


@click.command("demo")
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Work in DIR and keep it."
)
@pass_session
def demo_command(session: Session, keep: Path | None) -> None:
    """Show the whole story on a real model: publish, sync, update, and two attempts at cheating."""
    from platformdirs import user_cache_path

    from modelreg_cli.demo_models import make_models

    models = make_models(user_cache_path("modelreg") / "demo", session.output.remark)
    with _workplace(keep) as root:
        steps = _Story(root, models, json_mode=session.output.json_mode).tell()
    session.output.result(steps, "")


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        root = Path(mkdtemp(prefix="modelreg-demo-"))
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return
    root = keep.absolute()
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise InputError(f"{root} is not empty", hint="name a new directory with --keep")
    yield root


class _Story:
    """Runs the command as a publisher and as a node, and stops if a step does not end as it should."""

    def __init__(self, root: Path, models: dict[str, Path], *, json_mode: bool) -> None:
        self._root = root
        self._models = models
        self._json_mode = json_mode
        self._steps: list[dict[str, Any]] = []

    def tell(self) -> list[dict[str, Any]]:
        """Run all steps; returns each with its exit code and result."""
        self._say("A publisher makes a home: a key, a block store, and a chain with the registry contract.")
        self._run("publisher", "init")
        self._say("It publishes all-MiniLM-L6-v2, a directory as Hugging Face lays it out.")
        self._publish("1.0.0")
        self._say("A node joins and fetches that release. Every byte is checked against the ledger.")
        self._run("node", "init", "--join", str(self._root / "publisher"))
        self._sync("1.0.0")
        self._say("Training goes on. The update costs the node a small part of the model.")
        self._publish("1.1.0")
        self._sync("1.1.0")
        self._say(
            "One more step of training, and somebody changes one byte of it in the publisher's store ..."
        )
        before = self._blocks()
        self._publish("1.1.1")
        block = max(self._blocks() - before, key=lambda path: path.stat().st_size)
        _flip(block, block.stat().st_size // 2)
        self._sync("1.1.1", ends=VerificationError.exit_code)
        self._say("... which the node refuses. Once the block is mended, it goes on.")
        _flip(block, block.stat().st_size // 2)
        self._sync("1.1.1")
        self._say("Somebody changes one byte of the node's weights.")
        weights = self._root / "model" / _WEIGHTS
        _flip(weights, weights.stat().st_size * 2 // 3)
        self._run("node", "verify", "model", ends=VerificationError.exit_code)
        self._say("Syncing again mends the copy; all else is here already.")
        self._sync("1.1.1")
        self._run("node", "verify", "model")
        self._run("node", "log", _MODEL)
        return self._steps

    def _publish(self, version: str) -> None:
        self._run("publisher", "publish", str(self._models[version]), "--model", _MODEL, "--version", version)

    def _sync(self, version: str, *, ends: int = 0) -> None:
        self._run("node", "sync", f"{_MODEL}@{version}", "--to", "model", ends=ends)

    def _blocks(self) -> set[Path]:
        return set((self._root / "publisher" / "store" / "blocks").glob("*/b*"))

    def _say(self, text: str) -> None:
        if not self._json_mode:
            click.echo(f"\n# {text}")

    def _run(self, home: str, *arguments: str, ends: int = 0) -> None:
        from modelreg_cli.app import run

        paths = [str(self._root / "model") if word == "model" else word for word in arguments]
        options = ["--quiet", "--home", str(self._root / home), *(["--json"] if self._json_mode else [])]
        printed = StringIO()
        errors = printed if not self._json_mode else StringIO()
        with redirect_stdout(printed), redirect_stderr(errors):
            code = run([*options, *paths])
        shown = shlex.join(["modelreg", "--home", home, *map(self._shorten, arguments)])
        if self._json_mode:
            self._steps.append(
                {"command": shown, "exit_code": code, "result": json.loads(printed.getvalue())}
            )
        else:
            click.echo(f"$ {shown}\n{self._shorten(printed.getvalue().rstrip())}")
        if code != ends:
            raise VerificationError(f"the demo's step `{shown}`", expected=f"exit code {ends}", found=code)

    def _shorten(self, text: str) -> str:
        for version, path in self._models.items():
            text = text.replace(str(path), f"minilm-{version}")
        return text.replace(f"{self._root}/", "")


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
