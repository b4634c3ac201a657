"""What a home has pinned at its Kubo daemon. Specified in docs/spec/store.md, section 9.

Kubo has one pin for a root, whoever set it, and whoever removes it removes it for all. A home that finds a
release pinned by somebody else pins a node of its own that links to it.
"""

import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from modelreg.errors import NotFoundError
from modelreg.format import canonical
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.store.base import BlockSource
from modelreg.store.kubo import KuboStore
from modelreg.store.kubo_push import push
from modelreg.store.pins import Pins

__all__ = ["KuboPins"]

_KIND = "modelreg/hold/1"
_NONCE_BYTES = 16


class KuboPins:
    """Pins at a daemon that this home must remove again, each noted before it is set.

    Args:
        directory: where they are noted.
        kubo: the daemon's repository.
    """

    def __init__(self, directory: Path, kubo: KuboStore) -> None:
        self._notes, self._kubo = Pins(directory), kubo

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._notes.list())

    def keep(self, root: Cid, name: str, source: BlockSource, sent: Collection[Cid] = ()) -> int:
        """Bring a DAG to Kubo and pin it for this home.

        Args:
            root: where it begins.
            name: the pin's.
            source: gives every block.
            sent: what Kubo has taken just now.

        Returns:
            The bytes that were sent.

        Raises:
            NotFoundError: the source lacks a block that Kubo lacks too.
            UnreachableError: Kubo failed, or did not pin.
        """
        notes = [note for note, cid in self._notes.list().items() if cid == root]
        if any(self._stands(note, root) for note in notes):
            return 0
        pushed = push(root, source, self._kubo, sent)
        pinned, hold = _pinned(notes[0] if notes else self._note(root), root)
        if hold is not None:
            self._kubo.put_many([(pinned, hold)])
        self._kubo.api.pin(pinned, name, seconds=pushed.seconds)
        return pushed.size

    def _note(self, root: Cid) -> str:
        """Late, so that homes that pin at the same time see each other's pins."""
        note = str(root)
        if self._kubo.api.has_pinned(root):
            note += f"/{secrets.token_hex(_NONCE_BYTES)}"
        self._notes.add(note, root)
        return note

    def _stands(self, note: str, root: Cid) -> bool:
        return self._kubo.api.has_pinned(_pinned(note, root)[0])

    def unpin_others(self, kept: Collection[Cid], *, dry_run: bool) -> int:
        """Remove the pins of all but these roots; their blocks may be others' too. Returns how many."""
        gone = {note: cid for note, cid in self._notes.list().items() if cid not in kept}
        for note, cid in () if dry_run else gone.items():
            with suppress(NotFoundError):
                self._kubo.api.unpin(_pinned(note, cid)[0])
            self._notes.remove(note)
        return len(gone)

    def lost(self) -> list[Cid]:
        """The roots none of whose pins stands: somebody else removed them."""
        notes = self._notes.list().items()
        standing = {cid for note, cid in notes if self._stands(note, cid)}
        return sorted({cid for _, cid in notes} - standing, key=str)


def _pinned(note: str, root: Cid) -> tuple[Cid, bytes | None]:
    """What a note says is pinned: the root, or a node of ours that holds it, which is given too."""
    nonce = note.partition("/")[2]
    if not nonce:
        return root, None
    block = canonical.encode({"kind": _KIND, "nonce": nonce, "root": root})
    return Cid.of(Codec.DAG_CBOR, block, HashAlgorithm.BLAKE3_256), block
