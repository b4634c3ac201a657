"""Receipts that ethers reads, verifies and signs."""

import json
import subprocess
from pathlib import Path

import pytest

from modelreg.format.batch import BatchTree
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, Receipt, sign
from modelreg.format.receipt_text import to_object
from modelreg.format.signature import Signer

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
SECRET = bytes(range(32))
SIGNER = Signer(SECRET)
DOMAIN = Domain(31415, bytes(range(100, 120)))


def receipt(number):
    words = [bytes([number, field]) * 16 for field in range(8)]
    head = (1, SIGNER.address, ReleaseId(words[0]), words[1], words[2], bytes(20))
    end = 2**53 - 1
    return Receipt(*head, *words[3:7], number % 3, end - number, 1_790_000_000 + number, words[7])


@pytest.fixture(scope="module")
def read():
    signed = [sign(receipt(number), DOMAIN, SIGNER) for number in range(1, 20)]
    written = {"receipts": [to_object(one, DOMAIN) for one in signed], "secret": f"0x{SECRET.hex()}"}
    done = subprocess.run(
        ["node", "verify-receipt.mjs"],
        input=json.dumps(written),
        cwd=HERE,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return list(zip(signed, json.loads(done.stdout), strict=True))


def test_ethers_computes_the_same_digest_and_packed_bytes(read):
    for signed, found in read:
        assert found["digest"] == f"0x{signed.receipt.digest(DOMAIN).hex()}"
        assert found["packed"] == f"0x{bytes(signed.receipt).hex()}"


def test_ethers_verifies_the_signature_in_its_domain_alone(read):
    for signed, found in read:
        node = f"0x{signed.receipt.node.hex()}"
        assert found["signer"] == found["signerOfDigest"] == node
        assert found["elsewhere"] != node


def test_ethers_signs_the_same(read):
    for signed, found in read:
        assert found["signature"] == f"0x{signed.signature.hex()}"


def test_ethers_computes_the_root_of_a_batch_of_one(read):
    for signed, found in read:
        one = signed.receipt
        made = BatchTree(one.node, one.epoch, one.seq, [one.digest(DOMAIN)])
        assert found["batchOfOne"] == f"0x{made.batch.root.hex()}"
