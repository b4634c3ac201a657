"""Records as fast as it can, and prints the digest of what was acknowledged: `record_fast.py DIRECTORY`."""

import os
import sys
import threading
from pathlib import Path

from modelreg.format.receipt_text import from_header
from modelreg_verifier.receipts.recorder import HEADER
from modelreg_verifier.receipts.segments import Retention
from tests.receipts.making import DOMAIN, inference, journal, recorder

AT_ONCE = 24


def _client(made):
    while True:
        addition = made.record(inference())
        digest = from_header(addition.headers[HEADER]).receipt.digest(DOMAIN)
        os.write(1, digest.hex().encode() + b"\n")  # whole lines, whichever thread writes


if __name__ == "__main__":
    with journal(Path(sys.argv[1]), retention=Retention(segment_bytes=20_000)) as opened:
        made = recorder(opened)
        threads = [threading.Thread(target=_client, args=(made,)) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        threads[0].join()
