"""Receipts: a node's signed statement that it answered a request. Specified in docs/spec/receipt.md.

The digest is EIP-712's (https://eips.ethereum.org/EIPS/eip-712), packed by hand: sections 1 and 2.
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import Self

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.format.names import ReleaseId
from modelreg.format.signature import SIGNATURE_BYTES, Signer, recover

__all__ = [
    "DOMAIN_NAME",
    "DOMAIN_VERSION",
    "INTEGER_END",
    "PACKED_BYTES",
    "SCHEMA",
    "SIGNED_BYTES",
    "Domain",
    "Receipt",
    "SignedReceipt",
    "sign",
    "typed_digest",
]

SCHEMA = 1
INTEGER_END = 1 << 53  # JSON readers keep integers below it exact
DOMAIN_NAME, DOMAIN_VERSION = "modelreg", "1"

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_TYPE = (
    b"Receipt(uint16 schema,address node,bytes32 releaseId,bytes32 planId,bytes32 requestId,address client,"
    b"bytes32 inputCommit,bytes32 outputCommit,bytes32 traceRoot,bytes32 runtimeFingerprint,"
    b"uint64 epoch,uint64 seq,uint64 issuedAt,bytes32 prevReceipt)"
)
_TYPE_HASH = keccak256(_TYPE)
_DOMAIN_HEAD = b"".join(map(keccak256, (_DOMAIN_TYPE, DOMAIN_NAME.encode(), DOMAIN_VERSION.encode())))

_PACKED = Struct(">H20s32s32s32s20s32s32s32s32sQQQ32s")
_WORDS = Struct(">32s30xH12x20s32s32s32s12x20s32s32s32s32s24xQ24xQ24xQ32s")
PACKED_BYTES = _PACKED.size
SIGNED_BYTES = PACKED_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Domain:
    """Where receipts count: a chain and the 20-byte address of its ReceiptLog; `separator` is EIP-712's."""

    chain_id: int
    contract: bytes
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.chain_id < INTEGER_END or len(self.contract) != 20:
            raise FormatError(
                "receipt domain",
                expected="a chain id below 2^53 and an address of 20 bytes",
                found=f"{self.chain_id}, {len(self.contract)} bytes",
            )
        words = self.chain_id.to_bytes(32, "big") + self.contract.rjust(32, b"\0")
        object.__setattr__(self, "separator", keccak256(_DOMAIN_HEAD + words))


def typed_digest(domain: Domain, struct: bytes) -> bytes:
    """The EIP-712 digest, 32 bytes, of typed data in this domain whose hash is `struct`."""
    return keccak256(b"\x19\x01" + domain.separator + struct)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a node signs; the fields are those of section 1, in their order.

    `node` and `client` are addresses of 20 bytes, `issued_at` is in Unix seconds, all other bytes are 32.

    Raises:
        FormatError: another schema, a length that is not the field's, an integer beyond 2^53 - 1.
    """

    schema: int
    node: bytes
    release_id: ReleaseId
    plan_id: bytes
    request_id: bytes
    client: bytes
    input_commit: bytes
    output_commit: bytes
    trace_root: bytes
    runtime_fingerprint: bytes
    epoch: int
    seq: int
    issued_at: int
    prev_receipt: bytes

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise FormatError("receipt schema", expected=SCHEMA, found=self.schema)
        if not len(self.node) == len(self.client) == 20 or set(map(len, self._hashes)) != {32}:
            raise FormatError("receipt", expected="addresses of 20 bytes, other bytes of 32")
        numbers = self.epoch, self.seq, self.issued_at
        if not 0 <= min(numbers) <= max(numbers) < INTEGER_END:
            raise FormatError("receipt", expected="epoch, seq and issuedAt of 0 to 2^53 - 1", found=numbers)

    @property
    def _hashes(self) -> tuple[bytes, ...]:
        commitments = self.input_commit, self.output_commit, self.trace_root
        return self.plan_id, self.request_id, *commitments, self.runtime_fingerprint, self.prev_receipt

    @property
    def values(self) -> tuple[int | bytes, ...]:
        """The fields in their order, as integers and bytes."""
        return (
            self.schema,
            self.node,
            self.release_id.value,
            self.plan_id,
            self.request_id,
            self.client,
            self.input_commit,
            self.output_commit,
            self.trace_root,
            self.runtime_fingerprint,
            self.epoch,
            self.seq,
            self.issued_at,
            self.prev_receipt,
        )

    def __bytes__(self) -> bytes:
        return _PACKED.pack(*self.values)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a packed receipt of 322 bytes. Raises FormatError."""
        if len(raw) != PACKED_BYTES:
            raise FormatError("receipt", expected=f"{PACKED_BYTES} bytes", found=len(raw))
        schema, node, release_id, *rest = _PACKED.unpack(raw)
        return cls(schema, node, ReleaseId(release_id), *rest)

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest, 32 bytes: the receipt's name, and what is signed."""
        return typed_digest(domain, keccak256(_WORDS.pack(_TYPE_HASH, *self.values)))


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt and the 65 bytes said to be its node's signature; nothing is known of it before `verify`."""

    receipt: Receipt
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_BYTES:
            raise FormatError(
                "receipt signature", expected=f"{SIGNATURE_BYTES} bytes", found=len(self.signature)
            )

    def __bytes__(self) -> bytes:
        return bytes(self.receipt) + self.signature

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a signed receipt of 387 bytes; its signature is not checked. Raises FormatError."""
        if len(raw) != SIGNED_BYTES:
            raise FormatError("signed receipt", expected=f"{SIGNED_BYTES} bytes", found=len(raw))
        return cls(Receipt.from_bytes(raw[:PACKED_BYTES]), raw[PACKED_BYTES:])

    def verify(self, domain: Domain) -> bytes:
        """Check that the receipt's node signed it in this domain, and return the digest.

        Raises:
            VerificationError: somebody else signed it, in another domain, or the signature has another form.
        """
        digest = self.receipt.digest(domain)
        signer = recover(digest, self.signature)
        if signer != self.receipt.node:
            raise VerificationError(
                "receipt signature",
                expected=f"one by node 0x{self.receipt.node.hex()}",
                found=f"one by 0x{signer.hex()}",
                hint="a receipt that was changed, or signed for another chain or contract, looks like this",
            )
        return digest


def sign(receipt: Receipt, domain: Domain, signer: Signer) -> SignedReceipt:
    """Sign a receipt as its node. Raises InputError for a receipt of another node."""
    if receipt.node != signer.address:
        raise InputError(
            "a receipt of another node", expected=f"0x{signer.address.hex()}", found=f"0x{receipt.node.hex()}"
        )
    return SignedReceipt(receipt, signer.sign(receipt.digest(domain)))
