"""How much a client may take. The figures are those of docs/spec/serve.md, section 4."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, counts and seconds; `bytes_per_second` is the pace that a client must keep after a while."""

    body_bytes: int = 64 << 20
    pending_bytes: int = 256 << 20
    connections: int = 256
    queue: int = 64
    idle_seconds: float = 30.0
    read_seconds: float = 10.0
    write_seconds: float = 30.0
    bytes_per_second: int = 32 << 10
    run_seconds: float = 60.0
    drain_seconds: float = 30.0
