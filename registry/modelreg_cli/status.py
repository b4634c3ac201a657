"""`status`: which nodes serve a model, and how far they are behind."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from modelreg.format.names import (
    MAIN_BRANCH,
    AtBranch,
    AtChannel,
    ModelName,
    Reference,
    check_branch,
    check_channel,
)
from modelreg_cli.output import printable
from modelreg_cli.session import MODEL, Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.view import View
    from modelreg_verifier.audit.node_status import NodeStatus

__all__ = ["status_command"]

_LINEAGE = 1024


@click.command("status")
@click.argument("model", type=MODEL)
@click.option("--channel", help="The channel that nodes should follow.")
@click.option("--branch", help="Or the branch.  [default: main]")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=5.0, show_default=True, help="For each node."
)
@pass_session
def status_command(
    session: Session, model: ModelName, channel: str | None, branch: str | None, seconds: float
) -> None:
    """Ask the nodes on the ledger which release of MODEL they serve, and say who is behind.

    Nodes answer for themselves: what a node really ran is for `audit` to find out.
    """
    from modelreg.ledger.receipt_log_records import Status
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.audit.node_status import ask_nodes

    with session.ledger() as view:
        named = check_channel(channel) if channel else check_branch(branch or MAIN_BRANCH)
        reference = AtChannel(model, named) if channel else AtBranch(model, named)
        wanted = view.resolve(reference)
        lineage = islice(view.lineage(wanted.release_id), _LINEAGE)
        behind = {str(release.version): count for count, release in enumerate(lineage)}
        nodes = [node for node in ReceiptLogView.beside(view).nodes() if node.status is Status.ACTIVE]
        rows = [_row(found, behind) for found in ask_nodes(nodes, model, seconds=seconds)]
        planned = _planned(view, reference)
    document = {"model": str(model), "version": str(wanted.version), "planned": planned, "nodes": rows}
    heading = f"{model}@{named} is {wanted.version}"
    if planned:
        heading += f", and {planned['version']} from block {planned['block']} on"
    session.output.result(document, "\n".join([heading, *map(_line, rows)]))


def _planned(view: "View", reference: Reference) -> dict[str, Any] | None:
    """The move of a channel to a later block."""
    planned = view.planned(reference)
    if planned is None:
        return None
    return {"version": str(view.existing(planned.release).version), "block": planned.block}


def _row(found: "NodeStatus", behind: dict[str, int]) -> dict[str, Any]:
    """`behind` counts releases; it is null for a version that is not in the lineage, or unknown."""
    versions = [str(version) for version in found.versions]
    known = [behind[version] for version in versions if version in behind]
    return {
        "node": f"0x{found.node.address.hex()}",
        "endpoint": found.node.endpoint,
        "versions": versions,
        "behind": min(known, default=None),
        "problem": found.problem,
    }


def _line(row: dict[str, Any]) -> str:
    if row["problem"] is not None:
        state = f"unknown: {row['problem']}"
    elif not row["versions"]:
        state = "does not serve it"
    elif row["behind"] is None:
        state = f"{', '.join(row['versions'])}, of another lineage"
    else:
        state = f"{', '.join(row['versions'])}, {row['behind'] or 'none'} behind"
    return printable(f"{row['node']}  {state}  ({row['endpoint']})")
