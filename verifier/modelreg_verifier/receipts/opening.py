"""Openings: what a node shows of an inference. Specified in docs/spec/openings.md, section 2."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, BinaryIO

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg.format.commitments import Tensor
from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
from modelreg.format.trace_plan import MAX_CUTS
from modelreg_verifier.receipts import framing
from modelreg_verifier.receipts.framing import Slot

__all__ = ["BYTES_MAX", "CutOpening", "Opening", "SetOpening", "read_opening", "write_opening"]

BYTES_MAX = 512 << 20
"""How many bytes of tensors a reader takes unless it says otherwise."""

_KIND = "modelreg/opening/1"
_NAMES = ("receipt", "plan", "runtime", "inputs", "outputs", "cuts")
_PLAN_BYTES_MAX, _RUNTIME_BYTES_MAX = 1 << 20, 8192
_MAX_SIBLINGS = (MAX_CUTS - 1).bit_length()


@dataclass(frozen=True, slots=True)
class SetOpening:
    """The tensors behind a commitment, and its salt of 32 bytes."""

    salt: bytes
    tensors: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CutOpening:
    """One cut of the trace, with the siblings that lead from its leaf to the trace root."""

    cut: int
    salt: bytes
    proof: tuple[bytes, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opening:
    """A signed receipt, the blocks that it names, and what is opened of it; None and no cut where it is not.

    Nothing is known of it before `check_opening`. `cuts` stand in ascending order.
    """

    receipt: SignedReceipt
    plan: bytes
    runtime: bytes
    inputs: SetOpening | None = None
    outputs: SetOpening | None = None
    cuts: tuple[CutOpening, ...] = ()


def write_opening(opening: Opening) -> Iterator[bytes | memoryview]:
    """The parts that make the opening, one after the other. Raises FormatError where it is too large."""
    yield framing.write_header(
        {
            "kind": _KIND,
            "receipt": bytes(opening.receipt),
            "plan": opening.plan,
            "runtime": opening.runtime,
            "inputs": _set_value(opening.inputs),
            "outputs": _set_value(opening.outputs),
            "cuts": [
                [cut.cut, cut.salt, list(cut.proof), framing.table(cut.tensors)] for cut in opening.cuts
            ],
        }
    )
    for part in (opening.inputs, opening.outputs, *opening.cuts):
        if part is not None:
            yield from framing.payload(part.tensors)


def _set_value(part: SetOpening | None) -> list[Any] | None:
    return None if part is None else [part.salt, framing.table(part.tensors)]


def read_opening(file: BinaryIO, *, max_bytes: int = BYTES_MAX) -> Opening:
    """Read an opening to the file's end; nothing but its form is checked.

    Args:
        file: read forward only, in pieces.
        max_bytes: of all tensors together; more are refused before any is read.

    Raises:
        FormatError: it breaks a rule of section 2.
    """
    receipt, plan, runtime, inputs, outputs, cuts = framing.read_header(file, _KIND, _NAMES)
    found_in, found_out = (_read_set(value, max_bytes) for value in (inputs, outputs))
    found_cuts = [_read_cut(row, max_bytes) for row in schema.array(cuts, MAX_CUTS)]
    if any(a[0] >= b[0] for a, b in pairwise(found_cuts)):
        raise FormatError("cuts of an opening", expected="ascending numbers", found="another order")
    signed = SignedReceipt.from_bytes(_bytes(receipt, "receipt", SIGNED_BYTES))
    slots = [*_slots(found_in), *_slots(found_out), *(slot for row in found_cuts for slot in row[3])]
    framing.check_total(slots, max_bytes)
    opening = Opening(
        signed,
        _bytes(plan, "plan", _PLAN_BYTES_MAX),
        _bytes(runtime, "runtime", _RUNTIME_BYTES_MAX),
        _fill_set(file, found_in),
        _fill_set(file, found_out),
        tuple(
            CutOpening(number, salt, proof, framing.read_tensors(file, table))
            for number, salt, proof, table in found_cuts
        ),
    )
    framing.end(file)
    return opening


_Set = tuple[bytes, tuple[Slot, ...]]


def _read_set(value: Any, most: int) -> _Set | None:
    if value is None:
        return None
    salt, table = schema.array(value, 2, exactly=(2,))
    return schema.digest(salt), framing.read_table(table, most)


def _read_cut(row: Any, most: int) -> tuple[int, bytes, tuple[bytes, ...], tuple[Slot, ...]]:
    number, salt, proof, table = schema.array(row, 4, exactly=(4,))
    return (
        schema.uint(number, MAX_CUTS - 1),
        schema.digest(salt),
        tuple(map(schema.digest, schema.array(proof, _MAX_SIBLINGS))),
        framing.read_table(table, most),
    )


def _slots(part: _Set | None) -> tuple[Slot, ...]:
    return () if part is None else part[1]


def _fill_set(file: BinaryIO, part: _Set | None) -> SetOpening | None:
    return None if part is None else SetOpening(part[0], framing.read_tensors(file, part[1]))


def _bytes(value: Any, what: str, most: int) -> bytes:
    if not isinstance(value, bytes) or len(value) > most:
        raise FormatError(f"{what} of an opening", expected=f"at most {most} bytes", found=str(type(value)))
    return value
