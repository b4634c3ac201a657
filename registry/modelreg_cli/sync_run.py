"""One `sync` of one release: where it goes, what it takes, and what is said of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelreg.errors import VerificationError
from modelreg.format.names import Reference
from modelreg.format.selection import select_rows
from modelreg_cli.output import human_bytes, printable
from modelreg_cli.session import Session, located
from modelreg_cli.sync_target import check_not_whole, check_target

if TYPE_CHECKING:
    from modelreg.format.manifest import Manifest
    from modelreg.format.names import ModelName
    from modelreg.format.release import Release
    from modelreg.home import Home
    from modelreg.ledger.view import View
    from modelreg_verifier.estimate import Estimate
    from modelreg_verifier.sync import Copied

__all__ = ["destination", "sync_release", "warn_of_yank"]


def warn_of_yank(session: Session, view: "View", release: "Release") -> None:
    """Say why a release was yanked."""
    reason = printable(str(view.yank_reason(release.release_id)))
    session.output.remark(f"warning: {release.version} was yanked: {reason}")


def destination(
    session: Session, view: "View", release: "Release", to: Path | None
) -> "tuple[Home, ModelName, Path]":
    """Where a release goes, and a home that knows its peers now: while we follow, they come and go."""
    from modelreg.home import Home
    from modelreg.peers import node_urls

    home = Home(session.root)
    if home.config.nodes:
        home.add_peers(node_urls(view, home.config.key))
    name = _checked_name(session, view, release)
    return home, name, located(to or home.models / name.namespace / name.name / str(release.version))


def sync_release(
    session: Session,
    view: "View",
    release: "Release",
    reference: Reference,
    to: Path | None,
    only: tuple[str, ...],
    *,
    dry_run: bool = False,
    prefetched: bool = False,
) -> None:
    """Copy a release, or say what that would take."""
    home, name, target = destination(session, view, release, to)
    check_target(home, target)
    if only:
        check_not_whole(home, target)
    if dry_run:
        document = _estimated(home, release, target, only)
    else:
        document = _copied(session, home, release, reference, target, only, prefetched=prefetched)
    session.output.result(document, _text(name, release, document))


def _copied(
    session: Session,
    home: "Home",
    release: "Release",
    reference: Reference,
    target: Path,
    only: tuple[str, ...],
    *,
    prefetched: bool,
) -> dict[str, Any]:
    from modelreg_verifier.install import install_release

    try:
        done = install_release(
            home,
            release,
            target,
            str(reference),
            only,
            prefetched=prefetched,
            progress=lambda size: session.output.progress("sync", size),
            remark=session.output.remark,
        )
    finally:
        _name_bad_sources(session, home)
    return _document(release, done.manifest, done.rows, target, only, done.fetched, done.copied)


def _name_bad_sources(session: Session, home: "Home") -> None:
    """Say which sources gave wrong bytes or failed; others gave what they should have."""
    named = set()
    for bad in home.blocks.bad_answers:
        kind = "gave wrong bytes" if isinstance(bad.error, VerificationError) else "failed"
        if (bad.source, kind) not in named:
            named.add((bad.source, kind))
            session.output.remark(printable(f"warning: {bad.source} {kind}: {bad.error}"))


def _estimated(home: "Home", release: "Release", target: Path, only: tuple[str, ...]) -> dict[str, Any]:
    from modelreg.store.plaintext import Plaintext
    from modelreg_verifier.estimate import estimate
    from modelreg_verifier.fetch import FetchingSource
    from modelreg_verifier.release import read_release
    from modelreg_verifier.squashed import cheapest_encoding

    source = FetchingSource(home.blocks, keep=False)
    manifest = read_release(release, Plaintext(source))
    rows = select_rows(manifest, only) if only else None
    wanted = range(len(manifest.chunks)) if rows is None else rows
    encoding, _ = cheapest_encoding(home, release, manifest, wanted, source)
    found = estimate(encoding, wanted, source, home.blocks, home.local_plaintext)
    return _document(release, manifest, rows, target, only, found.bytes, found) | {"dry_run": True}


def _document(
    release: "Release",
    manifest: "Manifest",
    rows: frozenset[int] | None,
    target: Path,
    only: tuple[str, ...],
    fetched: int,
    chunks: "Copied | Estimate",
) -> dict[str, Any]:
    return {
        "release_id": str(release.release_id),
        "content_root": "0x" + release.content_root.hex(),
        "path": str(target),
        "only": list(only),
        "bytes": {"full": manifest.size, "copied": _bytes(manifest, rows), "fetched": fetched},
        "chunks": {"total": chunks.total, "fetched": chunks.fetched, "reused": chunks.reused},
        "dry_run": False,
    }


def _checked_name(session: Session, view: "View", release: "Release") -> "ModelName":
    from modelreg_verifier.trust import follow_branch

    name = view.model_name(release.model)
    if name is None:
        raise VerificationError(f"the model of {release.release_id} has no name on the ledger")
    follow_branch(view, session.home.trusted_head, name, release.branch)
    return name


def _bytes(manifest: "Manifest", rows: frozenset[int] | None) -> int:
    return manifest.size if rows is None else sum(manifest.chunks[row].length for row in rows)


def _text(name: "ModelName", release: "Release", document: dict[str, Any]) -> str:
    size, chunks = document["bytes"], document["chunks"]
    part = "a part of " if document["only"] else ""
    whole = f" of {human_bytes(size['full'])}" if document["only"] else ""
    if document["dry_run"]:
        return (
            f"{part}{name}@{release.version} would go to {document['path']}\n"
            f"about {human_bytes(size['fetched'])} would be fetched for {human_bytes(size['copied'])}{whole}"
            f" ({chunks['reused']} of {chunks['total']} chunks are in copies here)"
        )
    return (
        f"{part}{name}@{release.version} is at {document['path']}\n"
        f"verified {human_bytes(size['copied'])}{whole} against the ledger,"
        f" fetched {human_bytes(size['fetched'])}"
        f" ({chunks['reused']} of {chunks['total']} chunks were in copies here)"
    )
