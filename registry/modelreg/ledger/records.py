"""What the contract's storage words mean. Specified in docs/spec/ledger.md, section 5. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format.digest import HashAlgorithm
from modelreg.format.names import ModelName, ReleaseId, Version, check_branch, label_from_word
from modelreg.format.release import Release
from modelreg.ledger.layout import fields

__all__ = [
    "ALL_ROLES",
    "NAME_BYTES_MAX",
    "REASON_BYTES_MAX",
    "Channel",
    "Model",
    "Move",
    "Namespace",
    "Role",
    "channel_of",
    "label_of",
    "model_name_of",
    "namespace_of",
    "release_id_of",
    "release_of",
    "roles_of",
]

NAME_BYTES_MAX = 32 + 1 + 96
REASON_BYTES_MAX = 256


class Role(IntFlag):
    """What an account may do in a namespace; OWNER is never stored, it stands for being the owner."""

    PUBLISH = 1
    YANK = 2
    CHANNEL = 4
    ADMIN = 8
    OWNER = 16


ALL_ROLES = Role(31)


@dataclass(frozen=True, slots=True)
class Namespace:
    """Who owns a namespace, and whom it is offered to; addresses of 20 bytes."""

    owner: bytes
    pending_owner: bytes | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its branches and channels, oldest first."""

    name: ModelName
    branches: tuple[str, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """What a channel is going to mean: a release, from a block's number on."""

    release: ReleaseId
    block: int


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel means in a block, if it exists there; `planned` is a move to a later one."""

    release: ReleaseId | None
    planned: Move | None

    @property
    def target(self) -> ReleaseId | None:
        """Where the channel was pointed last, whether that is in force or not."""
        return self.planned.release if self.planned else self.release


def _bytes(word: int) -> bytes:
    return word.to_bytes(32, "big")


def _address(word: int) -> bytes:
    return fields(word, 160)[0].to_bytes(20, "big")


def namespace_of(owner: int, pending: int) -> Namespace | None:
    """Read a namespace's two words; None if nobody claimed it."""
    if owner == 0:
        return None
    return Namespace(_address(owner), _address(pending) if pending else None)


def roles_of(account: bytes, namespace: Namespace | None, grant: int) -> Role:
    """The roles in force: all for the owner, else those granted under the owner of today."""
    if namespace is None:
        return Role(0)
    if account == namespace.owner:
        return ALL_ROLES
    roles, under_owner = fields(grant, 96, 160)
    return Role(roles) if under_owner.to_bytes(20, "big") == namespace.owner else Role(0)


def label_of(word: int) -> str:
    """Read the label of a branch or channel. Raises FormatError."""
    try:
        return check_branch(label_from_word(_bytes(word)))
    except InputError as error:
        raise FormatError("label on the ledger", expected=error.expected, found=error.found) from None


def model_name_of(model: bytes, name: bytes) -> ModelName:
    """Read the name that a model id stands for. Raises FormatError, VerificationError."""
    try:
        parsed = ModelName.parse(name.decode("ascii"))
    except (InputError, UnicodeDecodeError):
        raise FormatError("model name on the ledger", found=name.hex()) from None
    if parsed.id != model:
        raise VerificationError("model name on the ledger", expected=model.hex(), found=parsed.id.hex())
    return parsed


def release_id_of(word: int) -> ReleaseId | None:
    """Read a word that names a release; None for zero."""
    return ReleaseId(_bytes(word)) if word else None


def channel_of(words: Sequence[int], block: int) -> Channel:
    """Read a channel's three words as they count in a block. Raises FormatError."""
    current, following, activation = words
    [activation] = fields(activation, 64)
    if (following == 0) != (activation == 0):
        raise FormatError("channel on the ledger", expected="a release and its block, or neither")
    release = release_id_of(following)
    if release is None:
        return Channel(release_id_of(current), None)
    if activation <= block:
        return Channel(release, None)
    return Channel(release_id_of(current), Move(release, activation))


def release_of(release: ReleaseId, words: Sequence[int]) -> Release | None:
    """Read a record's seven words and recompute its id; None if there is no such release.

    Raises FormatError for a record that breaks the rules and VerificationError if it has another id.
    """
    model, parent, content_root, manifest_digest, version, branch, packed = words
    publisher, published_at, seq, code, yanked = fields(packed, 160, 40, 32, 8, 8)
    if publisher == 0:
        return None
    try:
        record = Release(
            model=_bytes(model),
            parent=release_id_of(parent),
            content_root=_bytes(content_root),
            manifest_digest=_bytes(manifest_digest),
            version=Version.parse(label_from_word(_bytes(version))),
            branch=label_of(branch),
            publisher=publisher.to_bytes(20, "big"),
            published_at=published_at,
            seq=seq,
            manifest_hash=HashAlgorithm(code),
            yanked=bool(yanked),
        )
    except (InputError, ValueError) as error:
        raise FormatError(f"release {release} on the ledger", found=str(error)) from None
    if record.release_id != release:
        raise VerificationError("release record", expected=release, found=record.release_id)
    return record
