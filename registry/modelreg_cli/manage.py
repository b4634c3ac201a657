"""`yank` and `channel`: what a publisher changes on the ledger later."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import ConflictError, InputError
from modelreg.format.names import ModelName, Reference, ReleaseId, check_channel
from modelreg_cli.output import yanked_mark
from modelreg_cli.password import password_file_option
from modelreg_cli.session import MODEL, REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.view import View

__all__ = ["channel_command", "yank_command"]


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
        name = view.model_name(release.model)
        channels = [channel for channel, at in _channels(view, name) if at == release.release_id]
        with session.writer(password_file) as writer:
            receipt = writer.yank(release.release_id, reason)
    for channel in channels:
        session.output.remark(
            f"warning: nodes that follow {name}@{channel} still get this release:"
            f" move it with `modelreg channel set {name} {channel} REF`"
        )
    document = {
        "release_id": str(release.release_id),
        "reason": reason,
        "channels": channels,
        **_cost(receipt),
    }
    session.output.result(document, f"yanked {release.release_id}")


def _channels(view: "View", name: ModelName | None) -> Iterator[tuple[str, ReleaseId | None]]:
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
@password_file_option
@pass_session
def _set(
    session: Session, model: ModelName, channel: str, reference: Reference, password_file: Path | None
) -> None:
    """Point CHANNEL of MODEL at the release REF."""
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
        before = view.channel(model, channel)
        with session.writer(password_file) as writer:
            receipt = writer.set_channel(model, channel, release.release_id, before)
    document = {
        "model": str(model),
        "channel": channel,
        "release_id": str(release.release_id),
        "before": str(before) if before else None,
        **_cost(receipt),
    }
    session.output.result(document, f"{model}@{channel} is {release.version} now")


@channel_command.command("list")
@click.argument("model", type=MODEL)
@pass_session
def _list(session: Session, model: ModelName) -> None:
    """List the channels of MODEL."""
    from modelreg.format.names import AtBranch

    with session.ledger() as view:
        if view.model(model) is None:
            view.resolve(AtBranch(model))
        documents = [
            _channel_document(view, channel, release_id)
            for channel, release_id in _channels(view, model)
            if release_id
        ]
    lines = [
        f"{row['channel']}  {row['version']}  {row['release_id']}{yanked_mark(row['yanked'])}"
        for row in documents
    ]
    session.output.result(documents, "\n".join(lines) or "no channels")


def _channel_document(view: "View", channel: str, release_id: ReleaseId) -> dict[str, str | None]:
    release = view.existing(release_id)
    return {
        "channel": channel,
        "version": str(release.version),
        "release_id": str(release_id),
        "yanked": view.yank_reason(release_id) if release.yanked else None,
    }


def _cost(receipt: "Receipt | None") -> dict[str, object]:
    if receipt is None:
        return {"tx": None, "gas": None}
    return {"tx": "0x" + receipt.transaction.hex(), "gas": receipt.gas_used}
