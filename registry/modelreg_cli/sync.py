"""`sync`."""

from pathlib import Path

import click

from modelreg.errors import InputError
from modelreg.format.names import AtBranch, AtChannel, Reference
from modelreg_cli.session import REFERENCE, Session, pass_session
from modelreg_cli.sync_follow import Follower
from modelreg_cli.sync_run import sync_release, warn_of_yank

__all__ = ["sync_command"]


@click.command("sync")
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="The directory to write to.")
@click.option("--only", multiple=True, metavar="GLOB", help="Fetch only these files or tensors.")
@click.option("--follow", is_flag=True, help="Stay, and fetch each new release of a channel or branch.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=15.0, show_default=True, help="Seconds between looks."
)
@click.option("--dry-run", is_flag=True, help="Say how much would be fetched, and fetch no weights.")
@pass_session
def sync_command(
    session: Session,
    reference: Reference,
    to: Path | None,
    only: tuple[str, ...],
    follow: bool,  # noqa: FBT001  click passes options by name
    every: float,
    dry_run: bool,  # noqa: FBT001
) -> None:
    """Fetch what is missing of the release REF, verify all of it, and write it to a directory.

    The directory appears, or is replaced, only when every byte has been checked. A file of which --only
    chooses some tensors is named *.partial.
    """
    if follow and not isinstance(reference, AtChannel | AtBranch):
        raise InputError("nothing to follow", expected="a channel or a branch", found=reference)
    if follow and dry_run:
        raise InputError("--follow and --dry-run", expected="one of them", found="both")
    if follow:
        Follower(session, reference, to, only).run(every)
    with session.ledger() as view:
        release = view.resolve(reference)
        sync_release(session, view, release, reference, to, only, dry_run=dry_run)
        if release.yanked:
            warn_of_yank(session, view, release)
