"""Which receipts of a batch are audited. Specified in docs/spec/audit.md, section 1. No input or output.

The uniform draws carry the guarantee: whatever a node writes into its receipts, each set of so many of them
is as likely as any other. The draws that cover strata come on top.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from modelreg.errors import FormatError
from modelreg.format.batch import MAX_RECEIPTS
from modelreg.format.digest import DIGEST_BYTES, keccak256
from modelreg.format.receipt import Receipt

__all__ = ["Sample", "sample", "sample_among", "seed_of", "stratum_of"]

_UNIFORM, _ORDER, _WITHIN = b"\x09", b"\x0a", b"\x0b"


@dataclass(frozen=True, slots=True)
class Sample:
    """Places in a batch, from 0: those drawn uniformly, and further ones for strata that these left out."""

    drawn: tuple[int, ...]
    covering: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """All places, none twice."""
        return self.drawn + self.covering


def seed_of(block_hash: bytes, root: bytes) -> bytes:
    """The seed, 32 bytes, from the hash of the block after the anchoring one and the batch's root.

    Raises:
        FormatError: one of them has not 32 bytes.
    """
    if len(block_hash) != DIGEST_BYTES or len(root) != DIGEST_BYTES:
        raise FormatError(
            "seed of a sample", expected="two hashes of 32 bytes", found=[len(block_hash), len(root)]
        )
    return keccak256(block_hash + root)


def stratum_of(receipt: Receipt) -> bytes:
    """The stratum of a receipt: release, plan and client in 84 bytes."""
    return receipt.release_id.value + receipt.plan_id + receipt.client


def sample(seed: bytes, strata: Sequence[bytes], draws: int, cover: int = 0) -> Sample:
    """Draw from a batch whose receipts, in order of seq, have these strata.

    Args:
        seed: `seed_of` the batch.
        strata: `stratum_of` each receipt.
        draws: uniform draws without replacement; all receipts if it is not less than their number.
        cover: strata that get one draw more if none of the uniform ones is in them.

    Raises:
        FormatError: a seed of another length, no receipt or too many, a negative number.
    """
    if len(seed) != DIGEST_BYTES or not 0 < len(strata) <= MAX_RECEIPTS or draws < 0 or cover < 0:
        raise FormatError(
            "sample",
            expected=f"a seed of {DIGEST_BYTES} bytes, 1 to {MAX_RECEIPTS} receipts, numbers from 0",
            found=f"{len(seed)} bytes, {len(strata)} receipts, {draws} draws, {cover} to cover",
        )
    drawn = _uniform(seed, len(strata), min(draws, len(strata)))
    return Sample(drawn, _covering(seed, strata, drawn, cover) if cover else ())


def sample_among(
    seed: bytes, strata: Sequence[bytes], places: Sequence[int], draws: int, cover: int = 0
) -> Sample:
    """As `sample`, of those receipts alone that stand at some places, given in ascending order."""
    found = sample(seed, [strata[place] for place in places], draws, cover)
    return Sample(tuple(places[at] for at in found.drawn), tuple(places[at] for at in found.covering))


def _uniform(seed: bytes, count: int, draws: int) -> tuple[int, ...]:
    """The beginning of a Fisher-Yates shuffle, of which only what moved is kept."""
    moved: dict[int, int] = {}
    found = []
    for j in range(draws):
        k = j + _number(_UNIFORM, seed, j.to_bytes(8, "big")) % (count - j)
        found.append(moved.get(k, k))
        moved[k] = moved.get(j, j)
    return tuple(found)


def _covering(seed: bytes, strata: Sequence[bytes], drawn: Sequence[int], cover: int) -> tuple[int, ...]:
    seen = {strata[place] for place in drawn}
    sizes = Counter(key for key in strata if key not in seen)
    chosen = sorted(sizes, key=lambda key: _number(_ORDER, seed, key))[:cover]
    wanted = {key: _number(_WITHIN, seed, key) % sizes[key] for key in chosen}
    found: dict[bytes, int] = {}
    passed: Counter[bytes] = Counter()
    for place, key in enumerate(strata):
        if key in wanted:
            if passed[key] == wanted[key]:
                found[key] = place
            passed[key] += 1
    return tuple(found[key] for key in chosen)


def _number(tag: bytes, seed: bytes, rest: bytes) -> int:
    return int.from_bytes(keccak256(tag + seed + rest), "big")
