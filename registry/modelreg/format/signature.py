"""Signatures of 65 bytes, r ‖ s ‖ v on secp256k1. Specified in docs/spec/receipt.md, section 2.

`s` is at most half the group order (EIP-2) and `v` is 27 or 28, the form that OpenZeppelin's `ECDSA` accepts.
Nonces are those of RFC 6979.
"""

from typing import TYPE_CHECKING

from modelreg.errors import InputError, VerificationError
from modelreg.format.digest import keccak256

if TYPE_CHECKING:
    import coincurve

__all__ = ["SIGNATURE_BYTES", "Signer", "recover"]

SIGNATURE_BYTES = 65
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_V = 27


class Signer:
    """A private key that signs digests. Its key is in no text that Python makes of it.

    Raises:
        InputError: the 32 bytes are no private key of secp256k1.
    """

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        import coincurve

        # coincurve would take fewer bytes for a smaller number.
        if len(secret) != 32:
            raise InputError("not a private key", expected="32 bytes", found=len(secret))
        try:
            self._key = coincurve.PrivateKey(secret)
        except ValueError:
            raise InputError("not a private key", expected="a number of the curve secp256k1") from None
        self.address = _address(self._key.public_key)

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"

    def sign(self, digest: bytes) -> bytes:
        """Sign a digest of 32 bytes."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((_V + raw[64],))


def recover(digest: bytes, signature: bytes) -> bytes:
    """The address, 20 bytes, of the account that signed a digest.

    Raises:
        VerificationError: `s` or `v` is in another form, or no key makes this signature.
    """
    import coincurve

    if len(signature) != SIGNATURE_BYTES:
        raise VerificationError("signature", expected=f"{SIGNATURE_BYTES} bytes", found=len(signature))
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise VerificationError("signature", expected="s of at most half the group order", found="a high s")
    parity = signature[64] - _V
    if parity not in (0, 1):
        raise VerificationError("signature", expected="v of 27 or 28", found=signature[64])
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes((parity,)), digest, hasher=None
        )
    except ValueError:
        raise VerificationError(
            "signature", expected="one that a key makes", found="r or s of none"
        ) from None
    return _address(key)


def _address(key: "coincurve.PublicKey") -> bytes:
    return keccak256(key.format(compressed=False)[1:])[12:]
