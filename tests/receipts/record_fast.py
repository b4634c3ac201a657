"""Records as fast as it can, and prints the digest of what was acknowledged: `record_fast.py DIRECTORY`."""

import asyncio
import sys
from pathlib import Path

from modelreg.format.receipt_text import from_header
from modelreg_verifier.receipts.recorder import HEADER
from modelreg_verifier.receipts.segments import Retention
from tests.receipts.making import DOMAIN, inference, journal, recorder

AT_ONCE = 24


async def _client(made):
    while True:
        addition = await made.record(inference())
        digest = from_header(addition.headers[HEADER]).receipt.digest(DOMAIN)
        sys.stdout.write(digest.hex() + "\n")
        sys.stdout.flush()


async def _run(opened):
    made = recorder(opened)
    await asyncio.gather(*(_client(made) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    with journal(Path(sys.argv[1]), retention=Retention(segment_bytes=20_000)) as opened_:
        asyncio.run(_run(opened_))
