"""Blocks: bytes under the CID that they hash to. Specified in docs/spec/blocks.md, section 4."""

from modelreg.errors import FormatError, VerificationError
from modelreg.format.cid import Cid

__all__ = ["MAX_BLOCK_BYTES", "check_block"]

MAX_BLOCK_BYTES = 1 << 20


def check_block(cid: Cid, block: bytes) -> None:
    """Check that a block is what its CID names.

    Raises:
        FormatError: it is over the limit.
        VerificationError: it hashes to something else.
    """
    if len(block) > MAX_BLOCK_BYTES:
        raise FormatError(f"block {cid}", expected=f"at most {MAX_BLOCK_BYTES} bytes", found=len(block))
    found = cid.digest.algorithm.digest(block)
    if found != cid.digest:
        raise VerificationError(f"block {cid} holds other bytes", expected=cid.digest, found=found)
