"""`publish`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import InputError, NotPermittedError
from modelreg.format.names import MAIN_BRANCH, ModelName, Reference, Version, check_branch, check_channel
from modelreg_cli.manage import warn_of_replaced
from modelreg_cli.output import human_bytes
from modelreg_cli.password import password_file_option
from modelreg_cli.session import MODEL, REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.adapter import Adapter
    from modelreg.encode import EncodedRelease
    from modelreg.ledger.view import View
    from modelreg.ledger.writer import Published
    from modelreg.publish import Position
    from modelreg.source import SourceFile
    from modelreg.store.incoming import Incoming

__all__ = ["publish_command"]


@click.command("publish")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", required=True, type=MODEL, help="The model that the release belongs to.")
@click.option(
    "--version", required=True, help="The version label, such as 1.2.0; it can never be used again."
)
@click.option(
    "--parent", type=REFERENCE, help="The release that this one follows.  [default: the branch's head]"
)
@click.option("--branch", default=MAIN_BRANCH, show_default=True, help="The branch to extend or begin.")
@click.option("--channel", help="A channel to move to the new release.")
@click.option("--variant", help="The precision or hardware form, such as bf16; becomes part of the version.")
@click.option(
    "--effort",
    type=click.IntRange(0, 2),
    default=1,
    show_default=True,
    help="0 stores weights as they are, 2 makes the smallest update.",
)
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The low-rank adapter, in safetensors, that was merged; makes the update smaller.",
)
@click.option("--allow-unsafe", multiple=True, metavar="GLOB", help="Publish files that can run code.")
@password_file_option
@click.option(
    "--yes",
    is_flag=True,
    help="Claim an unclaimed namespace without asking; on the embedded chain nothing is asked.",
)
@click.option("--dry-run", is_flag=True, help="Encode and report, but keep and announce nothing.")
@pass_session
def publish_command(
    session: Session,
    path: Path,
    model: ModelName,
    version: str,
    parent: Reference | None,
    branch: str,
    channel: str | None,
    variant: str | None,
    effort: int,
    adapter: Path | None,
    allow_unsafe: tuple[str, ...],
    password_file: Path | None,
    yes: bool,  # noqa: FBT001  click passes options by name
    dry_run: bool,  # noqa: FBT001
) -> None:
    """Publish the file or directory PATH as a release of a model.

    Its chunks are stored in this home, encoded against the parent, and its content root and manifest are
    recorded on the ledger.
    """
    from modelreg.adapter import Adapter
    from modelreg.publish import find_position, record
    from modelreg.source import find_sources

    label = Version.parse(f"{version}+{variant}" if variant else version)
    branch = check_branch(f"{branch}.{variant}" if variant else branch)
    if channel:
        check_channel(channel)
    home, hint = session.home, Adapter.read(adapter) if adapter else None
    with home.store_lock.shared(session.output.remark), session.ledger() as view:
        position = find_position(view, model, label, branch, parent, home.pins)
        if not dry_run:
            _check_permitted(session, view, model, channel=channel, yes=yes)
        sources = find_sources(path, allow_unsafe)
        _warn_of_hidden(session, sources)
        if dry_run:
            _report(session, position, _encode(session, position, sources, None, effort, hint), None)
            return
        # The password is asked for before the work, which may take long.
        unlocked = session.unlock(password_file)
        with home.incoming(unlocked) as incoming:
            encoded = _encode(session, position, sources, incoming, effort, hint)
            unlocked()
            session.load_chain()
            # What the release shares with its parent may lie in copies and peers that go away.
            home.keep(encoded.cid, f"{model}@{label}", sent=incoming.taken)
        with session.writer(password_file) as writer:
            if view.namespace(model.namespace) is None:
                writer.claim_namespace(model.namespace)
                session.output.remark(f"claimed the namespace {model.namespace} for 0x{home.key.hex()}")
            published = record(position, encoded, view, writer, home.pins)
            if channel:
                before = view.channel(model, channel)
                writer.set_channel(model, channel, published.release.release_id, before.target)
                warn_of_replaced(session, f"{model}@{channel}", before)
    _report(session, position, encoded, published)


def _warn_of_hidden(session: Session, sources: "tuple[SourceFile, ...]") -> None:
    """Everybody can read a release for good: say so where a file may have come along by accident."""
    hidden = [source.path for source in sources if any(part[0] == "." for part in source.path.split("/"))]
    if hidden:
        session.output.remark(f"warning: this includes {len(hidden)} hidden files, such as {hidden[0]}")


def _check_permitted(
    session: Session, view: "View", model: ModelName, *, channel: str | None, yes: bool
) -> None:
    """Find out before the work, not after it, that the ledger would refuse."""
    from modelreg.ledger.records import Role

    home = session.home
    owner = view.namespace(model.namespace)
    if owner is not None:
        needed = Role.PUBLISH | Role.CHANNEL if channel else Role.PUBLISH
        if missing := needed & ~view.roles(model.namespace, home.key):
            raise NotPermittedError(
                f"0x{home.key.hex()} may not publish in {model.namespace}",
                expected=f"the role {missing.name}",
                found=f"a namespace of 0x{owner.owner.hex()}",
                hint="ask its owner for the role, or publish in a namespace of your own",
            )
    elif home.config.chain.file is None and not yes:
        text = f"Nobody has claimed the namespace {model.namespace}. Claim it for 0x{home.key.hex()}?"
        if not session.confirm(text):
            raise InputError(
                f"the namespace {model.namespace} is unclaimed",
                hint="claim it by adding --yes to this command",
            )


def _encode(
    session: Session,
    position: "Position",
    sources: "tuple[SourceFile, ...]",
    incoming: "Incoming | None",
    effort: int,
    adapter: "Adapter | None",
) -> "EncodedRelease":
    from modelreg.publish import encode_sources

    home = session.home
    total = sum(source.size for source in sources)
    with session.output.progress("publish", total) as progress:
        return encode_sources(
            position,
            sources,
            home.blocks,
            incoming,
            key=home.config.key,
            effort=effort,
            adapter=adapter,
            progress=progress,
        )


def _report(
    session: Session, position: "Position", encoded: "EncodedRelease", published: "Published | None"
) -> None:
    manifest = encoded.manifest
    receipt = published.receipt if published else None
    sizes = {"full": manifest.size, "new": encoded.new_bytes, "stored": encoded.stored_bytes}
    document: dict[str, Any] = {
        "release_id": str(published.release.release_id) if published else None,
        "content_root": "0x" + manifest.content_root.hex(),
        "manifest_cid": str(encoded.cid),
        "model": str(position.name),
        "parent": str(position.parent.release_id) if position.parent else None,
        "branch": position.branch,
        "version": str(position.version),
        "bytes": sizes,
        "chunks": len(manifest.chunks),
        "repeated": position.finished is not None,
        "gas": receipt.gas_used if receipt else None,
        "tx": "0x" + receipt.transaction.hex() if receipt else None,
    }
    session.output.result(document, _text(document))


def _verb(document: dict[str, Any]) -> str:
    if document["release_id"] is None:
        return "would publish"
    return "published before, nothing changed:" if document["repeated"] else "published"


def _text(document: dict[str, Any]) -> str:
    sizes = document["bytes"]
    head = f"{document['model']}@{document['version']}"
    lines = [
        f"{_verb(document)} {head}",
        f"  release   {document['release_id'] or 'known once it is on the ledger'}",
        f"  content   {document['content_root']}",
        f"  manifest  {document['manifest_cid']}",
        f"  parent    {document['parent'] or 'none'}",
        f"  size      {human_bytes(sizes['full'])} in {document['chunks']} chunks,"
        f" {human_bytes(sizes['new'])} new, {human_bytes(sizes['stored'])} stored",
    ]
    if document["tx"]:
        lines.append(f"  ledger    {document['gas']} gas in transaction {document['tx']}")
    return "\n".join(lines)
