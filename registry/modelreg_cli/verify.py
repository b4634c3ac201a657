"""`verify`."""

from collections.abc import Iterator
from contextlib import contextmanager
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

__all__ = ["verify_command"]


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
    """Check every byte in DIRECTORY against the release REF.

    Without REF the directory must be a copy that this home synced. With --offline nothing is asked of a
    chain or a peer: the bundle's proofs are checked against a block hash that this home has seen, or that
    --block gives.
    """
    from modelreg.format.selection import select_rows
    from modelreg_verifier.verify import verify_directory

    only: tuple[str, ...] = ()
    if reference is None and offline is None:
        reference, only = _from_record(session, directory)
    with _evidence(session, reference, offline, block) as (view, release, manifest):
        name = f"{view.model_name(release.model)}@{release.version}"
        if release.yanked:
            reason = printable(str(view.yank_reason(release.release_id)))
            session.output.remark(f"warning: {name} was yanked: {reason}")
        rows = select_rows(manifest, only) if only else None
        total = manifest.size if rows is None else sum(manifest.chunks[row].length for row in rows)
        with session.output.progress("verify", total) as progress:
            problems = verify_directory(directory, manifest, rows, progress)
    document = {
        "ok": not problems,
        "release_id": str(release.release_id),
        "reference": name,
        "only": list(only),
        "problems": [
            {"path": p.path, "kind": p.kind, "expected": p.expected, "found": p.found} for p in problems
        ],
    }
    lines = [
        f"{printable(p.path)}: {p.kind}: expected {p.expected}, found {printable(p.found)}" for p in problems
    ]
    part = f"a part, {human_bytes(total)} of {human_bytes(manifest.size)}," if only else "every byte"
    verdict = f"{directory} is {part} of {name}\nrelease {release.release_id}"
    session.output.result(document, "\n".join(lines) or verdict)
    if problems:
        session.output.failure(
            VerificationError(
                f"{directory} is not {name}",
                expected="every byte as released",
                found=f"{len(problems)} problem{'s' if len(problems) > 1 else ''}",
                hint=f"fetch it again: modelreg sync {name} --to {directory}",
            )
        )
        context.exit(VerificationError.exit_code)


def _from_record(session: Session, directory: Path) -> tuple[Reference, tuple[str, ...]]:
    copy = session.home.installed.at(located(directory))
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


@contextmanager
def _evidence(
    session: Session, reference: Reference | None, offline: Path | None, block: str | None
) -> "Iterator[tuple[View, Release, Manifest]]":
    if offline is not None:
        yield _offline(session, reference, offline, block)
    elif reference is not None:
        with session.ledger() as view:
            release = view.resolve(reference)
            yield view, release, session.manifest(release)


def _offline(
    session: Session, reference: Reference | None, path: Path, block: str | None
) -> "tuple[View, Release, Manifest]":
    from modelreg.ledger.reader import Reader
    from modelreg.store.files import os_errors
    from modelreg.store.plaintext import Plaintext
    from modelreg_verifier.bundle import ReplayingRpc, read_bundle
    from modelreg_verifier.release import read_release
    from modelreg_verifier.trust import require_known_block

    with os_errors(f"cannot read the bundle {path}"), path.open("rb") as file:
        bundle = read_bundle(file)
    view = Reader(ReplayingRpc(bundle.answers), bundle.contract, bundle.chain_id).at_block(bundle.block)
    require_known_block(view.header, bundle.contract, session.root / "trusted-head.json", block)
    release = _bundled(view, reference or AtRelease(bundle.release), bundle.release)
    return view, release, read_release(release, Plaintext(bundle))


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
