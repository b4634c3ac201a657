"""Homes that cost little: one is made a session, and copied for each test that needs it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import done, start
from tests.cli.models import fine_tuned, weights, write_huggingface

MODEL = "acme/tiny"


@dataclass(frozen=True)
class World:
    """A publisher that released `first` as 1.0.0 and `second` as 1.1.0 of acme/tiny."""

    publisher: Path
    first: Path
    second: Path

    def node(self, name: str = "node") -> Path:
        """A second home that joined the publisher's."""
        home = self.publisher.parent / name
        done(home, "init", "--join", self.publisher)
        return home


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in [*(name for name in os.environ if name.startswith("MODELREG_")), "ETH_PASSWORD", "NO_COLOR"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    first = write_huggingface(root / "first", weights())
    second = write_huggingface(root / "second", fine_tuned(weights()))
    return first, second


@pytest.fixture(scope="session")
def _empty_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("empty") / "home"
    done(home, "init")
    return home


@pytest.fixture(scope="session")
def _published_home(tmp_path_factory, models, _empty_home):
    home = tmp_path_factory.mktemp("published") / "home"
    shutil.copytree(_empty_home, home)
    for path, version in zip(models, ("1.0.0", "1.1.0"), strict=True):
        done(home, "publish", path, "--model", MODEL, "--version", version)
    return home


@pytest.fixture
def home(tmp_path, _empty_home):
    """A home with nothing on its ledger but the contract."""
    return Path(shutil.copytree(_empty_home, tmp_path / "home"))


@pytest.fixture
def world(tmp_path, models, _published_home):
    """A home with two releases."""
    return World(Path(shutil.copytree(_published_home, tmp_path / "publisher")), *models)


@pytest.fixture
def serving():
    """Serves chains over HTTP until the test ends; gives the URL and a function that stops it."""
    servers = []

    def serve(home, port=0, *options):
        server = start(home, "--json", "chain", "serve", "--port", port, *options, stderr=None)
        servers.append(server)
        return json.loads(server.stdout.readline())["url"], lambda: stop(server)

    def stop(server):
        server.terminate()
        server.wait(timeout=30)

    yield serve
    for server in servers:
        stop(server)
        server.stdout.close()
