"""Choosing a squashed difference where it is cheaper than the chain. docs/spec/manifest.md, section 6."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from modelreg.errors import FormatError, ModelregError
from modelreg.format import canonical
from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import Base, Manifest
from modelreg.format.release import Release
from modelreg.format.squash import Squash
from modelreg.home import Home
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.estimate import estimate
from modelreg_verifier.fetch import FetchingSource

__all__ = ["cheapest_encoding"]

# Of what strangers offer, so many are looked at.
_TRIED_MAX = 4


def cheapest_encoding(
    home: Home, release: Release, manifest: Manifest, rows: Iterable[int], source: FetchingSource
) -> Manifest:
    """The manifest by which a copy takes the fewest bytes: the published one, or a squash on offer.

    Args:
        home: whose copies a squash may start from, and whose peers are asked.
        release: on the ledger.
        manifest: the published one.
        rows: the chunk rows to copy.
        source: gives manifests.

    Raises:
        ModelregError: the manifests of the chain cannot be had, and no squash is usable.
    """
    copies = {copy.manifest_cid for copy in home.installed.copies() if not copy.only}
    is_next = bool(manifest.bases) and manifest.bases[0].manifest in copies
    # Kubo pins what the ledger names, and has to have all of it.
    if not copies or is_next or release.manifest_cid in copies or home.kubo is not None:
        return manifest
    offered = home.squashes_to(manifest.content_root)
    if not offered:
        return manifest
    wanted = list(rows)
    usable = list(_usable(home, release, offered, copies, source))
    costs = [(_cost(home, other, wanted, source), number) for number, other in enumerate(usable)]
    if not costs:
        return manifest
    cost, number = min(costs)
    try:
        published = _cost(home, manifest, wanted, source)
    except ModelregError:
        return usable[number]
    return usable[number] if cost < published else manifest


def _cost(home: Home, manifest: Manifest, rows: Sequence[int], source: FetchingSource) -> int:
    """Bytes of the blocks to fetch, without the manifests that were read to find out."""
    found = estimate(manifest, rows, source, home.blocks, home.local_plaintext)
    return found.bytes - source.fetched_bytes


def _usable(
    home: Home,
    release: Release,
    offered: Iterable[Squash],
    copies: set[Cid],
    source: FetchingSource,
) -> Iterator[Manifest]:
    reader, known = Plaintext(source), {}
    for cid in copies:
        try:
            known[_root_block(source, cid)["content"]] = cid
        except ModelregError:
            continue
    for squash in islice((one for one in offered if one.base in known), _TRIED_MAX):
        try:
            _check_root(source, squash.manifest, release.manifest_cid)
            other = reader.manifest(squash.manifest)
            _check_bases(other, Base(squash.base, known[squash.base]), home.local_plaintext)
        except ModelregError:  # a stranger's word that was not true
            continue
        yield other


def _check_root(source: FetchingSource, squash: Cid, published: Cid) -> None:
    """The same files and as many shards: a stranger's manifest costs no more to read than the published."""
    one, other = (_root_block(source, cid) for cid in (squash, published))
    own = {"bases": None, "chunks": None}
    if one | own != other | own or len(one["chunks"]) != len(other["chunks"]):
        raise FormatError(f"squash {squash}", expected="the release in another encoding", found="another one")


def _root_block(source: FetchingSource, cid: Cid) -> dict[str, Any]:
    value = canonical.decode(source.get(cid))
    if not isinstance(value, dict) or not {"content", "chunks"} <= value.keys():
        raise FormatError(f"manifest {cid}", expected="a root block", found="another value")
    if not isinstance(value["chunks"], list) or not isinstance(value["content"], bytes):
        raise FormatError(f"manifest {cid}", expected="a content root and shards", found="other values")
    return value


def _check_bases(squash: Manifest, base: Base, local: LocalPlaintext) -> None:
    """What is not here already starts from the one base that is."""
    for chunk in squash.chunks:
        at = chunk.base
        if at is None or squash.bases[at.base] == base:
            continue
        if not local.seems_here(Digest(squash.algorithm, chunk.digest)):
            raise FormatError("squash", expected="no base but the one that it names", found="another")
