"""Serves the small models until it is asked to stop; prints its URL. Given a directory, it signs receipts."""

import asyncio
import signal
import sys
from pathlib import Path

from modelreg.errors import UnreachableError
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg_verifier.receipts.service import ReceiptService
from modelreg_verifier.serving.engine import limit_memory
from modelreg_verifier.serving.server import InferenceServer, ServerSettings
from tests.serving import graphs

DOMAIN = Domain(31337, b"\x11" * 20)
TOKEN = b"the operator's own token"


def no_engine(release, _plan):
    raise UnreachableError(f"{release} cannot be loaded")


async def main(directory=None):
    kinds = [graphs.served(f"acme/{kind.lower()}", graphs.identity(kind)) for kind in graphs.KINDS]
    models = graphs.table(
        graphs.served("acme/linear", graphs.linear()),
        graphs.served("acme/burner", graphs.burner()),
        graphs.served("acme/gatherer", graphs.gatherer()),
        *kinds,
    )
    service, receipts = None, {}
    if directory is not None:
        path = Path(directory) / "journal.sqlite"
        service = ReceiptService(path, Signer(b"\x01" * 32), DOMAIN, token=TOKEN)
        receipts = {"recorder": service.recorder, "pages": service.pages(models, no_engine)}
    server = InferenceServer(models, ServerSettings(port=0, workers=2), **receipts)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    print(server.url, flush=True)
    await stopping.wait()
    await server.stop()
    if service is not None:
        service.close()


if __name__ == "__main__":
    limit_memory(64 << 20)
    asyncio.run(main(*sys.argv[1:]))
