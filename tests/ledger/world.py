"""A chain with the registry on it, and everything needed to write to it and read from it."""

from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from modelreg.format.digest import HashAlgorithm
from modelreg.format.names import ModelName, ReleaseId, Version
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.draft import Draft
from modelreg.ledger.reader import Reader
from modelreg.ledger.writer import Writer

CHAIN_ID = 31337
MODEL = ModelName("acme", "minilm")
REGISTRY = load_artifact().address
# The first accounts of the mnemonic "test test … junk", which development chains fund.
KEYS = [
    Account.from_key(key)
    for key in (
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    )
]


def address_of(account):
    return bytes.fromhex(account.address[2:])


@dataclass
class World:
    """A chain behind `rpc`; key 0 owns the namespace `acme`."""

    rpc: object
    directory: Path

    def writer(self, key=0, rpc=None, **options):
        outbox = self.directory / f"outbox-{key}.sqlite"
        return Writer(rpc or self.rpc, REGISTRY, CHAIN_ID, KEYS[key], outbox, **options)

    def reader(self, rpc=None, **options):
        return Reader(rpc or self.rpc, REGISTRY, CHAIN_ID, **options)

    def view(self):
        return self.reader().at_head()

    def publish(self, version, parent=None, key=0, **changes):
        return self.writer(key).publish(draft(version, parent, **changes)).release.release_id


def draft(version, parent: ReleaseId | None = None, model=MODEL, branch="main", content=None):
    seed = (content or f"{model}{version}").encode()
    digest = HashAlgorithm.BLAKE3_256.digest(seed)
    return Draft(model, Version(version), branch, parent, digest.value, digest)
