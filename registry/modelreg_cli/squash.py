"""`squash`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import InputError
from modelreg.format.names import Reference
from modelreg_cli.output import human_bytes
from modelreg_cli.session import REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.manifest import Manifest
    from modelreg.format.release import Release
    from modelreg.source import SourceFile

__all__ = ["squash_command"]

_LOCK_SECONDS = 3600.0


@click.command("squash")
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.option(
    "--from",
    "bases",
    type=REFERENCE,
    metavar="REF",
    multiple=True,
    required=True,
    help="The older release that nodes have.",
)
@click.option(
    "--effort", type=click.IntRange(1, 2), default=1, show_default=True, help="2 makes the smallest update."
)
@pass_session
def squash_command(session: Session, reference: Reference, bases: tuple[Reference, ...], effort: int) -> None:
    """Offer the difference from an older release to the release REF in one piece.

    A node that is many releases behind fetches it in place of all differences between, where it is smaller.
    It is verified as any other encoding of the release is, so any node may offer it. `unpin` takes it back.
    """
    from modelreg.store.lock import file_lock

    home = session.home
    with session.ledger() as view:
        release, older = view.resolve(reference), [view.resolve(base) for base in bases]
    if release in older:
        raise InputError(f"{reference} is the release itself", expected="an older release")
    remark = session.output.remark
    lock = file_lock(home.squashing_lock, exclusive=True, timeout=_LOCK_SECONDS, remark=remark)
    with lock, home.store_lock.shared(remark):
        manifest = session.manifest(release)
        with _files(session, manifest) as sources:
            rows = [_squash(session, release, manifest, base, sources, effort) for base in older]
    document = {
        "release_id": str(release.release_id),
        "version": str(release.version),
        "squashes": rows,
    }
    session.output.result(document, "\n".join(_line(document, row) for row in rows))


def _squash(
    session: Session,
    release: "Release",
    manifest: "Manifest",
    base: "Release",
    sources: "tuple[SourceFile, ...]",
    effort: int,
) -> dict[str, Any]:
    from modelreg.encode import Parent
    from modelreg.format.squash import Squash
    from modelreg.squash import squash

    home, older = session.home, session.manifest(base)
    parent = Parent(base.manifest_cid, older, ours=base.publisher == home.config.key)
    with (
        home.incoming(lambda: None) as incoming,
        session.output.progress("squash", manifest.size) as progress,
    ):
        encoded = squash(
            manifest, sources, parent, home.blocks, incoming.add, effort=effort, progress=progress
        )
        incoming.flush()
        home.keep_at_kubo(encoded.cid, f"squash/{release.version}/{base.version}", incoming.taken)
    home.squashes.add(release.content_root, Squash(base.content_root, encoded.cid))
    return {
        "from": str(base.version),
        "from_release_id": str(base.release_id),
        "manifest_cid": str(encoded.cid),
        "bytes": encoded.stored_bytes,
    }


@contextmanager
def _files(session: Session, manifest: "Manifest") -> "Iterator[tuple[SourceFile, ...]]":
    """The files of a release, from its blocks, for as long as they are needed."""
    from modelreg.source import find_sources
    from modelreg_verifier.fetch import FetchingSource
    from modelreg_verifier.sync import copy_release

    home = session.home
    target = home.squashing / "files"
    try:
        copy_release(manifest, target, FetchingSource(home.blocks), home.local_plaintext)
        yield find_sources(target, ("*",))
    finally:
        shutil.rmtree(home.squashing, ignore_errors=True)


def _line(document: dict[str, Any], row: dict[str, Any]) -> str:
    return f"{row['from']} to {document['version']}: {human_bytes(row['bytes'])}, {row['manifest_cid']}"
