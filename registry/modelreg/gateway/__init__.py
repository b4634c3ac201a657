"""A home's blocks as an IPFS trustless gateway. Specified in docs/spec/gateway.md."""

from modelreg.gateway.server import BlockServer

__all__ = ["PATHS", "BlockServer"]

PATHS = ("/ipfs/", "/squashes/")
