"""The embedded chain: Ethereum's Prague rules over one SQLite file. Specified in docs/spec/chain.md.

`modelreg.chain.replay` and `modelreg.chain.server` are imported by those who need them.
"""

from modelreg.chain.chain import Chain, create, open_chain
from modelreg.chain.rpcerror import RpcError

__all__ = ["Chain", "RpcError", "create", "open_chain"]
