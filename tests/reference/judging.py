"""Terms (docs/spec/terms.md, section 2) and verdicts (docs/spec/audit.md, section 8), by hand and slowly.

`python -m tests.reference.judging` writes tests/vectors/judging/ again.
"""

import json
from itertools import pairwise
from pathlib import Path

import blake3

from tests.reference import receipt as receipts
from tests.reference import receipt_log
from tests.reference.dagcbor import reference_decode, reference_encode, render, to_json
from tests.reference.receipt_vectors import DOMAIN, KEY, OTHER_KEY, receipt
from tests.reference.secp256k1 import keccak256, recover, sign

VECTORS = Path(__file__).parents[1] / "vectors" / "judging"
AUDITOR = keccak256(b"an auditor")
POLICY, REPORT = keccak256(b"policy"), keccak256(b"report")
NAMES = ["policy", "digest", "outcome", "report", "issuedAt", "signature", "receipt", "batch", "proof"]


class Refused(Exception):  # noqa: N818
    pass


def need(truth):
    if not truth:
        raise Refused


def decode(block):
    need(len(block) <= 4096)
    try:
        return reference_decode(block)
    except ValueError:
        raise Refused from None


def is_bytes(value, size):
    return isinstance(value, bytes) and len(value) == size


def is_uint(value, most=2**63 - 1):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def read_terms(block):
    value = decode(block)
    need(isinstance(value, dict) and value.keys() == {"kind", "parties", "strict"})
    need(value["kind"] == "modelreg/terms/1" and isinstance(value["strict"], bool))
    parties = value["parties"]
    need(isinstance(parties, list) and 1 <= len(parties) <= 32)
    need(all(is_bytes(party, 20) for party in parties))
    need(all(a < b for a, b in pairwise([bytes(20), *parties])))
    return value


def verdict_digest(value, node, domain):
    words = (value["policy"], value["digest"], f"0x{node.hex()}", value["outcome"], value["report"],
             value["issuedAt"])  # fmt: skip
    contract = f"0x{domain['verifyingContract'].hex()}"
    return receipt_log.typed_digest("Verdict", words, domain["chainId"], contract)


def read_verdict(block, domain):
    """The value, and the auditor's address."""
    value = decode(block)
    need(isinstance(value, dict) and value.keys() == {"kind", *NAMES})
    need(value["kind"] == "modelreg/verdict/1")
    need(all(is_bytes(value[name], 32) for name in ("policy", "digest", "report")))
    need(is_uint(value["outcome"]) and 1 <= value["outcome"] <= 5)
    need(is_uint(value["issuedAt"], 2**53 - 1))
    need(is_bytes(value["signature"], 65) and is_bytes(value["receipt"], 387))
    batch, proof = value["batch"], value["proof"]
    need(isinstance(batch, list) and len(batch) == 7 and is_bytes(batch[4], 32))
    need(all(is_uint(batch[at]) for at in (0, 1, 2, 3, 5)) and is_uint(batch[6], 2**40 - 1))
    need(1 <= batch[3] <= 2**20 and batch[1] < 2**53 and batch[2] + batch[3] <= 2**53)
    need(isinstance(proof, list) and len(proof) <= 20 and all(is_bytes(item, 32) for item in proof))
    try:
        made, signature = receipts.read_bytes(value["receipt"])
        receipts.verify(made, signature, domain)
        auditor = recover(verdict_digest(value, made["node"], domain), value["signature"])
    except ValueError:
        raise Refused from None
    need(receipts.digest_of(made, domain) == value["digest"])
    place = batch[1], batch[2], batch[3], value["digest"], made["seq"], proof
    need(made["epoch"] == batch[1])
    need(batch[2] <= made["seq"] < batch[2] + batch[3])
    need(receipt_log.climbs_to(batch[4], f"0x{made['node'].hex()}", *place))
    return value, auditor


def terms(**changes):
    return {"kind": "modelreg/terms/1", "parties": [b"\x01" * 20, b"\x02" * 20], "strict": True, **changes}


def verdict(made=None, key=KEY, batch=None, by=AUDITOR, **changes):
    """A verdict on the second of three receipts; `batch` replaces words of it, by number."""
    made = made or receipt(seq=41)
    digest = receipts.digest_of(made, DOMAIN)
    digests = [keccak256(b"before"), digest, keccak256(b"after")]
    root = receipt_log.batch_root(f"0x{made['node'].hex()}", made["epoch"], 40, digests)
    words = [3, made["epoch"], 40, 3, root, 9, 99]
    for at, word in (batch or {}).items():
        words[at] = word
    value = {
        "kind": "modelreg/verdict/1", "policy": POLICY, "digest": digest, "outcome": 2, "report": REPORT,
        "issuedAt": 1_790_000_100, "receipt": receipts.pack(made) + sign(key, digest), "batch": words,
        "proof": receipt_log.batch_proof(digests, 1),
    }  # fmt: skip
    value |= changes
    return {"signature": sign(by, verdict_digest(value, made["node"], DOMAIN)), **value}


TERMS = {
    "two parties": terms(),
    "one, not strict": terms(parties=[b"\xff" * 20], strict=False),
    "32 parties": terms(parties=[bytes([n]) * 20 for n in range(1, 33)]),
}
REFUSED_TERMS = {
    "a key more": terms(x=0),
    "another kind": terms(kind="modelreg/terms/2"),
    "no party": terms(parties=[]),
    "33 parties": terms(parties=[bytes([n]) * 20 for n in range(1, 34)]),
    "out of order": terms(parties=[b"\x02" * 20, b"\x01" * 20]),
    "party twice": terms(parties=[b"\x02" * 20] * 2),
    "party zero": terms(parties=[bytes(20)]),
    "party of 19 bytes": terms(parties=[b"\x02" * 19]),
    "party as text": terms(parties=["2" * 20]),
    "party alone": terms(parties=b"\x02" * 20),
    "strict as a number": terms(strict=1),
    "more than 4096 bytes": terms(x="x" * 4096),
}
VERDICTS = {"fail": verdict(), "withheld, by another": verdict(outcome=5, by=OTHER_KEY)}
REFUSED_VERDICTS = {
    "a key more": verdict(x=0),
    "another kind": verdict(kind="modelreg/verdict/2"),
    "outcome zero": verdict(outcome=0),
    "outcome six": verdict(outcome=6),
    "policy of 31 bytes": {**verdict(), "policy": bytes(31)},
    "digest of another receipt": verdict(digest=keccak256(b"another")),
    "receipt signed by somebody else": verdict(key=OTHER_KEY),
    "receipt of 386 bytes": {**verdict(), "receipt": verdict()["receipt"][:-1]},
    "time of 2^53": verdict(issuedAt=2**53),
    "signature of 64 bytes": verdict(signature=verdict()["signature"][:-1]),
    "signature with v of 29": verdict(signature=verdict()["signature"][:-1] + b"\x1d"),
    "batch of six words": {**verdict(), "batch": verdict()["batch"][:-1]},
    "batch of another epoch": verdict(batch={1: 4}),
    "batch that begins elsewhere": verdict(batch={2: 39}),
    "batch without the place": verdict(batch={2: 42}),
    "batch of no receipt": verdict(batch={3: 0}),
    "batch with another root": verdict(batch={4: keccak256(b"root")}),
    "time of a batch beyond 40 bits": verdict(batch={6: 2**40}),
    "proof cut short": {**verdict(), "proof": verdict()["proof"][:-1]},
    "proof of 21": {**verdict(), "proof": verdict()["proof"] + [bytes(32)] * 19},
    "proof of another place": {**verdict(), "proof": verdict()["proof"][::-1]},
    "receipt of another chain": {**verdict(), "receipt": verdict()["receipt"][:322]
        + sign(KEY, receipts.digest_of(receipt(seq=41), {**DOMAIN, "chainId": 1}))},
}  # fmt: skip


def documents():
    """The vector files by name."""
    return {
        "terms.json": [_row(name, value, {"digest": blake3.blake3(reference_encode(value)).hexdigest()})
                       for name, value in TERMS.items()],
        "refused-terms.json": [_row(name, value) for name, value in REFUSED_TERMS.items()],
        "verdicts.json": [_row(name, value, {"auditor": _auditor(value)})
                          for name, value in VERDICTS.items()],
        "refused-verdicts.json": [_row(name, value) for name, value in REFUSED_VERDICTS.items()],
    }  # fmt: skip


def _auditor(value):
    return read_verdict(reference_encode(value), DOMAIN)[1].hex()


def _row(name, value, more=None):
    return {"name": name, "value": to_json(value), "hex": reference_encode(value).hex(), **(more or {})}


def vectors(file):
    """The rows of a file, by name."""
    return {row["name"]: row for row in json.loads((VECTORS / file).read_text())}


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
