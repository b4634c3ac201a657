"""Ids, digests and proofs of docs/spec/receipt-log.md and docs/spec/receipt.md, one step at a time.

Typed data goes through eth_account. Texts stand for addresses, bytes for words.
"""

from functools import lru_cache

from Crypto.Hash import keccak
from eth_account.messages import encode_typed_data

from tests.reference.merkle import _top, reference_proof

RECEIPT = [
    ("schema", "uint16"),
    ("node", "address"),
    ("releaseId", "bytes32"),
    ("planId", "bytes32"),
    ("requestId", "bytes32"),
    ("client", "address"),
    ("inputCommit", "bytes32"),
    ("outputCommit", "bytes32"),
    ("traceRoot", "bytes32"),
    ("runtimeFingerprint", "bytes32"),
    ("epoch", "uint64"),
    ("seq", "uint64"),
    ("issuedAt", "uint64"),
    ("prevReceipt", "bytes32"),
]
VERDICT = [
    ("policyId", "bytes32"),
    ("receipt", "bytes32"),
    ("node", "address"),
    ("outcome", "uint8"),
    ("report", "bytes32"),
    ("issuedAt", "uint64"),
]
_TYPES = {"Receipt": RECEIPT, "Verdict": VERDICT}


def _hash(data):
    return keccak.new(digest_bits=256, data=data).digest()


def _word(number):
    return number.to_bytes(32, "big")


def address_word(address):
    return bytes(12) + bytes.fromhex(address[2:])


@lru_cache(maxsize=65536)
def typed_digest(kind, values, chain_id, contract):
    """EIP-712's digest of `values`, a tuple in the order of the type's fields."""
    fields = _TYPES[kind]
    domain = {"name": "modelreg", "version": "1", "chainId": chain_id, "verifyingContract": contract}
    types = {kind: [{"name": name, "type": form} for name, form in fields]}
    message = {name: value for (name, _), value in zip(fields, values, strict=True)}
    signable = encode_typed_data(domain, types, message)
    return _hash(b"\x19" + signable.version + signable.header + signable.body)


def policy_id(policy):
    """`policy` is a tuple in the order of the contract's struct."""
    *scalars, auditors = policy
    words = [word if isinstance(word, bytes) else _word(word) for word in scalars]
    crowd = _hash(b"".join(map(address_word, auditors)))
    return _hash(b"".join([_hash(b"modelreg/policy/1"), *words, crowd]))


def batch_hash(batch):
    """`batch` is a tuple in the order of the contract's struct."""
    return _hash(b"".join(word if isinstance(word, bytes) else _word(word) for word in batch))


def place_id(node, index, seq):
    """What stands for a receipt's digest where a place is challenged."""
    return _hash(address_word(node) + _word(index) + _word(seq))


def commit(tag, salt, values):
    return _hash(bytes([tag]) + salt + values)


def announcement(reporter, a, b, salt):
    return _hash(address_word(reporter) + a + b + salt)


def leaf_hash(digest):
    return _hash(b"\x04" + digest)


def batch_root(node, epoch, first, digests):
    place = b"".join(number.to_bytes(8, "big") for number in (epoch, first, len(digests)))
    return _hash(b"\x03" + address_word(node) + place + _top([leaf_hash(digest) for digest in digests]))


def batch_proof(digests, index):
    return reference_proof([leaf_hash(digest) for digest in digests], index)


def climbs_to(root, node, epoch, first, count, digest, seq, proof):
    """Whether the proof leads to the root: from the top, the tree splits at powers of two."""
    if not first <= seq < first + count:
        return False
    sides, low, size = [], 0, count
    while size > 1:
        half = 1 << ((size - 1).bit_length() - 1)
        right = seq - first - low >= half
        sides.append(right)
        low, size = (low + half, size - half) if right else (low, half)
    if len(proof) != len(sides):
        return False
    top = leaf_hash(digest)
    for right, sibling in zip(reversed(sides), proof, strict=True):
        top = _hash(b"\x01" + sibling + top) if right else _hash(b"\x01" + top + sibling)
    place = b"".join(number.to_bytes(8, "big") for number in (epoch, first, count))
    return _hash(b"\x03" + address_word(node) + place + top) == root
