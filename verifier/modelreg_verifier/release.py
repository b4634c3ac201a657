"""From a release on the ledger to its verified manifest."""

from modelreg.errors import VerificationError
from modelreg.format.manifest import Manifest
from modelreg.format.release import Release
from modelreg.store.plaintext import Plaintext

__all__ = ["read_release"]


def read_release(release: Release, plaintext: Plaintext) -> Manifest:
    """Read the manifest that a release on the ledger names.

    Raises:
        VerificationError: it is another manifest, or its content root is not the release's.
        NotFoundError: a block of it cannot be had.
    """
    manifest = plaintext.manifest(release.manifest_cid)
    if manifest.content_root != release.content_root:
        raise VerificationError(
            f"the manifest of {release.release_id} has another content root",
            expected=f"0x{release.content_root.hex()}",
            found=f"0x{manifest.content_root.hex()}",
            hint="its publisher anchored a manifest that does not fit: use another release",
        )
    return manifest
