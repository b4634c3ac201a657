"""What receipts cost on one core: signing, verifying, a batch, its proofs, and the gas of its anchor.

    python -m benchmarks.receipts [--count 20000] [--rounds 5]

Times are processor time of this process, medians over rounds. The journal's receipts are those of small
inferences, signed, with what opens them on disk. Prints a table in Markdown, and exits with 1 if
a bar is missed.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modelreg.format.batch import BatchTree
from modelreg.format.commitments import Tensor
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SCHEMA, Domain, Receipt, SignedReceipt, sign
from modelreg.format.signature import Signer
from modelreg.format.values import lay_out
from modelreg_verifier.receipts.committing import Committed
from modelreg_verifier.receipts.journal import Draft, Journal, Ran
from modelreg_verifier.receipts.kept import write_kept

BATCH = 100_000
GAS = Path(__file__).resolve().parents[1] / "contracts" / "gas-snapshot.json"
DOMAIN = Domain(31337, b"\x11" * 20)
NODE = Signer(b"\x01" * 32)
INPUT = {"x": Tensor("INT64", (1, 32), bytes(256))}


def receipts(count: int) -> list[Receipt]:
    """Receipts of one epoch with random commitments."""
    release = ReleaseId(secrets.token_bytes(32))
    return [
        Receipt(
            SCHEMA,
            NODE.address,
            release,
            *(secrets.token_bytes(32) for _ in range(2)),
            bytes(20),
            *(secrets.token_bytes(32) for _ in range(4)),
            1_790_000_000_000,
            seq,
            1_790_000_000,
            secrets.token_bytes(32),
        )
        for seq in range(count)
    ]


def drafts(count: int) -> list[Draft]:
    """What the journal gets of so many small inferences."""
    kept = write_kept((bytes(32),) * 14, *lay_out([INPUT, INPUT]), outputs=True, everything=False)
    plan, runtime = secrets.token_bytes(32), secrets.token_bytes(32)
    ran = Ran(ReleaseId(secrets.token_bytes(32)), plan, runtime, {plan: b"", runtime: b""})
    random = [[secrets.token_bytes(32) for _ in range(4)] for _ in range(count)]
    zeros = (bytes(32),) * 2
    return [Draft(ran, a, bytes(20), Committed(b, c, d, zeros, zeros), kept) for a, b, c, d in random]


def seconds(work: Callable[[], object]) -> float:
    """Processor time that it takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def keep(journal: Journal, ready: list[Draft]) -> None:
    """Have all signed and kept, one after the other."""
    for draft in ready:
        journal.append(draft)


def journal_seconds(count: int) -> float:
    """Signing and keeping."""
    ready = drafts(count)
    with tempfile.TemporaryDirectory() as root:
        journal = Journal(Path(root) / "journal.sqlite", NODE, DOMAIN)
        spent = seconds(lambda: keep(journal, ready))
        journal.close()
    return spent


def rates(count: int, rounds: int) -> dict[str, float]:
    """Receipts a second: signed, signed and kept, verified from their bytes."""
    plain = receipts(count)
    raw = [bytes(sign(receipt, DOMAIN, NODE)) for receipt in plain]
    work: dict[str, Callable[[], float]] = {
        "signed": lambda: seconds(lambda: [sign(receipt, DOMAIN, NODE) for receipt in plain]),
        "signed and kept by the journal": lambda: journal_seconds(count),
        "verified": lambda: seconds(lambda: [SignedReceipt.from_bytes(one).verify(DOMAIN) for one in raw]),
    }
    return {
        name: count / statistics.median(measure() for _ in range(rounds)) for name, measure in work.items()
    }


def batch(rounds: int) -> tuple[float, int]:
    """Seconds from the digests of a batch to its root and all nodes, and the bytes of its longest proof."""
    digests = [secrets.token_bytes(32) for _ in range(BATCH)]
    spent = [seconds(lambda: BatchTree(NODE.address, 1, 0, digests)) for _ in range(rounds)]
    tree = BatchTree(NODE.address, 1, 0, digests)
    longest = max(len(tree.prove(seq)) for seq in range(0, BATCH, 997))
    return statistics.median(spent), 32 * longest


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print("| what | measured | bar |\n|---|---|---|")
    missed = False
    for name, rate in rates(given.count, given.rounds).items():
        missed |= rate < 5000
        print(f"| receipts {name}, a second | {rate:,.0f} | 5,000 |")
    spent, size = batch(given.rounds)
    gas = json.loads(GAS.read_text())["ReceiptLog"]
    anchor = max(used for name, used in gas.items() if name.startswith("anchor"))
    print(f"| {BATCH:,} receipts to a root, s | {spent:.2f} | 0.5 |")
    print(f"| proof in a batch of {BATCH:,}, bytes | {size} | 544 |")
    print(f"| gas of an anchor | {anchor:,} | 60,000 |")
    return int(missed or spent > 0.5 or size > 544 or anchor > 60_000)


if __name__ == "__main__":
    sys.exit(main())
