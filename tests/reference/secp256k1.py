"""Ethereum's signatures by hand: secp256k1 (SEC 2, section 2.4.1) with the nonces of RFC 6979."""

import hashlib
import hmac

from Crypto.Hash import keccak

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def _add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    rise, run = (3 * a[0] * a[0], 2 * a[1]) if a == b else (b[1] - a[1], b[0] - a[0])
    slope = rise * pow(run, -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def _multiply(factor, point):
    total = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        factor, point = factor >> 1, _add(point, point)
    return total


def _address(point):
    return keccak256(point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))[12:]


def address_of(key):
    return _address(_multiply(int.from_bytes(key, "big"), G))


def _nonce(key, digest):
    """RFC 6979, section 3.2, with SHA-256; no first candidate was ever out of range."""
    message = (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    k, v = bytes(32), b"\x01" * 32
    for separator in (b"\0", b"\1"):
        k = hmac.digest(k, v + separator + key + message, hashlib.sha256)
        v = hmac.digest(k, v, hashlib.sha256)
    return int.from_bytes(hmac.digest(k, v, hashlib.sha256), "big")


def sign(key, digest):
    nonce = _nonce(key, digest)
    x, y = _multiply(nonce, G)
    s = pow(nonce, -1, N) * (int.from_bytes(digest, "big") + x * int.from_bytes(key, "big")) % N
    odd = y & 1
    if s > N // 2:
        s, odd = N - s, 1 - odd
    return x.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + odd])


def recover(digest, signature):
    """SEC 1, section 4.1.6. Raises ValueError where the signature is of another form or of no key."""
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if not 0 < r < N or not 0 < s <= N // 2 or v not in (27, 28):
        raise ValueError("r, s or v")
    y = pow(r**3 + 7, (P + 1) // 4, P)
    if y * y % P != (r**3 + 7) % P:
        raise ValueError("r is no x")
    if y & 1 != v - 27:
        y = P - y
    inverse = pow(r, -1, N)
    lift = _multiply(s * inverse % N, (r, y))
    point = _add(lift, _multiply(-int.from_bytes(digest, "big") * inverse % N, G))
    if point is None:
        raise ValueError("no key")
    return _address(point)
