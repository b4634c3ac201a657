"""Plans and calibrations that accounts attached to a release. Specified in docs/spec/terms.md, section 1."""

from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from modelreg.errors import FormatError, ModelregError
from modelreg.format.calibration import Calibration
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import Digest, HashAlgorithm
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import TracePlan
from modelreg.store.base import BlockSource

__all__ = ["Attached", "attached_to", "block_of"]


@dataclass(frozen=True, slots=True)
class Attached:
    """What some accounts attached, in their order; `missing` are digests of blocks that could not be had."""

    digests: tuple[bytes, ...] = ()
    plans: tuple[TracePlan, ...] = ()
    calibrations: tuple[Calibration, ...] = field(default=(), repr=False)
    missing: tuple[bytes, ...] = ()

    def __add__(self, other: "Attached") -> "Attached":
        return Attached(
            self.digests + other.digests,
            self.plans + other.plans,
            self.calibrations + other.calibrations,
            self.missing + other.missing,
        )


def block_of(digest: bytes) -> Cid:
    """The address of an attached block, given by its blake3 digest of 32 bytes."""
    return Cid(Codec.DAG_CBOR, Digest(HashAlgorithm.BLAKE3_256, digest))


def attached_to(
    release: ReleaseId,
    files: Container[str],
    digests: Iterable[bytes],
    blocks: BlockSource,
    remark: Callable[[str], None],
) -> Attached:
    """Get and read attached blocks; what is none of a plan or calibration of this release is passed over.

    Args:
        release: to which they were attached.
        files: the paths in the release.
        digests: as the ledger has them.
        blocks: where they are got.
        remark: told which ones could not be had.
    """
    plans: list[TracePlan] = []
    calibrations: list[Calibration] = []
    missing: list[bytes] = []
    known = tuple(dict.fromkeys(digests))
    for digest in known:
        try:
            block = blocks.get(block_of(digest))
        except ModelregError as error:
            missing.append(digest)
            remark(f"attachment 0x{digest.hex()} of {release} cannot be had: {error}")
            continue
        found = _read(block)
        if isinstance(found, TracePlan) and found.file in files:
            plans.append(found)
        elif isinstance(found, Calibration) and found.release == release.value:
            calibrations.append(found)
    return Attached(known, tuple(plans), tuple(calibrations), tuple(missing))


def _read(block: bytes) -> TracePlan | Calibration | None:
    try:
        return TracePlan.from_bytes(block)
    except FormatError:
        with suppress(FormatError):
            return Calibration.from_bytes(block)
        return None
