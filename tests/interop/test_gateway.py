"""A release fetched from `chain serve` by @ipld/car and @ipld/dag-cbor."""

import json
import subprocess

import pytest

from tests.interop.test_release import HERE, modelreg, served

pytestmark = pytest.mark.node


def test_a_foreign_client_fetches_and_verifies_a_release(tmp_path):
    """As one archive, in the order that its content type says, and block by block."""
    first, second = (tmp_path / name for name in ("first.bin", "second.bin"))
    first.write_bytes(bytes(range(256)) * 8000)
    second.write_bytes(bytes(range(256)) * 8000 + b"more")
    modelreg(tmp_path / "home", "init")
    for version, path in (("1.0.0", first), ("1.0.1", second)):
        words = ("publish", path, "--model", "acme/tiny", "--version", version)
        published = modelreg(tmp_path / "home", *words)
    with served(tmp_path / "home") as url:
        command = ["node", "fetch-dag.mjs", url, published["manifest_cid"]]
        done = subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=60)
    found = json.loads(done.stdout)
    assert found.pop("blocks") > 4
    assert found == {
        "contentType": "application/vnd.ipld.car; version=1; order=dfs; dups=n",
        "roots": [published["manifest_cid"]],
        "good": True,
        "raw": True,
        "depthFirst": True,
    }
