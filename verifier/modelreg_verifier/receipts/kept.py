"""What a node keeps of an inference so that it can open it later. docs/spec/openings.md, section 5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg.format.commitments import Tensor
from modelreg.format.trace_plan import MAX_CUTS
from modelreg.format.values import Layout
from modelreg_verifier.receipts import framing
from modelreg_verifier.receipts.committing import SALT_BYTES

__all__ = ["Kept", "read_kept", "write_kept"]

_KIND = "modelreg/kept/1"
_NAMES = ("salts", "inputs", "outputs", "cuts")
_HEADERS = 512
_GAP = b"\xff" * SALT_BYTES  # in no text, as no UTF-8 has such a byte, and longer than any number


@dataclass(frozen=True, slots=True)
class Kept:
    """The salts of inputs, outputs and cuts in this order, and the tensors; None for those to be remade."""

    salts: tuple[bytes, ...] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    outputs: Mapping[str, Tensor] | None = field(repr=False)
    cuts: Sequence[Mapping[str, Tensor]] | None = field(repr=False)


def write_kept(
    salts: Sequence[bytes], layout: Layout, tensors: Sequence[Tensor], *, outputs: bool, everything: bool
) -> list[bytes | memoryview]:
    """The parts to write, one after the other: salts and inputs, outputs if they are kept, or all tensors."""
    start, end, count = _header(layout, outputs or everything, everything)
    return [start, b"".join(salts), end, *[tensor.data for tensor in tensors[:count]]]


@lru_cache(_HEADERS)
def _header(layout: Layout, outputs: bool, cuts: bool) -> tuple[bytes, bytes, int]:  # noqa: FBT001
    """What stands before and behind the salts, and how many tensors follow."""
    gap = _GAP * len(layout.sets)
    tables = [framing.rows(rows) for rows in layout.sets]
    header = {
        "kind": _KIND,
        "salts": gap,
        "inputs": tables[0],
        "outputs": tables[1] if outputs else None,
        "cuts": tables[2:] if cuts else None,
    }
    start, _, end = framing.write_header(header).partition(gap)
    kept = layout.sets[: 1 + outputs] + (layout.sets[2:] if cuts else ())
    return start, end, sum(map(len, kept))


def read_kept(raw: bytes) -> Kept:
    """Read what `write_kept` wrote. Raises FormatError where the disk gives something else."""
    file, most = BytesIO(raw), len(raw)
    salts, inputs, outputs, cuts = framing.read_header(file, _KIND, _NAMES)
    if not isinstance(salts, bytes) or len(salts) % SALT_BYTES or len(salts) < 2 * SALT_BYTES:
        raise FormatError("kept salts", expected=f"{SALT_BYTES} bytes each")
    sets = [inputs, [] if outputs is None else outputs]
    sets += [] if cuts is None else schema.array(cuts, MAX_CUTS)
    tables = [framing.read_table(each, most) for each in sets]
    framing.check_total((slot for table in tables for slot in table), most)
    found = [framing.read_tensors(file, table) for table in tables]
    framing.end(file)
    parts = tuple(salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES))
    return Kept(parts, found[0], None if outputs is None else found[1], None if cuts is None else found[2:])
