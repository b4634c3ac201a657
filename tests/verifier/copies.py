"""A small release in memory, and what is needed to copy it."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from modelreg.errors import UnreachableError
from modelreg.format.manifest import Manifest
from modelreg.store.multi import MultiStore
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.fetch import FetchingSource
from modelreg_verifier.sync import copy_release
from tests.encode.releases import World, normal, safetensors
from tests.store.memory import MemoryStore

KIB = 1024


def files(seed=0):
    chance = random.Random(seed)
    tensors = [("a", "F32", normal(seed, 300, 400)), ("b", "F32", normal(seed + 1, 200, 200))]
    return {
        "config.json": b'{"seed": %d}\n' % seed,
        "empty": b"",
        "sub/deep/notes.txt": chance.randbytes(3000),
        "sub/model.safetensors": safetensors(tensors),
        "zeros.bin": bytes(700 * KIB),
    }


class Peer(MemoryStore):
    """Blocks of others: counts what is asked, and can fail after some."""

    def __init__(self):
        super().__init__("peer")
        self.asked = []
        self.fails_after = None

    def get(self, cid):
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise UnreachableError(f"block {cid}, the peer is gone")
        self.asked.append(cid)
        return super().get(cid)


@dataclass
class Node:
    """A node with its own blocks and copies; releases come from a peer."""

    peer: Peer
    store: MemoryStore = field(default_factory=MemoryStore)
    local: LocalPlaintext = field(default_factory=LocalPlaintext)

    def source(self):
        return FetchingSource(MultiStore(self.store, [self.peer]))

    def copy(self, manifest, target, rows=None, **options):
        source = self.source()
        copied = copy_release(manifest, target, source, self.local, rows, **options)
        return copied, source.fetched_bytes


@dataclass
class Publisher:
    world: World
    peer: Peer

    @classmethod
    def at(cls, directory):
        peer = Peer()
        return cls(World(directory, peer), peer)

    def publish(self, contents, parent=None, effort=1):
        release = self.world.publish(contents, parent, effort=effort)
        self.peer.asked.clear()
        return release


def tree(root):
    """Relative paths and bytes of all files under a directory."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in Path(root).rglob("*")
        if path.is_file()
    }


def manifest_at(node, cid) -> Manifest:
    return Plaintext(node.source()).manifest(cid)
