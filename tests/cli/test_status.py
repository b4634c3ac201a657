"""`status`: which nodes serve a model, by their own word, and how far they are behind."""

import http.server
import json
import threading

import pytest

from tests.cli.command import done, modelreg, refused
from tests.cli.test_serve import MODEL, Serving, _released, publish, released  # noqa: F401  fixtures
from tests.serving import graphs


def register(home, endpoint):
    done(home, "node", "register", "--endpoint", endpoint, "--bond", "1")


def states(home, *options):
    return {row["endpoint"]: row for row in done(home, "status", MODEL, "--seconds", "2", *options)["nodes"]}


@pytest.fixture
def answering():
    """A node that answers whatever the test says."""
    servers = []

    def start(status, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_node_that_is_current_and_one_that_lags(released):  # noqa: F811
    serving = Serving(released, f"{MODEL}@stable", "--no-receipts")
    try:
        register(released, serving.url)
        found = states(released, "--channel", "stable")[serving.url]
        assert (found["versions"], found["behind"], found["problem"]) == (["1.0.0"], 0, None)
        assert states(released)[serving.url]["behind"] == 1
        text = modelreg(released, "status", MODEL, json_mode=False).out
        assert f"{MODEL}@main is 1.1.0" in text
        assert "1.0.0, 1 behind" in text
        publish(released, "1.2.0", graphs.WEIGHTS * 2, "--channel", "stable")
        serving.wait_for("in")
        found = states(released, "--channel", "stable")[serving.url]
        assert (found["versions"], found["behind"]) == (["1.2.0"], 0)
    finally:
        serving.stop()
    assert "no answer" in states(released)[serving.url]["problem"]


def test_a_node_that_serves_something_else(released, answering):  # noqa: F811
    url = answering(404, b'{"error":"no such model"}')
    register(released, url)
    assert (states(released)[url]["versions"], states(released)[url]["problem"]) == ([], None)
    assert "does not serve it" in modelreg(released, "status", MODEL, json_mode=False).out


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"versions": 3}',
        b'{"versions": ["no version"]}',
        json.dumps({"versions": ["1.0.0"] * 1000}).encode(),
        b"[" * 100_000,
        bytes(2 << 20),
    ],
    ids=range(7),
)
def test_a_node_that_answers_nonsense(released, answering, body):  # noqa: F811
    url = answering(200, body)
    register(released, url)
    found = states(released)[url]
    assert found["problem"]
    assert found["versions"] == []


def test_a_version_that_the_ledger_does_not_know(released, answering):  # noqa: F811
    url = answering(200, json.dumps({"versions": ["9.9.9", "1.0.0"]}).encode())
    register(released, url)
    assert states(released)[url]["versions"] == ["9.9.9", "1.0.0"]
    assert states(released)[url]["behind"] == 1
    url = answering(200, json.dumps({"versions": ["9.9.9"]}).encode())
    register(released, url)
    assert states(released)[url]["behind"] is None
    assert "of another lineage" in modelreg(released, "status", MODEL, json_mode=False).out


def test_no_such_model_or_channel(released):  # noqa: F811
    refused(released, "status", "acme/other", code=4)
    refused(released, "status", MODEL, "--channel", "nightly", code=4)
    assert done(released, "status", MODEL)["nodes"] == []
