"""Write docs/cli.md and the transcript in README.md from the command itself; --check compares instead.

What differs from run to run (keys, hashes, times, gas) is left out of the comparison.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import click

from modelreg_cli.app import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"
TRANSCRIPT = re.compile(r"(?<=<!-- transcript -->\n```console\n).*?(?=```\n<!-- /transcript -->)", re.DOTALL)
VARIABLE = re.compile(
    r"0x[0-9a-f]+|ba[fgk][a-z2-7]{50,}|blake3:[0-9a-f]+|\d{4}-\d\d-\d\dT[\d:]+(?:Z|\+00:00)|\d+ gas|\d{13,}"
    r"|127\.0\.0\.1:\d+|--port \d+|[0-9a-f]{64}|[\d.]+e[-+]\d+|seq \d+: |[\d.]+% alike|\d+ of \d+ elements"
)
WIDTH = 100


def commands(command: click.Command, path: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """Every command below `command` with its help text."""
    context = click.Context(command, info_name=path.split()[-1], parent=parent, max_content_width=WIDTH)
    context.terminal_width = WIDTH
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from commands(child, f"{path} {name}", context)


def cli_page() -> str:
    """docs/cli.md."""
    parts = [(ROOT / "docs" / "cli-intro.md").read_text().rstrip()]
    parts += [f"## `{path}`\n\n```text\n{text}\n```" for path, text in commands(cli, "modelreg", None)]
    return "\n\n".join(parts) + "\n"


def transcript() -> str:
    """What `modelreg demo` prints."""
    command = [sys.executable, "-m", "modelreg_cli", "demo"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip("\n") + "\n"


def masked(text: str) -> list[str]:
    """The lines of a text with what varies taken out."""
    return VARIABLE.sub("…", text).splitlines(keepends=True)


def main() -> int:
    """Write or check both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    readme = README.read_text()
    if not TRANSCRIPT.search(readme):
        raise SystemExit("README.md has no place for the transcript")
    printed = transcript()
    wanted = {CLI: cli_page(), README: TRANSCRIPT.sub(lambda _: printed, readme)}
    drifted = 0
    for path, text in wanted.items():
        found = path.read_text() if path.exists() else ""
        if not check:
            path.write_text(text)
        elif masked(found) != masked(text):
            drifted += 1
            sys.stdout.writelines(unified_diff(masked(found), masked(text), str(path), "now"))
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
