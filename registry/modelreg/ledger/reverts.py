"""What the contracts' custom errors mean to the user. Specified in docs/spec/contract.md."""

from collections.abc import Callable, Sequence

from modelreg.errors import (
    ConflictError,
    FormatError,
    InputError,
    ModelregError,
    NotFoundError,
    NotPermittedError,
)
from modelreg.format.names import label_from_word
from modelreg.ledger.abi import Revert
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.receipt_log_reverts import MEANINGS
from modelreg.ledger.records import Role

__all__ = ["error_of"]

_Words = Sequence[bytes]


def _hex(word: bytes) -> str:
    return f"0x{word.hex()}"


def _address(word: bytes) -> str:
    return address_text(word[12:])


def _label(word: bytes) -> str:
    try:
        return repr(label_from_word(word))
    except FormatError:
        return _hex(word)


def _head_moved(words: _Words) -> ModelregError:
    expected, found = (_hex(word) if any(word) else "no head" for word in words)
    hint = "publish again on top of the new head"
    return ConflictError("the branch's head moved", expected=expected, found=found, hint=hint)


def _channel_moved(words: _Words) -> ModelregError:
    expected, found = (_hex(word) if any(word) else "no release" for word in words)
    return ConflictError(
        "the channel moved", expected=expected, found=found, hint="look at it, then set it again"
    )


def _activation_passed(words: _Words) -> ModelregError:
    planned, mined = (int.from_bytes(word, "big") for word in words)
    return ConflictError(
        "the block of the move has passed",
        expected=f"a block after {mined}",
        found=planned,
        hint="name a later block, or none to move the channel at once",
    )


def _version_taken(words: _Words) -> ModelregError:
    hint = "a version never moves: choose the next one"
    return ConflictError("the version is taken", found=f"release {_hex(words[0])}", hint=hint)


def _namespace_taken(words: _Words) -> ModelregError:
    hint = "choose another namespace, or ask its owner for a role"
    return ConflictError("the namespace is taken", found=f"owner {_address(words[0])}", hint=hint)


def _not_permitted(words: _Words) -> ModelregError:
    needed = Role(int.from_bytes(words[1], "big") & 31)
    hint = "ask the namespace's owner to grant it"
    found = f"account {_address(words[0])} without it"
    return NotPermittedError(f"the account lacks the role {needed.name}", found=found, hint=hint)


def _not_pending_owner(words: _Words) -> ModelregError:
    expected = _address(words[1]) if any(words[1]) else "no offer"
    return NotPermittedError("the namespace is not offered", expected=expected, found=_address(words[0]))


def _already_yanked(words: _Words) -> ModelregError:
    return ConflictError(f"release {_hex(words[0])} is yanked")


def _foreign_release(words: _Words) -> ModelregError:
    return InputError(f"release {_hex(words[0])} belongs to another model", found=_hex(words[1]))


def _missing(what: str, show: Callable[[bytes], str]) -> Callable[[_Words], ModelregError]:
    return lambda words: NotFoundError(f"{what} {show(words[0])} is not on the ledger")


def _refused(what: str, show: Callable[[bytes], str]) -> Callable[[_Words], ModelregError]:
    return lambda words: InputError(f"the contract refuses {what}", found=show(words[0]) if words else None)


def _decimal(word: bytes) -> str:
    return str(int.from_bytes(word, "big"))


_ERRORS: dict[str, Callable[[_Words], ModelregError]] = {
    "HeadMoved": _head_moved,
    "ChannelMoved": _channel_moved,
    "ActivationPassed": _activation_passed,
    "VersionTaken": _version_taken,
    "NamespaceTaken": _namespace_taken,
    "NotPermitted": _not_permitted,
    "NotPendingOwner": _not_pending_owner,
    "AlreadyYanked": _already_yanked,
    "ForeignRelease": _foreign_release,
    "UnknownNamespace": _missing("namespace", _label),
    "UnknownModel": _missing("model", _hex),
    "UnknownRelease": _missing("release", _hex),
    "BadLabel": _refused("the label", _label),
    "BadModelName": _refused("the model name", _hex),
    "BadReason": _refused("the length of the reason", _decimal),
    "BadRoles": _refused("the roles", _decimal),
    "BadHashCode": _refused("the hash code", _decimal),
    "ZeroDigest": _refused("a digest of zero", _hex),
}


def error_of(revert: Revert) -> ModelregError:
    """The error to raise for a revert."""
    if (known := _ERRORS.get(revert.name) or MEANINGS.get(revert.name)) is not None:
        return known(revert.words)
    words = " ".join(map(_hex, revert.words))
    return ConflictError("the contract refused", found=f"{revert.name} {revert.text}{words}".strip())
