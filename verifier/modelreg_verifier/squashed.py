"""Choosing a squashed difference where it is cheaper than the chain. docs/spec/manifest.md, section 6."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from modelreg.errors import FormatError, ModelregError
from modelreg.format import canonical
from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import Base, Manifest
from modelreg.format.release import Release
from modelreg.home import Home
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.estimate import estimate
from modelreg_verifier.fetch import FetchingSource

__all__ = ["cheapest_encoding", "seconds_for"]

# Of what strangers offer, so many are looked at, each for so long.
_TRIED_MAX, _TRIED_SECONDS = 8, 4.0
_LEAST_RATE = 64 << 10
_FREE_SECONDS = 30.0


def seconds_for(size: int) -> float:
    """How long a squash of so many bytes may take to come before it is given up."""
    return _FREE_SECONDS + size / _LEAST_RATE


def cheapest_encoding(
    home: Home, release: Release, manifest: Manifest, rows: Iterable[int], source: FetchingSource
) -> tuple[Manifest, int]:
    """The manifest by which a copy takes the fewest bytes: the published one, or a squash on offer.

    Args:
        home: whose copies a squash may start from, and whose peers are asked.
        release: on the ledger.
        manifest: the published one.
        rows: the chunk rows to copy.
        source: gives manifests.

    Returns:
        It, and if it is a squash, the bytes to fetch.
    """
    copies = {copy.manifest_cid for copy in home.installed.copies() if not copy.only}
    is_next = bool(manifest.bases) and manifest.bases[0].manifest in copies
    # Kubo pins what the ledger names, and has to have all of it.
    if not copies or is_next or release.manifest_cid in copies or home.kubo is not None:
        return manifest, 0
    wanted, reader = list(rows), Plaintext(source)
    known = _copies_by_content(source, copies)
    offered = dict.fromkeys(one for one in home.squashes_to(release.content_root) if one.base in known)
    found: list[tuple[int, int, Manifest]] = []
    for squash in islice(offered, _TRIED_MAX):
        # What strangers say need not be true.
        with suppress(ModelregError), source.within(_TRIED_SECONDS):
            _check_root(source, squash.manifest, release.manifest_cid)
            other = reader.manifest(squash.manifest)
            bases = {Base(squash.base, cid) for cid in known[squash.base]}
            _check_bases(other, bases, reader, home.local_plaintext)
            found.append((_cost(home, other, wanted, source), len(found), other))
    if not found:
        return manifest, 0
    cost, _, cheapest = min(found)
    try:
        published = _cost(home, manifest, wanted, source)
    except ModelregError:
        return cheapest, cost
    return (cheapest, cost) if cost < published else (manifest, 0)


def _cost(home: Home, manifest: Manifest, rows: Sequence[int], source: FetchingSource) -> int:
    """Bytes of the blocks to fetch, without the manifests that were read to find out."""
    found = estimate(manifest, rows, source, home.blocks, home.local_plaintext)
    return found.bytes - source.fetched_bytes


def _copies_by_content(source: FetchingSource, copies: set[Cid]) -> dict[bytes, list[Cid]]:
    known: dict[bytes, list[Cid]] = {}
    for cid in copies:
        with suppress(ModelregError):
            known.setdefault(_root_block(source, cid)["content"], []).append(cid)
    return known


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


def _check_bases(squash: Manifest, bases: set[Base], reader: Plaintext, local: LocalPlaintext) -> None:
    """What is not here already starts from the base of which there is a copy."""
    for chunk in squash.chunks:
        at = chunk.base
        if at is None:
            continue
        base = squash.bases[at.base]
        if base in bases:
            reader.manifest(base.manifest).covering(at.file, at.offset, at.length)
        elif not local.seems_here(Digest(squash.algorithm, chunk.digest)):
            raise FormatError("squash", expected="no base but the one that it names", found="another")
