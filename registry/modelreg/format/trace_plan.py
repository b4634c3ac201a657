"""What ran, and where its trace is cut. Specified in docs/spec/trace.md, section 2."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any, Self

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.commitments import Tensor
from modelreg.format.digest import HashAlgorithm
from modelreg.format.paths import MAX_PATH_BYTES, check_path

__all__ = ["MAX_CUTS", "MAX_CUT_TENSORS", "FixedInput", "NumericClass", "TracePlan"]

MAX_CUTS = 128
MAX_CUT_TENSORS = 16
_KIND = "modelreg/trace-plan/1"
_MAX_FIXED = 64
_MAX_NAME_BYTES = 256
_LONGEST_DATATYPE = 6


class NumericClass(Enum):
    """The arithmetic that a model is meant to run in; the value is its label."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"

    @classmethod
    def from_label(cls, label: object) -> "NumericClass":
        """Parse a label. Raises FormatError for an unknown one."""
        found = _CLASSES.get(label) if isinstance(label, str) else None
        if found is None:
            raise FormatError("numeric class", expected=", ".join(_CLASSES), found=ascii(label)[:40])
        return found


_CLASSES = {numeric.value: numeric for numeric in NumericClass}


@dataclass(frozen=True, slots=True)
class FixedInput:
    """An input with a value of its own: one element of `datatype`, little-endian in `data`.

    Raises:
        FormatError: the name is empty or long, the datatype is unknown or BYTES, or the bytes are not one
            element of it.
    """

    name: str
    datatype: str
    data: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.datatype == "BYTES":
            raise FormatError(f"fixed input {self.name!a}", expected="a number or a truth", found="BYTES")
        Tensor(self.datatype, (), self.data)


@dataclass(frozen=True, slots=True)
class TracePlan:
    """A file of a release, the inputs that are fixed, and the cuts, each with its tensors in ascending order.

    Raises:
        FormatError: a path, name, count or order that section 2 does not allow.
    """

    file: str
    fixed: tuple[FixedInput, ...] = ()
    numeric_class: NumericClass = NumericClass.FP32
    cuts: tuple[tuple[str, ...], ...] = field(default=())

    def __post_init__(self) -> None:
        check_path(self.file)
        _check_count("fixed inputs", len(self.fixed), 0, _MAX_FIXED)
        _check_ascending("fixed inputs", (row.name for row in self.fixed))
        _check_count("cuts", len(self.cuts), 0, MAX_CUTS)
        for cut in self.cuts:
            _check_count("tensors of a cut", len(cut), 1, MAX_CUT_TENSORS)
            for name in cut:
                _check_name(name)
            _check_ascending("tensors of a cut", cut)
        if len(set(self.cuts)) != len(self.cuts):
            raise FormatError("cuts", expected="no cut twice", found="one that comes again")

    @property
    def is_bare(self) -> bool:
        """Whether a receipt of it binds input to output, and no more."""
        return not self.fixed and not self.cuts and self.numeric_class is NumericClass.FP32

    def __bytes__(self) -> bytes:
        return canonical.encode(
            {
                "kind": _KIND,
                "file": self.file,
                "fixed": [[row.name, row.datatype, row.data] for row in self.fixed],
                "class": self.numeric_class.value,
                "cuts": [list(cut) for cut in self.cuts],
            }
        )

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Read a canonical block. Raises FormatError."""
        names = ("file", "fixed", "class", "cuts")
        file, fixed, label, cuts = schema.fields(canonical.decode(block), _KIND, names)
        return cls(
            schema.text(file, MAX_PATH_BYTES),
            tuple(map(_read_fixed, schema.array(fixed, _MAX_FIXED))),
            NumericClass.from_label(label),
            tuple(map(_read_cut, schema.array(cuts, MAX_CUTS))),
        )

    @property
    def plan_id(self) -> bytes:
        """The blake3 digest of the block, 32 bytes."""
        return HashAlgorithm.BLAKE3_256.digest(bytes(self)).value


def _read_fixed(row: Any) -> FixedInput:
    name, datatype, data = schema.array(row, 3, exactly=(3,))
    if not isinstance(data, bytes):
        raise FormatError("value of a fixed input", expected="bytes", found=type(data).__name__)
    return FixedInput(schema.text(name, _MAX_NAME_BYTES), schema.text(datatype, _LONGEST_DATATYPE), data)


def _read_cut(row: Any) -> tuple[str, ...]:
    return tuple(schema.text(name, _MAX_NAME_BYTES) for name in schema.array(row, MAX_CUT_TENSORS))


def _check_name(name: str) -> None:
    if not 0 < len(name.encode(errors="replace")) <= _MAX_NAME_BYTES:
        raise FormatError("tensor name", expected=f"1 to {_MAX_NAME_BYTES} bytes", found=ascii(name)[:90])


def _check_count(what: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise FormatError(what, expected=f"{least} to {most}", found=count)


def _check_ascending(what: str, names: Iterable[str]) -> None:
    raws = [name.encode(errors="replace") for name in names]
    if any(a >= b for a, b in pairwise(raws)):
        raise FormatError(what, expected="strictly ascending names", found="another order")
