"""A cap on how deep JSON nests, checked before it is parsed.

py_ecc, which web3 and eth-keyfile import, raises Python's recursion limit to 100,000. From then on
`json.loads` of a few thousand opening brackets ends the process with a segmentation fault.
"""

import re

from modelreg.errors import FormatError

__all__ = ["require_shallow"]

_DEPTH_MAX = 64
_TOKENS_MAX = 2_000_000
# A string, closed or not, or a bracket. Possessive, so that no input is scanned twice.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def require_shallow(raw: bytes, what: str) -> None:
    """Raise FormatError that names `what` if JSON nests deeper than 64, or holds over 2 million strings."""
    opened = raw.count(b"[") + raw.count(b"{")
    if opened <= _DEPTH_MAX:
        return
    if opened + raw.count(b'"') > _TOKENS_MAX:
        raise FormatError(what, expected=f"JSON of at most {_TOKENS_MAX} strings and lists")
    depth = 0
    for token in _TOKEN.finditer(raw):
        first = raw[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > _DEPTH_MAX:
            raise FormatError(what, expected=f"JSON nested at most {_DEPTH_MAX} deep")
