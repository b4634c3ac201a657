"""Encoding a release once more, against an older one. Specified in docs/spec/manifest.md, section 6."""

from collections.abc import Callable, Sequence

from modelreg.chunk_table import Sink
from modelreg.encode import EncodedRelease, Parent, encode_release
from modelreg.errors import VerificationError
from modelreg.format.manifest import MAX_DEPTH, Manifest
from modelreg.source import SourceFile
from modelreg.store.base import BlockSource

__all__ = ["squash"]


def squash(
    release: Manifest,
    sources: Sequence[SourceFile],
    base: Parent,
    blocks: BlockSource,
    sink: Sink,
    *,
    effort: int,
    progress: Callable[[int], None] = lambda _: None,
) -> EncodedRelease:
    """Make the difference from `base` to a release.

    Args:
        release: as it was published.
        sources: its files.
        base: an older release; a node that has it needs nothing of what lies between.
        blocks, sink, effort, progress: see `encode_release`.

    Raises:
        VerificationError: the files are not those of the release.
    """
    encoded = encode_release(
        sources,
        base,
        blocks,
        sink,
        effort=effort,
        algorithm=release.algorithm,
        # Whoever uses it has the base, and does not decode what is behind that.
        deepest=MAX_DEPTH,
        progress=progress,
    )
    if encoded.manifest.content_root != release.content_root:
        raise VerificationError(
            "the files are not those of the release",
            expected=f"content root 0x{release.content_root.hex()}",
            found=f"0x{encoded.manifest.content_root.hex()}",
        )
    if encoded.manifest.files != release.files:
        raise VerificationError(
            "the release was published with other tensors than its files show now",
            hint="nobody would take the squash: this version of modelreg reads its formats otherwise",
        )
    return encoded
