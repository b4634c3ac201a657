"""The rules of a policy: whose attachments count, and what nodes owe. Specified in docs/spec/terms.md."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.digest import HashAlgorithm

__all__ = ["MAX_PARTIES", "Terms"]

MAX_PARTIES = 32
_KIND = "modelreg/terms/1"
_MAX_BYTES = 4096
_ADDRESS_BYTES = 20


@dataclass(frozen=True, slots=True)
class Terms:
    """Parties, as ascending addresses of 20 bytes, and whether what no party vouches for is a failure.

    Raises:
        FormatError: no party or more than 32, another order, or what is no address.
    """

    parties: tuple[bytes, ...]
    strict: bool = False

    def __post_init__(self) -> None:
        lengths = {len(party) for party in self.parties}
        ascending = all(a < b for a, b in pairwise((bytes(_ADDRESS_BYTES), *self.parties)))
        if not 1 <= len(self.parties) <= MAX_PARTIES or lengths != {_ADDRESS_BYTES} or not ascending:
            raise FormatError(
                "parties of terms",
                expected=f"1 to {MAX_PARTIES} addresses, ascending, none zero",
                found=f"{len(self.parties)} others",
            )

    def __bytes__(self) -> bytes:
        return canonical.encode({"kind": _KIND, "parties": list(self.parties), "strict": self.strict})

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Read a canonical block. Raises FormatError."""
        if len(block) > _MAX_BYTES:
            raise FormatError("terms", expected=f"at most {_MAX_BYTES} bytes", found=len(block))
        parties, strict = schema.fields(canonical.decode(block), _KIND, ("parties", "strict"))
        if not isinstance(strict, bool):
            raise FormatError("strict of terms", expected="a truth", found=type(strict).__name__)
        return cls(tuple(map(_read_party, schema.array(parties, MAX_PARTIES))), strict)

    @property
    def digest(self) -> bytes:
        """The blake3 digest of the block, 32 bytes, which stands in a policy as `terms`."""
        return HashAlgorithm.BLAKE3_256.digest(bytes(self)).value


def _read_party(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError("party of terms", expected="an address", found=type(value).__name__)
    return value
