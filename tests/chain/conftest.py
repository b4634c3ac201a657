import pytest

from modelreg.chain import open_chain
from tests import anvil
from tests.chain.backends import BACKENDS, Node, make_chain, served


def _parameter(name):
    return pytest.param(name, marks=[pytest.mark.node] if name == "anvil" else [])


@pytest.fixture(scope="module", params=[_parameter(name) for name in BACKENDS])
def node(request, tmp_path_factory):
    """A fresh chain a module; tests use their own accounts or read what they wrote."""
    if request.param == "anvil" and not anvil.is_here():
        pytest.skip("no anvil under tests/interop/node_modules")
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def path(tmp_path):
    return make_chain(tmp_path)


@pytest.fixture
def chain(path):
    with open_chain(path) as opened:
        yield opened


@pytest.fixture
def local(chain):
    return Node(chain.request, kind="embedded")


@pytest.fixture
def url(chain):
    with served(chain) as address:
        yield address
