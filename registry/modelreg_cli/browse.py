"""`ls`, `log`, `show` and `search`: reading the ledger."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from modelreg.format.names import MAIN_BRANCH, ModelName, Reference, check_branch
from modelreg.format.release import Release
from modelreg_cli.output import human_bytes, printable, yanked_mark
from modelreg_cli.session import MODEL, REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.manifest import FileEntry, Manifest
    from modelreg.ledger.view import View

__all__ = ["log_command", "ls_command", "release_document", "search_command", "show_command"]

_SHOWN_TENSORS = 12


@click.command("ls")
@pass_session
def ls_command(session: Session) -> None:
    """List the models on the ledger, with the newest version of their main branch."""
    with session.ledger() as view:
        _list(session, view, view.models())


@click.command("search")
@click.argument("text")
@pass_session
def search_command(session: Session, text: str) -> None:
    """Find models whose name holds TEXT, in any case."""
    with session.ledger() as view:
        _list(session, view, (name for name in view.models() if text.lower() in str(name).lower()))


@click.command("log")
@click.argument("model", type=MODEL)
@click.option("--branch", default=MAIN_BRANCH, show_default=True, help="The branch to follow.")
@click.option("-n", "--limit", type=click.IntRange(1), help="How many releases at most.")
@pass_session
def log_command(session: Session, model: ModelName, branch: str, limit: int | None) -> None:
    """List the releases of a branch of MODEL, newest first."""
    from modelreg.format.names import AtBranch

    with session.ledger() as view:
        head = view.resolve(AtBranch(model, check_branch(branch)))
        releases = list(islice(view.lineage(head.release_id), limit))
        reasons = {r.release_id: view.yank_reason(r.release_id) for r in releases if r.yanked}
    documents = [release_document(model, release, reasons.get(release.release_id)) for release in releases]
    lines = [_line(release, reasons.get(release.release_id)) for release in releases]
    session.output.result(documents, "\n".join(lines))


@click.command("show")
@click.argument("reference", type=REFERENCE, metavar="REF")
@pass_session
def show_command(session: Session, reference: Reference) -> None:
    """Show the release REF: its record on the ledger, its files and tensors."""
    from modelreg.errors import NotFoundError

    with session.ledger() as view:
        release = view.resolve(reference)
        name = view.model_name(release.model)
        reason = view.yank_reason(release.release_id) if release.yanked else None
    document = release_document(name, release, reason)
    text = "\n".join(
        f"{key:16} {printable(str(value))}" for key, value in document.items() if value is not None
    )
    try:
        manifest = session.manifest(release)
    except NotFoundError:
        session.output.remark("the manifest is not on this machine: `modelreg sync` fetches it")
        session.output.result(document | {"files": None}, text)
        return
    document["files"] = [_file_document(file) for file in manifest.files]
    session.output.result(document, text + "\n" + "\n".join(_describe(manifest)))


def release_document(name: ModelName | None, release: Release, reason: str | None = None) -> dict[str, Any]:
    """A release's record as a JSON document."""
    return {
        "release_id": str(release.release_id),
        "model": str(name) if name else None,
        "version": str(release.version),
        "branch": release.branch,
        "parent": str(release.parent) if release.parent else None,
        "seq": release.seq,
        "content_root": "0x" + release.content_root.hex(),
        "manifest_cid": str(release.manifest_cid),
        "publisher": "0x" + release.publisher.hex(),
        "published_at": _time(release),
        "yanked": reason,
    }


def _list(session: Session, view: "View", names: Iterable[ModelName]) -> None:
    documents = [_model_document(view, name) for name in names]
    width = max((len(str(row["model"])) for row in documents), default=0)
    lines = [
        f"{row['model']:{width}}  {row['version'] or '-'}{yanked_mark(row['yanked'])}" for row in documents
    ]
    session.output.result(documents, "\n".join(lines) or "no models")


def _model_document(view: "View", name: ModelName) -> dict[str, str | None]:
    head = view.head(name, MAIN_BRANCH)
    release = view.release(head) if head else None
    return {
        "model": str(name),
        "version": str(release.version) if release else None,
        "head": str(head) if head else None,
        "yanked": view.yank_reason(release.release_id) if release and release.yanked else None,
    }


def _time(release: Release) -> str:
    return datetime.fromtimestamp(release.published_at, UTC).isoformat().replace("+00:00", "Z")


def _line(release: Release, reason: str | None) -> str:
    return f"{release.release_id}  {_time(release)}  {release.version}{yanked_mark(reason)}"


def _file_document(file: "FileEntry") -> dict[str, Any]:
    tensors = [
        {"name": t.name, "dtype": t.dtype.label, "shape": list(t.shape), "bytes": t.length}
        for t in file.tensors
    ]
    return {"path": file.path, "size": file.size, "format": file.format.label, "tensors": tensors}


def _describe(manifest: "Manifest") -> Iterable[str]:
    yield f"{'size':16} {human_bytes(manifest.size)} in {len(manifest.chunks)} chunks"
    for file in manifest.files:
        yield f"\n{file.path}  {human_bytes(file.size)}  {file.format.label}"
        for tensor in file.tensors[:_SHOWN_TENSORS]:
            yield f"  {printable(tensor.name)}  {tensor.dtype.label} {list(tensor.shape)}"
        if len(file.tensors) > _SHOWN_TENSORS:
            yield f"  and {len(file.tensors) - _SHOWN_TENSORS} more tensors"
