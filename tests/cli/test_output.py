"""What goes where: one document, plain lines without a terminal, colours only where they are wanted."""

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelreg_cli.app import cli, run
from tests.cli.command import PROGRAM, Outcome, checked_refusal, done, execute, modelreg, start
from tests.cli.conftest import MODEL

READING = [
    ("ls",),
    ("log", MODEL),
    ("show", MODEL),
    ("search", "tiny"),
    ("diff", f"{MODEL}@1.0.0", MODEL),
    ("key", "list"),
    ("channel", "list", MODEL),
    ("namespace", "show", "acme"),
    ("chain", "status", "--replay"),
    ("pin",),
    ("gc", "--dry-run"),
    ("doctor",),
]


def on_terminal(*arguments, env=None, keys=()):
    """Run the command with a terminal for all its streams, and answer each prompt with the next of `keys`.

    Returns its exit code and what it showed.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"TERM": "xterm"} | (env or {}))
        os.execv(PROGRAM[0], [*PROGRAM, *map(str, arguments)])
    rest, shown, answered = list(keys), b"", 0
    try:
        while select.select([terminal], [], [], 60)[0] and (piece := os.read(terminal, 4096)):
            shown += piece
            if rest and shown.endswith(b": ") and len(shown) > answered:
                answered = len(shown)
                os.write(terminal, rest.pop(0))
    except OSError:
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_one_document_with_json_and_none_without(world, arguments):
    outcome = modelreg(world.publisher, *arguments)
    assert outcome.code == 0
    assert isinstance(outcome.document, dict | list)
    assert outcome.out.count("\n") == 1
    assert outcome.err == ""
    text = modelreg(world.publisher, *arguments, json_mode=False)
    assert text.code == 0
    assert text.out
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(text.out)


def run_words(*words):
    """The command with words in any order, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def test_the_general_options_stand_anywhere(world, tmp_path):
    home = ("--home", world.publisher)
    expected = modelreg(world.publisher, "channel", "list", MODEL)
    for words in (
        ("channel", "list", MODEL, "--json", *home),
        (*home, "channel", "list", "--json", MODEL),
        ("--json", "channel", "list", *home, MODEL),
        ("--home", tmp_path / "none", "channel", "list", MODEL, *home, "--json", "--json"),
    ):
        assert run_words(*words) == expected
    done(world.publisher, "yank", MODEL, "--reason", "bad")
    for quiet in ("-q", "--quiet"):
        assert run_words("sync", MODEL, *home, quiet, "--to", tmp_path / quiet).err == ""
    assert run_words("sync", MODEL, *home, "--to", tmp_path / "loud").err.startswith("warning: ")
    assert checked_refusal(run_words("log", "acme/none", *home, "--json"), 4)
    assert checked_refusal(run_words("log", *home, "--json"), 2)


def test_an_option_that_looks_like_a_general_one_is_none(world):
    """What follows an option belongs to it."""
    document = done(world.publisher, "yank", MODEL, "--reason", "--json")
    assert document["reason"] == "--json"
    assert run_words("--home", world.publisher, "ls", "--", "--json").code == 2


@pytest.mark.parametrize("arguments", [*READING, ("sync", MODEL), ("verify", "."), ("publish", ".")])
def test_one_document_for_an_error(tmp_path, arguments):
    outcome = modelreg(tmp_path / "none", *arguments)
    if arguments == ("doctor",):
        assert outcome.code == 1
        assert not all(finding["ok"] for finding in outcome.document)
    else:
        checked_refusal(outcome, 2 if arguments[0] == "publish" else 4)
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_everything(world):
    error = modelreg(world.publisher, "sync", "acme/none").document["error"]
    assert set(error) == {"kind", "message", "expected", "found", "hint", "exit_code"}
    assert (error["kind"], error["exit_code"]) == ("NotFoundError", 4)
    assert "modelreg ls" in error["hint"]


def test_a_usage_error_without_json_is_one_line(world):
    outcome = modelreg(world.publisher, "log", json_mode=False)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == "error: Missing argument 'MODEL'; try `modelreg log --help`\n"


def test_no_command_shows_help(tmp_path):
    alone = subprocess.run(PROGRAM, capture_output=True, text=True)
    assert alone.returncode == 2
    assert "Commands:" in alone.stderr
    assert modelreg(tmp_path).code == 2
    assert modelreg(tmp_path, "--help", json_mode=False).code == 0
    assert modelreg(tmp_path, "chain", "--help", json_mode=False).code == 0
    assert modelreg(tmp_path, "--version", json_mode=False).out.startswith("modelreg, version ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from modelreg_cli.app import run; run(['--help']);"
        "print([m for m in ('web3', 'eth', 'numpy', 'requests', 'onnx', 'blake3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", list(cli.list_commands(None)))
def test_every_command_has_help(tmp_path, command):
    outcome = modelreg(tmp_path, command, "--help", json_mode=False)
    assert outcome.code == 0
    assert f"Usage: modelreg {command}" in outcome.out


def test_quiet_says_nothing_but_results_and_errors(world, tmp_path):
    done(world.publisher, "yank", MODEL, "--reason", "bad")
    words = ("-q", "--home", world.publisher, "sync", MODEL, "--to", tmp_path / "copy")
    quiet = subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
    assert quiet.stdout.startswith("acme/tiny@1.1.0 is at")
    failed = subprocess.run([*PROGRAM, "-q", "--home", str(tmp_path / "none"), "ls"], capture_output=True)
    assert failed.stderr.startswith(b"error: no home at")


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_colours_only_on_a_terminal_that_wants_them(tmp_path, env):
    code, shown = on_terminal("--home", tmp_path / "none", "ls", env=env)
    assert code == 4
    assert (b"\x1b[" in shown) == (not env)
    assert b"\x1b" not in execute(tmp_path / "none", "ls").err.encode()


def test_a_bar_on_a_terminal(world, tmp_path):
    code, shown = on_terminal("--home", world.publisher, "sync", MODEL, "--to", tmp_path / "copy")
    assert code == 0
    assert b"100%" in shown


def test_asks_for_passwords_on_a_terminal(tmp_path, models):
    home = tmp_path / "home"
    code, shown = on_terminal("--home", home, "init", keys=(b"secret\n", b"secret\n"))
    assert code == 0, shown
    assert b"secret" not in shown.split(b"Repeat")[-1]
    assert not (home / "password").exists()
    words = ("--home", home, "publish", models[0] / "config.json", "--model", "a/b", "--version", "1.0.0")
    assert on_terminal(*words, keys=(b"secret\n",))[0] == 0


def test_makes_a_password_on_a_terminal_too(tmp_path):
    assert on_terminal("--home", tmp_path / "home", "init", keys=(b"\n", b"\n"))[0] == 0
    assert (tmp_path / "home" / "password").read_text().startswith("modelreg:")


def test_ctrl_c_at_a_prompt(tmp_path):
    code, shown = on_terminal("--home", tmp_path / "home", "init", keys=(b"\x03",))
    assert code == 130
    assert b"Traceback" not in shown
    assert not (tmp_path / "home").exists()


def test_a_reader_that_leaves(world):
    for arguments in (("show", MODEL), ("--json", "show", MODEL), ("--help",)):
        process = start(world.publisher, *arguments)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=60) in (0, 1)
        assert errors == ""
        process.stderr.close()


def test_standard_output_that_is_full(world):
    with Path("/dev/full").open("w") as full:
        outcome = execute(world.publisher, "ls", stdout=full)
    assert outcome.code == 6
    assert outcome.err.count("\n") == 1
    assert "No space left" in outcome.err


def test_closed_streams(world):
    command = " ".join([*(f"'{word}'" for word in PROGRAM), "--home", f"'{world.publisher}'", "ls"])
    closed = subprocess.run(["sh", "-c", f"{command} >&- 2>&-"], check=False)
    assert closed.returncode in (0, 1, 6)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show(world, tmp_path, encoding):
    copy = tmp_path / "κόπια"
    done(world.publisher, "sync", MODEL, "--to", copy)
    (copy / os.fsdecode(b"\xff\x1b[2J")).write_text("")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for mode in ("--json", "-q"):
        outcome = execute(world.publisher, mode, "verify", copy, env=env, text=True, errors="replace")
        assert outcome.code == 3, outcome.err
        assert "\x1b" not in outcome.out + outcome.err
        assert "error: " in outcome.err
    (copy / os.fsdecode(b"\xff\x1b[2J")).unlink()
    for mode in ("--json", "-q"):
        outcome = execute(world.publisher, mode, "verify", copy, env=env, text=True, errors="replace")
        assert outcome.code == 0, outcome.err


def test_an_interrupt(world):
    process = start(world.publisher, "sync", MODEL, "--follow", "--every", "60")
    time.sleep(0.1)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path, shell):
    script = execute(tmp_path, env={"_MODELREG_COMPLETE": f"{shell}_source"})
    assert (script.code, script.err) == (0, "")
    assert "_MODELREG_COMPLETE" in script.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("modelreg sy", {"sync"}),
        ("modelreg p", {"publish", "pin", "policy"}),
        ("modelreg sync --f", {"--follow"}),
        ("modelreg chain s", {"serve", "status"}),
        ("modelreg log not-a-model --b", {"--branch"}),
        ("modelreg sync not!a!reference --e", {"--every"}),
    ],
)
def test_completion(words, expected):
    env = os.environ | {
        "_MODELREG_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    outcome = subprocess.run(PROGRAM, env=env, capture_output=True, text=True)
    assert Outcome(outcome.returncode, "", outcome.stderr) == Outcome(0, "", "")
    assert {line.partition(",")[2] for line in outcome.stdout.splitlines()} == expected


def test_a_defect_is_one_line_too(world, monkeypatch):
    from modelreg.ledger.view import View

    def broken(_):
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr(View, "models", broken)
    outcome = modelreg(world.publisher, "ls")
    assert outcome.code == 1
    assert outcome.document["error"]["exit_code"] == 1
    assert outcome.err.count("\n") == 1
    monkeypatch.setenv("MODELREG_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        modelreg(world.publisher, "ls")
