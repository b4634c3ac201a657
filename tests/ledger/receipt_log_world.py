"""A chain with registry and receipt log, receipts of a node, and everything that can be done with them."""

from dataclasses import dataclass
from functools import cached_property

from modelreg.format.batch import Batch, BatchTree
from modelreg.format.receipt import Receipt, SignedReceipt, sign
from modelreg.format.signature import Signer
from modelreg.ledger.receipt_log_challenges import Challenges
from modelreg.ledger.receipt_log_evidence import Evidence, receipt_domain
from modelreg.ledger.receipt_log_policy import Policy
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.receipt_log_writer import ReceiptLogWriter
from tests.ledger.world import CHAIN_ID, KEYS, MODEL, World, address_of
from tests.reference import receipt_log as reference

ETHER = 10**18
DOMAIN = receipt_domain(CHAIN_ID)
OWNER, NODE, OTHER = range(3)
ADDRESSES = [address_of(key) for key in KEYS]
SIGNERS = [Signer(bytes(key.key)) for key in KEYS]
AUDITORS = tuple(sorted(ADDRESSES))
URL = "https://node.example"


def word(text: str) -> bytes:
    return reference._hash(text.encode())


def response_of(seq: int) -> bytes:
    return b"".join(word(f"{part} {seq}") for part in ("input salt", "input", "output salt", "output"))


def policy_of(**changes) -> Policy:
    fields = {
        "model": MODEL.id,
        "terms": word("terms"),
        "penalty": 2 * ETHER,
        "withheld_penalty": ETHER,
        "minimum_bond": 3 * ETHER,
        "deadline": 86_400,
        "quorum": 2,
        "auditors": AUDITORS,
    }
    return Policy(**fields | changes)


@dataclass
class LogWorld:
    """Key 0 owns the model's namespace; key 1 is the node."""

    world: World

    @cached_property
    def release(self):
        return self.world.publish("1.0.0")

    def log(self, rpc=None) -> ReceiptLogView:
        return ReceiptLogView.beside(self.world.reader(rpc).at_head())

    def writer(self, key=NODE, rpc=None, **options) -> ReceiptLogWriter:
        return ReceiptLogWriter(self.world.writer(key, rpc, **options))

    def evidence(self, key=OTHER, rpc=None, **options) -> Evidence:
        return Evidence(self.world.writer(key, rpc, **options), CHAIN_ID)

    def challenges(self, key=OTHER, rpc=None, **options) -> Challenges:
        return Challenges(self.world.writer(key, rpc, **options), CHAIN_ID)

    def node(self, key=NODE):
        return self.log().node(ADDRESSES[key])

    def receipt(self, seq: int, epoch=0, key=NODE, domain=DOMAIN, **changes) -> SignedReceipt:
        opening = response_of(seq)
        fields = {
            "schema": 1,
            "node": ADDRESSES[key],
            "release_id": self.release,
            "plan_id": word("plan"),
            "request_id": word(f"request {seq}"),
            "client": bytes(20),
            "input_commit": reference.commit(7, opening[:32], opening[32:64]),
            "output_commit": reference.commit(8, opening[64:96], opening[96:]),
            "trace_root": word("trace"),
            "runtime_fingerprint": word("runtime"),
            "epoch": epoch,
            "seq": seq,
            "issued_at": 1_700_000_000,
            "prev_receipt": bytes(32),
        }
        return sign(Receipt(**fields | changes), domain, SIGNERS[key])

    def tree(self, count: int, epoch=0, first=0, key=NODE) -> BatchTree:
        receipts = [self.receipt(seq, epoch, key) for seq in range(first, first + count)]
        return BatchTree(ADDRESSES[key], epoch, first, [each.receipt.digest(DOMAIN) for each in receipts])

    def anchored(self, count=3, epoch=0, first=0, key=NODE):
        """A tree whose root is on the ledger, and where."""
        tree = self.tree(count, epoch, first, key)
        return tree, self.writer(key).anchor(tree.batch).anchored


def batch_of(seed: str, epoch=0, first=0, count=1, key=NODE) -> Batch:
    return Batch(ADDRESSES[key], epoch, first, count, word(seed))
