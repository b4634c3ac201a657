"""What the registry lets an account do, each so that a retry after a crash does it once.

Specified in docs/spec/ledger.md, section 8.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelreg.errors import InputError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.format.names import (
    ModelName,
    ReleaseId,
    check_channel,
    check_namespace,
    label_word,
)
from modelreg.format.release import Release
from modelreg.ledger.abi import encode_call
from modelreg.ledger.artifact import Artifact, load_artifact
from modelreg.ledger.draft import Draft, already_published, expected_id, publish_arguments, publish_purpose
from modelreg.ledger.endpoint import Call, Endpoint, Receipt
from modelreg.ledger.fees import FeePolicy
from modelreg.ledger.header import Header
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.outbox import Outbox
from modelreg.ledger.pinned import PinnedState
from modelreg.ledger.proof import EMPTY_CODE_HASH
from modelreg.ledger.reader import Reader
from modelreg.ledger.records import REASON_BYTES_MAX, Channel, Move, Role
from modelreg.ledger.rpc import Rpc
from modelreg.ledger.sender import Patience, Sender
from modelreg.ledger.view import View

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

__all__ = ["Draft", "Published", "Writer"]

# One keyless transaction deploys it on any chain: github.com/Arachnid/deterministic-deployment-proxy.
_PROXY = bytes.fromhex("4e59b44847b379578588920cA78FbF26c0B4956C")
_NONE = bytes(32)
_WEI_END = 1 << 128
_BLOCK_END = 1 << 64
_READ_BACK_SECONDS = 60.0
_READ_BACK_PAUSE = 0.5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Published:
    """A release that is on the ledger, read back with its proof.

    `receipt` is None if it was there already and this outbox knows no transaction for it.
    """

    release: Release
    receipt: Receipt | None


class Writer:
    """One account's writing side of the registry at `address` (20 bytes).

    Args:
        rpc: the endpoint to send through.
        address: where the contract lies; usually `load_artifact().address`.
        chain_id: the chain that the caller means.
        signer: the decrypted key.
        outbox: the SQLite file that journals what was sent.
        fees: what may be paid.
        patience: how long to wait.
    """

    def __init__(
        self,
        rpc: Rpc,
        address: bytes,
        chain_id: int,
        signer: "LocalAccount",
        outbox: Path,
        *,
        fees: FeePolicy | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._rpc = rpc
        self._reader = Reader(rpc, address, chain_id)
        self._address = address
        self.account = bytes.fromhex(signer.address[2:])
        self._sender = Sender(
            Endpoint(rpc, self.account),
            chain_id,
            signer,
            Outbox(outbox, f"{chain_id}:{self._reader.header(0).hash.hex()}", self.account),
            fees=fees,
            patience=patience,
        )

    def claim_namespace(self, namespace: str) -> Receipt | None:
        """Become a namespace's owner, for good. Raises ConflictError if somebody else is."""
        return self._apply(
            "claimNamespace",
            [label_word(check_namespace(namespace))],
            lambda view: _owner(view, namespace) == self.account,
        )

    def transfer_namespace(self, namespace: str, to: bytes) -> Receipt | None:
        """Offer a namespace to an account of 20 bytes; it changes hands when that account accepts."""
        return self._apply(
            "transferNamespace",
            [label_word(check_namespace(namespace)), address_text(to)],
            lambda view: _offered_to(view, namespace) == to,
        )

    def accept_namespace(self, namespace: str) -> Receipt | None:
        """Take over a namespace that was offered to this account."""
        return self._apply(
            "acceptNamespace",
            [label_word(check_namespace(namespace))],
            lambda view: _owner(view, namespace) == self.account,
        )

    def set_roles(self, namespace: str, account: bytes, roles: Role) -> Receipt | None:
        """Replace the roles of an account of 20 bytes; Role(0) takes all. The owner's cannot be replaced."""
        if _owner(self._reader.at_head(), namespace) == account:
            raise InputError(f"{address_text(account)} owns {namespace} and has every role")
        return self._apply(
            "setRoles",
            [label_word(check_namespace(namespace)), address_text(account), int(roles)],
            lambda view: view.roles(namespace, account) == roles,
        )

    def set_channel(
        self,
        model: ModelName,
        channel: str,
        release: ReleaseId,
        expected: ReleaseId | None,
        block: int | None = None,
    ) -> Receipt | None:
        """Point a channel at a release, from `block` on or at once.

        A move that was planned and is not in force yet is replaced. Raises ConflictError if the channel's
        target is not `expected`, or if the block has passed.
        """
        label = label_word(check_channel(channel))
        if block is not None and not 0 < block < _BLOCK_END:
            raise InputError("block of a move", expected="a block's number", found=block)

        def is_done(view: View) -> bool:
            found = view.channel(model, channel)
            if block is not None and block > view.header.number:
                return found.planned == Move(release, block)
            return found == Channel(release, None)

        return self._apply(
            "setChannel",
            [model.id, label, bytes(release), bytes(expected or _NONE), block or 0],
            is_done,
        )

    def yank(self, release: ReleaseId, reason: str) -> Receipt | None:
        """Withdraw a release, for good; the reason is 1 to 256 bytes of UTF-8."""
        size = len(reason.encode("utf-8", "surrogatepass"))
        if not 0 < size <= REASON_BYTES_MAX or any("\ud800" <= char <= "\udfff" for char in reason):
            raise InputError(
                "the reason", expected=f"1 to {REASON_BYTES_MAX} bytes of UTF-8", found=f"{size} bytes"
            )
        return self._apply("yank", [bytes(release), reason], lambda view: view.yank_reason(release) == reason)

    def publish(self, draft: Draft) -> Published:
        """Append a release and make it its branch's head.

        Succeeds without a transaction if the ledger has exactly this release already. Raises
        ConflictError that names both heads if the branch moved, or if the version is taken;
        NotPermittedError without the role; NotFoundError for an unknown parent or namespace.
        """
        with self._sender.turn():
            view = self._reader.at_head()
            if (known := already_published(view, draft)) is not None:
                return Published(known, self._sender.receipt_for(publish_purpose(known.release_id)))
            release = expected_id(view, draft)
            call = self._call("publish", publish_arguments(draft))
            receipt = self._sender.send(call, publish_purpose(release))
            record = self.view_of(receipt).release(release)
            if record is None:
                raise _not_there(receipt)
            return Published(record, receipt)

    def deploy(self) -> Receipt | None:
        """Deploy the registry at the address that it has on every chain, unless it is there.

        Raises NotFoundError if the chain lacks the deployment proxy.
        """
        artifact = load_artifact()
        if self._address != artifact.address:
            raise InputError(
                "the contract's address",
                expected=address_text(artifact.address),
                found=address_text(self._address),
            )
        return self.deploy_other(artifact, "deploy")

    def deploy_other(self, artifact: Artifact, purpose: str) -> Receipt | None:
        """Deploy any contract that belongs to modelreg; as `deploy`."""
        with self._sender.turn():
            if self._is_deployed(artifact):
                return None
            receipt = self._sender.send(Call(_PROXY, artifact.salt + artifact.init_code), purpose)
            self._read_back(receipt, lambda header: self._require_deployed(artifact, header))
            return receipt

    def _require_deployed(self, artifact: Artifact, header: Header) -> None:
        state = PinnedState(self._rpc, artifact.address, header)
        state.require_code(artifact, "the RPC lies or the chain reorganised: run the command again")

    def _is_deployed(self, artifact: Artifact) -> bool:
        header = self._reader.header("latest")
        state = PinnedState(self._rpc, artifact.address, header)
        if state.account.code_hash != EMPTY_CODE_HASH:
            self._require_deployed(artifact, header)
            return True
        if state.account_of(_PROXY).code_hash == EMPTY_CODE_HASH:
            raise NotFoundError(
                f"the chain has no deployment proxy at {address_text(_PROXY)}",
                hint="deploy it as github.com/Arachnid/deterministic-deployment-proxy says",
            )
        return False

    def _apply(
        self, function: str, arguments: Sequence[Any], is_done: Callable[[View], bool]
    ) -> Receipt | None:
        """Send a call unless its effect is there; None if it is and this outbox sent no such call."""
        call = self._call(function, arguments)
        return self.apply(lambda _: call, f"{function} 0x{keccak256(call.data).hex()}", is_done)

    def apply(
        self, call: Callable[[View], Call], purpose: str, is_done: Callable[[View], bool]
    ) -> Receipt | None:
        """Have an effect once, whatever the contract that the call is for.

        Args:
            call: what to send, given the state now.
            purpose: how the outbox calls it; a retry must choose the same words.
            is_done: whether a state shows the effect.

        Returns:
            None if the effect was there and this outbox sent no call for it.
        """
        with self._sender.turn():
            view = self._reader.at_head()
            if is_done(view):
                return self._sender.receipt_for(purpose)
            receipt = self._sender.send(call(view), purpose)
            if not is_done(self.view_of(receipt)):
                raise _not_there(receipt)
            return receipt

    def send_ether(self, to: bytes, wei: int) -> Receipt:
        """Pay an account of 20 bytes. An interrupted payment of as much to it is finished instead.

        Raises InputError for nothing or for the zero address, NotPermittedError without the funds.
        """
        if not 0 < wei < _WEI_END or not any(to):
            raise InputError("payment", expected="more than nothing, to somebody", found=f"{wei} wei")
        return self._sender.send_once(Call(to, b"", wei), f"pay {wei} wei to {address_text(to)}")

    def at_head(self) -> View:
        """The newest state."""
        return self._reader.at_head()

    def _call(self, function: str, arguments: Sequence[Any]) -> Call:
        return Call(self._address, encode_call(load_artifact().abi, function, arguments))

    def view_of(self, receipt: Receipt) -> View:
        """The state after a receipt's block."""
        return self._read_back(receipt, self._reader.at)

    def _read_back(self, receipt: Receipt, read: Callable[[Header], _T]) -> _T:
        """Read in a receipt's block; some endpoints take a moment to know it."""
        end = time.monotonic() + _READ_BACK_SECONDS
        while True:
            try:
                return read(self._reader.header(receipt.block))
            except UnreachableError:
                if time.monotonic() > end:
                    raise
                time.sleep(_READ_BACK_PAUSE)


def _owner(view: View, namespace: str) -> bytes | None:
    found = view.namespace(namespace)
    return found.owner if found else None


def _offered_to(view: View, namespace: str) -> bytes | None:
    found = view.namespace(namespace)
    return (found.pending_owner or bytes(20)) if found else None


def _not_there(receipt: Receipt) -> VerificationError:
    return VerificationError(
        f"transaction 0x{receipt.transaction.hex()} is said to be mined, but the ledger does not show it",
        expected=f"its effect in block {receipt.block}",
        hint="the RPC lies or the chain reorganised: run the command again, with another RPC",
    )
