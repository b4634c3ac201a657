"""Serves a small model with receipts until it is asked to stop: `serve_receipts.py DIRECTORY PORT`."""

import asyncio
import signal
import sys
from pathlib import Path

from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.recorder import ReceiptRecorder
from modelreg_verifier.serving.server import InferenceServer, ServerSettings
from tests.receipts.making import journal
from tests.serving import graphs


async def main(opened, port):
    models = graphs.table(graphs.served("acme/linear", graphs.linear()))
    recorder = ReceiptRecorder(opened, lambda *_: TracePlan("model.onnx"))
    server = InferenceServer(models, ServerSettings(port=port, workers=2), recorder=recorder)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    print(server.url, flush=True)
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    with journal(Path(sys.argv[1])) as opened_:
        asyncio.run(main(opened_, int(sys.argv[2])))
