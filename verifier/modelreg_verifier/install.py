"""A release into a directory of this machine, noted and pinned in its home."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import ModelregError, VerificationError
from modelreg.format.manifest import Manifest
from modelreg.format.release import Release
from modelreg.format.selection import select_rows
from modelreg.home import Home
from modelreg.store.installed import Copy
from modelreg.store.plaintext import Plaintext
from modelreg_verifier.fetch import FetchingSource
from modelreg_verifier.release import read_release
from modelreg_verifier.squashed import cheapest_encoding, seconds_for
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
    progress: Callable[[int], None] = lambda _: None,
    remark: Callable[[str], None] = lambda _: None,
) -> None:
    """Do all of `install_release` but let the copy appear: doing that later fetches nothing any more."""
    with home.store_lock.shared(remark):
        # Or gc would take the blocks that the copy is to need.
        home.pins.add(str(release.release_id), release.manifest_cid)
        plan = _Plan.of(home, release, only)
        plan.carry_out(
            lambda encoding: stage_release(
                encoding,
                target,
                plan.source,
                home.local_plaintext,
                plan.rows,
                progress=progress,
                remark=remark,
            ),
            remark,
        )


def install_release(
    home: Home,
    release: Release,
    target: Path,
    reference: str,
    only: tuple[str, ...] = (),
    *,
    prefetched: bool = False,
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
        prefetched: that `prefetch_release` brought everything; nobody is asked for shorter ways.
        progress: given the bytes to copy, gives what is told the bytes done since.
        remark: told if another process is waited for, and if a squash is of no use.

    Raises:
        What `read_release` and `copy_release` raise, and UnreachableError where Kubo does not pin.
    """
    copy = Copy(str(target), reference, str(release.release_id), str(release.manifest_cid), only)

    def note() -> None:
        home.pins.add(copy.release, copy.manifest_cid)
        home.installed.add(copy)

    with home.store_lock.shared(remark):
        plan = _Plan.of(home, release, only, squashes=not prefetched)
        with progress(plan.size) as advance:
            copied = plan.carry_out(
                lambda encoding: copy_release(
                    encoding,
                    target,
                    plan.source,
                    home.local_plaintext,
                    plan.rows,
                    note=note,
                    progress=advance,
                    remark=remark,
                ),
                remark,
            )
    if plan.rows is None:
        # The copy holds now what Kubo may lack.
        home.local_plaintext.add(plan.manifest, target)
        home.keep_at_kubo(release.manifest_cid, reference)
    return Installation(plan.manifest, plan.rows, copied, plan.source.fetched_bytes)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is copied, and how. `rows` are the chunks of a part, None for all; `cost` is that of a squash."""

    source: FetchingSource
    manifest: Manifest
    encoding: Manifest
    cost: int
    rows: frozenset[int] | None

    @classmethod
    def of(cls, home: Home, release: Release, only: tuple[str, ...], *, squashes: bool = True) -> "_Plan":
        source = FetchingSource(home.blocks)
        manifest = read_release(release, Plaintext(source))
        rows = select_rows(manifest, only) if only else None
        wanted = range(len(manifest.chunks)) if rows is None else sorted(rows)
        encoding, cost = manifest, 0
        if squashes:
            encoding, cost = cheapest_encoding(home, release, manifest, wanted, source)
        return cls(source, manifest, encoding, cost, rows)

    @property
    def size(self) -> int:
        """Bytes to copy."""
        chunks = self.manifest.chunks
        return self.manifest.size if self.rows is None else sum(chunks[row].length for row in self.rows)

    def carry_out(self, copy: Callable[[Manifest], Copied], remark: Callable[[str], None]) -> Copied:
        """Copy; where a squash breaks its promise, by the published encoding."""
        if self.encoding is self.manifest:
            return copy(self.manifest)
        try:
            with self.source.within(seconds_for(self.cost)):
                return copy(self.encoding)
        except ModelregError as error:
            of_a_block = any(error is failure for failure in self.source.failures)
            if not of_a_block and not isinstance(error, VerificationError):
                raise
            remark(f"a squashed difference is of no use: {error}; fetching what was published")
            return copy(self.manifest)
