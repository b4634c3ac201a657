"""Element types of tensors. Specified in docs/spec/content.md, section 1."""

from enum import Enum

from modelreg.errors import FormatError

__all__ = ["DType"]


class DType(Enum):
    """What a tensor's elements are; the value is the label and the bits of one element.

    Labels are those of safetensors where it has the type. `BYTES` stands for all that has no fixed element:
    bytes between tensors, variable-length integers of protobuf, files without structure.
    """

    BYTES = ("BYTES", 8)
    BOOL = ("BOOL", 8)
    U2 = ("U2", 2)
    I2 = ("I2", 2)
    U4 = ("U4", 4)
    I4 = ("I4", 4)
    F4 = ("F4", 4)
    F6_E2M3 = ("F6_E2M3", 6)
    F6_E3M2 = ("F6_E3M2", 6)
    U8 = ("U8", 8)
    I8 = ("I8", 8)
    F8_E5M2 = ("F8_E5M2", 8)
    F8_E5M2FNUZ = ("F8_E5M2FNUZ", 8)
    F8_E4M3 = ("F8_E4M3", 8)
    F8_E4M3FNUZ = ("F8_E4M3FNUZ", 8)
    F8_E8M0 = ("F8_E8M0", 8)
    U16 = ("U16", 16)
    I16 = ("I16", 16)
    F16 = ("F16", 16)
    BF16 = ("BF16", 16)
    U32 = ("U32", 32)
    I32 = ("I32", 32)
    F32 = ("F32", 32)
    U64 = ("U64", 64)
    I64 = ("I64", 64)
    F64 = ("F64", 64)
    C64 = ("C64", 64)
    C128 = ("C128", 128)

    def __init__(self, label: str, bits: int) -> None:
        self.label = label
        self.bits = bits

    @property
    def word_bytes(self) -> int:
        """The bytes that belong together: one element, or one byte where elements are smaller."""
        return max(1, self.bits // 8)

    def size_of(self, elements: int) -> int:
        """Bytes of that many packed elements; the last byte is filled up."""
        return (elements * self.bits + 7) // 8

    @classmethod
    def from_label(cls, label: str) -> "DType":
        """Parse a label. Raises FormatError for an unknown one."""
        found = _BY_LABEL.get(label)
        if found is None:
            raise FormatError("element type", expected=", ".join(_BY_LABEL), found=repr(label)[:40])
        return found


_BY_LABEL = {dtype.label: dtype for dtype in DType}
