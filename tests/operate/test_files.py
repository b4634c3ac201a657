"""What docs/operate hands to operators names options, metrics and figures that exist."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from modelreg_cli.app import cli
from modelreg_verifier.serving.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
OPERATE = ROOT / "docs" / "operate"
UNITS = sorted(OPERATE.glob("*.service"))


def commands(text):
    """Every run of modelreg in the code of a text, as words; `podman run … modelreg init` is one, too."""
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"^(?:[#$] )?((?:runuser .*|modelreg ).*)$", text, re.MULTILINE
    )
    for line in code:
        _, found, rest = line.rpartition("modelreg ")
        if found and re.match(r"--|[a-z]", rest) and not rest.startswith("modelreg"):
            yield [word for word in shlex.split(rest.rstrip('"')) if word != "…"]


def check(words):
    """That commands and options exist; arguments may be anything."""
    command, context = cli, click.Context(cli)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            # The options of all commands may stand after each.
            known = [*command.get_params(context), *cli.get_params(click.Context(cli))]
            named = [param for param in known if word in (*param.opts, *param.secondary_opts)]
            assert named, words
            if not getattr(named[0], "is_flag", False):
                rest = rest[1:]
        elif isinstance(command, click.Group) and not word.startswith("/"):
            found = command.get_command(context, word)
            assert found is not None, words
            command, context = found, click.Context(found, parent=context)


@pytest.mark.parametrize(
    "guide", [OPERATE / "README.md", ROOT / "README.md"], ids=lambda path: path.parent.name
)
def test_guides_name_commands_and_options_that_exist(guide):
    found = [words for words in commands(guide.read_text()) if words]
    assert len(found) > 12
    for words in found:
        check(words)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_start_commands_that_exist(unit):
    [start] = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    program, *words = shlex.split(start)
    assert program == "/opt/modelreg/bin/modelreg"
    check(words)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(unit, tmp_path):
    text = unit.read_text().replace("/opt/modelreg/bin/modelreg", "/bin/true")
    copy = tmp_path / unit.name.replace("follow", "follow@")
    copy.write_text(text.replace("User=modelreg", "User=root").replace("Group=modelreg", "Group=root"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if unit.stem in line]
    assert not complaints


def test_the_dashboard_asks_for_metrics_that_exist():
    metrics = Metrics(waiting=int, pending_bytes=int, connections=int, room=lambda: (0, 1))
    metrics.count("infer", 200, "m", "1")
    names = set(re.findall(r"^# TYPE (\S+)", metrics.text().decode(), re.MULTILINE))
    dashboard = json.loads((OPERATE / "grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"(?:modelreg|process)_[a-z_]+", target["expr"])
    }
    assert len(asked) > 8
    assert {re.sub("_bucket$", "", name) for name in asked} <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_alerts_of_the_guide_are_over_metrics_that_exist():
    metrics = Metrics(waiting=int, pending_bytes=int, connections=int, room=lambda: (0, 1))
    names = set(re.findall(r"^# TYPE (\S+)", metrics.text().decode(), re.MULTILINE))
    asked = set(re.findall(r"modelreg_[a-z_]+", (OPERATE / "README.md").read_text()))
    assert asked
    assert asked <= names


def test_the_costs_of_the_guide_are_those_of_the_gas_snapshot():
    gas = json.loads((ROOT / "contracts" / "gas-snapshot.json").read_text())
    known = {value for table in gas.values() for value in table.values()}
    known.add(gas["ModelRegistry"]["deploy"] + gas["ReceiptLog"]["deploy"])
    row = re.compile(r"^\| [^|]+ \| ([0-9,]+) \| ([0-9.]+) \| ([0-9.]+) \|$", re.MULTILINE)
    rows = row.findall((OPERATE / "README.md").read_text())
    assert len(rows) == 8
    for used, cheap, dear in rows:
        used = int(used.replace(",", ""))
        assert used in known
        assert float(cheap) == pytest.approx(used * 0.05e-9, abs=5e-7)
        assert float(dear) == pytest.approx(used * 10e-9, abs=5e-7)
