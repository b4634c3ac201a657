"""A publisher who follows the ledger's rules and no others: manifests that an honest command never writes."""

from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

import zstandard

from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import Chunk, FileEntry, Manifest, Payload
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.merkle import Leaf, content_root
from modelreg.format.names import ModelName, Version
from modelreg.format.tensors import FileFormat
from modelreg.home import Home
from modelreg.keys import KeyStore
from modelreg.ledger.draft import Draft
from modelreg.ledger.writer import Writer

BLAKE3 = HashAlgorithm.BLAKE3_256


class Hostile:
    """Somebody with a home and the right to publish in a namespace.

    Args:
        root: the home; its key signs.
        contract: another contract than the home's, if it is about that.
    """

    def __init__(self, root, contract=None):
        self.home = Home(root)
        self._contract = contract or self.home.config.chain.contract

    def writer(self):
        """The ledger's writer; a context manager."""
        return _Opened(self.home, self._contract)

    def publish(self, model, version, manifest_cid, root):
        """Record any manifest under any content root; returns the release."""
        draft = Draft(ModelName.parse(model), Version.parse(version), "main", None, root, manifest_cid.digest)
        with self.writer() as writer:
            writer.claim_namespace(draft.model.namespace)
            return writer.publish(draft).release

    def publish_files(self, model, version, files, **changes):
        """Publish files under any paths: a mapping of path to bytes, or to a chunk row and its block."""
        manifest, blocks = forge(files, **changes)
        cid, nodes = write_manifest(manifest)
        self.home.store.put_many([*blocks.items(), *nodes])
        return self.publish(model, version, cid, manifest.content_root)


class _Opened:
    def __init__(self, home, contract):
        self._home, self._contract, self._stack = home, contract, ExitStack()

    def __enter__(self):
        home = self._home
        rpc = self._stack.enter_context(home.rpc())
        signer = KeyStore(home.keystore).load(home.key, (home.root / "password").read_text().strip())
        return Writer(rpc, self._contract, home.config.chain.chain_id, signer, home.outbox)

    def __exit__(self, *error):
        return self._stack.__exit__(*error)


def forge(files, **changes):
    """A manifest that skips every check, with its blocks of plaintext; `changes` replace fields."""
    rows, entries, blocks, leaves = [], [], {}, []
    for path, content in files:
        row, block = content if isinstance(content, tuple) else plain(content)
        if row.payload is not None:
            blocks[row.payload.block] = block
        rows.append(row)
        entries.append(FileEntry(path, row.length, FileFormat.BYTES, 1, ()))
        leaves.append(Leaf(path, 0, row.length, row.digest).hash())
    with mock.patch.object(Manifest, "__post_init__"):
        manifest = Manifest(BLAKE3, content_root(iter(leaves), BLAKE3), (), tuple(entries), tuple(rows))
        return replace(manifest, **changes), blocks


def plain(content):
    """A row for bytes stored as they are, and the block."""
    cid = Cid.of(Codec.RAW, content, BLAKE3)
    digest = BLAKE3.digest(content).value
    return Chunk(len(content), digest, 0, Payload(cid, 0, len(content)) if content else None), content


def bomb(declared, actual):
    """A row that declares few bytes and a zstd frame that unpacks to many."""
    block = zstandard.ZstdCompressor(level=1).compress(bytes(actual))
    cid = Cid.of(Codec.RAW, block, BLAKE3)
    return Chunk(declared, BLAKE3.digest(bytes(declared)).value, 1, Payload(cid, 0, len(block))), block
