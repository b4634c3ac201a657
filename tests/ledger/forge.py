"""Headers that were never mined but hash to the hash that they claim."""

import rlp
from eth_utils import keccak

from tests.reference.ledger import BASIC, FORKS, LENGTHS


def with_time(block, time):
    """The same block at another time, with the hash that belongs to it."""
    return rehashed({**block, "timestamp": hex(time)})


def rehashed(block):
    names = [name for name in [*BASIC, *FORKS["prague"]] if block.get(name) is not None]
    raw = [
        bytes.fromhex(block[name][2:])
        if LENGTHS[name]
        else rlp.sedes.big_endian_int.serialize(int(block[name], 16))
        for name in names
    ]
    return {**block, "hash": "0x" + keccak(rlp.encode(raw)).hex()}
