"""`yank` and `channel`: what a publisher changes on the ledger later."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import ConflictError, InputError
from modelreg.format.names import ModelName, Reference, ReleaseId, check_channel
from modelreg_cli.output import yanked_mark
from modelreg_cli.password import password_file_option
from modelreg_cli.session import MODEL, REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.records import Channel, Move
    from modelreg.ledger.view import View

__all__ = ["channel_command", "warn_of_replaced", "yank_command"]


@click.command("yank")
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.option("--reason", required=True, help="Why, for everybody to read.")
@password_file_option
@pass_session
def yank_command(session: Session, reference: Reference, reason: str, password_file: Path | None) -> None:
    """Withdraw the release REF, for good. Its data stays, and whoever looks it up is told why."""
    with session.ledger() as view:
        release = view.resolve(reference)
        if release.yanked:
            raise ConflictError(
                f"{reference} was yanked before",
                expected="a release in force",
                found=view.yank_reason(release.release_id),
            )
        model = view.model_name(release.model)
        channels = [
            name for name, channel in _channels(view, model) if _leads_to(channel, release.release_id)
        ]
        with session.writer(password_file) as writer:
            receipt = writer.yank(release.release_id, reason)
    for channel in channels:
        session.output.remark(
            f"warning: nodes that follow {model}@{channel} still get this release:"
            f" move it with `modelreg channel set {model} {channel} REF`"
        )
    document = {
        "release_id": str(release.release_id),
        "reason": reason,
        "channels": channels,
        **_cost(receipt),
    }
    session.output.result(document, f"yanked {release.release_id}")


def _leads_to(channel: "Channel", release: ReleaseId) -> bool:
    return release in (channel.release, channel.target)


def _channels(view: "View", name: ModelName | None) -> "Iterator[tuple[str, Channel]]":
    """A model's channels and where they point."""
    model = view.model(name) if name else None
    if model is None:
        return
    for channel in model.channels:
        yield channel, view.channel(model.name, channel)


@click.group("channel")
def channel_command() -> None:
    """Move and list channels: names such as `stable` that nodes follow."""


@channel_command.command("set")
@click.argument("model", type=MODEL)
@click.argument("channel")
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.option(
    "--at-block",
    type=click.IntRange(1, (1 << 64) - 1),
    metavar="N",
    help="From this block of the chain on.  [default: at once]",
)
@password_file_option
@pass_session
def _set(
    session: Session,
    model: ModelName,
    channel: str,
    reference: Reference,
    at_block: int | None,
    password_file: Path | None,
) -> None:
    """Point CHANNEL of MODEL at the release REF.

    With --at-block, nodes that follow the channel fetch the release now and all turn to it in that block.
    Until then the move can be replaced, by one to where the channel is also: that calls it off.
    """
    check_channel(channel)
    with session.ledger() as view:
        release = view.resolve(reference)
        if release.model != model.id:
            raise InputError(
                f"{reference} is a release of another model",
                expected=model,
                found=view.model_name(release.model),
            )
        if release.yanked:
            raise InputError(f"{reference} was yanked", hint="point the channel at a release in force")
        before, head = view.channel(model, channel), view.header.number
        with session.writer(password_file) as writer:
            receipt = writer.set_channel(model, channel, release.release_id, before.target, at_block)
    warn_of_replaced(session, f"{model}@{channel}", before)
    document = {
        "model": str(model),
        "channel": channel,
        "release_id": str(release.release_id),
        "before": str(before.target) if before.target else None,
        "block": at_block,
        **_cost(receipt),
    }
    is_later = at_block is not None and at_block > head
    when = f"from block {at_block} on; the chain is at {head}" if is_later else "now"
    session.output.result(document, f"{model}@{channel} is {release.version} {when}")


def warn_of_replaced(session: Session, name: str, before: "Channel") -> None:
    """Say so where moving a channel did away with a move that was planned."""
    if before.planned is not None:
        session.output.remark(
            f"warning: this replaces the move of {name} to {before.planned.release} in block"
            f" {before.planned.block}"
        )


@channel_command.command("list")
@click.argument("model", type=MODEL)
@pass_session
def _list(session: Session, model: ModelName) -> None:
    """List the channels of MODEL."""
    from modelreg.format.names import AtBranch

    with session.ledger() as view:
        if view.model(model) is None:
            view.resolve(AtBranch(model))
        documents = [_channel_document(view, name, channel) for name, channel in _channels(view, model)]
    session.output.result(documents, "\n".join(map(_channel_line, documents)) or "no channels")


def _channel_document(view: "View", name: str, channel: "Channel") -> dict[str, Any]:
    """`version` and `release_id` are null for a channel that begins later."""
    now = _release_document(view, channel.release)
    return {"channel": name, **now, "planned": _planned_document(view, channel.planned)}


def _planned_document(view: "View", planned: "Move | None") -> dict[str, Any] | None:
    return {**_release_document(view, planned.release), "block": planned.block} if planned else None


def _release_document(view: "View", release_id: ReleaseId | None) -> dict[str, Any]:
    if release_id is None:
        return {"version": None, "release_id": None, "yanked": None}
    release = view.existing(release_id)
    return {
        "version": str(release.version),
        "release_id": str(release_id),
        "yanked": view.yank_reason(release_id) if release.yanked else None,
    }


def _channel_line(row: dict[str, Any]) -> str:
    line = str(row["channel"])
    if row["release_id"]:
        line += f"  {row['version']}  {row['release_id']}{yanked_mark(row['yanked'])}"
    if (planned := row["planned"]) is not None:
        line += (
            f"  from block {planned['block']}: {planned['version']}"
            f"  {planned['release_id']}{yanked_mark(planned['yanked'])}"
        )
    return line


def _cost(receipt: "Receipt | None") -> dict[str, object]:
    if receipt is None:
        return {"tx": None, "gas": None}
    return {"tx": "0x" + receipt.transaction.hex(), "gas": receipt.gas_used}
