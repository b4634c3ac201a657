"""Where ReceiptLog keeps its state, slot by slot. Specified in docs/spec/receipt-log.md, section 8."""

from modelreg.ledger.layout import in_mapping

__all__ = [
    "BURNED",
    "NODE_LIST",
    "NODE_WORDS",
    "POLICY_WORDS",
    "VARIABLES",
    "announced_slot",
    "attachments_slot",
    "balance_slot",
    "batch_slot",
    "challenge_slot",
    "charged_slot",
    "enrolment_slot",
    "node_slot",
    "policies_slot",
    "policy_slot",
    "recorded_slot",
]

# Name in the artifact's storageLayout -> slot.
VARIABLES = {
    "_nodes": 0,
    "_nodeList": 1,
    "_balances": 2,
    "_burned": 3,
    "_policies": 4,
    "_policiesOf": 5,
    "_enrolments": 6,
    "_recorded": 7,
    "_batches": 8,
    "_challenges": 9,
    "_charged": 10,
    "_announced": 11,
    "_attachments": 12,
}
NODE_LIST = VARIABLES["_nodeList"]
BURNED = VARIABLES["_burned"]
NODE_WORDS = 3
POLICY_WORDS = 5


def node_slot(node: bytes) -> int:
    """First of three slots: standing, bond, endpoint. `node` is an address."""
    return in_mapping(VARIABLES["_nodes"], node)


def balance_slot(account: bytes) -> int:
    """The slot of what an account may withdraw."""
    return in_mapping(VARIABLES["_balances"], account)


def policy_slot(policy: bytes) -> int:
    """First of the policy's five slots."""
    return in_mapping(VARIABLES["_policies"], policy)


def policies_slot(model: bytes) -> int:
    """The slot of the array of a model's policies."""
    return in_mapping(VARIABLES["_policiesOf"], model)


def enrolment_slot(node: bytes, policy: bytes) -> int:
    """The slot of a node's enrolment under a policy."""
    return in_mapping(VARIABLES["_enrolments"], node, policy)


def recorded_slot(verdict: bytes, auditor: bytes) -> int:
    """The slot of the time when an auditor's verdict was recorded."""
    return in_mapping(VARIABLES["_recorded"], verdict, auditor)


def batch_slot(node: bytes, index: int) -> int:
    """The slot of a batch hash."""
    return in_mapping(VARIABLES["_batches"], node, index.to_bytes(32, "big"))


def challenge_slot(receipt: bytes) -> int:
    """The slot of the challenge of a receipt, given by its digest, or of a place, given by its id."""
    return in_mapping(VARIABLES["_challenges"], receipt)


def charged_slot(policy: bytes, receipt: bytes) -> int:
    """The slot of what a receipt was charged under a policy."""
    return in_mapping(VARIABLES["_charged"], policy, receipt)


def announced_slot(commitment: bytes) -> int:
    """The slot of the number of the block that announced a commitment."""
    return in_mapping(VARIABLES["_announced"], commitment)


def attachments_slot(release: bytes, account: bytes) -> int:
    """The slot of the array of what an account attached to a release."""
    return in_mapping(VARIABLES["_attachments"], release, account)
