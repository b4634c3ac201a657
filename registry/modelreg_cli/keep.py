"""`pin`, `unpin` and `gc`: which blocks this home keeps."""

import click

from modelreg.errors import NotFoundError
from modelreg.format.names import Reference
from modelreg_cli.output import human_bytes
from modelreg_cli.session import REFERENCE, Session, pass_session

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
    from modelreg.store.replicate import fetch_dag

    with session.ledger() as view:
        release = view.resolve(reference)
    with home.store_lock.shared(session.output.remark):
        session.manifest(release)
        fetched = fetch_dag(release.manifest_cid, home.blocks, home.store, mend=True)
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
    try:
        session.home.pins.remove(str(release.release_id))
    except NotFoundError:
        raise NotFoundError(f"{reference} is not pinned here", hint="`modelreg pin` lists the pins") from None
    session.output.result({"release_id": str(release.release_id)}, f"unpinned {release.release_id}")


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_session
def gc_command(session: Session, dry_run: bool) -> None:  # noqa: FBT001  click passes options by name
    """Remove the blocks that no pin keeps."""
    from modelreg.store.gc import collect

    home = session.home
    report = collect(
        home.store,
        home.store_lock,
        lambda: home.pins.list().values(),
        dry_run=dry_run,
        remark=session.output.remark,
    )
    document = {
        "dry_run": dry_run,
        "kept": report.kept,
        "removed": report.removed,
        "bytes": {"freed": report.freed},
        "missing": report.missing,
    }
    verb = "would remove" if dry_run else "removed"
    text = f"{verb} {report.removed} blocks, {human_bytes(report.freed)}; kept {report.kept}"
    session.output.result(document, text)
