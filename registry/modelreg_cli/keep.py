"""`pin`, `unpin` and `gc`: which blocks this home keeps."""

import contextlib
import shutil
from typing import TYPE_CHECKING

import click

from modelreg.errors import NotFoundError, UnreachableError
from modelreg.format.names import Reference
from modelreg_cli.output import human_bytes
from modelreg_cli.session import REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.home import Home

__all__ = ["gc_command", "pin_command", "unpin_command"]


@click.command("pin")
@click.argument("reference", type=REFERENCE, metavar="[REF]", required=False)
@pass_session
def pin_command(session: Session, reference: Reference | None) -> None:
    """Keep the blocks of the release REF: fetch those that are missing. Without REF, list what is kept."""
    home = session.home
    if reference is None:
        pins = {name: str(cid) for name, cid in home.pins.list().items()}
        lines = [f"{name}  {cid}" for name, cid in pins.items()]
        session.output.result(pins, "\n".join(lines) or "no pins")
        return
    with session.ledger() as view:
        release = view.resolve(reference)
    with home.store_lock.shared(session.output.remark):
        session.manifest(release)
        fetched = home.keep(release.manifest_cid, str(reference), mend=True)
        home.pins.add(str(release.release_id), release.manifest_cid)
    document = {"release_id": str(release.release_id), "bytes": {"fetched": fetched}}
    session.output.result(document, f"pinned {release.release_id}, fetched {human_bytes(fetched)}")


@click.command("unpin")
@click.argument("reference", type=REFERENCE, metavar="REF")
@pass_session
def unpin_command(session: Session, reference: Reference) -> None:
    """Stop keeping the blocks of the release REF; `gc` then removes those that no other pin keeps."""
    with session.ledger() as view:
        release = view.resolve(reference)
    squashes = session.home.squashes.remove(release.content_root)
    try:
        session.home.pins.remove(str(release.release_id))
    except NotFoundError:
        if not squashes:
            hint = "`modelreg pin` lists the pins"
            raise NotFoundError(f"{reference} is not pinned here", hint=hint) from None
    session.output.result({"release_id": str(release.release_id)}, f"unpinned {release.release_id}")


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_session
def gc_command(session: Session, dry_run: bool) -> None:  # noqa: FBT001  click passes options by name
    """Remove the blocks that no pin keeps."""
    from modelreg.store.gc import collect

    home = session.home
    report = collect(
        home.local_store,
        home.store_lock,
        home.kept,
        dry_run=dry_run,
        remark=session.output.remark,
    )
    if not dry_run:
        _clear_unfinished(home)
    unpinned = 0
    if home.kubo_pins is not None:
        # What is published meanwhile is pinned there first and here last.
        with home.store_lock.exclusive(session.output.remark):
            unpinned = home.kubo_pins.unpin_others(set(home.kept()), dry_run=dry_run)
    document = {
        "dry_run": dry_run,
        "kept": report.kept,
        "removed": report.removed,
        "bytes": {"freed": report.freed},
        "missing": report.missing,
        "unpinned_at_kubo": unpinned,
    }
    prefix = "would have " if dry_run else ""
    text = f"{prefix}removed {report.removed} blocks, {human_bytes(report.freed)}; kept {report.kept}"
    if unpinned:
        text += f"\n{prefix}unpinned {unpinned} releases at Kubo, whose own gc frees their space"
    session.output.result(document, text)


def _clear_unfinished(home: "Home") -> None:
    """What a squash that was killed has left; one that works holds the lock."""
    from modelreg.store.lock import file_lock

    if home.squashing.exists():
        lock = file_lock(home.squashing_lock, exclusive=True, timeout=0)
        with contextlib.suppress(UnreachableError), lock:
            shutil.rmtree(home.squashing, ignore_errors=True)
