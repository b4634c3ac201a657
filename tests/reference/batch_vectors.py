"""Vectors for section 5 of docs/spec/receipt.md; tests/reference/receipt_vectors.py writes them."""

from tests.reference import receipt as reference
from tests.reference.merkle import reference_proof
from tests.reference.secp256k1 import keccak256

NODE, OTHER_NODE = keccak256(b"node")[12:], keccak256(b"other node")[12:]
EPOCH, FIRST = 3, 1000


def _digests(count):
    return [keccak256(b"receipt %d" % number) for number in range(count)]


def _row(name, size, index, **changes):
    """A check: that the batch holds a digest for a seq. Unchanged it holds."""
    digests = _digests(size)
    row = {
        "name": name,
        "node": NODE,
        "epoch": EPOCH,
        "first": FIRST,
        "count": size,
        "root": reference.batch_root(NODE, EPOCH, FIRST, digests),
        "seq": FIRST + index,
        "digest": digests[index],
        "proof": reference.batch_proof(digests, index),
        **changes,
    }
    row["proof"] = [node.hex() for node in row["proof"]]
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in row.items()}


def batches():
    holds = [
        {**_row(f"receipt {index} of {count}", count, index), "holds": True}
        for count in (1, 2, 3, 4, 7, 8, 100)
        for index in sorted({0, count // 2, count - 1})
    ]
    return [*holds, *({**row, "holds": False} for row in _false_batches())]


def _false_batches():
    digests = _digests(8)
    proof = reference.batch_proof(digests, 3)
    yield _row("another node in the root", 8, 3, node=OTHER_NODE)
    yield _row("another epoch in the root", 8, 3, epoch=EPOCH + 1)
    yield _row("another first in the root", 8, 3, first=FIRST + 1, seq=FIRST + 4)
    yield _row("another count in the root", 8, 3, count=7)
    yield _row("another digest", 8, 3, digest=digests[4])
    yield _row("another seq", 8, 3, seq=FIRST + 4)
    yield _row("a seq before the batch", 8, 3, seq=FIRST - 1)
    yield _row("a seq behind the batch", 8, 3, seq=FIRST + 8)
    yield _row("an index beyond the count that has the same way up", 8, 3, seq=FIRST + 3 + 8)
    yield _row("a sibling less", 8, 3, proof=proof[:-1])
    yield _row("a sibling more", 8, 3, proof=[*proof, bytes(32)])
    yield _row("a sibling of 33 bytes", 8, 3, proof=[*proof[:2], proof[2] + b"\0"])
    yield _row("no siblings", 8, 3, proof=[])
    yield _row("no receipts", 1, 0, count=0)
    yield _row("more receipts than a batch has", 8, 3, count=2**20 + 1)
    yield _row("a digest of 31 bytes", 8, 3, digest=digests[3][:-1])
    yield from _confused(digests)


def _confused(digests):
    leaves = [reference.batch_leaf(digest) for digest in digests]
    inner = keccak256(b"\x01" + leaves[0] + leaves[1])
    yield _row("an inner node as a leaf", 8, 0, count=4, digest=inner, proof=reference_proof(leaves, 0)[1:])
    pair = keccak256(b"\x01" + leaves[0] + leaves[1])
    root = _sealed(4, _top([pair, *(keccak256(b"\x01" + leaves[i] + leaves[i + 1]) for i in (2, 4, 6))]))
    rest = reference_proof(leaves, 0)[1:]
    yield _row("an inner node as a digest", 8, 0, count=4, digest=pair, proof=rest, root=root)
    yield _row("digests as leaves", 8, 3, proof=reference_proof(digests, 3), root=_sealed(8, _top(digests)))
    salt, values = keccak256(b"salt"), keccak256(b"values")
    cut = reference.cut_leaf(0, salt, values)
    root = _sealed(2, keccak256(b"\x01" + cut + leaves[1]))
    yield _row("a trace leaf as a batch leaf", 2, 0, digest=cut, root=root, proof=[leaves[1]])
    trace = reference.trace_root(leaves)
    yield _row("a trace root as the batch root", 8, 3, root=trace)
    content = keccak256(b"\x02\x1e" + (8).to_bytes(8, "big") + _top(leaves))
    yield _row("a content root as the batch root", 8, 3, root=content)
    yield _row("the top as the batch root", 8, 3, root=_top(leaves))


def _top(leaves):
    return (
        leaves[0]
        if len(leaves) == 1
        else keccak256(b"\x01" + _top(leaves[: len(leaves) // 2]) + _top(leaves[len(leaves) // 2 :]))
    )


def _sealed(count, top):
    numbers = b"".join(number.to_bytes(8, "big") for number in (EPOCH, FIRST, count))
    return keccak256(b"\x03" + bytes(12) + NODE + numbers + top)
