"""A release into a directory of this machine, noted and pinned in its home."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from modelreg.format.manifest import Manifest
from modelreg.format.release import Release
from modelreg.format.selection import select_rows
from modelreg.home import Home
from modelreg.store.installed import Copy
from modelreg.store.plaintext import Plaintext
from modelreg_verifier.fetch import FetchingSource
from modelreg_verifier.release import read_release
from modelreg_verifier.sync import Copied, copy_release, stage_release

__all__ = ["Installation", "install_release", "prefetch_release"]

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class Installation:
    """What was installed: `rows` are the chunks of a part, None for all; `fetched` are bytes."""

    manifest: Manifest
    rows: frozenset[int] | None
    copied: Copied
    fetched: int


def prefetch_release(
    home: Home,
    release: Release,
    target: Path,
    only: tuple[str, ...] = (),
    *,
    remark: Callable[[str], None] = lambda _: None,
) -> None:
    """Do all of `install_release` but let the copy appear: doing that later fetches nothing any more."""
    source = FetchingSource(home.blocks)
    with home.store_lock.shared(remark):
        manifest = read_release(release, Plaintext(source))
        rows = select_rows(manifest, only) if only else None
        stage_release(manifest, target, source, home.local_plaintext, rows, remark=remark)


def install_release(
    home: Home,
    release: Release,
    target: Path,
    reference: str,
    only: tuple[str, ...] = (),
    *,
    progress: Progress = lambda _: nullcontext(lambda _: None),
    remark: Callable[[str], None] = lambda _: None,
) -> Installation:
    """Copy a release, or a part of it, and note the copy; whole releases are pinned at the home's Kubo, too.

    Args:
        home: whose blocks and copies are used, and which notes the copy.
        release: on the ledger.
        target: as for `copy_release`.
        reference: what the user called the release.
        only: globs of files and tensors; none for all.
        progress: given the bytes to copy, gives what is told the bytes done since.
        remark: told if another process is waited for.

    Raises:
        What `read_release` and `copy_release` raise, and UnreachableError where Kubo does not pin.
    """
    copy = Copy(str(target), reference, str(release.release_id), str(release.manifest_cid), only)
    source = FetchingSource(home.blocks)

    def note() -> None:
        home.pins.add(copy.release, copy.manifest_cid)
        home.installed.add(copy)

    with home.store_lock.shared(remark):
        manifest = read_release(release, Plaintext(source))
        rows = select_rows(manifest, only) if only else None
        size = manifest.size if rows is None else sum(manifest.chunks[row].length for row in rows)
        with progress(size) as advance:
            copied = copy_release(
                manifest,
                target,
                source,
                home.local_plaintext,
                rows,
                note=note,
                progress=advance,
                remark=remark,
            )
    if rows is None:
        # The copy holds now what Kubo may lack.
        home.local_plaintext.add(manifest, target)
        home.keep_at_kubo(release.manifest_cid, reference)
    return Installation(manifest, rows, copied, source.fetched_bytes)
