"""A channel's move names a block: twenty nodes turn to the new release there, though two are away."""

import concurrent.futures
import contextlib
import json
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.cli.command import done, start
from tests.cli.test_chain import call
from tests.cli.test_serve import MODEL, X, _released, released  # noqa: F401  fixtures
from tests.serving import graphs

NODES = 20
AWAY = (3, 11)
RIGHT = {"1.0.0": X @ graphs.WEIGHTS, "1.1.0": -(X @ graphs.WEIGHTS)}
REQUEST = json.dumps(
    {"inputs": [{"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": X.ravel().tolist()}]}
).encode()


class Node:
    """A `serve` of its own; `answers` are (when it was asked, when it had answered, version, values)."""

    def __init__(self, home):
        self.home = home
        self.answers = []
        self.begin()

    def begin(self):
        arguments = (f"{MODEL}@stable", "--no-receipts", "--port", 0, "--every", 2, "--threads", 1)
        self.process = start(self.home, "--json", "serve", *arguments)
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.url = None

    def wait(self):
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self):
        self.url = None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.process.stdout.close()

    def ask(self):
        url = self.url
        if url is None:
            return
        asked = time.monotonic()
        try:
            with urllib.request.urlopen(f"{url}/v2/models/{MODEL}/infer", REQUEST, timeout=30) as response:
                answer = json.load(response)
        except (urllib.error.URLError, ConnectionError):
            assert self.url is None, "a node refused while it ran"
            return
        values = np.array(answer["outputs"][0]["data"], "f4").reshape(1, -1)
        self.answers.append((asked, time.monotonic(), answer["model_version"], values))


class Blocks:
    """When each block was first seen."""

    def __init__(self, url):
        self.url, self.seen, self.newest = url, {}, 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        while not self._stopping.wait(0.02):
            with contextlib.suppress(OSError):
                before, self.newest = self.newest, int(call(self.url, "eth_blockNumber"), 16)
            for number in range(before + 1, self.newest + 1):
                self.seen[number] = time.monotonic()

    def wait_for(self, number):
        deadline = time.monotonic() + 120
        while self.newest < number:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self):
        self._stopping.set()
        self._thread.join()


@pytest.fixture
def chain(released, serving):  # noqa: F811
    url, _ = serving(released, 0, "--block-time", "1")
    blocks = Blocks(url)
    yield blocks
    blocks.stop()


@pytest.fixture
def nodes(released, chain, tmp_path):  # noqa: F811
    first = tmp_path / "node"
    done(first, "init", "--join", chain.url)
    with contextlib.ExitStack() as running:
        made = []
        for number in range(NODES):
            made.append(Node(shutil.copytree(first, tmp_path / f"node-{number}")))
            running.callback(made[-1].stop)
        for node in made:
            node.wait()
        yield made


@contextlib.contextmanager
def asked(nodes):
    """Within it, all nodes are asked five times a second."""
    stopping = threading.Event()

    def ask_all():
        with concurrent.futures.ThreadPoolExecutor(4) as workers:
            while not stopping.wait(0.2):
                list(workers.map(Node.ask, nodes))

    with concurrent.futures.ThreadPoolExecutor(1) as worker:
        asking = worker.submit(ask_all)
        try:
            yield
        finally:
            stopping.set()
        asking.result()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_channel_switches_at_a_block_on_every_node(released, chain, nodes):  # noqa: F811
    with asked(nodes):
        block = chain.newest + 45
        done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
        chain.wait_for(block - 30)
        for number in AWAY:
            nodes[number].stop()
        chain.wait_for(block - 20)
        nodes[AWAY[0]].begin()
        nodes[AWAY[0]].wait()
        chain.wait_for(block + 1)
        nodes[AWAY[1]].begin()
        nodes[AWAY[1]].wait()
        chain.wait_for(block + 10)
    skews = []
    for node in nodes:
        for _, _, version, values in node.answers:
            assert np.array_equal(values, RIGHT[version])
        new = [answer for answer in node.answers if answer[2] == "1.1.0"]
        old = [answer for answer in node.answers if answer[2] == "1.0.0"]
        assert min(answered for _, answered, _, _ in new) >= chain.seen[block]
        last = max(asked for asked, _, _, _ in old)
        assert last < min(answered for _, answered, _, _ in new)
        skews.append(last - chain.seen[block])
    print(f"last answers by the old release, seconds after block {block}: {sorted(skews)}")
    # Block B + 1 has not ended while nobody saw B + 2.
    assert chain.seen[block] + max(skews) < chain.seen[block + 2]
    assert len({version for node in nodes for _, _, version, _ in node.answers[-3:]}) == 1
