"""A release read with ethers from `chain serve`, its proof verified in JavaScript."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
ARTIFACT = HERE.parents[1] / "contracts" / "artifacts" / "ModelRegistry.json"


def modelreg(home, *arguments):
    command = [
        sys.executable,
        "-m",
        "modelreg_cli",
        "--json",
        "-q",
        "--home",
        str(home),
        *map(str, arguments),
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


@contextmanager
def served(home):
    command = [
        sys.executable,
        "-m",
        "modelreg_cli",
        "--json",
        "--home",
        str(home),
        "chain",
        "serve",
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(30)


def read_release(url, contract, *more):
    command = ["node", "read-release.mjs", url, contract, ARTIFACT, "acme/tiny", "1.0.0", *more]
    done = subprocess.run(list(map(str, command)), cwd=HERE, check=True, capture_output=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("ethers")
    home = root / "home"
    made = modelreg(home, "init")
    (root / "weights.txt").write_text("0.25 0.5\n")
    release = modelreg(home, "publish", root / "weights.txt", "--model", "acme/tiny", "--version", "1.0.0")
    with served(home) as url:
        yield url, made["contract"], release


def test_ethers_reads_a_release_and_its_proof_verifies_in_javascript(published):
    url, contract, release = published
    found = read_release(url, contract)
    assert found["releaseId"] == release["release_id"]
    assert found["contentRoot"] == release["content_root"]
    checks = ("idCommits", "headerHash", "accountProven", "contentRootProven", "manifestProven")
    assert {name: found[name] for name in checks} == dict.fromkeys(checks, True)


def test_a_forged_storage_proof_does_not_verify_in_javascript(published):
    url, contract, _ = published
    assert not read_release(url, contract, "tamper")["contentRootProven"]
