"""Serves the small models until it is asked to stop; prints its URL."""

import asyncio
import signal

from modelreg_verifier.serving.engine import limit_memory
from modelreg_verifier.serving.server import InferenceServer, ServerSettings
from tests.serving import graphs


async def main():
    kinds = [graphs.served(f"acme/{kind.lower()}", graphs.identity(kind)) for kind in graphs.KINDS]
    models = graphs.table(
        graphs.served("acme/linear", graphs.linear()),
        graphs.served("acme/burner", graphs.burner()),
        graphs.served("acme/gatherer", graphs.gatherer()),
        *kinds,
    )
    server = InferenceServer(models, ServerSettings(port=0, workers=2))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    print(server.url, flush=True)
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    limit_memory(64 << 20)
    asyncio.run(main())
