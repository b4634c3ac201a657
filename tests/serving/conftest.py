"""One server for the tests that only ask."""

import pytest

from modelreg_verifier.serving.engine import limit_memory
from tests.serving import graphs
from tests.serving.running import ServerSettings, running

MEMORY = 256 << 20


@pytest.fixture(scope="session", autouse=True)
def _memory():
    limit_memory(MEMORY)


@pytest.fixture(scope="session")
def models():
    kinds = [graphs.served(f"acme/{kind.lower()}", graphs.identity(kind)) for kind in graphs.KINDS]
    return graphs.table(
        graphs.served("acme/linear", graphs.linear()),
        graphs.served("acme/linear", graphs.linear(-graphs.WEIGHTS), "2.0.0+bf16", "stable"),
        graphs.served("acme/linear/sub/ready", graphs.linear()),
        graphs.served("acme/scalar", graphs.identity("INT64", ())),
        graphs.served("acme/burner", graphs.burner()),
        graphs.served("acme/reciprocal", graphs.reciprocal()),
        graphs.served("acme/gatherer", graphs.gatherer()),
        *kinds,
    )


@pytest.fixture(scope="session")
def server(models):
    with running(models, ServerSettings(port=0, workers=2)) as found:
        yield found


@pytest.fixture(scope="session")
def url(server):
    return server.url
