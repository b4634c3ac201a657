"""What a receipt says of the tensors of an inference. docs/spec/receipt.md, sections 3 and 4."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from modelreg.format.commitments import (
    Hashing,
    Side,
    Tensor,
    commit,
    cut_leaf,
    hash_each,
    trace_root,
    values_of,
)

__all__ = ["SALT_BYTES", "Committed", "commit_to"]

SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Committed:
    """Salts of 32 bytes and the hashes of tensors; those of the cuts in the order of the cuts."""

    input_salt: bytes = field(repr=False)
    input_values: bytes
    output_salt: bytes = field(repr=False)
    output_values: bytes
    cut_salts: tuple[bytes, ...] = field(repr=False)
    cut_values: tuple[bytes, ...]

    @property
    def input_commit(self) -> bytes:
        """`inputCommit` of the receipt."""
        return commit(Side.INPUT, self.input_salt, self.input_values)

    @property
    def output_commit(self) -> bytes:
        """`outputCommit` of the receipt."""
        return commit(Side.OUTPUT, self.output_salt, self.output_values)

    @property
    def cut_leaves(self) -> list[bytes]:
        """The leaves of the tree over the cuts."""
        pairs = zip(self.cut_salts, self.cut_values, strict=True)
        return [cut_leaf(cut, salt, hashed) for cut, (salt, hashed) in enumerate(pairs)]

    @property
    def trace_root(self) -> bytes:
        """`traceRoot` of the receipt."""
        return trace_root(self.cut_leaves)

    @property
    def response(self) -> bytes:
        """What answers a challenge on the ledger (receipt-log.md, section 5): 128 bytes."""
        return self.input_salt + self.input_values + self.output_salt + self.output_values


def commit_to(
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    cuts: Sequence[Mapping[str, Tensor]],
    random: Callable[[int], bytes] = os.urandom,
    hashing: Hashing = hash_each,
) -> Committed:
    """Hash all tensors and draw a salt for each set. Raises FormatError for a set that has no commitment."""
    salts = random(SALT_BYTES * (2 + len(cuts)))
    parts = [salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)]
    hashed = values_of([inputs, outputs, *cuts], hashing)
    return Committed(parts[0], hashed[0], parts[1], hashed[1], tuple(parts[2:]), tuple(hashed[2:]))
