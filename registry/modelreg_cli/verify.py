"""`verify`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import InputError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.names import AtRelease, Reference, ReleaseId
from modelreg_cli.output import human_bytes, printable
from modelreg_cli.session import REFERENCE, Session, located, pass_session

if TYPE_CHECKING:
    from modelreg.format.manifest import Manifest
    from modelreg.format.release import Release
    from modelreg.ledger.view import View
    from modelreg_verifier.verify import Problem

__all__ = ["Evidence", "release_evidence", "verify_command"]

_NAMED = 8


@click.command("verify")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("reference", type=REFERENCE, metavar="[REF]", required=False)
@click.option(
    "--offline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="BUNDLE",
    help="Verify against this bundle, without a chain.",
)
@click.option("--block", metavar="HASH", help="With --offline: a block hash of the chain that you trust.")
@pass_session
@click.pass_context
def verify_command(
    context: click.Context,
    session: Session,
    directory: Path,
    reference: Reference | None,
    offline: Path | None,
    block: str | None,
) -> None:
    """Check every byte in DIRECTORY, or in one file of it, against the release REF.

    Without REF the directory must be a copy that this home synced. With --offline nothing is asked of a
    chain or a peer: the bundle's proofs are checked against a block hash that this home has seen, or that
    --block gives.
    """
    from modelreg.format.selection import select_rows

    only: tuple[str, ...] = ()
    if reference is None and offline is None:
        reference, only = _from_record(session, directory)
    with release_evidence(session, reference, offline, block) as found:
        view, release, manifest = found.view, found.release, found.manifest
        name = f"{view.model_name(release.model)}@{release.version}"
        if release.yanked:
            reason = printable(str(view.yank_reason(release.release_id)))
            session.output.remark(f"warning: {name} was yanked: {reason}")
        rows = select_rows(manifest, only) if only else None
        checked = _check(session, directory, manifest, rows)
    document = {
        "ok": not checked.problems,
        "release_id": str(release.release_id),
        "reference": name,
        "only": list(only),
        "problems": [
            {"path": p.path, "kind": p.kind, "expected": p.expected, "found": p.found}
            for p in checked.problems
        ],
    }
    lines = [
        f"{printable(p.path)}: {p.kind}: expected {p.expected}, found {printable(p.found)}"
        for p in checked.problems
    ]
    expected = f"{printable(checked.file)} of {name}" if checked.file else name
    part = f"a part, {human_bytes(checked.size)} of {human_bytes(manifest.size)}," if only else "every byte"
    verdict = f"{directory} is {part} of {expected}\nrelease {release.release_id}"
    session.output.result(document, "\n".join(lines) or verdict)
    if checked.problems:
        count = len(checked.problems)
        session.output.failure(
            VerificationError(
                f"{directory} is not {expected}",
                expected="every byte as released",
                found=f"{count} problem{'s' if count > 1 else ''}",
                hint=f"fetch it again: modelreg sync {name}" + ("" if checked.file else f" --to {directory}"),
            )
        )
        context.exit(VerificationError.exit_code)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found in `size` bytes; `file` is the release's name of the one file that was looked at."""

    problems: "list[Problem]"
    size: int
    file: str | None = None


def _check(session: Session, path: Path, manifest: "Manifest", rows: frozenset[int] | None) -> _Checked:
    from modelreg.format.selection import copied_names
    from modelreg_verifier.verify import verify_directory, verify_file

    if path.is_dir() or not os.path.lexists(path):
        size = manifest.size if rows is None else sum(manifest.chunks[row].length for row in rows)
        with session.output.progress("verify", size) as progress:
            return _Checked(verify_directory(path, manifest, rows, progress), size)
    size = path.lstat().st_size
    with session.output.progress("verify", size) as progress:
        file, problems = verify_file(located(path), manifest, rows, progress)
    others = [name for name in copied_names(manifest, rows).values() if name != file]
    if others:
        session.output.remark(f"warning: not looked at: {_some(others)}")
    return _Checked(problems, size, file)


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more files" if more > 0 else "")


def _from_record(session: Session, directory: Path) -> tuple[Reference, tuple[str, ...]]:
    path = located(directory)
    places = [path] if path.is_dir() else [path, *path.parents]
    copy = next(filter(None, map(session.home.installed.at, places)), None)
    if copy is None:
        if not directory.exists():
            raise NotFoundError(f"nothing at {directory}")
        raise InputError(
            f"{directory} is not a copy that this home made",
            expected="a release to compare it with",
            found="none",
            hint="name it: modelreg verify DIRECTORY REF",
        )
    return AtRelease(copy.release_id), copy.only


@dataclass(frozen=True, slots=True)
class Evidence:
    """A release on the ledger of a chain, and its manifest."""

    chain_id: int
    view: "View"
    release: "Release"
    manifest: "Manifest"


@contextmanager
def release_evidence(
    session: Session, reference: Reference | None, offline: Path | None, block: str | None
) -> Iterator[Evidence]:
    """What the ledger, or a bundle of it, says of a release.

    Args:
        session: the home, for its ledger or for the newest block that it has seen.
        reference: which release; None, with a bundle, for the bundle's.
        offline: the bundle; None for the ledger.
        block: with a bundle, the text of a block hash that is trusted.

    Raises:
        ModelregError: it cannot be had, or is not proven.
    """
    if offline is not None:
        yield _offline(session, reference, offline, block)
    elif reference is not None:
        with session.ledger() as view:
            release = view.resolve(reference)
            chain_id = session.home.config.chain.chain_id
            yield Evidence(chain_id, view, release, session.manifest(release))


def _offline(session: Session, reference: Reference | None, path: Path, block: str | None) -> Evidence:
    from modelreg.store.files import os_errors
    from modelreg.store.plaintext import Plaintext
    from modelreg_verifier.bundle import read_bundle
    from modelreg_verifier.release import read_release
    from modelreg_verifier.trust import open_evidence

    with os_errors(f"cannot read the bundle {path}"), path.open("rb") as file:
        bundle = read_bundle(file)
    view = open_evidence(bundle.evidence, session.root / "trusted-head.json", block)
    release = _bundled(view, reference or AtRelease(bundle.release), bundle.release)
    return Evidence(bundle.evidence.chain_id, view, release, read_release(release, Plaintext(bundle)))


def _bundled(view: "View", reference: Reference, held: ReleaseId) -> "Release":
    """The release that a reference means, if the bundle has the evidence for it."""
    try:
        return view.resolve(reference)
    except UnreachableError:
        release = view.existing(held)
        found = f"{view.model_name(release.model)}@{release.version}"
        raise VerificationError(
            "the bundle is of another release",
            expected=reference,
            found=found,
            hint=f"make one: modelreg bundle {reference} FILE",
        ) from None
