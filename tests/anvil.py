"""Foundry's anvil, the pinned version that npm installed, as a foreign chain on the loopback."""

import re
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

_PACKAGES = Path(__file__).parent / "interop" / "node_modules" / "@foundry-rs"
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")


def is_here() -> bool:
    """Whether `make node` was run."""
    return any(_PACKAGES.glob("anvil-*/bin/anvil"))


@contextmanager
def running(*options: object) -> Iterator[str]:
    """The URL of an anvil under Prague rules that ends with the test."""
    (binary,) = _PACKAGES.glob("anvil-*/bin/anvil")
    command = [binary, "--host", "127.0.0.1", "--port", "0", "--hardfork", "prague", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            port = next(found[1] for line in lines if (found := _LISTENING.search(line)))
            # It writes a line a request and would stand still once the pipe is full.
            Thread(target=deque, args=(lines, 0), daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
