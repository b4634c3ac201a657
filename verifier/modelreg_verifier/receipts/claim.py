"""What a node says that each operator of a segment made: a claim. docs/spec/dispute.md, section 1."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import BinaryIO

from modelreg.errors import FormatError, VerificationError
from modelreg.format import schema
from modelreg.format.commitments import Tensor
from modelreg.format.digest import DIGEST_BYTES, keccak256
from modelreg.format.receipt import Domain, typed_digest
from modelreg.format.signature import SIGNATURE_BYTES, Signer, recover
from modelreg.format.values import values
from modelreg_verifier.receipts import framing

__all__ = ["BYTES_MAX", "SEGMENTS_MAX", "TENSORS_MAX", "Claim", "read_claim", "sign_claim", "write_claim"]

BYTES_MAX = 512 << 20
"""How many bytes of tensors a reader takes unless it says otherwise."""
TENSORS_MAX = 4096
SEGMENTS_MAX = 1 << 16

_KIND = "modelreg/claim/1"
_NAMES = ("receipt", "segment", "signature", "tensors")
_TYPE_HASH = keccak256(b"Claim(bytes32 receipt,uint16 segment,bytes32 values)")
_WORDS = Struct(">32s32s30xH32s")


@dataclass(frozen=True, slots=True)
class Claim:
    """The tensors of a segment, and the 65 bytes said to be the node's signature.

    Raises:
        FormatError: a digest or signature of another length, or a segment beyond 65,535.
    """

    receipt: bytes
    segment: int
    tensors: Mapping[str, Tensor] = field(repr=False)
    signature: bytes

    def __post_init__(self) -> None:
        lengths = len(self.receipt), len(self.signature)
        if lengths != (DIGEST_BYTES, SIGNATURE_BYTES) or not 0 <= self.segment < SEGMENTS_MAX:
            expected = f"a digest, a segment below {SEGMENTS_MAX} and {SIGNATURE_BYTES} bytes"
            raise FormatError("claim", expected=expected, found=[*lengths, self.segment])

    def verify(self, node: bytes, domain: Domain) -> None:
        """Raise VerificationError unless the node, given by its address, signed it in this domain."""
        signer = recover(_digest(self.receipt, self.segment, self.tensors, domain), self.signature)
        if signer != node:
            raise VerificationError(
                "claim signature", expected=f"one by node 0x{node.hex()}", found=f"one by 0x{signer.hex()}"
            )


def _digest(receipt: bytes, segment: int, tensors: Mapping[str, Tensor], domain: Domain) -> bytes:
    hashed = values(tensors, TENSORS_MAX)
    return typed_digest(domain, keccak256(_WORDS.pack(_TYPE_HASH, receipt, segment, hashed)))


def sign_claim(
    receipt: bytes, segment: int, tensors: Mapping[str, Tensor], domain: Domain, signer: Signer
) -> Claim:
    """Sign for the tensors of a segment.

    Args:
        receipt: the digest, 32 bytes.
        segment: from 0.
        tensors: those that the segment's nodes make.
        domain: of the receipt.
        signer: the node's key.

    Raises:
        FormatError: more than 4,096 tensors, or a name that no commitment can have.
    """
    return Claim(receipt, segment, tensors, signer.sign(_digest(receipt, segment, tensors, domain)))


def write_claim(claim: Claim) -> Iterator[bytes | memoryview]:
    """The parts that make the frame, one after the other. Raises FormatError where it is too large."""
    yield framing.write_header(
        {
            "kind": _KIND,
            "receipt": claim.receipt,
            "segment": claim.segment,
            "signature": claim.signature,
            "tensors": framing.table(claim.tensors),
        }
    )
    yield from framing.payload(claim.tensors)


def read_claim(file: BinaryIO, *, max_bytes: int = BYTES_MAX) -> Claim:
    """Read a claim to the file's end; nothing but its form is checked.

    Args:
        file: read forward only, in pieces.
        max_bytes: of all tensors together; more are refused before any is read.

    Raises:
        FormatError: it breaks a rule of section 1.
    """
    receipt, segment, signature, table = framing.read_header(file, _KIND, _NAMES)
    slots = framing.read_table(table, max_bytes, TENSORS_MAX)
    framing.check_total(slots, max_bytes)
    if not isinstance(signature, bytes):
        raise FormatError("claim signature", expected=f"{SIGNATURE_BYTES} bytes", found=str(type(signature)))
    digest, number = schema.digest(receipt), schema.uint(segment, SEGMENTS_MAX - 1)
    claim = Claim(digest, number, framing.read_tensors(file, slots), signature)
    framing.end(file)
    return claim
