"""The delta codec: chunks of weights, alone or against a parent release. Specified in docs/spec/delta.md."""

from modelreg.format.delta.decoder import decode
from modelreg.format.delta.encoder import DEFAULT_EFFORT, encode, encode_cast
from modelreg.format.delta.encoding import MAX_BASE_BYTES, MAX_CHUNK_BYTES, Encoded, Encoding
from modelreg.format.delta.words import WordType

__all__ = [
    "DEFAULT_EFFORT",
    "MAX_BASE_BYTES",
    "MAX_CHUNK_BYTES",
    "Encoded",
    "Encoding",
    "WordType",
    "decode",
    "encode",
    "encode_cast",
]
