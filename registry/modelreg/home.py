"""A home: the directory that holds a user's settings, keys, chain, blocks and records of copies."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

from modelreg.config import Config, read_config
from modelreg.errors import InputError, ModelregError, UnreachableError
from modelreg.format.cid import Cid
from modelreg.format.selection import select_rows
from modelreg.format.squash import Squash
from modelreg.ledger.quorum import QuorumRpc
from modelreg.ledger.reader import Reader
from modelreg.ledger.rpc import EmbeddedRpc, Rpc
from modelreg.store.base import BlockSource, BlockStore
from modelreg.store.gateway import Gateway
from modelreg.store.incoming import Incoming, Lane, incoming
from modelreg.store.installed import Installed, InstalledBlocks
from modelreg.store.kubo import KuboNetwork, KuboStore
from modelreg.store.kubo_api import KuboApi
from modelreg.store.kubo_pins import KuboPins
from modelreg.store.local import LocalStore
from modelreg.store.lock import StoreLock
from modelreg.store.multi import MultiStore
from modelreg.store.pins import Pins
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg.store.remote import AsyncSource, Threaded
from modelreg.store.replicate import fetch_dag
from modelreg.store.squashes import Squashes, offered_by

__all__ = ["Home", "open_rpc"]

_OFFER_SECONDS = 5.0


class Home:
    """Opens the parts of a home as they are needed.

    Raises, on construction: NotFoundError without a home at `root`, InputError for a broken configuration.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config: Config = read_config(root / "config.toml")

    @property
    def keystore(self) -> Path:
        """Where the keys lie."""
        return self.root / "keystore"

    @property
    def trusted_head(self) -> Path:
        """Where the newest head that was seen is noted."""
        return self.root / "trusted-head.json"

    @property
    def outbox(self) -> Path:
        """Where transactions are noted before they are sent."""
        return self.root / "outbox.sqlite"

    @property
    def models(self) -> Path:
        """Where copies go that are given no other place."""
        return self.root / "models"

    @cached_property
    def installed(self) -> Installed:
        """The records of copies on this machine."""
        return Installed(self.root / "installed")

    @cached_property
    def pins(self) -> Pins:
        """What `gc` keeps."""
        return Pins(self.root / "pins")

    @cached_property
    def squashes(self) -> Squashes:
        """The squashed differences that this home offers."""
        return Squashes(self.root / "squashes")

    @property
    def squashing(self) -> Path:
        """Where the files lie of which a squash is being made."""
        return self.root / "squashing"

    @property
    def squashing_lock(self) -> Path:
        """Held by who makes one."""
        return self.root / "squashing.lock"

    def kept(self) -> list[Cid]:
        """The roots of the DAGs that `gc` keeps."""
        return [*self.pins.list().values(), *self.squashes.manifests()]

    def squashes_to(self, content_root: bytes) -> Iterator[Squash]:
        """The squashes that lead to a release, by the word of this home and its peers, who take turns."""
        homes = [peer for peer in self.config.peers if isinstance(peer, Path)]
        near = [self.squashes, *(Squashes(peer / "squashes") for peer in homes)]
        far = [Gateway(peer) for peer in self.config.peers if isinstance(peer, str)]
        offers = [_readable(squashes, content_root) for squashes in near]
        offers += offered_by(far, content_root, seconds=_OFFER_SECONDS) if far else []
        return (squash for turn in zip_longest(*offers) for squash in turn if squash is not None)

    @cached_property
    def local_store(self) -> LocalStore:
        """The blocks in this home's directory."""
        return LocalStore(self.root / "store")

    @cached_property
    def kubo(self) -> KuboStore | None:
        """The Kubo repository in which this home keeps blocks, if it does."""
        if "kubo" not in self.config.stores:
            return None
        return KuboStore(KuboApi(self.config.kubo.access()))

    @cached_property
    def kubo_pins(self) -> KuboPins | None:
        """What this home pinned at its Kubo daemon, if it has one."""
        return None if self.kubo is None else KuboPins(self.root / "kubo-pins", self.kubo)

    @property
    def store(self) -> BlockStore:
        """Where this home keeps its blocks, the first of its stores if it has two."""
        return self.kubo if self.kubo and self.config.stores[0] == "kubo" else self.local_store

    @cached_property
    def store_lock(self) -> StoreLock:
        """Keeps `gc` and the commands that add blocks apart."""
        return StoreLock(self.root / "store")

    @contextmanager
    def rpc(self) -> Iterator[Rpc]:
        """The endpoint of the ledger's chain."""
        chain = self.config.chain
        if chain.rpc:
            with open_rpc(chain.rpc) as rpc:
                yield rpc
        elif chain.file is not None:
            from modelreg.chain import open_chain

            with open_chain(chain.file) as opened:
                yield EmbeddedRpc(opened)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads the ledger."""
        chain = self.config.chain
        with self.rpc() as rpc:
            yield Reader(rpc, chain.contract, chain.chain_id, policy=chain.block)

    @cached_property
    def local_plaintext(self) -> LocalPlaintext:
        """The chunks in this home's copies."""
        return _copies_of(self.installed, self.store)

    @cached_property
    def blocks(self) -> MultiStore:
        """This home's blocks, those that its copies hold, and those of its peers."""
        sources: list[BlockSource] = [InstalledBlocks("copies of this home", self.local_plaintext)]
        if self.kubo and self.store is not self.kubo:
            sources.append(self.kubo)
        homes = [peer for peer in self.config.peers if isinstance(peer, Path)]
        sources += [source for peer in homes for source in _peer_sources(peer)]
        far: list[AsyncSource] = [Gateway(peer) for peer in self.config.peers if isinstance(peer, str)]
        if self.kubo:
            far.append(Threaded(KuboNetwork(self.kubo.api)))
        return MultiStore(self.store, sources, far)

    def add_peers(self, urls: Iterable[str]) -> None:
        """Fetch blocks from these gateways too; only before the first block is asked for."""
        known = self.config.peers
        self.config = replace(self.config, peers=(*known, *(url for url in urls if url not in known)))

    @property
    def held(self) -> MultiStore:
        """The blocks that this home can give to others: its own, and those that its copies hold."""
        copies = InstalledBlocks("copies of this home", self.local_plaintext)
        other = [self.kubo] if self.kubo and self.store is not self.kubo else []
        return MultiStore(self.store, [copies, *other])

    def incoming(self, permit: Callable[[], object]) -> AbstractContextManager[Incoming]:
        """Takes new blocks into every store of this home, once `permit` raises nothing."""
        lanes: list[Lane] = [self.local_store.put_many] if "local" in self.config.stores else []
        # They are new, so that Kubo is not asked whether it has them.
        return incoming([*lanes, self.kubo.api.add] if self.kubo else lanes, permit)

    def keep(self, root: Cid, label: str, *, mend: bool = False, sent: Collection[Cid] = ()) -> int:
        """Bring all blocks of a DAG into every store of this home, and pin it at Kubo.

        Args:
            root: a manifest.
            label: names the pin at Kubo, for its operator.
            mend: look whether what the home's directory has is whole, too.
            sent: what Kubo has taken just now.

        Returns:
            The bytes that were brought.

        Raises:
            NotFoundError: a block is nowhere to be had.
            UnreachableError: a store cannot take them.
        """
        brought = 0
        if "local" in self.config.stores:
            brought += fetch_dag(root, self.blocks, self.local_store, mend=mend)
        return brought + self.keep_at_kubo(root, label, sent)

    def keep_at_kubo(self, root: Cid, label: str, sent: Collection[Cid] = ()) -> int:
        """As `keep`, for Kubo alone; nothing where this home uses none."""
        if self.kubo_pins is None:
            return 0
        return self.kubo_pins.keep(root, f"modelreg/{label}", self.blocks, sent)

    @cached_property
    def plaintext(self) -> Plaintext:
        """Reads releases out of copies and blocks."""
        return Plaintext(self.blocks, self.local_plaintext)

    @property
    def key(self) -> bytes:
        """The address, 20 bytes, that signs. Raises InputError if the home has none."""
        if self.config.key is None:
            raise InputError(
                "this home has no key",
                hint="make one with `modelreg key new`, choose it with `modelreg key use`",
            )
        return self.config.key


@contextmanager
def open_rpc(urls: Sequence[str]) -> Iterator[Rpc]:
    """One endpoint, or several that must agree. Raises InputError for what is no URL."""
    from modelreg.ledger.http_rpc import HttpRpc

    with ExitStack() as opened:
        # One that is named twice has one voice.
        endpoints = [opened.enter_context(closing(HttpRpc(url))) for url in dict.fromkeys(urls)]
        yield endpoints[0] if len(endpoints) == 1 else opened.enter_context(closing(QuorumRpc(endpoints)))


class _AbsentPeer:
    """A peer whose store cannot be opened; what is not to be had elsewhere fails with the reason."""

    def __init__(self, name: str, error: ModelregError) -> None:
        self.name = name
        self._error = error

    def get(self, cid: Cid) -> bytes:
        hint = "bring it back, or take it out of the peers in config.toml"
        raise UnreachableError(f"block {cid} of {self.name}", found=self._error.what, hint=hint)

    def has(self, cid: Cid) -> bool:  # noqa: ARG002  of the protocol
        return False


def _readable(squashes: Squashes, content_root: bytes) -> tuple[Squash, ...]:
    try:
        return squashes.of(content_root)
    except ModelregError:
        return ()


def _peer_sources(peer: Path) -> list[BlockSource]:
    try:
        store = LocalStore(peer / "store", readonly=True)
    except ModelregError as error:
        return [_AbsentPeer(f"peer {peer}", error)]
    copies = _copies_of(Installed(peer / "installed"), store)
    return [store, InstalledBlocks(f"copies of {peer}", copies)]


def _copies_of(installed: Installed, store: BlockSource) -> LocalPlaintext:
    """What the copies hold whose manifests are in `store`."""
    known = LocalPlaintext()
    reader = Plaintext(store)
    for copy in installed.copies():
        try:
            manifest = reader.manifest(copy.manifest_cid)
            known.add(manifest, Path(copy.path), select_rows(manifest, copy.only) if copy.only else None)
        except ModelregError:
            continue
    return known
