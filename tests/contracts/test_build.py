"""The committed artifacts are what the pinned compiler makes of the sources. Needs `npm ci` in contracts/."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contracts.abi import CONTRACTS as BUILT
from tests.contracts.abi import ROOT

CONTRACTS = ROOT / "contracts"


def build(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = ["node", str(folder / "build.mjs"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def copy_of_contracts(folder: Path) -> Path:
    """The contracts in a folder of their own, with the installed compiler."""
    copy = folder / "contracts"
    shutil.copytree(CONTRACTS, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(CONTRACTS / "node_modules")
    return copy


@pytest.mark.node
def test_the_committed_artifacts_are_up_to_date():
    done = build(CONTRACTS)
    assert done.returncode == 0, done.stderr


@pytest.mark.node
def test_a_changed_source_or_artifact_is_noticed(tmp_path):
    copy = copy_of_contracts(tmp_path)
    source, artifact = copy / "ModelRegistry.sol", copy / "artifacts" / "ModelRegistry.json"
    source.write_text(source.read_text().replace("MAX_REASON = 256", "MAX_REASON = 255"))
    done = build(copy, "ModelRegistry")
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout
    assert build(copy, "--write", "ModelRegistry").returncode == 0
    assert artifact.read_bytes() != (CONTRACTS / "artifacts" / "ModelRegistry.json").read_bytes()
    artifact.write_text(artifact.read_text() + " ")
    assert build(copy, "ModelRegistry").returncode == 1


@pytest.mark.parametrize(
    "artifact", [contract.artifact for contract in BUILT], ids=lambda a: a["contractName"]
)
def test_the_settings_are_the_pinned_ones(artifact):
    settings = artifact["compiler"]["settings"]
    assert settings["evmVersion"] == "cancun"
    assert settings["metadata"] == {"appendCBOR": False, "bytecodeHash": "none"}
    assert artifact["compiler"]["version"].startswith("0.8.37+commit.")
    assert artifact["create2"]["salt"] == "0x" + "00" * 32


def test_the_lock_file_names_no_registry():
    for folder in (CONTRACTS, ROOT / "tests" / "interop"):
        assert '"resolved"' not in (folder / "package-lock.json").read_text()
