"""What a node keeps of an inference so that it can open it later. docs/spec/openings.md, section 5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg.format.commitments import Tensor
from modelreg.format.trace_plan import MAX_CUTS
from modelreg_verifier.receipts import framing
from modelreg_verifier.receipts.committing import SALT_BYTES

__all__ = ["Kept", "read_kept", "write_kept"]

_KIND = "modelreg/kept/1"
_NAMES = ("salts", "inputs", "outputs", "cuts")


@dataclass(frozen=True, slots=True)
class Kept:
    """The salts of inputs, outputs and cuts in this order, and the tensors; None for cuts to be remade."""

    salts: tuple[bytes, ...] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    outputs: Mapping[str, Tensor] = field(repr=False)
    cuts: Sequence[Mapping[str, Tensor]] | None = field(repr=False)


def write_kept(kept: Kept) -> list[bytes | memoryview]:
    """The parts to write, one after the other."""
    cuts = kept.cuts or ()
    header = {
        "kind": _KIND,
        "salts": b"".join(kept.salts),
        "inputs": framing.table(kept.inputs),
        "outputs": framing.table(kept.outputs),
        "cuts": None if kept.cuts is None else [framing.table(cut) for cut in cuts],
    }
    tensors = [part for each in (kept.inputs, kept.outputs, *cuts) for part in framing.payload(each)]
    return [framing.write_header(header), *tensors]


def read_kept(raw: bytes) -> Kept:
    """Read what `write_kept` wrote. Raises FormatError where the disk gives something else."""
    file, most = BytesIO(raw), len(raw)
    salts, inputs, outputs, cuts = framing.read_header(file, _KIND, _NAMES)
    if not isinstance(salts, bytes) or len(salts) % SALT_BYTES or len(salts) < 2 * SALT_BYTES:
        raise FormatError("kept salts", expected=f"{SALT_BYTES} bytes each")
    tables = [framing.read_table(inputs, most), framing.read_table(outputs, most)]
    if cuts is not None:
        tables += [framing.read_table(cut, most) for cut in schema.array(cuts, MAX_CUTS)]
    framing.check_total((slot for table in tables for slot in table), most)
    sets = [framing.read_tensors(file, table) for table in tables]
    framing.end(file)
    parts = tuple(salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES))
    return Kept(parts, sets[0], sets[1], None if cuts is None else sets[2:])
