"""Who may see an opening. Specified in docs/spec/openings.md, section 6."""

import base64
import hmac
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Self

from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.format.receipt import INTEGER_END, Domain, typed_digest
from modelreg.format.signature import SIGNATURE_BYTES, Signer, recover
from modelreg_verifier.serving.exchange import Refusal

__all__ = ["HEADER", "LIFETIME_SECONDS", "Access", "OpeningRequest", "sign_request", "sign_request_now"]

HEADER = "modelreg-opening-request"
LIFETIME_SECONDS = 600
"""How far ahead a deadline may lie."""

_TYPE_HASH = keccak256(b"OpeningRequest(address auditor,bytes32 receipt,uint64 deadline)")
_WORDS = Struct(">32s12x20s32s24xQ")
_PACKED = Struct(f">20sQ{SIGNATURE_BYTES}s")
_CHARACTERS = _PACKED.size // 3 * 4  # 93 bytes fill their base64: there is no padding


@dataclass(frozen=True, slots=True)
class OpeningRequest:
    """An auditor's wish to see the opening of a receipt.

    Attributes:
        auditor: an address of 20 bytes.
        receipt: the digest of 32 bytes.
        deadline: Unix seconds after which it asks for nothing.
    """

    auditor: bytes
    receipt: bytes
    deadline: int

    def __post_init__(self) -> None:
        if len(self.auditor) != 20 or len(self.receipt) != 32 or not 0 <= self.deadline < INTEGER_END:
            raise FormatError("opening request", expected="an address, a digest, and a time below 2^53")

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest, 32 bytes, that the auditor signs."""
        struct = _WORDS.pack(_TYPE_HASH, self.auditor, self.receipt, self.deadline)
        return typed_digest(domain, keccak256(struct))

    def to_header(self, signature: bytes) -> str:
        """The header's value: address, deadline and signature in base64; the path has the receipt."""
        return base64.b64encode(_PACKED.pack(self.auditor, self.deadline, signature)).decode("ascii")

    @classmethod
    def from_header(cls, text: str, receipt: bytes) -> tuple[Self, bytes]:
        """Read a header's value for a receipt; the signature comes with it, unchecked. Raises FormatError."""
        try:
            raw = base64.b64decode(text, validate=True) if len(text) == _CHARACTERS else b""
        except ValueError:
            raw = b""
        if len(raw) != _PACKED.size:
            raise FormatError(HEADER, expected=f"{_PACKED.size} bytes in base64", found=ascii(text)[:140])
        auditor, deadline, signature = _PACKED.unpack(raw)
        return cls(auditor, receipt, deadline), signature


def sign_request(signer: Signer, receipt: bytes, deadline: int, domain: Domain) -> str:
    """The header by which an auditor asks for the opening of a receipt, given by its digest."""
    request = OpeningRequest(signer.address, receipt, deadline)
    return request.to_header(signer.sign(request.digest(domain)))


def sign_request_now(signer: Signer, receipt: bytes, domain: Domain) -> str:
    """As `sign_request`, for a request that is sent at once by a clock that may be off by some minutes."""
    return sign_request(signer, receipt, int(time.time()) + LIFETIME_SECONDS // 2, domain)


class Access:
    """Lets the operator and the auditors that it names see openings.

    Args:
        domain: of the receipts.
        auditors: addresses of 20 bytes; there may be more of them later.
        token: the operator's own; None for none.
        clock: Unix seconds.
    """

    def __init__(
        self, domain: Domain, auditors: Collection[bytes], token: bytes | None, clock: Callable[[], float]
    ) -> None:
        self._domain, self._auditors, self._token, self._clock = domain, auditors, token, clock

    def check(self, headers: Mapping[str, str], receipt: bytes) -> None:
        """Raise Refusal with 400, 401 or 403 unless a request with these headers may see the opening."""
        if HEADER in headers:
            self._check_request(headers[HEADER], receipt)
        elif not self._is_operator(headers.get("Authorization", "")):
            raise Refusal(401, f"an opening needs the header {HEADER}, or the operator's token")

    def _is_operator(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        found = given.strip().encode("utf-8", "surrogateescape")
        return (
            self._token is not None and scheme.lower() == "bearer" and hmac.compare_digest(found, self._token)
        )

    def _check_request(self, text: str, receipt: bytes) -> None:
        try:
            request, signature = OpeningRequest.from_header(text, receipt)
        except FormatError as error:
            raise Refusal(400, str(error)) from None
        now = self._clock()
        if not now <= request.deadline <= now + LIFETIME_SECONDS:
            raise Refusal(403, f"the request's deadline is not within {LIFETIME_SECONDS} seconds from now")
        if request.auditor not in self._auditors:
            raise Refusal(403, f"0x{request.auditor.hex()} is no auditor of this node")
        try:
            signer = recover(request.digest(self._domain), signature)
        except VerificationError as error:
            raise Refusal(403, str(error)) from None
        if signer != request.auditor:
            raise Refusal(403, "the request is signed by somebody else, or for another receipt or domain")
