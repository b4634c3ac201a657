"""`sync`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from modelreg.errors import InputError, ModelregError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.names import AtBranch, AtChannel, Reference
from modelreg.format.selection import PARTIAL_SUFFIX, select_rows
from modelreg_cli.output import human_bytes, printable
from modelreg_cli.session import REFERENCE, Session, located, pass_session

if TYPE_CHECKING:
    from modelreg.format.manifest import Manifest
    from modelreg.format.names import ModelName, ReleaseId
    from modelreg.format.release import Release
    from modelreg.home import Home
    from modelreg.ledger.view import View
    from modelreg.store.installed import Copy
    from modelreg_verifier.estimate import Estimate
    from modelreg_verifier.pace import Pace
    from modelreg_verifier.sync import Copied

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
        _Follower(session, reference, to, only).run(every)
    with session.ledger() as view:
        release = view.resolve(reference)
        _sync(session, view, release, reference, to, only, dry_run=dry_run)
        if release.yanked:
            _warn_of_yank(session, view, release)


def _warn_of_yank(session: Session, view: "View", release: "Release") -> None:
    reason = printable(str(view.yank_reason(release.release_id)))
    session.output.remark(f"warning: {release.version} was yanked: {reason}")


class _Follower:
    """`sync --follow`: what was copied last, and fetched ahead of a planned move."""

    def __init__(
        self, session: Session, reference: Reference, to: Path | None, only: tuple[str, ...]
    ) -> None:
        self._session, self._reference = session, reference
        self._to, self._only = to, only
        self._last: ReleaseId | None = None
        self._ahead: ReleaseId | None = None
        self._warned: ReleaseId | None = None
        self._said: set[str] = set()
        self._outage = ""

    def run(self, every: float) -> NoReturn:
        from modelreg_verifier.pace import Pace

        pace, begun = Pace(every), False
        while True:
            if pace.is_due(self._session.height):
                try:
                    self._look(pace)
                    begun, self._outage = True, ""
                except UnreachableError as error:
                    if not begun and self._last is None:
                        raise
                    pace.failed()
                    if str(error) != self._outage:
                        self._outage = str(error)
                        self._session.output.remark(f"warning: {printable(str(error))}; trying again")
            time.sleep(pace.seconds)

    def _look(self, pace: "Pace") -> None:
        with self._session.ledger() as view:
            planned = view.planned(self._reference)
            try:
                release = view.resolve(self._reference)
            except NotFoundError as error:
                if planned is None:
                    raise
                self._remark(str(error))
            else:
                self._copy(view, release)
            pace.looked(view, planned.block if planned else None)
            if planned is None:
                self._ahead = None
            elif planned.release != self._ahead:
                self._fetch_ahead(view, view.existing(planned.release))

    def _copy(self, view: "View", release: "Release") -> None:
        if release.release_id != self._last:
            _sync(
                self._session,
                view,
                release,
                self._reference,
                self._to,
                self._only,
                prefetched=release.release_id == self._ahead,
            )
            # The next one is staged where this one was.
            self._last, self._ahead = release.release_id, None
        if release.yanked and release.release_id != self._warned:
            _warn_of_yank(self._session, view, release)
            self._warned = release.release_id

    def _fetch_ahead(self, view: "View", release: "Release") -> None:
        """What fails before the block may be mended by then, and what is copied now stays good."""
        from modelreg_verifier.install import prefetch_release

        try:
            home, name, target = _destination(self._session, view, release, self._to)
            prefetch_release(home, release, target, self._only, remark=self._session.output.remark)
        except ModelregError as error:
            self._remark(f"{release.version} cannot be fetched ahead of its block: {error}")
        else:
            self._ahead = release.release_id
            self._remark(f"fetched {name}@{release.version} ahead of its block")

    def _remark(self, text: str) -> None:
        """Say something once, not at every look."""
        if text not in self._said:
            self._said.add(text)
            self._session.output.remark(printable(text))


def _destination(
    session: Session, view: "View", release: "Release", to: Path | None
) -> "tuple[Home, ModelName, Path]":
    """Where a release goes, and a home that knows its peers now: while we follow, they come and go."""
    from modelreg.home import Home
    from modelreg.peers import node_urls

    home = Home(session.root)
    if home.config.nodes:
        home.add_peers(node_urls(view, home.config.key))
    name = _checked_name(session, view, release)
    return home, name, located(to or home.models / name.namespace / name.name / str(release.version))


def _sync(
    session: Session,
    view: "View",
    release: "Release",
    reference: Reference,
    to: Path | None,
    only: tuple[str, ...],
    *,
    dry_run: bool = False,
    prefetched: bool = False,
) -> None:
    home, name, target = _destination(session, view, release, to)
    _check_target(home, target)
    if only:
        _check_not_whole(home, target)
    if dry_run:
        document = _estimated(home, release, target, only)
    else:
        document = _copied(session, home, release, reference, target, only, prefetched=prefetched)
    session.output.result(document, _text(name, release, document))


def _copied(
    session: Session,
    home: "Home",
    release: "Release",
    reference: Reference,
    target: Path,
    only: tuple[str, ...],
    *,
    prefetched: bool,
) -> dict[str, Any]:
    from modelreg_verifier.install import install_release

    try:
        done = install_release(
            home,
            release,
            target,
            str(reference),
            only,
            prefetched=prefetched,
            progress=lambda size: session.output.progress("sync", size),
            remark=session.output.remark,
        )
    finally:
        _name_bad_sources(session, home)
    return _document(release, done.manifest, done.rows, target, only, done.fetched, done.copied)


def _name_bad_sources(session: Session, home: "Home") -> None:
    """Say which sources gave wrong bytes or failed; others gave what they should have."""
    named = set()
    for bad in home.blocks.bad_answers:
        kind = "gave wrong bytes" if isinstance(bad.error, VerificationError) else "failed"
        if (bad.source, kind) not in named:
            named.add((bad.source, kind))
            session.output.remark(printable(f"warning: {bad.source} {kind}: {bad.error}"))


def _estimated(home: "Home", release: "Release", target: Path, only: tuple[str, ...]) -> dict[str, Any]:
    from modelreg.store.plaintext import Plaintext
    from modelreg_verifier.estimate import estimate
    from modelreg_verifier.fetch import FetchingSource
    from modelreg_verifier.release import read_release
    from modelreg_verifier.squashed import cheapest_encoding

    source = FetchingSource(home.blocks, keep=False)
    manifest = read_release(release, Plaintext(source))
    rows = select_rows(manifest, only) if only else None
    wanted = range(len(manifest.chunks)) if rows is None else rows
    encoding, _ = cheapest_encoding(home, release, manifest, wanted, source)
    found = estimate(encoding, wanted, source, home.blocks, home.local_plaintext)
    return _document(release, manifest, rows, target, only, found.bytes, found) | {"dry_run": True}


def _document(
    release: "Release",
    manifest: "Manifest",
    rows: frozenset[int] | None,
    target: Path,
    only: tuple[str, ...],
    fetched: int,
    chunks: "Copied | Estimate",
) -> dict[str, Any]:
    return {
        "release_id": str(release.release_id),
        "content_root": "0x" + release.content_root.hex(),
        "path": str(target),
        "only": list(only),
        "bytes": {"full": manifest.size, "copied": _bytes(manifest, rows), "fetched": fetched},
        "chunks": {"total": chunks.total, "fetched": chunks.fetched, "reused": chunks.reused},
        "dry_run": False,
    }


def _checked_name(session: Session, view: "View", release: "Release") -> "ModelName":
    from modelreg_verifier.trust import follow_branch

    name = view.model_name(release.model)
    if name is None:
        raise VerificationError(f"the model of {release.release_id} has no name on the ledger")
    follow_branch(view, session.home.trusted_head, name, release.branch)
    return name


def _check_target(home: "Home", target: Path) -> None:
    """Never replace a directory that modelreg did not write, or one that holds files of the user's."""
    if not target.is_dir():
        return
    copy = home.installed.at(target)
    foreign = _foreign_file(home, copy, target) if copy else next(iter(sorted(target.iterdir())), None)
    if foreign is not None:
        raise InputError(
            f"{target} holds other files",
            expected="a directory that is empty, or that holds only what sync wrote",
            found=foreign.name,
            hint="move them away, or name another directory with --to",
        )


def _check_not_whole(home: "Home", target: Path) -> None:
    copy = home.installed.at(target)
    if copy is not None and not copy.only and target.is_dir():
        raise InputError(
            f"{target} holds a whole release",
            expected="a directory for the part alone",
            found=copy.reference,
            hint="name another directory with --to",
        )


def _foreign_file(home: "Home", copy: "Copy", target: Path) -> Path | None:
    """A file in a copy that is of no release which this home knows; None if it no longer knows the copy's.

    After a crash the files may be those of the release before the one that is noted: its pin names it.
    """
    strangers = {path for path in target.rglob("*") if not path.is_dir()}
    for cid in (copy.manifest_cid, *home.pins.list().values()):
        if not strangers:
            return None
        try:
            manifest = home.plaintext.manifest(cid)
        except ModelregError:
            if cid == copy.manifest_cid:
                return None
            continue
        for file in manifest.files:
            strangers -= {target / file.path, target / (file.path + PARTIAL_SUFFIX)}
    return min(strangers, default=None)


def _bytes(manifest: "Manifest", rows: frozenset[int] | None) -> int:
    return manifest.size if rows is None else sum(manifest.chunks[row].length for row in rows)


def _text(name: "ModelName", release: "Release", document: dict[str, Any]) -> str:
    size, chunks = document["bytes"], document["chunks"]
    part = "a part of " if document["only"] else ""
    whole = f" of {human_bytes(size['full'])}" if document["only"] else ""
    if document["dry_run"]:
        return (
            f"{part}{name}@{release.version} would go to {document['path']}\n"
            f"about {human_bytes(size['fetched'])} would be fetched for {human_bytes(size['copied'])}{whole}"
            f" ({chunks['reused']} of {chunks['total']} chunks are in copies here)"
        )
    return (
        f"{part}{name}@{release.version} is at {document['path']}\n"
        f"verified {human_bytes(size['copied'])}{whole} against the ledger,"
        f" fetched {human_bytes(size['fetched'])}"
        f" ({chunks['reused']} of {chunks['total']} chunks were in copies here)"
    )
