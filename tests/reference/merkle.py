"""The content tree as RFC 9162 defines it, recursively and slowly."""

from Crypto.Hash import keccak


def _hash(data):
    return keccak.new(digest_bits=256, data=data).digest()


def _split(count):
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def _top(leaves):
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return _hash(b"\x01" + _top(leaves[:k]) + _top(leaves[k:]))


def reference_root(leaves, hash_code):
    return _hash(b"\x02" + bytes([hash_code]) + len(leaves).to_bytes(8, "big") + _top(leaves))


def reference_proof(leaves, index):
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*reference_proof(leaves[:k], index), _top(leaves[k:])]
    return [*reference_proof(leaves[k:], index - k), _top(leaves[:k])]
