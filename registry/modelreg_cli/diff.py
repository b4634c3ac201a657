"""`diff`."""

from functools import partial
from typing import Any

import click

from modelreg.format.names import Reference
from modelreg_cli.output import printable
from modelreg_cli.session import REFERENCE, Session, pass_session

__all__ = ["diff_command"]


@click.command("diff")
@click.argument("old", type=REFERENCE, metavar="REF")
@click.argument("new", type=REFERENCE, metavar="REF")
@pass_session
def diff_command(session: Session, old: Reference, new: Reference) -> None:
    """Say which tensors differ between two releases, and in how many of their elements.

    Blocks that this home lacks are read from its peers, but not kept.
    """
    from modelreg.compare import compare

    with session.ledger() as view:
        releases = [view.resolve(reference) for reference in (old, new)]
    before, after = (session.manifest(release) for release in releases)
    read = session.home.plaintext.range
    documents: list[dict[str, Any]] = [
        {
            "path": d.path,
            "tensor": d.name or None,
            "change": d.change,
            "was": d.was,
            "elements": d.elements,
            "changed": d.changed,
        }
        for d in compare(before, partial(read, before), after, partial(read, after))
    ]
    result = {
        "old": str(releases[0].release_id),
        "new": str(releases[1].release_id),
        "differences": documents,
    }
    session.output.result(result, "\n".join(map(_line, documents)) or "no difference")


def _line(row: dict[str, Any]) -> str:
    name = printable(f"{row['path']}  {row['tensor'] or ''}".rstrip())
    if row["change"] == "renamed":
        return f"renamed  {name}, was {printable(row['was'])}"
    if row["change"] != "changed":
        return f"{row['change']:8} {name}"
    return f"{row['change']:8} {name}  {row['changed']} of {row['elements']} ({_share(row)})"


def _share(row: dict[str, Any]) -> str:
    return f"{100 * row['changed'] / max(1, row['elements']):.3g} %"
