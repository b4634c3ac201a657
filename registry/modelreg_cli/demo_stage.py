"""Where the demo plays: runs the command in homes below one directory, and shows it and what it printed."""

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click

from modelreg.errors import UnreachableError, VerificationError

__all__ = ["Stage", "free_port"]

_END_SECONDS = 30


class Stage:
    """Runs commands, and stops if one does not end as it should.

    Args:
        root: where the homes lie.
        names: what stands for a path in what is shown.
        json_mode: show nothing.

    Attributes:
        steps: each command with its exit code and result, if nothing is shown.
    """

    def __init__(self, root: Path, names: Mapping[Path, str], *, json_mode: bool) -> None:
        self.root = root
        self.steps: list[dict[str, Any]] = []
        self._names, self._json_mode = names, json_mode

    def say(self, text: str) -> None:
        """Tell what comes."""
        if not self._json_mode:
            click.echo(f"\n# {text}")

    def show(self, text: str) -> None:
        """Show what something else than the command printed."""
        if not self._json_mode:
            click.echo(text)

    def ask(self, home: str, *arguments: str) -> Any:
        """The result of a command that is not shown."""
        code, printed, _ = self._call(home, arguments, json_mode=True)
        if code:
            raise VerificationError(f"the demo's step `{arguments[0]}`", expected="exit code 0", found=code)
        return json.loads(printed)

    def run(self, home: str, *arguments: str | Path, ends: int = 0) -> None:
        """Run a command and show it.

        Args:
            home: in which home.
            arguments: paths may have stars, as in a shell.
            ends: the exit code that the story needs.

        Raises:
            VerificationError: it did not end with the exit code `ends`.
        """
        code, printed, errors = self._call(home, self._expanded(arguments), json_mode=self._json_mode)
        words = (shlex.quote(word) if isinstance(word, str) else str(word) for word in arguments)
        shown = self._shorten(" ".join(["modelreg --home", home, *words]))
        if self._json_mode:
            self.steps.append({"command": shown, "exit_code": code, "result": json.loads(printed)})
        else:
            click.echo(f"$ {shown}\n{self._shorten((printed + errors).rstrip())}")
        if code != ends:
            raise VerificationError(f"the demo's step `{shown}`", expected=f"exit code {ends}", found=code)

    def _expanded(self, arguments: Sequence[str | Path]) -> list[str]:
        words: list[str] = []
        for word in arguments:
            if isinstance(word, Path) and "*" in word.name:
                words += sorted(map(str, word.parent.glob(word.name)))
            else:
                words.append(str(word))
        return words

    def _call(self, home: str, words: Sequence[str], *, json_mode: bool) -> tuple[int, str, str]:
        from modelreg_cli.app import run

        options = ["--quiet", "--home", str(self.root / home), *(["--json"] if json_mode else [])]
        printed, errors = StringIO(), StringIO()
        with redirect_stdout(printed), redirect_stderr(errors):
            code = run([*options, *words])
        return code, printed.getvalue(), errors.getvalue()

    @contextmanager
    def serving(self, home: str, *words: str, module: str = "modelreg_cli") -> Iterator[None]:
        """Have `serve` run in a process of its own meanwhile.

        Raises:
            UnreachableError: it does not begin to serve.
        """
        options = ["--quiet", "--home", str(self.root / home), "--json"]
        command = [sys.executable, "-m", module, *options, "serve", *words]
        program = "modelreg" if module == "modelreg_cli" else f"python -m {module}"
        self.show(f"$ {program} {shlex.join(['--home', home, 'serve', *words])} &")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                assert process.stdout is not None  # noqa: S101  a pipe was asked for
                begun = json.loads(process.stdout.readline() or "{}")
                if "url" not in begun:
                    raise UnreachableError(f"the demo's node {home} does not serve", found=begun)
                yield
            finally:
                process.terminate()
                process.wait(_END_SECONDS)

    def _shorten(self, text: str) -> str:
        for path, name in self._names.items():
            text = text.replace(str(path), name)
        return text.replace(f"{self.root}/", "")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
