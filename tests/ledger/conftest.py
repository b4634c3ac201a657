"""An embedded chain for each test, copied from one that was set up once."""

import shutil
import time

import pytest

from modelreg.chain import create, open_chain
from modelreg.ledger.rpc import EmbeddedRpc
from tests.ledger.world import CHAIN_ID, KEYS, World, address_of


@pytest.fixture(autouse=True)
def no_second_chances_for_liars(monkeypatch, request):
    if "node" not in request.keywords:
        monkeypatch.setattr("modelreg.ledger.pinned._PAUSES", ())


@pytest.fixture(scope="session")
def chain_template(tmp_path_factory):
    directory = tmp_path_factory.mktemp("template")
    path = directory / "chain.sqlite"
    create(
        path, chain_id=CHAIN_ID, alloc={address_of(key): 10**21 for key in KEYS}, timestamp=int(time.time())
    )
    with open_chain(path) as chain:
        world = World(EmbeddedRpc(chain), directory)
        world.writer().deploy()
        world.writer().claim_namespace("acme")
    return directory


@pytest.fixture
def chain(chain_template, tmp_path):
    for file in chain_template.iterdir():
        shutil.copy(file, tmp_path / file.name)
    with open_chain(tmp_path / "chain.sqlite") as chain:
        yield chain


@pytest.fixture
def world(chain, tmp_path):
    return World(EmbeddedRpc(chain), tmp_path)
