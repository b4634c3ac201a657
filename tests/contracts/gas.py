"""What each call costs. `python -m tests.contracts.gas` writes contracts/gas-snapshot.json anew."""

import json

from tests.contracts import abi, receipt_log_gas
from tests.contracts.abi import keccak256, label
from tests.contracts.evm import ALICE, BOB, Evm
from tests.contracts.model import PUBLISH
from tests.contracts.pair import publication
from tests.reference.contract import NONE, leaf_hash, model_id

SNAPSHOT = abi.ROOT / "contracts/gas-snapshot.json"
ACME = label("acme")
MINILM = model_id(ACME, "minilm")


def committed() -> dict[str, dict[str, int]]:
    """Contract -> call -> gas."""
    return json.loads(SNAPSHOT.read_bytes())


def measure(machine: Evm) -> dict[str, int]:
    """Gas of a transaction of ModelRegistry, by name, on a machine fresh from deployment."""
    table = {"deploy": Evm.bare().send_raw(ALICE, abi.DEPLOYER, bytes(32) + abi.INIT_CODE).gas}

    def note(name, sender, function, *args) -> bytes:
        outcome = machine.send(sender, function, *args)
        assert outcome.ok, (name, outcome.error)
        table[name] = outcome.gas
        return outcome.output

    note("claimNamespace", ALICE, "claimNamespace", ACME)
    note("setRoles", ALICE, "setRoles", ACME, BOB.address, PUBLISH)
    first = note("publish: first of a model", ALICE, "publish", *publication("acme", "minilm", "1.0.0"))
    second = note("publish: later", ALICE, "publish", *publication("acme", "minilm", "1.0.1", first))
    branched = publication("acme", "minilm", "1.0.2", second, "next")
    note("publish: first of a branch", ALICE, "publish", *branched)
    granted = publication("acme", "minilm", "1.1.0-rc.1", second)
    note("publish: later, by a role", BOB, "publish", *granted)
    note("setChannel: first", ALICE, "setChannel", MINILM, label("stable"), first, NONE, 0)
    note("setChannel: later", ALICE, "setChannel", MINILM, label("stable"), second, first, 0)
    note("setChannel: put off", ALICE, "setChannel", MINILM, label("stable"), first, second, 2**40)
    note("setChannel: put off again", ALICE, "setChannel", MINILM, label("stable"), second, first, 2**41)
    note("setChannel: at once again", ALICE, "setChannel", MINILM, label("stable"), second, second, 0)
    note("yank: 20 bytes", ALICE, "yank", first, "x" * 20)
    note("yank: 256 bytes", ALICE, "yank", second, "x" * 256)
    note("transferNamespace", ALICE, "transferNamespace", ACME, BOB.address)
    note("acceptNamespace", BOB, "acceptNamespace", ACME)
    for siblings in (0, 10, 17):
        leaf, count, proof, root = _tall_tree(siblings)
        args = publication("acme", f"tree-{siblings}", "1.0.0", root=root)
        release = machine.send(BOB, "publish", *args).output
        assert machine.call("provesChunk", release, leaf, 0, count, proof)
        note(f"provesChunk: {siblings} siblings", ALICE, "provesChunk", release, leaf, 0, count, proof)
    return table


def _tall_tree(siblings: int):
    """The first leaf of a full tree, with its proof."""
    digest = keccak256(b"weights")
    leaf = (keccak256(b"model.onnx"), 2**33, 2**19, 0x1E, digest)
    proof = [keccak256(b"sibling %d" % i) for i in range(siblings)]
    top = leaf_hash("model.onnx", 2**33, 2**19, digest)
    for sibling in proof:
        top = keccak256(b"\x01" + top + sibling)
    count = 2**siblings
    return leaf, count, proof, keccak256(b"\x02\x1e" + count.to_bytes(8, "big") + top)


if __name__ == "__main__":
    tables = {"ModelRegistry": measure(Evm.fresh()), "ReceiptLog": receipt_log_gas.measure(Evm.fresh())}
    SNAPSHOT.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
