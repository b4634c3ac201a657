"""Openings as docs/spec/openings.md gives them, by hand and slowly, and vectors for sections 1 to 3 and 6.

`python -m tests.reference.openings` writes tests/vectors/openings/ again.
"""

import base64
import json
import struct
from pathlib import Path

import blake3

from tests.reference import receipt as reference
from tests.reference.dagcbor import reference_decode, reference_encode
from tests.reference.merkle import reference_proof
from tests.reference.receipt_vectors import DOMAIN, KEY, receipt, signed
from tests.reference.secp256k1 import address_of, keccak256, sign
from tests.reference.trace import check_plan, check_runtime

VECTORS = Path(__file__).parents[1] / "vectors" / "openings"
KEYS = {"kind", "receipt", "plan", "runtime", "inputs", "outputs", "cuts"}
AUDITOR = keccak256(b"an auditor")


def _salt(text):
    return keccak256(text.encode())


def need(holds, check):
    if not holds:
        raise ValueError(check)


# Reader: ValueError where it is refused.


def read_table(rows, data):
    """Tensors of a table, and the bytes behind them."""
    need(isinstance(rows, list) and len(rows) <= 256, "table")
    found = []
    for row in rows:
        need(isinstance(row, list) and len(row) == 4, "row")
        name, datatype, dims, size = row
        need(isinstance(name, str) and isinstance(datatype, str) and isinstance(dims, list), "row")
        need(all(isinstance(dim, int) and not isinstance(dim, bool) for dim in dims), "dims")
        need(isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= len(data), "size")
        found.append((name, datatype, dims, data[:size]))
        data = data[size:]
    names = [row[0].encode() for row in found]
    need(names == sorted(set(names)), "order")
    reference.values_of(found)
    return found, data


def is_hash(value):
    return isinstance(value, bytes) and len(value) == 32


def read(raw):
    """The parts of an opening."""
    need(len(raw) >= 4, "size")
    size = int.from_bytes(raw[:4], "big")
    need(size <= 2 << 20 and len(raw) >= 4 + size, "size")
    header, data = reference_decode(raw[4 : 4 + size]), raw[4 + size :]
    need(isinstance(header, dict) and header.keys() == KEYS, "keys")
    need(header["kind"] == "modelreg/opening/1", "kind")
    need(isinstance(header["receipt"], bytes), "receipt")
    made, _ = reference.read_bytes(header["receipt"])
    for name, most in (("plan", 1 << 20), ("runtime", 8192)):
        need(isinstance(header[name], bytes) and len(header[name]) <= most, name)
    found = {"receipt": made, "plan": header["plan"], "runtime": header["runtime"], "cuts": []}
    for name in ("inputs", "outputs"):
        found[name] = None
        if header[name] is not None:
            need(isinstance(header[name], list) and len(header[name]) == 2 and is_hash(header[name][0]), name)
            tensors, data = read_table(header[name][1], data)
            found[name] = (header[name][0], tensors)
    need(isinstance(header["cuts"], list), "cuts")
    for row in header["cuts"]:
        need(isinstance(row, list) and len(row) == 4, "cut")
        need(isinstance(row[0], int) and not isinstance(row[0], bool) and row[0] >= 0, "cut")
        need(is_hash(row[1]) and isinstance(row[2], list) and all(map(is_hash, row[2])), "cut")
        need(not found["cuts"] or found["cuts"][-1][0] < row[0], "cut order")
        tensors, data = read_table(row[3], data)
        found["cuts"].append((row[0], row[1], row[2], tensors))
    need(not data, "more bytes")
    return found


def check(found):
    """Section 3."""
    made = found["receipt"]
    need(blake3.blake3(found["plan"]).digest() == made["planId"], 1)
    plan = reference_decode(found["plan"])
    check_plan(plan)
    need(blake3.blake3(found["runtime"]).digest() == made["runtimeFingerprint"], 2)
    check_runtime(reference_decode(found["runtime"]))
    for name, field, commit in (
        ("inputs", "inputCommit", reference.input_commit),
        ("outputs", "outputCommit", reference.output_commit),
    ):
        if found[name] is not None:
            salt, tensors = found[name]
            need(commit(salt, reference.values_of(tensors)) == made[field], 3)
    count = len(plan["cuts"])
    need(count or made["traceRoot"] == reference.trace_root([]), 4)
    for cut, salt, proof, tensors in found["cuts"]:
        need(cut < count, 4)
        top = climb(reference.cut_leaf(cut, salt, reference.values_of(tensors)), cut, count, proof)
        need(keccak256(b"\x06" + count.to_bytes(2, "big") + top) == made["traceRoot"], 4)


def climb(node, index, count, proof):
    """From a leaf to the top: an odd last node moves up unhashed."""
    rest = list(proof)
    while count > 1:
        if index % 2:
            need(rest, "proof")
            node = keccak256(b"\x01" + rest.pop(0) + node)
        elif index + 1 < count:
            need(rest, "proof")
            node = keccak256(b"\x01" + node + rest.pop(0))
        index, count = index // 2, (count + 1) // 2
    need(not rest, "proof")
    return node


# Vectors.

INPUTS = [("ids", "INT64", [1, 2], struct.pack("<2q", 101, 102)), ("mask", "BOOL", [2], b"\x01\x00")]
OUTPUTS = [("y", "FP32", [1, 2], struct.pack("<2f", 0.5, -0.0)), ("text", "BYTES", [1], b"\x02\0\0\0ok")]
CUTS = [
    [("a", "FP32", [2], struct.pack("<2f", 1.0, 2.0))],
    [("a", "FP32", [2], struct.pack("<2f", 1.0, 2.0)), ("b", "FP16", [1], b"\x00\x3c")],
    [("c", "FP32", [0], b"")],
]
RUNTIME = {
    "kind": "modelreg/runtime/1",
    "runtime": "onnxruntime",
    "version": "1.20.1",
    "provider": "CPUExecutionProvider",
    "optimization": "all",
    "threads": 2,
    "class": "fp32",
    "device": "x86-64",
    "features": ["avx2", "fma"],
}


def plan(cuts):
    names = [[row[0] for row in cut] for cut in cuts]
    return {"kind": "modelreg/trace-plan/1", "file": "m.onnx", "fixed": [], "class": "fp32", "cuts": names}


def table(tensors):
    rows = sorted(tensors, key=lambda row: row[0].encode())
    return [[name, datatype, dims, len(data)] for name, datatype, dims, data in rows]


def payload(tensors):
    return b"".join(row[3] for row in sorted(tensors, key=lambda row: row[0].encode()))


def header_of(cuts=CUTS, **changes):
    """The header of a whole opening; changes are fields of its receipt."""
    plan_block, runtime_block = reference_encode(plan(cuts)), reference_encode(RUNTIME)
    leaves = [
        reference.cut_leaf(number, _salt(f"cut {number}"), reference.values_of(cut))
        for number, cut in enumerate(cuts)
    ]
    made = receipt(
        **{
            "planId": blake3.blake3(plan_block).digest(),
            "runtimeFingerprint": blake3.blake3(runtime_block).digest(),
            "inputCommit": reference.input_commit(_salt("in"), reference.values_of(INPUTS)),
            "outputCommit": reference.output_commit(_salt("out"), reference.values_of(OUTPUTS)),
            "traceRoot": reference.trace_root(leaves),
            **changes,
        }
    )
    rows = [
        [number, _salt(f"cut {number}"), list(reference_proof(leaves, number)), table(cut)]
        for number, cut in enumerate(cuts)
    ]
    return {
        "kind": "modelreg/opening/1",
        "receipt": reference.pack(made) + signed(made),
        "plan": plan_block,
        "runtime": runtime_block,
        "inputs": [_salt("in"), table(INPUTS)],
        "outputs": [_salt("out"), table(OUTPUTS)],
        "cuts": rows,
    }


def frame(header, data):
    block = reference_encode(header)
    return len(block).to_bytes(4, "big") + block + data


DATA = payload(INPUTS) + payload(OUTPUTS) + b"".join(map(payload, CUTS))
WHOLE = header_of()
_IN, _OUT = len(payload(INPUTS)), len(payload(INPUTS) + payload(OUTPUTS))


def accepted():
    bare = header_of([])
    return {
        "the whole": frame(WHOLE, DATA),
        "a bare plan": frame(bare, DATA[:_OUT]),
        "inputs only": frame(WHOLE | {"outputs": None, "cuts": []}, DATA[:_IN]),
        "outputs only": frame(WHOLE | {"inputs": None, "cuts": []}, DATA[_IN:_OUT]),
        "one cut only": frame(
            WHOLE | {"inputs": None, "outputs": None, "cuts": WHOLE["cuts"][1:2]}, payload(CUTS[1])
        ),
        "nothing": frame(WHOLE | {"inputs": None, "outputs": None, "cuts": []}, b""),
    }


def _with(name, place, value, header=WHOLE):
    """The header with one item of a list in it replaced."""
    changed = list(header[name])
    changed[place] = value
    return header | {name: changed}


def _with_cut(number, place, value):
    row = list(WHOLE["cuts"][number])
    row[place] = value
    return _with("cuts", number, row)


def _with_row(place, value):
    row = list(WHOLE["inputs"][1][0])
    row[place] = value
    return _with("inputs", 1, [row, WHOLE["inputs"][1][1]])


def _flip(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def misread():
    """What `read` must refuse."""
    block = reference_encode(WHOLE)
    loose = b"\xbf" + block[1:] + b"\xff"  # the map in its indefinite form
    rows = WHOLE["inputs"][1]
    return {
        "no bytes": b"",
        "half a size": b"\0\0",
        "a header that ends early": (len(block) + 1).to_bytes(4, "big") + block,
        "a header of 2 MiB and a byte": ((2 << 20) + 1).to_bytes(4, "big") + block + DATA,
        "a header that is not canonical": len(loose).to_bytes(4, "big") + loose + DATA,
        "another kind": frame(WHOLE | {"kind": "modelreg/opening/2"}, DATA),
        "what a node keeps": frame(WHOLE | {"kind": "modelreg/kept/1"}, DATA),
        "a key more": frame(WHOLE | {"more": None}, DATA),
        "a key less": frame({key: value for key, value in WHOLE.items() if key != "runtime"}, DATA),
        "a receipt of 386 bytes": frame(WHOLE | {"receipt": WHOLE["receipt"][:-1]}, DATA),
        "a receipt without signature": frame(WHOLE | {"receipt": WHOLE["receipt"][:322]}, DATA),
        "a receipt as text": frame(WHOLE | {"receipt": WHOLE["receipt"].hex()}, DATA),
        "a receipt as a text of 387 characters": frame(WHOLE | {"receipt": "x" * 387}, DATA),
        "a plan as text": frame(WHOLE | {"plan": "plan"}, DATA),
        "no runtime": frame(WHOLE | {"runtime": None}, DATA),
        "a plan of 1 MiB and a byte": frame(WHOLE | {"plan": bytes((1 << 20) + 1)}, DATA),
        "a runtime of 8193 bytes": frame(WHOLE | {"runtime": bytes(8193)}, DATA),
        "inputs without salt": frame(WHOLE | {"inputs": [rows]}, DATA),
        "a salt of 31 bytes": frame(_with("inputs", 0, WHOLE["inputs"][0][:-1]), DATA),
        "a table that is a map": frame(_with("inputs", 1, {}), DATA),
        "a row of three": frame(_with("inputs", 1, [rows[0][:3], rows[1]]), DATA),
        "257 rows": frame(
            _with("inputs", 1, [[f"t{number:03}", "INT8", [0], 0] for number in range(257)]), DATA[_IN:]
        ),
        "an empty name": frame(_with_row(0, ""), DATA),
        "names in another order": frame(_with("inputs", 1, rows[::-1]), DATA),
        "a name twice": frame(_with_row(0, "mask"), DATA),
        "an unknown datatype": frame(_with_row(1, "FP8"), DATA),
        "a negative dim": frame(_with_row(2, [-1, -2]), DATA),
        "17 dims": frame(_with_row(2, [1] * 16 + [2]), DATA),
        "dims that are not the bytes": frame(_with_row(2, [1, 3]), DATA),
        "a size that is not the bytes": frame(_with_row(3, 15), DATA[:15] + DATA[16:]),
        "a size beyond every limit": frame(_with_row(3, 2**62), DATA),
        "a negative size": frame(_with_row(3, -1), DATA),
        "a size that is a truth": frame(_with_row(3, True), DATA),
        "a byte less": frame(WHOLE, DATA[:-1]),
        "a byte more": frame(WHOLE, DATA + b"\0"),
        "a BOOL of 2": frame(WHOLE, DATA[:16] + b"\x02" + DATA[17:]),
        "cuts in another order": frame(WHOLE | {"cuts": WHOLE["cuts"][::-1]}, DATA),
        "a cut twice": frame(WHOLE | {"cuts": [*WHOLE["cuts"], WHOLE["cuts"][2]]}, DATA),
        "a negative cut": frame(_with_cut(0, 0, -1), DATA),
        "a sibling of 31 bytes": frame(_with_cut(0, 2, [bytes(31)]), DATA),
    }


def misopened():
    """What is well formed, and does not open its receipt; by the number of the check that finds it."""
    other = reference_encode(plan(CUTS[:2]))
    slow = reference_encode(RUNTIME | {"threads": 1})
    no_plan = b"\xa0"
    return {
        "1 another plan": frame(WHOLE | {"plan": other}, DATA),
        "1 a plan that is none": frame(
            header_of(planId=blake3.blake3(no_plan).digest()) | {"plan": no_plan}, DATA
        ),
        "2 another runtime": frame(WHOLE | {"runtime": slow}, DATA),
        "2 a runtime that is none": frame(
            header_of(runtimeFingerprint=blake3.blake3(no_plan).digest()) | {"runtime": no_plan}, DATA
        ),
        "3 other inputs": frame(WHOLE, _flip(DATA, 0)),
        "3 other outputs": frame(WHOLE, _flip(DATA, _OUT - 1)),
        "3 another salt of the inputs": frame(_with("inputs", 0, _salt("out")), DATA),
        "3 another salt of the outputs": frame(_with("outputs", 0, _salt("in")), DATA),
        "3 inputs in the place of outputs": frame(
            WHOLE | {"inputs": None, "outputs": WHOLE["inputs"], "cuts": []}, DATA[:_IN]
        ),
        "3 another name of an input": frame(_with_row(0, "idz"), DATA),
        "3 other dims of an input": frame(_with_row(2, [2, 1]), DATA),
        "3 another datatype of an input": frame(_with_row(1, "UINT64"), DATA),
        "4 another cut": frame(WHOLE, _flip(DATA, len(DATA) - 1)),
        "4 another salt of a cut": frame(_with_cut(1, 1, _salt("cut 0")), DATA),
        "4 a proof too short": frame(_with_cut(0, 2, WHOLE["cuts"][0][2][:1]), DATA),
        "4 a proof too long": frame(_with_cut(2, 2, WHOLE["cuts"][2][2] * 2), DATA),
        "4 a cut in the place of another": frame(
            WHOLE | {"inputs": None, "outputs": None, "cuts": [[0, *WHOLE["cuts"][1][1:]]]}, payload(CUTS[1])
        ),
        "4 a cut that the plan has not": frame(
            WHOLE | {"inputs": None, "outputs": None, "cuts": [[3, *WHOLE["cuts"][2][1:]]]}, b""
        ),
        "4 a bare plan, and a trace": frame(header_of([], traceRoot=_salt("trace")), DATA[:_OUT]),
    }


REQUEST_FIELDS = [("address", "auditor"), ("bytes32", "receipt"), ("uint64", "deadline")]


def request_digest(request, domain=DOMAIN):
    separator = reference._struct("EIP712Domain", reference.DOMAIN_FIELDS, domain)
    return keccak256(b"\x19\x01" + separator + reference._struct("OpeningRequest", REQUEST_FIELDS, request))


def requests():
    rows = []
    for deadline in (0, 1_790_000_600, 2**53 - 1):
        request = {"auditor": address_of(AUDITOR), "receipt": _salt("receipt"), "deadline": deadline}
        digest = request_digest(request)
        signature = sign(AUDITOR, digest)
        raw = request["auditor"] + deadline.to_bytes(8, "big") + signature
        header = base64.b64encode(raw).decode()
        rows.append({**reference.plain(request), "digest": f"0x{digest.hex()}", "header": header})
    return rows


def documents():
    """Every file, by name."""
    made = {"accepted.json": accepted(), "misread.json": misread(), "misopened.json": misopened()}
    # Large bytes would say no more: they are stored by what they are filled with.
    rows = {
        file: [{"name": name, "bytes": shorten(raw)} for name, raw in content.items()]
        for file, content in made.items()
    }
    return {**rows, "requests.json": requests()}


def shorten(raw):
    """Hexadecimal, with runs of 4,096 zero bytes and more as `(count)`."""
    text, at = "", 0
    while at < len(raw):
        end = at
        while end < len(raw) and raw[end] == 0:
            end += 1
        if end - at >= 4096:
            text, at = f"{text}({end - at})", end
        else:
            text, at = text + raw[at : max(end, at + 1)].hex(), max(end, at + 1)
    return text


def lengthen(text):
    raw = b""
    for part in text.split("("):
        count, closed, rest = part.partition(")")
        raw += bytes(int(count)) + bytes.fromhex(rest) if closed else bytes.fromhex(part)
    return raw


def render(rows):
    return json.dumps(rows, indent=1) + "\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name, rows in documents().items():
        (VECTORS / name).write_text(render(rows))
    assert address_of(KEY) == receipt()["node"]
