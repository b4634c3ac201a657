"""`demo`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import click

from modelreg.errors import InputError, VerificationError
from modelreg_cli.demo_nodes import tell_of_nodes
from modelreg_cli.demo_stage import Stage
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
    """Show the whole story on a real model: publish, sync, update, serve, audit, and three cheats."""
    from platformdirs import user_cache_path

    from modelreg_cli.demo_models import make_models, make_onnx

    cache = user_cache_path("modelreg") / "demo"
    models = make_models(cache, session.output.remark)
    onnx = make_onnx(cache, models) if _can_infer() else None
    with _workplace(keep) as root:
        stage = Stage(root, _names(models, onnx), json_mode=session.output.json_mode)
        _Story(stage, models).tell()
        if onnx is None:
            session.output.remark("pip install 'modelreg[inference]' for the second half: nodes and audits")
        else:
            tell_of_nodes(stage, onnx)
    session.output.result(stage.steps, "")


def _can_infer() -> bool:
    return all(find_spec(name) for name in ("onnxruntime", "prometheus_client"))


def _names(models: dict[str, Path], onnx: Path | None) -> dict[Path, str]:
    names = {path: f"minilm-{version}" for version, path in models.items()}
    return names if onnx is None else {**names, onnx: "minilm-onnx"}


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
    """How a release travels: published, fetched, updated, and twice tampered with."""

    def __init__(self, stage: Stage, models: dict[str, Path]) -> None:
        self._stage, self._models = stage, models
        self._copy = stage.root / "model"

    def tell(self) -> None:
        """Run all steps."""
        self._stage.say(
            "A publisher makes a home: a key, a block store, and a chain with the registry contract."
        )
        self._stage.run("publisher", "init")
        self._stage.say("It publishes all-MiniLM-L6-v2, a directory as Hugging Face lays it out.")
        self._publish("1.0.0")
        self._stage.say("A node joins and fetches that release. Every byte is checked against the ledger.")
        self._stage.run("node", "init", "--join", str(self._stage.root / "publisher"))
        self._sync("1.0.0")
        self._stage.say("Training goes on. The update costs the node a small part of the model.")
        self._publish("1.1.0")
        self._sync("1.1.0")
        self._stage.say(
            "One more step of training, and somebody changes one byte of it in the publisher's store ..."
        )
        before = self._blocks()
        self._publish("1.1.1")
        block = max(self._blocks() - before, key=lambda path: path.stat().st_size)
        _flip(block, block.stat().st_size // 2)
        self._sync("1.1.1", ends=VerificationError.exit_code)
        self._stage.say("... which the node refuses. Once the block is mended, it goes on.")
        _flip(block, block.stat().st_size // 2)
        self._sync("1.1.1")
        self._stage.say("Somebody changes one byte of the node's weights.")
        weights = self._copy / _WEIGHTS
        _flip(weights, weights.stat().st_size * 2 // 3)
        self._stage.run("node", "verify", self._copy, ends=VerificationError.exit_code)
        self._stage.say("Syncing again mends the copy; all else is here already.")
        self._sync("1.1.1")
        self._stage.run("node", "verify", self._copy)
        self._stage.run("node", "log", _MODEL)

    def _publish(self, version: str) -> None:
        self._stage.run(
            "publisher", "publish", str(self._models[version]), "--model", _MODEL, "--version", version
        )

    def _sync(self, version: str, *, ends: int = 0) -> None:
        self._stage.run("node", "sync", f"{_MODEL}@{version}", "--to", self._copy, ends=ends)

    def _blocks(self) -> set[Path]:
        return set((self._stage.root / "publisher" / "store" / "blocks").glob("*/b*"))


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
