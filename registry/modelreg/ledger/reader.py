"""Which block is read, and who must agree on it. Specified in docs/spec/ledger.md, sections 3 and 6."""

from collections.abc import Sequence

from modelreg.errors import InputError, UnreachableError, VerificationError
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.header import Header
from modelreg.ledger.hexdata import quantity
from modelreg.ledger.pinned import PinnedState, fetch_header
from modelreg.ledger.rpc import Rpc
from modelreg.ledger.view import View

__all__ = ["BlockPolicy", "Reader"]

# A tag, or a number of blocks below the newest.
BlockPolicy = str | int
_TAGS = ("latest", "safe", "finalized")


class Reader:
    """Reads ModelRegistry at `address` (20 bytes) through endpoints that are not trusted.

    Args:
        rpc: the endpoint that serves the proofs.
        address: where the contract lies; usually `load_artifact().address`.
        chain_id: the chain that the caller means.
        policy: `latest`, `safe`, `finalized`, or a number of confirmations.
        witnesses: further endpoints; each that answers must name the same block, and more than half of
            all endpoints must answer.
    """

    def __init__(
        self,
        rpc: Rpc,
        address: bytes,
        chain_id: int,
        *,
        policy: BlockPolicy = "latest",
        witnesses: Sequence[Rpc] = (),
    ) -> None:
        if policy not in _TAGS and not (isinstance(policy, int) and policy >= 0):
            raise InputError("block policy", expected="latest, safe, finalized or a number", found=policy)
        self._rpc = rpc
        self.address = address
        self.chain_id = chain_id
        self._policy = policy
        self._witnesses = witnesses

    def at_head(self) -> View:
        """Pin the block that the policy names.

        Raises VerificationError for another chain, another contract, a header or proof that does not
        verify, or endpoints that disagree; NotFoundError without a contract; UnreachableError.
        """
        self._require_chain(self._rpc)
        return self.at(self._head())

    def at(self, header: Header) -> View:
        """Pin a header that was verified before."""
        self._require_agreement(header)
        state = PinnedState(self._rpc, self.address, header)
        state.require_code(
            load_artifact(), "deploy it with `modelreg init`, or check the address and the chain"
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

    def _require_chain(self, rpc: Rpc) -> None:
        found = quantity(rpc.request("eth_chainId", []), "chain id")
        if found != self.chain_id:
            hint = "use the RPC of the chain that this home was made for"
            raise VerificationError(
                f"{rpc.name} is on another chain", expected=self.chain_id, found=found, hint=hint
            )

    def _require_agreement(self, header: Header) -> None:
        agree = 1
        for witness in self._witnesses:
            try:
                self._require_chain(witness)
                other = fetch_header(witness, header.number)
            except UnreachableError:
                continue
            if other is None:
                continue
            if other.hash != header.hash:
                raise VerificationError(
                    f"{self._rpc.name} and {witness.name} disagree on block {header.number}",
                    expected=f"0x{header.hash.hex()}",
                    found=f"0x{other.hash.hex()}",
                    hint="one of them lies or the chain reorganised: try again, or read finalized blocks",
                )
            agree += 1
        if 2 * agree <= 1 + len(self._witnesses):
            found = f"{agree} of {1 + len(self._witnesses)}"
            raise UnreachableError("too few endpoints agree", expected="more than half", found=found)
