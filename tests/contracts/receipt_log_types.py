"""What goes into ReceiptLog's calls: docs/spec/receipt.md, section 1, and docs/spec/receipt-log.md.

Named tuples in the order of the ABI; addresses are lower-case texts.
"""
# ruff: noqa: N815 (the names are the ABI's)

from functools import lru_cache
from typing import NamedTuple

from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils import ValidationError as OtherValidationError

from tests.contracts import abi
from tests.contracts.evm import CHAIN_ID
from tests.reference import receipt_log as reference

LOG_ADDRESS = "0x" + abi.RECEIPT_LOG.address.hex()
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class Receipt(NamedTuple):
    schema: int
    node: str
    releaseId: bytes
    planId: bytes
    requestId: bytes
    client: str
    inputCommit: bytes
    outputCommit: bytes
    traceRoot: bytes
    runtimeFingerprint: bytes
    epoch: int
    seq: int
    issuedAt: int
    prevReceipt: bytes

    def digest(self, chain_id=CHAIN_ID, contract=LOG_ADDRESS) -> bytes:
        return reference.typed_digest("Receipt", self, chain_id, contract)


class Verdict(NamedTuple):
    policyId: bytes
    receipt: bytes
    node: str
    outcome: int
    report: bytes
    issuedAt: int

    def digest(self, chain_id=CHAIN_ID, contract=LOG_ADDRESS) -> bytes:
        return reference.typed_digest("Verdict", self, chain_id, contract)


class Batch(NamedTuple):
    index: int
    epoch: int
    first: int
    count: int
    root: bytes
    blockNumber: int
    anchoredAt: int


class Policy(NamedTuple):
    model: bytes
    terms: bytes
    penalty: int
    withheldPenalty: int
    minimumBond: int
    deadline: int
    quorum: int
    auditors: tuple[str, ...]


@lru_cache(maxsize=65536)
def signer(digest: bytes, signature: bytes) -> str | None:
    """The account that signed, or None where the signature is not in its canonical form."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        return None
    try:
        made = keys.Signature(signature[:64] + bytes([signature[64] - 27]))
        return made.recover_public_key_from_msg_hash(digest).to_address()
    except (BadSignature, ValidationError, OtherValidationError):
        return None
