"""Fuzz campaigns: mutated seeds into a parser, in a process of its own whose memory is measured.

`MODELREG_FUZZ_SECONDS` sets how long each campaign takes. A parser may return, or refuse; any
other exception, a slow input, or a peak above 256 MB fails. The input at fault is printed in hexadecimal.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

SECONDS = float(os.environ.get("MODELREG_FUZZ_SECONDS", "20"))
MEMORY_MB = 256
SLOW_SECONDS = 20
ROOT = Path(__file__).parent.parent.parent
NUMBERS = [
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


def fuzz_in_subprocess(target):
    command = [sys.executable, "-m", "tests.format.fuzzing", target, str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert int(re.search(r"inputs (\d+)", done.stdout).group(1)) > 20 * SECONDS


def mutate(rng, seeds):
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        rng.choice([_flip, _number, _copy, _cut, _splice, _digits])(rng, data, seeds)
    return bytes(data[: 1 << 20])


def _place(rng, data):
    return rng.randrange(len(data) + 1)


def _flip(rng, data, seeds):
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(rng, data, seeds):
    size = rng.choice([1, 2, 4, 8])
    at = _place(rng, data)
    data[at : at + size] = (rng.choice(NUMBERS) & (256**size - 1)).to_bytes(
        size, rng.choice(["little", "big"])
    )


def _copy(rng, data, seeds):
    at, size = _place(rng, data), rng.choice([1, 3, 20, 300])
    data[at:at] = data[at : at + size] * rng.choice([1, 2, 200])


def _cut(rng, data, seeds):
    at = _place(rng, data)
    del data[at : at + rng.choice([1, 2, 9, 1000])]


def _splice(rng, data, seeds):
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    at = _place(rng, data)
    data[at:] = other[start:]


def _digits(rng, data, seeds):
    found = list(re.finditer(rb"[0-9]+", data[: 1 << 16]))
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = str(rng.choice(NUMBERS)).encode()


def _reader(data):
    def read_at(offset, length):
        assert offset >= 0 and length >= 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return read_at


def _safetensors():
    from modelreg.format.chunks import plan
    from modelreg.format.safetensors import index
    from tests.reference.safetensors import accepted, refused

    def target(data):
        tensors = index(_reader(data), len(data))
        assert sum(span.length for span in plan(_reader(data), len(data), tensors)) == len(data)

    return target, [file for _, file in (*accepted(), *refused())]


def _onnx():
    from modelreg.format.chunks import plan
    from modelreg.format.onnx import index, resolve
    from tests.reference.onnx import accepted, refused

    def target(data):
        found = index(_reader(data), len(data))
        assert sum(span.length for span in plan(_reader(data), len(data), found.tensors)) == len(data)
        list(resolve("m.onnx", found.external, {"m.onnx": len(data), "w.bin": 100}))

    return target, [file for _, file in (*accepted(), *refused())]


def _unsafe():
    from modelreg.format.unsafe import classify
    from tests.format.test_unsafe import SEEDS

    return lambda data: classify("f", data[:4096], _reader(data), len(data)), SEEDS


def _paths():
    from modelreg.format.paths import check_paths
    from tests.reference.paths import SETS, valid

    seeds = ["\n".join(paths).encode() for paths in SETS.values()] + [path.encode() for path in valid()]
    return lambda data: check_paths(data.decode("utf-8", "surrogateescape").split("\n")), seeds


def _canonical():
    from modelreg.errors import FormatError
    from modelreg.format import canonical
    from tests.format.test_canonical import ours
    from tests.reference.dagcbor import REFUSED, VALID, reference_decode, reference_encode

    def target(data):
        try:
            expected = ours(reference_decode(data))
        except ValueError:
            expected = ValueError
        try:
            found = canonical.decode(data)
        except FormatError:
            found = ValueError
        assert found == expected

    return target, [*REFUSED.values(), *map(reference_encode, VALID.values())]


def _car():
    import io

    from modelreg.errors import VerificationError
    from modelreg.format.car import CarReader
    from tests.reference.car import REFUSED, VALID, reference_read, reference_write

    def target(data):
        try:
            expected = reference_read(data)
        except ValueError:
            expected = None
        try:
            reader = CarReader(io.BytesIO(data).read)
            found = [*map(bytes, reader.roots)], [(bytes(cid), block) for cid, block in reader]
        except VerificationError:
            found = None
        assert found == expected

    return target, [*REFUSED.values(), *(reference_write(*value) for value in VALID.values())]


def _vectors(path):
    return json.loads((ROOT / "tests" / "vectors" / path).read_text())


def _rlp():
    from modelreg.chain import rlp

    def target(data):
        assert rlp.encode(rlp.decode(data)) == data

    return target, _nodes()


def _nodes():
    return [
        bytes.fromhex(node.removeprefix("0x"))
        for proof in _vectors("ledger/proofs.json")
        for node in proof["nodes"]
    ]


def _proof():
    """Nodes that hash to what refers to them: only the first can be made so, and the walk begins there."""
    from modelreg.format.digest import keccak256
    from modelreg.ledger.proof import prove

    known = _nodes()
    return lambda data: prove(keccak256(data), data[:32], [data, *known]), known


def _header():
    from modelreg.ledger.header import parse_header

    def target(data):
        try:
            block = json.loads(data)
        except (ValueError, RecursionError):
            return
        parse_header(block)

    return target, [json.dumps(vector["block"]).encode() for vector in _vectors("ledger/headers.json")]


def _transaction():
    from eth_account import Account

    from modelreg.chain.admission import read_transaction

    signer, chain_id = Account.from_key(bytes([1]) * 32), 1337
    common = {
        "nonce": 0,
        "gas": 100_000,
        "to": signer.address,
        "value": 1,
        "data": "0x0102",
        "chainId": chain_id,
    }
    listed = {"accessList": [{"address": signer.address, "storageKeys": ["0x" + "00" * 32]}]}
    kinds = (
        {"gasPrice": 1},
        {"gasPrice": 1, **listed},
        {"maxFeePerGas": 2, "maxPriorityFeePerGas": 1, **listed},
    )
    seeds = [bytes(signer.sign_transaction(common | kind).raw_transaction) for kind in kinds]
    return lambda data: read_transaction(data, chain_id), seeds


def _receipt(read, expected, seeds):
    """What is accepted, and what it is read as, must be the reference's."""
    from modelreg.errors import VerificationError

    def target(data):
        try:
            receipt, signature = expected(data)
            found = [*receipt.values(), signature]
        except ValueError:
            found = None
        try:
            signed = read(data)
            assert [*signed.receipt.values, signed.signature] == found
        except VerificationError:
            assert found is None

    return target, seeds


def _receipt_bytes():
    from modelreg.format.receipt import SignedReceipt
    from tests.reference.receipt import read_bytes
    from tests.reference.receipt_vectors import seeds

    return _receipt(SignedReceipt.from_bytes, read_bytes, seeds("bytes"))


def _receipt_object():
    from modelreg.format.receipt import Domain
    from modelreg.format.receipt_text import read_object
    from tests.reference.receipt import read_object as reference_read
    from tests.reference.receipt_vectors import DOMAIN, seeds

    domain = Domain(DOMAIN["chainId"], DOMAIN["verifyingContract"])
    return _receipt(
        lambda data: read_object(data, domain), lambda data: reference_read(data, DOMAIN), seeds("object")
    )


TARGETS = {
    "canonical": _canonical,
    "car": _car,
    "header": _header,
    "onnx": _onnx,
    "paths": _paths,
    "proof": _proof,
    "rlp": _rlp,
    "receipt_bytes": _receipt_bytes,
    "receipt_object": _receipt_object,
    "safetensors": _safetensors,
    "transaction": _transaction,
    "unsafe": _unsafe,
}


def _peak_mb():
    """Not ru_maxrss: a child that was forked counts its parent's memory there."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) // 1024


def main(name, seconds):
    from modelreg.chain.rpcerror import RpcError
    from modelreg.errors import VerificationError

    target, seeds = TARGETS[name]()
    rng = random.Random(time.time_ns())
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutate(rng, seeds)
        count += 1
        started = time.process_time()
        try:
            target(data)
        except (VerificationError, RpcError):
            pass
        except BaseException:
            print(data.hex()[:100_000])
            raise
        if time.process_time() - started > SLOW_SECONDS or _peak_mb() > MEMORY_MB:
            sys.exit(f"{time.process_time() - started:.1f} s, {_peak_mb()} MB: {data.hex()[:100_000]}")
    print(f"inputs {count}, peak {_peak_mb()} MB")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
