"""Real Kubo daemons for tests: each with a repository of its own, on loopback, asking no strangers."""

import base64
import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

BINARY = Path(__file__).resolve().parents[1] / ".kubo" / "ipfs"
_START_SECONDS = 60


class KuboNode:
    """A repository, and its daemon while it runs."""

    def __init__(self, repository):
        self.repository = repository
        self._environment = {**os.environ, "IPFS_PATH": str(repository), "IPFS_TELEMETRY": "off"}
        self._process = None
        self.run("init", "--profile=test")
        self.configure("Routing.Type", "none")
        # The same ports after it starts again.
        for key in ("Addresses.API", "Addresses.Gateway"):
            self.configure(key, f"/ip4/127.0.0.1/tcp/{free_port()}")

    def run(self, *words, **options):
        """Run `ipfs`; its standard output."""
        done = subprocess.run(
            [BINARY, *words], env=self._environment, check=True, capture_output=True, timeout=300, **options
        )
        return done.stdout.decode()

    def configure(self, key, value):
        self.run("config", "--json", key, json.dumps(value))

    def start(self):
        with (self.repository / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "daemon"], env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            assert self._process.poll() is None, (self.repository / "daemon.log").read_text()
            assert time.monotonic() < deadline, "the daemon did not start"
            time.sleep(0.05)
        return self

    def _ready(self):
        return "Daemon is ready" in (self.repository / "daemon.log").read_text()

    def stop(self, *, kill=False):
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(30)
            self._process = None
        (self.repository / "daemon.log").unlink(missing_ok=True)

    @property
    def api(self):
        """The multiaddr of the RPC."""
        return (self.repository / "api").read_text().strip()

    @property
    def url(self):
        """The RPC as a URL."""
        _, _, host, _, port = self.api.split("/")
        return f"http://{host}:{port}"

    @property
    def gateway(self):
        """The URL of its gateway."""
        _, _, host, _, port = self.run("config", "Addresses.Gateway").strip().split("/")
        return f"http://{host}:{port}"

    def connect(self, other):
        self.run("swarm", "connect", other.run("id", "-f", "<addrs>").split("\n")[0])

    def plant(self, cid, data):
        """Put any bytes where flatfs keeps a block. The daemon starts anew: it remembers what is absent."""
        key = base64.b32encode(bytes(cid)[2:]).decode().rstrip("=")
        place = self.repository / "blocks" / key[-3:-1] / f"{key}.data"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        self.stop()
        self.start()

    def clear(self):
        """Leave neither pins nor blocks."""
        if pins := self.run("pin", "ls", "--type=recursive", "-q").split():
            self.run("pin", "rm", *pins)
        if blocks := self.run("refs", "local").split():
            self.run("block", "rm", "-f", "-q", *blocks)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def kubo_node(repository):
    """A running daemon; it ends with the block."""
    node = KuboNode(repository)
    try:
        yield node.start()
    finally:
        node.stop()
