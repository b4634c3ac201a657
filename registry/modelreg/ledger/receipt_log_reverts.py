"""What ReceiptLog's custom errors mean to the user. Specified in docs/spec/receipt-log.md."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from modelreg.errors import (
    ConflictError,
    InputError,
    ModelregError,
    NotFoundError,
    NotPermittedError,
    VerificationError,
)
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.receipt_log_records import Status

__all__ = ["MEANINGS"]

_Words = Sequence[bytes]
_Meaning = Callable[[_Words], ModelregError]


def _hex(word: bytes) -> str:
    return f"0x{word.hex()}"


def _address(word: bytes) -> str:
    return address_text(word[12:])


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")


def _time(word: bytes) -> str:
    seconds = _number(word)
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)


_STATUS_HINTS = {
    Status.UNKNOWN: "register first: modelreg node register",
    Status.ACTIVE: "ask for the exit first: modelreg node exit",
    Status.EXITING: "stay a node with `modelreg node exit --cancel`, or wait",
    Status.EXITED: "register again: modelreg node register",
    Status.EXPELLED: "an expelled account is out for good: use another key",
}


def _wrong_status(words: _Words) -> ModelregError:
    status = Status(_number(words[1])) if _number(words[1]) in list(Status) else Status.UNKNOWN
    found = f"{_address(words[0])} is {status.name.lower()}"
    return ConflictError("the node's status does not admit this", found=found, hint=_STATUS_HINTS[status])


def _too_early(words: _Words) -> ModelregError:
    return ConflictError("it is too early", expected=f"not before {_time(words[0])}", hint="wait until then")


def _too_late(words: _Words) -> ModelregError:
    return ConflictError("it is too late", expected=f"not after {_time(words[0])}")


def _challenges_open(words: _Words) -> ModelregError:
    hint = "answer them, or wait for their deadlines"
    return ConflictError("challenges are open", expected="none", found=_number(words[0]), hint=hint)


def _out_of_sequence(words: _Words) -> ModelregError:
    epoch, seq = map(_number, words)
    return ConflictError(
        "the batch does not follow the one before",
        expected=f"epoch {epoch} from seq {seq}, or a later epoch from seq 0",
        hint="another journal of this node was anchored, or this one is an old copy",
    )


def _unknown_batch(words: _Words) -> ModelregError:
    return NotFoundError(f"node {_address(words[0])} has not anchored this batch {_number(words[1])}")


def _outside_batch(words: _Words) -> ModelregError:
    found = f"a receipt of epoch {_number(words[0])}, seq {_number(words[1])}"
    return InputError("the receipt has no place in the batch", found=found)


def _wrong_signer(words: _Words) -> ModelregError:
    return VerificationError("signature", expected=_address(words[0]), found=_address(words[1]))


def _wrong_model(words: _Words) -> ModelregError:
    return InputError("policy of another model", expected=_hex(words[0]), found=_hex(words[1]))


def _wrong_deposit(words: _Words) -> ModelregError:
    return InputError("deposit", expected=f"{_number(words[1])} wei", found=f"{_number(words[0])} wei")


def _bond_too_low(words: _Words) -> ModelregError:
    return ConflictError(
        "the bond is too low",
        expected=f"{_number(words[1])} wei",
        found=f"{_number(words[0])} wei",
        hint="raise it with `modelreg node bond AMOUNT`",
    )


def _not_enrolled(words: _Words) -> ModelregError:
    found = f"policy {_hex(words[1])}"
    return ConflictError(f"node {_address(words[0])} is not enrolled, or has resigned", found=found)


def _not_auditor(words: _Words) -> ModelregError:
    hint = "the votes must be in the order of the policy's auditors, each once"
    return NotPermittedError(f"{_address(words[0])} is not an auditor of the policy", hint=hint)


def _no_quorum(words: _Words) -> ModelregError:
    votes, needed = map(_number, words)
    return ConflictError("too few votes", expected=needed, found=votes)


def _bad_quorum(words: _Words) -> ModelregError:
    quorum, auditors = map(_number, words)
    expected = "2 or more, and more than half of the auditors"
    return InputError("quorum", expected=expected, found=f"{quorum} of {auditors}")


def _conflict(what: str, show: Callable[[bytes], object]) -> _Meaning:
    return lambda words: ConflictError(what, found=show(words[0]) if words else None)


def _refused(what: str, show: Callable[[bytes], object] = _hex) -> _Meaning:
    return lambda words: InputError(f"the contract refuses {what}", found=show(words[0]) if words else None)


def _unproven(what: str) -> _Meaning:
    return lambda _: VerificationError(what)


def _unknown_policy(words: _Words) -> ModelregError:
    return NotFoundError(f"policy {_hex(words[0])} is not on the ledger")


MEANINGS: dict[str, _Meaning] = {
    "AlreadyChallenged": _conflict("the receipt or place was challenged before", _hex),
    "AlreadyEnrolled": _conflict("the node is enrolled already", _hex),
    "AlreadyJudged": _conflict("the receipt has cost as much before", _hex),
    "AlreadyRecorded": _conflict("this verdict is on record already", _address),
    "BadAuditors": _refused("the auditors: at most 32, ascending, none twice"),
    "BadCount": _refused("the number of receipts", _number),
    "BadDeadline": _refused("the deadline", _number),
    "BadEndpoint": _refused("the length of the endpoint", _number),
    "BadOpening": _unproven("the opening is not that of the receipt's commitments"),
    "BadOutcome": _refused("the outcome", _number),
    "BadPenalty": _refused("a penalty of zero or above the minimum bond"),
    "BadProof": _unproven("the proof does not lead to the batch's root"),
    "BadQuorum": _bad_quorum,
    "BadSchema": _refused("the receipt's schema", _number),
    "BadSignature": _unproven("not a signature in its canonical form"),
    "BondTooLow": _bond_too_low,
    "ChallengesOpen": _challenges_open,
    "NoContradiction": _refused("evidence that contradicts nothing"),
    "NoOpenChallenge": _conflict("the receipt or place has no open challenge", _hex),
    "NoQuorum": _no_quorum,
    "NotAuditor": _not_auditor,
    "NotEnrolled": _not_enrolled,
    "NothingToWithdraw": _conflict("there is nothing to withdraw", _hex),
    "NumberTooLarge": _refused("an epoch or seq of 2^53 or more"),
    "OutOfSequence": _out_of_sequence,
    "OutsideBatch": _outside_batch,
    "PolicyExists": _conflict("the policy exists already", _hex),
    "TooEarly": _too_early,
    "TooLate": _too_late,
    "TransferFailed": lambda _: NotPermittedError("the account did not take its ether"),
    "UnknownBatch": _unknown_batch,
    "UnknownPolicy": _unknown_policy,
    "WrongDeposit": _wrong_deposit,
    "WrongModel": _wrong_model,
    "WrongSigner": _wrong_signer,
    "WrongStatus": _wrong_status,
    "ZeroRoot": _refused("a root of zero"),
}
