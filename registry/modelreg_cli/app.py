"""The command's frame: options that all commands share, commands loaded when they are called, exit codes."""

import contextlib
import importlib
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import click

from modelreg import __version__
from modelreg.errors import InputError, ModelregError
from modelreg_cli.output import Output

__all__ = ["cli", "main", "run"]

# Name, module below `modelreg_cli`, and the help line: `--help` must not import what a command needs.
_COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make a home: settings, a key, a chain and a block store."),
    "key": ("key", "Make, import, list, choose and export keys, and send ether."),
    "publish": ("publish", "Publish a file or directory of weights as a release."),
    "ls": ("browse", "List the models on the ledger."),
    "log": ("browse", "List the releases of a branch, newest first."),
    "show": ("browse", "Show a release: its record, files and tensors."),
    "diff": ("diff", "Say which tensors differ between two releases."),
    "search": ("browse", "Find models by a part of their name."),
    "sync": ("sync", "Fetch a release, or what is missing of it, and verify it."),
    "calibrate": ("calibrate", "Choose where a model is cut, and measure how far honest machines lie apart."),
    "serve": ("serve", "Answer inference requests with verified releases."),
    "status": ("status", "Say which nodes serve a model, and how far they are behind."),
    "node": ("node", "Be a node with a bond, and see who is one."),
    "policy": ("policy", "Say who may judge a model's receipts."),
    "anchor": ("anchor", "Post the roots of this home's receipts."),
    "challenge": ("challenge", "Demand what nodes owe, and answer what is demanded of this one."),
    "audit": ("audit", "Find out whether a node ran the models that its receipts name."),
    "dispute": ("dispute", "Settle by one operator whether a node ran what its receipt names."),
    "settle": ("settle", "Settle a dispute again from its evidence, without the node."),
    "verdict": ("verdict", "Show, record and act on what auditors signed."),
    "receipt": ("receipt", "Show and verify what nodes sign."),
    "verify": ("verify", "Check files on disk against a release."),
    "yank": ("manage", "Withdraw a release; its data stays."),
    "namespace": ("namespace", "Show, share and hand over namespaces."),
    "channel": ("manage", "Move and list the names that follow releases."),
    "pin": ("keep", "Keep a release's blocks."),
    "unpin": ("keep", "Stop keeping a release's blocks."),
    "gc": ("keep", "Remove blocks that no pin keeps."),
    "squash": ("squash", "Offer the difference from an older release in one piece."),
    "bundle": ("bundle", "Write the evidence for a release to a file, to verify offline."),
    "chain": ("chain", "Serve and check the embedded chain."),
    "doctor": ("doctor", "Say what is wrong with this set-up and how to mend it."),
    "demo": ("demo", "Show the whole story on real models."),
}
_INTERRUPTED = 130
_HOME = click.Path(path_type=Path, file_okay=False)
_EVERYWHERE: list[tuple[list[str], dict[str, Any]]] = [
    (["--home"], {"type": _HOME}),
    (["--json", "json_mode"], {"is_flag": True}),
    (["-q", "--quiet"], {"is_flag": True}),
]


def _take(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Do what the option of the same name does before the command."""
    from modelreg_cli.session import Session

    session = ctx.find_object(Session)
    if session is not None and value:
        session.adjust(**{str(param.name): value})


def _accept_everywhere(command: click.Command) -> None:
    """Let the options that all commands share stand after the command's name too."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _accept_everywhere(child)
    elif not any(param.name == "json_mode" for param in command.params):
        command.params += [
            click.Option(words, hidden=True, expose_value=False, callback=_take, **settings)
            for words, settings in _EVERYWHERE
        ]


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"modelreg_cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        _accept_everywhere(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--home",
    type=_HOME,
    envvar="MODELREG_HOME",
    help="The directory of settings, keys, chain and blocks.  [default: the platform's data directory]",
)
@click.option("--json", "json_mode", is_flag=True, help="Print exactly one JSON document on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no remarks.")
@click.version_option(__version__, prog_name="modelreg")
@click.pass_context
def cli(ctx: click.Context, home: Path | None, json_mode: bool, quiet: bool) -> None:  # noqa: FBT001
    """A blockchain-anchored registry and verifier of machine-learning models.

    The options --home, --json and -q may also stand after the command.
    """
    from modelreg_cli.session import Session

    ctx.obj = Session(home, Output(json_mode=json_mode, quiet=quiet))


def main() -> None:
    """Run the command and exit with the code that the outcome has."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A name that the terminal's encoding cannot show must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End the process at once.

    To take the interpreter down costs a tenth of a second, and waits for threads whose work nobody wants. Who
    was interrupted may be in the middle of something that has to be ended.
    """
    if code == _INTERRUPTED:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run the command once; returns its exit code (docs/cli.md lists them)."""
    output = Output(json_mode="--json" in arguments, quiet=False)
    try:
        # Off standalone mode click returns the code of Context.exit and raises what it would have printed.
        code = cli.main(arguments, prog_name="modelreg", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  the one place that turns errors into exit codes
        return _report(error, output)
    return code if isinstance(code, int) else 0


def _report(error: BaseException, output: Output) -> int:
    if isinstance(error, ModelregError):
        output.error(error)
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        what = " ".join(error.format_message().split())
        output.error(InputError(what.rstrip("."), hint=_usage_hint(error)))
        return error.exit_code if isinstance(error, click.UsageError) else InputError.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ModelregError.exit_code
    if isinstance(error, OSError):
        return _report(_translated(error), output)
    if isinstance(error, SystemExit):
        raise error
    return _unexpected(error, output)


def _usage_hint(error: click.ClickException) -> str | None:
    if isinstance(error, click.UsageError) and error.ctx:
        return f"try `{error.ctx.command_path} --help`"
    return None


def _translated(error: OSError) -> ModelregError:
    from modelreg.store.files import os_errors

    try:
        with os_errors(f"cannot use {error.filename}" if error.filename else "the operating system refused"):
            raise error
    except ModelregError as translated:
        return translated


def _unexpected(error: BaseException, output: Output) -> int:
    if os.environ.get("MODELREG_DEBUG"):
        raise error
    what = f"unexpected {type(error).__name__}: {error}".replace("\n", " ")
    hint = "this is a defect: run again with MODELREG_DEBUG=1 and report what it prints"
    output.error(ModelregError(what, hint=hint))
    return ModelregError.exit_code
