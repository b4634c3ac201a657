"""docs/openapi.json: that it has the routes of the server, and what a generator of requests makes of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelreg_verifier.receipts.service import ReceiptService
from modelreg_verifier.serving import routes
from tests.serving import graphs, malformed
from tests.serving.running import ask, running
from tests.serving.serve_tiny import DOMAIN, TOKEN, Signer, no_engine

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
SCHEMATHESIS = "schemathesis==4.32.5"
VALUES = {
    "model": "acme%2Flinear",
    "version": "1.0.0",
    "digest": "0x" + "12" * 32,
    "epoch": "1",
    "first": "0",
}
METHODS = ("get", "post")


@pytest.fixture(scope="module")
def operations():
    """Path, method and operation of each."""
    paths = json.loads(DOCUMENT.read_text())["paths"]
    return [
        (path, method, item[method]) for path, item in paths.items() for method in METHODS if method in item
    ]


def test_document_has_every_route_and_page(operations, tmp_path):
    found = {path for path, _, _ in operations}
    assert routes._FIXED.keys() <= found
    one = r"(?:/versions/\{version\})?(?:/(ready|config|stats|infer))?"
    tails = {match[1] for path in found if (match := re.fullmatch(r"/v2/models/\{model\}" + one, path))}
    assert tails == {None, "ready", "config", "stats", "infer"}
    service = ReceiptService(tmp_path / "journal.sqlite", Signer(b"\x01" * 32), DOMAIN)
    pages = service.pages(graphs.table(graphs.served("acme/linear", graphs.linear())), no_engine)
    service.close()
    assert {"/" + path.split("/")[1] for path in found} - {"/v2", "/metrics"} == pages.keys()


def test_server_answers_what_the_document_says(operations, tmp_path):
    """Each operation once, with good parameters and without."""
    models = graphs.table(graphs.served("acme/linear", graphs.linear()))
    service = ReceiptService(tmp_path / "journal.sqlite", Signer(b"\x01" * 32), DOMAIN, token=TOKEN)
    with running(models, recorder=service.recorder, pages=service.pages(models, no_engine)) as server:
        for path, method, operation in operations:
            url = re.sub(r"\{(\w+)\}", lambda match: VALUES[match[1]], path)
            wanted = [row["name"] for row in operation.get("parameters", ()) if row["in"] == "query"]
            body = b"{}" if method == "post" else None
            for query in ("", "?" + "&".join(f"{name}=0" for name in wanted)):
                status, _, _ = ask(server.url, url + query, body)
                assert str(status) in operation["responses"], (path, method, status)
                assert status < 500
    service.close()


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory):
    """The generator, in an environment of its own: it would bring thirty packages into the lock file."""
    root = tmp_path_factory.mktemp("schemathesis")
    subprocess.run([sys.executable, "-m", "venv", root], check=True, timeout=120)
    pip = [root / "bin" / "pip", "install", "--quiet", "--only-binary", ":all:", SCHEMATHESIS]
    subprocess.run(pip, check=True, timeout=600)
    return root / "bin" / "schemathesis"


def with_real_values(url):
    """The document with values for which the small server has something, so that requests come further."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3]}]}
    answer = ask(url, "/v2/models/acme/linear/infer", json.dumps(body).encode())[2]
    signed = json.loads(answer["parameters"]["modelreg_receipt"])
    real = {
        "model": ["acme/linear", "acme/gatherer", "acme/fp32", "acme/bytes"],
        "version": ["1.0.0"],
        "digest": [signed["digest"], "0x" + "12" * 32],
        "epoch": [signed["receipt"]["epoch"], 7],
    }

    def filled(part):
        if isinstance(part, list):
            return [filled(each) for each in part]
        if not isinstance(part, dict):
            return part
        if "in" in part and part.get("name") in real:
            return {**part, "schema": {"enum": real[part["name"]]}}
        return {key: filled(value) for key, value in part.items()}

    return filled(json.loads(DOCUMENT.read_text()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_generated_requests(schemathesis, tmp_path):
    """No crash, no 5xx, no status that is not documented; memory at most 1.2 times the idle and a request."""
    with malformed.process(tmp_path, tmp_path) as (url, memory):
        (tmp_path / "openapi.json").write_text(json.dumps(with_real_values(url)))
        command = [
            schemathesis, "run", tmp_path / "openapi.json", "--url", url, "--mode", "all",
            "--seed", "7", "--no-color",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance",
            "--suppress-health-check", "all", "--header",
            f"Authorization: Bearer {TOKEN.decode()}",
        ]  # fmt: skip

        def generate(*options):
            done = subprocess.run(
                [*map(str, command), *options], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
            return done.stdout

        generate("--max-examples", "10")  # what is allocated once
        idle = memory()
        generate("--max-examples", "100")
        assert ask(url, "/v2/health/ready")[0] == 200
        assert memory() <= 1.2 * idle + malformed.LARGEST, (idle, memory())
