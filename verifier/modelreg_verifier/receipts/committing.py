"""What a receipt says of the tensors of an inference. docs/spec/receipt.md, sections 3 and 4."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modelreg.format.commitments import Side, Tensor, commit, cut_leaves, trace_root
from modelreg.format.values import Hashing, Layout, hash_each, values_of

__all__ = ["SALT_BYTES", "Committed", "commit_to"]

SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Committed:
    """The commitments of a receipt, and what they are made of.

    Attributes:
        input_commit: as in the receipt, and so the next two.
        salts: 32 bytes each, of the inputs, of the outputs, and of the cuts in their order.
        values: the hashes of their tensors.
    """

    input_commit: bytes
    output_commit: bytes
    trace_root: bytes
    salts: tuple[bytes, ...] = field(repr=False)
    values: tuple[bytes, ...]

    @property
    def response(self) -> bytes:
        """What answers a challenge on the ledger (receipt-log.md, section 5): 128 bytes."""
        return self.salts[0] + self.values[0] + self.salts[1] + self.values[1]


def commit_to(
    layout: Layout,
    tensors: Sequence[Tensor],
    random: Callable[[int], bytes] = os.urandom,
    hashing: Hashing = hash_each,
) -> Committed:
    """Hash inputs, outputs and the cuts, as they were laid out, and draw a salt for each.

    Raises:
        FormatError: a set has no commitment.
    """
    salts = random(SALT_BYTES * len(layout.sets))
    parts = tuple([salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)])
    hashed = tuple(values_of(layout, tensors, hashing))
    return Committed(
        commit(Side.INPUT, parts[0], hashed[0]),
        commit(Side.OUTPUT, parts[1], hashed[1]),
        trace_root(cut_leaves(parts[2:], hashed[2:])),
        parts,
        hashed,
    )
