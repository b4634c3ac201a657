"""The registry as it stands in one block, all proven. Specified in docs/spec/ledger.md, section 6."""

from collections.abc import Iterator, Sequence

from modelreg.errors import FormatError, NotFoundError, UnreachableError
from modelreg.format.names import (
    AtBranch,
    AtChannel,
    AtRelease,
    AtVersion,
    ModelName,
    Reference,
    ReleaseId,
    Version,
    label_word,
)
from modelreg.format.release import Release
from modelreg.ledger import layout
from modelreg.ledger.header import Header
from modelreg.ledger.pinned import PinnedState, fetch_header
from modelreg.ledger.proof import Account
from modelreg.ledger.records import (
    NAME_BYTES_MAX,
    REASON_BYTES_MAX,
    Channel,
    Model,
    Move,
    Namespace,
    Role,
    channel_of,
    label_of,
    model_name_of,
    namespace_of,
    release_id_of,
    release_of,
    roles_of,
)

__all__ = ["View"]

_LIST_MAX = 1 << 20
_MODELS_STEP = 64
_PACE_BLOCKS = 16


class View:
    """Reads at one pinned block. Nothing is cached; look-ups that find nothing give None."""

    def __init__(self, state: PinnedState) -> None:
        self._state = state

    @property
    def header(self) -> Header:
        """The verified header of the block that is read."""
        return self._state.header

    def beside(self, address: bytes) -> PinnedState:
        """Another contract's storage in this block."""
        return self._state.beside(address)

    def before(self, time: int) -> "View | None":
        """The same in the newest block whose time is at most `time`, in Unix seconds; None before the first.

        That this block is an ancestor of the one that is read, is the endpoint's word.

        Raises:
            UnreachableError: the endpoint does not keep blocks, or states, that old.
        """
        low, high = -1, self.header.number
        found = None
        while low < high:
            middle = (low + high + 1) // 2
            header = self.header if middle == self.header.number else fetch_header(self._state.rpc, middle)
            if header is None:
                raise UnreachableError(f"{self._state.rpc.name} has no block {middle}")
            if header.time <= time:
                low, found = middle, header
            else:
                high = middle - 1
        return None if found is None else View(PinnedState(self._state.rpc, self._state.address, found))

    def block_seconds(self) -> float | None:
        """How long a block took of late, on average, by the endpoint's word; None if it does not say."""
        newest = self.header
        older = fetch_header(self._state.rpc, max(0, newest.number - _PACE_BLOCKS))
        if older is None or older.number == newest.number:
            return None
        return max(0, newest.time - older.time) / (newest.number - older.number)

    def account(self, address: bytes) -> Account:
        """An account's nonce and balance in this block."""
        return self._state.account_of(address)

    def namespace(self, label: str) -> Namespace | None:
        """Who owns a namespace."""
        slot = layout.namespace_slot(label_word(label))
        owner, pending = self._state.words([slot, slot + 1])
        return namespace_of(owner, pending)

    def roles(self, namespace: str, account: bytes) -> Role:
        """What an account may do in a namespace."""
        label = label_word(namespace)
        slot = layout.namespace_slot(label)
        owner, pending, grant = self._state.words([slot, slot + 1, layout.grant_slot(label, account)])
        return roles_of(account, namespace_of(owner, pending), grant)

    def model(self, name: ModelName) -> Model | None:
        """A model with its branches and channels."""
        slot = layout.model_slot(name.id)
        head, branches, channels = self._state.words([slot, slot + 1, slot + 2])
        if head == 0:
            return None
        model_name_of(name.id, self._string(slot, head, NAME_BYTES_MAX))
        return Model(name, self._labels(slot + 1, branches), self._labels(slot + 2, channels))

    def model_name(self, model: bytes) -> ModelName | None:
        """The name of a model, given its id of 32 bytes."""
        names = self._model_names([model])
        return names[0]

    def models(self) -> Iterator[ModelName]:
        """All models, oldest first."""
        [count] = self._state.words([layout.MODEL_IDS])
        for start in range(0, _capped(count), _MODELS_STEP):
            indices = range(start, min(start + _MODELS_STEP, count))
            ids = self._state.words([layout.array_at(layout.MODEL_IDS, index) for index in indices])
            for name in self._model_names([word.to_bytes(32, "big") for word in ids]):
                if name is None:
                    raise FormatError("list of models", found="a model without a name")
                yield name

    def head(self, model: ModelName, branch: str) -> ReleaseId | None:
        """The newest release of a branch."""
        return self._pointer(layout.head_slot(model.id, label_word(branch)))

    def version(self, model: ModelName, version: Version) -> ReleaseId | None:
        """The release that has a version."""
        return self._pointer(layout.version_slot(model.id, label_word(str(version))))

    def channel(self, model: ModelName, channel: str) -> Channel:
        """What a channel means in this block; its releases may have been yanked since."""
        slot = layout.channel_slot(model.id, label_word(channel))
        words = self._state.words(range(slot, slot + layout.CHANNEL_WORDS))
        return channel_of(words, self.header.number)

    def planned(self, reference: Reference) -> Move | None:
        """The move that a reference's channel makes in a later block."""
        return (
            self.channel(reference.model, reference.channel).planned
            if isinstance(reference, AtChannel)
            else None
        )

    def release(self, release: ReleaseId) -> Release | None:
        """A release's record, its id recomputed."""
        slot = layout.release_slot(bytes(release))
        return release_of(release, self._state.words(range(slot, slot + layout.RELEASE_WORDS)))

    def yank_reason(self, release: ReleaseId) -> str | None:
        """Why a release was yanked; None if it was not. Written by strangers: escape it before printing."""
        slot = layout.yank_reason_slot(bytes(release))
        [head] = self._state.words([slot])
        return self._string(slot, head, REASON_BYTES_MAX).decode("utf-8", "replace") if head else None

    def lineage(self, release: ReleaseId | None) -> Iterator[Release]:
        """A release, its parent, and so on; each seq is one less than the one before."""
        seq = None
        while release is not None:
            record = self.existing(release)
            if seq is not None and record.seq != seq - 1:
                raise FormatError(f"seq of {release}", expected=seq - 1, found=record.seq)
            yield record
            seq, release = record.seq, record.parent

    def resolve(self, reference: Reference) -> Release:
        """The release that a reference names now. Raises NotFoundError."""
        match reference:
            case AtRelease(release):
                found: ReleaseId | None = release
            case AtVersion(model, version):
                found = self.version(model, version)
            case AtChannel(model, channel):
                found = self.channel(model, channel).release
            case AtBranch(model, branch):
                found = self.head(model, branch)
        if found is None:
            raise self._nothing(reference)
        return self.existing(found)

    def _nothing(self, reference: Reference) -> NotFoundError:
        if isinstance(reference, AtRelease) or self.model(reference.model) is None:
            return NotFoundError(
                f"{reference} is not on the ledger", hint="list the models with `modelreg ls`"
            )
        hint = f"see what there is with `modelreg log {reference.model}`"
        if (planned := self.planned(reference)) is not None:
            hint = f"it begins in block {planned.block}"
        return NotFoundError(f"{reference} is not on the ledger", hint=hint)

    def existing(self, release: ReleaseId) -> Release:
        """A release's record. Raises NotFoundError if there is none."""
        record = self.release(release)
        if record is None:
            raise NotFoundError(f"release {release} is not on the ledger")
        return record

    def _pointer(self, slot: int) -> ReleaseId | None:
        [word] = self._state.words([slot])
        return release_id_of(word)

    def _string(self, slot: int, head: int, most: int) -> bytes:
        words = self._state.words(layout.string_slots(slot, head, most))
        return layout.string_from_words(head, words)

    def _labels(self, slot: int, count: int) -> tuple[str, ...]:
        words = self._state.words([layout.array_at(slot, index) for index in range(_capped(count))])
        return tuple(map(label_of, words))

    def _model_names(self, models: Sequence[bytes]) -> list[ModelName | None]:
        """Names of several models in two steps: the strings' own slots, then what did not fit in them."""
        slots = [layout.model_slot(model) for model in models]
        heads = self._state.words(slots)
        further = [
            layout.string_slots(slot, head, NAME_BYTES_MAX) for slot, head in zip(slots, heads, strict=True)
        ]
        rest = iter(self._state.words([slot for more in further for slot in more]))
        names: list[ModelName | None] = []
        for model, head, more in zip(models, heads, further, strict=True):
            text = layout.string_from_words(head, [next(rest) for _ in more])
            names.append(model_name_of(model, text) if text else None)
        return names


def _capped(count: int) -> int:
    if count > _LIST_MAX:
        raise FormatError("list on the ledger", expected=f"at most {_LIST_MAX} entries", found=count)
    return count
