"""Publishing a release: find its place in the lineage, encode it, keep its blocks, record it."""

from collections.abc import Callable
from dataclasses import dataclass

from modelreg.adapter import Adapter
from modelreg.encode import EncodedRelease, Parent, encode_release
from modelreg.errors import ConflictError, InputError, ModelregError, NotFoundError, NotPermittedError
from modelreg.format.names import ModelName, Reference, ReleaseId, Version
from modelreg.format.release import Release
from modelreg.ledger.draft import Draft, expected_id
from modelreg.ledger.view import View
from modelreg.ledger.writer import Published, Writer
from modelreg.source import SourceFile
from modelreg.store.base import BlockSource
from modelreg.store.incoming import Incoming
from modelreg.store.pins import Pins
from modelreg.store.plaintext import Plaintext

__all__ = ["Position", "encode_sources", "find_position", "record"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a new release belongs.

    `base` is the release to encode it against: the nearest of its lineage that was not yanked, so that nobody
    needs the blocks of what was withdrawn. `sibling` is the same version without its variant, `finished` the
    release itself if an earlier run recorded it.
    """

    name: ModelName
    version: Version
    branch: str
    parent: Release | None
    base: Release | None
    sibling: Release | None = None
    finished: Release | None = None


def find_position(
    view: View, name: ModelName, version: Version, branch: str, reference: Reference | None, pins: Pins
) -> Position:
    """Find the parent of a new release, and refuse what the ledger would refuse.

    Args:
        view: the ledger.
        name: the model.
        version: the label of the new release.
        branch: the branch that the release extends, or begins.
        reference: the parent; None for the branch's head.
        pins: tell a release that this home recorded in an interrupted run from those of others.

    Raises:
        ConflictError: the version is taken, or the parent is not the head of the branch.
        NotFoundError: the reference names nothing.
    """
    sibling = _sibling(view, name, version)
    taken = view.version(name, version)
    if taken is not None:
        finished = view.existing(taken)
        if str(taken) not in pins.list() or finished.branch != branch:
            raise _taken(name, version, taken)
        parent = view.existing(finished.parent) if finished.parent else None
        return Position(name, version, branch, parent, _base(view, parent), sibling, finished)
    head = view.head(name, branch)
    parent = view.resolve(reference) if reference else view.existing(head) if head else None
    if head is not None and (parent is None or parent.release_id != head):
        raise ConflictError(
            f"the head of branch {branch} of {name} is another release",
            expected=f"parent {parent.release_id if parent else 'none'}",
            found=f"head {head}",
            hint="publish on top of the head, or begin another branch with --branch",
        )
    return Position(name, version, branch, parent, _base(view, parent), sibling)


def encode_sources(
    position: Position,
    sources: tuple[SourceFile, ...],
    blocks: BlockSource,
    incoming: Incoming | None,
    *,
    key: bytes | None,
    effort: int,
    adapter: Adapter | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> EncodedRelease:
    """Encode the files of a release; its new blocks are durable on return.

    Args:
        position: where the release belongs.
        sources: its files.
        blocks: gives the blocks of the releases before it.
        incoming: takes the new blocks; None only counts them.
        key: the address, 20 bytes, that publishes; what it published before need not be decoded again.
        effort, adapter: see `encode_release`.
        progress: told the bytes done since the last call.

    Raises:
        NotFoundError: the base's blocks are not to be had.
        ConflictError: an interrupted run recorded this version with other content.
    """
    plaintext = Plaintext(blocks)
    parent = _parent(position.base, plaintext, key) if position.base else None
    sink = incoming.add if incoming else (lambda _cid, _block: None)
    encoded = encode_release(
        sources,
        parent,
        blocks,
        sink,
        effort=effort,
        sibling=_available(position.sibling, plaintext),
        adapter=adapter,
        progress=progress,
    )
    if incoming:
        incoming.flush()
    finished = position.finished
    if finished is not None and finished.manifest_cid != encoded.cid:
        raise _taken(position.name, position.version, finished.release_id)
    return encoded


def record(position: Position, encoded: EncodedRelease, view: View, ledger: Writer, pins: Pins) -> Published:
    """Pin a release and record it on the ledger; if the ledger refuses, the pin is taken back.

    Raises:
        ConflictError: the branch's head moved, or the version was taken meanwhile.
    """
    draft = Draft(
        position.name,
        position.version,
        position.branch,
        position.parent.release_id if position.parent else None,
        encoded.manifest.content_root,
        encoded.cid.digest,
    )
    pin = str(expected_id(view, draft))
    pins.add(pin, encoded.cid)
    try:
        return ledger.publish(draft)
    except (ConflictError, NotPermittedError, NotFoundError, InputError):
        pins.remove(pin)
        raise


def _base(view: View, parent: Release | None) -> Release | None:
    lineage = view.lineage(parent.release_id) if parent else iter(())
    return next((release for release in lineage if not release.yanked), None)


def _parent(release: Release, plaintext: Plaintext, key: bytes | None) -> Parent:
    cid = release.manifest_cid
    try:
        return Parent(cid, plaintext.manifest(cid), ours=release.publisher == key)
    except NotFoundError:
        raise NotFoundError(
            f"the blocks of {release.release_id}, which this release is encoded against, are not here",
            hint=f"fetch it first: modelreg sync {release.release_id}",
        ) from None


def _sibling(view: View, name: ModelName, version: Version) -> Release | None:
    plain = version.without_build
    release = view.version(name, plain) if plain != version else None
    found = view.existing(release) if release else None
    return None if found is None or found.yanked else found


def _available(release: Release | None, plaintext: Plaintext) -> Parent | None:
    """A release to encode against, if its blocks are here; without them a variant is only larger."""
    if release is None:
        return None
    try:
        return Parent(release.manifest_cid, plaintext.manifest(release.manifest_cid))
    except ModelregError:
        return None


def _taken(name: ModelName, version: Version, release: ReleaseId) -> ConflictError:
    return ConflictError(
        f"version {version} of {name} is taken",
        expected="a version that no release has",
        found=release,
        hint="versions never move: publish under the next one",
    )
