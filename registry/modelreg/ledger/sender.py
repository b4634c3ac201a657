"""Sends transactions so that a crash loses none and repeats none. docs/spec/ledger.md, section 8."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from modelreg.chain.transaction import decode as decode_transaction
from modelreg.errors import ConflictError, NotPermittedError, UnreachableError
from modelreg.ledger.endpoint import Call, Endpoint, Receipt
from modelreg.ledger.fees import FeePolicy, Fees, with_margin
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.outbox import Outbox, Sent
from modelreg.ledger.rpc import RpcRefusedError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

__all__ = ["Patience", "Sender"]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 3.0
# Behind a load balancer one node may know the nonce and another not yet the receipt.
_STRIKES = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, and for how many blocks.

    Args:
        turn: for other processes that send with the same key.
        mined: for a transaction, its replacements included.
        replace: before a transaction that is not mined is sent again with higher fees.
        confirmations: blocks on top of a transaction's block.
    """

    turn: float = 120.0
    mined: float = 900.0
    replace: float = 60.0
    confirmations: int = 0


class _State(Enum):
    """Where a transaction without a final receipt stands, as far as the endpoint tells."""

    WAITING = "not mined"
    MINED = "mined, not confirmed"
    REPLACED = "its nonce is used by another"
    UNKNOWN = "no answer"


class Sender:
    """Sends one account's transactions on one chain, one at a time, in the order of their nonces."""

    def __init__(
        self,
        endpoint: Endpoint,
        chain_id: int,
        signer: "LocalAccount",
        outbox: Outbox,
        *,
        fees: FeePolicy | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._chain_id = chain_id
        self._signer = signer
        self._outbox = outbox
        self._fees = fees or FeePolicy()
        self._patience = patience or Patience()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only sender, with everything that was sent before settled."""
        with self._outbox.exclusive(self._patience.turn):
            self._settle()
            yield

    def send(self, call: Call, purpose: str) -> Receipt:
        """Send one call and wait until it is mined; only within a turn.

        Raises what a revert means (ConflictError, NotPermittedError, NotFoundError, InputError),
        ConflictError if somebody else uses the key, UnreachableError if it is not mined in time.
        """
        gas = call.gas or with_margin(self._endpoint.estimate(call)) + call.spare
        nonce = self._next_nonce()
        sent = self._sign(call, nonce, gas, self._fresh_fees(), purpose)
        self._outbox.add(sent)
        receipt = self._see_through([sent])
        if not receipt.succeeded:
            raise self._endpoint.revert_reason(call, receipt.block)
        return receipt

    def send_once(self, call: Call, purpose: str) -> Receipt:
        """Send a call whose effect no state shows, such as a payment; takes a turn of its own.

        What an interrupted run sent for the same purpose is seen through, and is this one's.
        Raises as `send`.
        """
        with self._outbox.exclusive(self._patience.turn):
            begun = [sent for sent in self._outbox.for_purpose(purpose) if sent.open]
            self._settle()
            for sent in begun:
                receipt = self._endpoint.receipt(sent.hash)
                if receipt is not None and receipt.succeeded:
                    return receipt
            return self.send(call, purpose)

    def receipt_for(self, purpose: str) -> Receipt | None:
        """The receipt of what this account sent for a purpose before, if it was mined and succeeded."""
        for sent in self._outbox.for_purpose(purpose):
            receipt = self._endpoint.receipt(sent.hash)
            if receipt is not None and receipt.succeeded:
                return receipt
        return None

    def _next_nonce(self) -> int:
        """The proven nonce. With foreign transactions waiting, wait for them: ours would be stuck behind."""
        end = time.monotonic() + self._patience.mined
        for pause in _pauses():
            nonce, pending = self._endpoint.nonce(), self._endpoint.pending_nonce()
            if pending <= nonce:
                return nonce
            if time.monotonic() > end:
                raise ConflictError(
                    f"transactions of {self._signer.address} wait that this home did not send",
                    expected=f"nonce {nonce} next",
                    found=f"nonce {pending}",
                    hint="wait for them, or use a key of its own for modelreg",
                )
            time.sleep(pause)
        raise AssertionError

    def _fresh_fees(self) -> Fees:
        return self._fees.offer(self._endpoint.head().base_fee or 0, self._endpoint.tip())

    def _settle(self) -> None:
        """Bring what was journaled before to its end, in the order of the nonces."""
        next_nonce = self._endpoint.nonce()
        for nonce, group in groupby(self._outbox.unsettled(next_nonce), key=lambda sent: sent.nonce):
            if nonce < next_nonce:
                self._outbox.close(nonce)
            elif nonce > next_nonce:
                # A gap: what would fill it is not ours, or was refused. It cannot be mined as it stands.
                self._outbox.drop(nonce)
            elif self._settled(list(group)):
                next_nonce += 1

    def _settled(self, attempts: list[Sent]) -> bool:
        """Whether the nonce is used in the end; not so if the endpoint refuses the transaction for good."""
        try:
            self._see_through(attempts)
        except ConflictError:
            return True
        except (RpcRefusedError, NotPermittedError):
            return False
        return True

    def _see_through(self, attempts: list[Sent]) -> Receipt:
        """Broadcast the newest of a nonce's attempts and wait until one of them is mined."""
        self._broadcast(attempts[-1])
        start = last = time.monotonic()
        strikes = 0
        for pause in _pauses():
            now = time.monotonic()
            state = self._look(attempts)
            if isinstance(state, Receipt):
                self._outbox.close(attempts[-1].nonce)
                return state
            strikes = strikes + 1 if state is _State.REPLACED else 0
            if strikes == _STRIKES:
                raise self._replaced(attempts[-1])
            if now - start > self._patience.mined:
                raise self._too_slow(attempts[-1])
            if state is _State.WAITING and now - last > self._patience.replace:
                self._outbid(attempts)
                last = now
            time.sleep(pause)
        raise AssertionError

    def _look(self, attempts: list[Sent]) -> "Receipt | _State":
        try:
            for sent in reversed(attempts):
                receipt = self._endpoint.receipt(sent.hash)
                if receipt is not None:
                    return receipt if self._is_confirmed(receipt) else _State.MINED
            used = self._endpoint.nonce() > attempts[-1].nonce
        except UnreachableError:
            return _State.UNKNOWN
        return _State.REPLACED if used else _State.WAITING

    def _is_confirmed(self, receipt: Receipt) -> bool:
        if self._patience.confirmations == 0:
            return True
        return self._endpoint.head().number >= receipt.block + self._patience.confirmations

    def _broadcast(self, sent: Sent) -> None:
        try:
            self._endpoint.broadcast(sent.raw)
        except (RpcRefusedError, NotPermittedError):
            # It said no: the nonce stays free for the next one.
            self._outbox.drop(sent.nonce)
            raise
        except UnreachableError:
            # It may have arrived: wait for it, and send it again later.
            return

    def _outbid(self, attempts: list[Sent]) -> None:
        """Send the newest attempt once more, with higher fees unless the cap forbids."""
        fees = self._fees.outbid(attempts[-1].fees, self._fresh_fees())
        if fees is not None:
            old = decode_transaction(attempts[-1].raw)
            call = Call(old.to, old.data, old.value)
            attempts.append(self._sign(call, old.nonce, old.gas, fees, attempts[-1].purpose))
            self._outbox.add(attempts[-1])
        with contextlib.suppress(UnreachableError, NotPermittedError):
            self._endpoint.broadcast(attempts[-1].raw)

    def _replaced(self, sent: Sent) -> ConflictError:
        self._outbox.close(sent.nonce)
        return ConflictError(
            f"another transaction of {self._signer.address} took nonce {sent.nonce}",
            expected=f"0x{sent.hash.hex()}",
            hint="run the command again; use a key of its own for modelreg",
        )

    def _too_slow(self, sent: Sent) -> UnreachableError:
        return UnreachableError(
            f"transaction 0x{sent.hash.hex()} was sent but is not mined",
            expected=f"within {self._patience.mined:.0f} s",
            hint="run the command again: it goes on with the same transaction",
        )

    def _sign(self, call: Call, nonce: int, gas: int, fees: Fees, purpose: str) -> Sent:
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain_id,
            "nonce": nonce,
            "to": address_text(call.to),
            "value": call.value,
            "data": call.data,
            "gas": gas,
            "maxFeePerGas": fees.most,
            "maxPriorityFeePerGas": fees.tip,
        }
        signed = self._signer.sign_transaction(transaction)
        return Sent(bytes(signed.hash), nonce, bytes(signed.raw_transaction), purpose, fees)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
