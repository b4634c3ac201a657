"""A release before it is on the ledger. Specified in docs/spec/ledger.md, section 8."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from modelreg.format.digest import Digest
from modelreg.format.names import ModelName, ReleaseId, Version, check_branch, label_word
from modelreg.format.release import Release
from modelreg.ledger.view import View

__all__ = ["Draft", "already_published", "expected_id", "publish_arguments", "publish_purpose"]

_NONE = bytes(32)


@dataclass(frozen=True, slots=True)
class Draft:
    """A release to be published. `parent` must be the branch's head, if the branch has one."""

    model: ModelName
    version: Version
    branch: str
    parent: ReleaseId | None
    content_root: bytes
    manifest: Digest


def publish_purpose(release: ReleaseId) -> str:
    """How the outbox calls the transaction that publishes a release."""
    return f"publish {release}"


def publish_arguments(draft: Draft) -> list[Any]:
    """The arguments of the contract's `publish`."""
    return [
        label_word(draft.model.namespace),
        draft.model.name,
        label_word(str(draft.version)),
        label_word(check_branch(draft.branch)),
        bytes(draft.parent) if draft.parent else _NONE,
        draft.content_root,
        draft.manifest.value,
        draft.manifest.algorithm.value,
    ]


def expected_id(view: View, draft: Draft) -> ReleaseId:
    """The id that a draft gets. Raises NotFoundError for an unknown parent."""
    seq = 1 if draft.parent is None else view.existing(draft.parent).seq + 1
    return Release(
        model=draft.model.id,
        parent=draft.parent,
        content_root=draft.content_root,
        manifest_digest=draft.manifest.value,
        version=draft.version,
        branch=draft.branch,
        publisher=bytes(20),
        published_at=0,
        seq=seq,
        manifest_hash=draft.manifest.algorithm,
    ).release_id


def already_published(view: View, draft: Draft) -> Release | None:
    """The draft's release if the ledger has it: a retry may name it, or what came after, as the parent."""
    release = view.version(draft.model, draft.version)
    if release is None:
        return None
    record = view.existing(release)
    same = (
        record.branch == draft.branch
        and record.content_root == draft.content_root
        and Digest(record.manifest_hash, record.manifest_digest) == draft.manifest
    )
    if not same or not (record.parent == draft.parent or _descends(view, draft.parent, record)):
        return None
    return record


def _descends(view: View, release: ReleaseId | None, ancestor: Release) -> bool:
    later = takewhile(lambda record: record.seq >= ancestor.seq, view.lineage(release))
    return any(record.release_id == ancestor.release_id for record in later)
