"""Which block is read. Specified in docs/spec/ledger.md, sections 3 and 6."""

from collections.abc import Mapping

from modelreg.errors import InputError, UnreachableError, VerificationError
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.header import Header
from modelreg.ledger.hexdata import quantity
from modelreg.ledger.pinned import PinnedState, fetch_header
from modelreg.ledger.quorum import QuorumRpc
from modelreg.ledger.rpc import Rpc
from modelreg.ledger.view import View

__all__ = ["BlockPolicy", "Reader"]

# A tag, or a number of blocks below the newest.
BlockPolicy = str | int
_TAGS = ("latest", "safe", "finalized")


class Reader:
    """Reads ModelRegistry at `address` (20 bytes) through an endpoint that is not trusted.

    Args:
        rpc: the endpoint; a `QuorumRpc` for several.
        address: where the contract lies; usually `load_artifact().address`.
        chain_id: the chain that the caller means.
        policy: `latest`, `safe`, `finalized`, or a number of confirmations.
    """

    def __init__(
        self,
        rpc: Rpc,
        address: bytes,
        chain_id: int,
        *,
        policy: BlockPolicy = "latest",
    ) -> None:
        if policy not in _TAGS and not (isinstance(policy, int) and policy >= 0):
            raise InputError("block policy", expected="latest, safe, finalized or a number", found=policy)
        self._rpc = rpc
        self.address = address
        self.chain_id = chain_id
        self._policy = policy

    @property
    def suspects(self) -> Mapping[str, str]:
        """Of several endpoints, those that stood against the others, and what they did."""
        return self._rpc.suspects if isinstance(self._rpc, QuorumRpc) else {}

    def at_head(self) -> View:
        """Pin the block that the policy names.

        Raises VerificationError for another chain, another contract, a header or proof that does not
        verify; NotFoundError without a contract; UnreachableError.
        """
        self._require_chain()
        return self.at(self._head())

    def height(self) -> int:
        """The number of the block that the policy names, with nothing else checked."""
        return self._head().number

    def at(self, header: Header) -> View:
        """Pin a header that was verified before."""
        state = PinnedState(self._rpc, self.address, header)
        state.require_code(
            load_artifact(), "deploy it with `modelreg chain deploy`, or check the address and the chain"
        )
        return View(state)

    def at_block(self, number: int) -> View:
        """Pin a block by its number, whatever the policy. Raises UnreachableError if there is none yet."""
        return self.at(self.header(number))

    def header(self, block: BlockPolicy) -> Header:
        """A verified header by number or tag; that of block 0 tells two chains with one chain id apart."""
        header = fetch_header(self._rpc, block)
        if header is None:
            raise UnreachableError(f"{self._rpc.name} has no block {block}", hint="wait, or use another RPC")
        return header

    def _head(self) -> Header:
        if isinstance(self._policy, str):
            return self.header(self._policy)
        newest = self.header("latest")
        if self._policy == 0:
            return newest
        return self.header(max(0, newest.number - self._policy))

    def _require_chain(self) -> None:
        found = quantity(self._rpc.request("eth_chainId", []), "chain id")
        if found != self.chain_id:
            hint = "use the RPC of the chain that this home was made for"
            raise VerificationError(
                f"{self._rpc.name} is on another chain", expected=self.chain_id, found=found, hint=hint
            )
