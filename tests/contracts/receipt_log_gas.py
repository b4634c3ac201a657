"""What each call of ReceiptLog costs; part of contracts/gas-snapshot.json."""

from tests.contracts.abi import DEPLOYER, RECEIPT_LOG, keccak256
from tests.contracts.evm import ALICE, Account, Evm
from tests.contracts.receipt_log_model import DEPOSIT, EXIT_DELAY, RESPONSE_TIME
from tests.contracts.receipt_log_pair import (
    ACME,
    AUDITORS,
    CLIENT,
    ETHER,
    NODE,
    WATCHER,
    LogPair,
    Story,
    opening_of,
    policy_of,
    receipt,
    sign,
    word,
)
from tests.contracts.receipt_log_types import Batch
from tests.reference import receipt_log as reference

SIBLINGS = 17  # of a batch of 100,000 receipts


class Meter:
    """Calls by the name under which their gas is noted."""

    def __init__(self, pair: LogPair) -> None:
        self.pair = pair
        self.table: dict[str, int] = {}

    def note(self, name: str, sender: Account, function: str, *args, value: int = 0, after: int = 12):
        outcome = self.pair.ok(sender, function, *args, value=value, after=after)
        self.table[name] = outcome.gas
        return outcome.output


def measure(machine: Evm) -> dict[str, int]:
    """Gas of a transaction, by name, on a machine fresh from the registry's deployment."""
    deployment = machine.copy() if type(machine) is Evm else Evm.fresh()
    table = {"deploy": deployment.send_raw(ALICE, DEPLOYER, bytes(32) + RECEIPT_LOG.init_code).gas}
    meter = Meter(LogPair(machine))
    story = Story.told(meter.pair, receipts=0)
    meter.note("register: again", NODE, "register", "https://node.example")
    meter.note("topUp", ALICE, "topUp", NODE.address, value=ETHER)
    _anchors(meter, story)
    _challenges(meter, story)
    _policies(meter, story)
    _ends(meter, story)
    return table | meter.table


def _deep(meter: Meter, story: Story, name: str, epoch: int) -> None:
    """Anchor a batch of 100,000 receipts and make it the story's, with the first of them."""
    story.receipts = [receipt(NODE, story.release, epoch, 0)]
    top = reference.leaf_hash(story.receipts[0].digest())
    siblings = [word(f"sibling {level}") for level in range(SIBLINGS)]
    for sibling in siblings:
        top = keccak256(b"\x01" + top + sibling)
    place = b"".join(number.to_bytes(8, "big") for number in (epoch, 0, 100_000))
    root = keccak256(b"\x03" + reference.address_word(NODE.address) + place + top)
    index = int.from_bytes(meter.note(name, NODE, "anchor", epoch, 0, 100_000, root), "big")
    machine = meter.pair.machine
    story.batch = Batch(index, epoch, 0, 100_000, root, machine.block, machine.time)
    story.proof = lambda _: siblings


def _anchors(meter: Meter, story: Story) -> None:
    _deep(meter, story, "anchor: first", 0)
    meter.note("anchor: later", NODE, "anchor", 0, 100_000, 100_000, word("root"))
    _deep(meter, story, "anchor: new epoch", 1)


def _challenges(meter: Meter, story: Story) -> None:
    one = story.receipts[0]
    meter.note("challenge: by the client", *story.challenge(), value=DEPOSIT)
    meter.note("respond: 17 siblings", NODE, "respond", one, opening_of(0), story.batch, story.proof(0))
    meter.note("challengePlace", *story.place_challenge(), value=DEPOSIT)
    meter.note("respondPlace: 17 siblings", NODE, "respondPlace", *story.place_response())
    meter.note("attach: first", ALICE, "attach", story.release, word("first"))
    meter.note("attach: later", ALICE, "attach", story.release, word("later"))


def _policies(meter: Meter, story: Story) -> None:
    votes = [story.vote(auditor) for auditor in AUDITORS]
    verdict = story.verdict()
    signature = sign(AUDITORS[0], verdict.digest())
    meter.note("recordVerdict", ALICE, "recordVerdict", verdict, signature)
    meter.note("slashByQuorum: 2 of 3", ALICE, "slashByQuorum", *story.judgement(votes[:2]))
    meter.note(
        "createPolicy: 3 auditors", ALICE, "createPolicy", ACME, "minilm", policy_of(terms=word("new"))
    )
    crowd = sorted((Account.named(f"auditor {i}") for i in range(32)), key=lambda each: each.address)
    wide = policy_of(auditors=tuple(each.address for each in crowd), quorum=32, minimumBond=6 * ETHER)
    made = meter.note("createPolicy: 32 auditors", ALICE, "createPolicy", ACME, "minilm", wide)
    meter.note("enrol", NODE, "enrol", made)
    first, story.policy = story.policy, made
    _deep(meter, story, "anchor: new epoch", 2)
    votes = [story.vote(auditor) for auditor in crowd]
    meter.note("slashByQuorum: 32 of 32", ALICE, "slashByQuorum", *story.judgement(votes))
    meter.note("resign", NODE, "resign", made)
    story.policy = first


def _ends(meter: Meter, story: Story) -> None:
    one, signature = story.signed(0)
    meter.note("challenge: by an auditor", *story.challenge(by=WATCHER, policy=story.policy), value=DEPOSIT)
    meter.note("slashTimeout", ALICE, "slashTimeout", one, after=RESPONSE_TIME + 1)
    meter.note("requestExit", NODE, "requestExit")
    meter.note("cancelExit", NODE, "cancelExit")
    meter.pair.ok(ALICE, "topUp", NODE.address, value=ETHER)
    meter.pair.ok(NODE, "requestExit")
    meter.note("exit", NODE, "exit", after=EXIT_DELAY)
    meter.note("withdraw", NODE, "withdraw")
    other = one._replace(outputCommit=word("other"))
    commitment = reference.announcement(CLIENT.address, one.digest(), other.digest(), word("salt"))
    meter.note("announce", CLIENT, "announce", commitment)
    meter.pair.ok(NODE, "register", "https://node.example", value=ETHER)
    evidence = one, signature, other, sign(NODE, other.digest()), word("salt")
    meter.note("slashEquivocation", CLIENT, "slashEquivocation", *evidence)
