"""Trace plans, fingerprints, calibrations and frontiers from docs/spec/trace.md, by hand and slowly.

`python -m tests.reference.trace` writes tests/vectors/trace/ again.
"""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import blake3

from tests.reference.dagcbor import reference_decode, reference_encode, render, to_json

VECTORS = Path(__file__).parent.parent / "vectors" / "trace"
WIDTHS = {"BOOL": 1, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}
WIDTHS |= {f"{sign}INT{8 * width}": width for sign in ("", "U") for width in (1, 2, 4, 8)}
CLASSES = ("fp32", "tf32", "fp16", "bf16")
PLAN, RUNTIME, CALIBRATION = "modelreg/trace-plan/1", "modelreg/runtime/1", "modelreg/calibration/1"


class Refused(Exception):  # noqa: N818
    pass


def digest(block):
    return blake3.blake3(block).digest()


def need(truth):
    if not truth:
        raise Refused


def is_text(value, most=256):
    return isinstance(value, str) and 0 < len(value.encode()) <= most


def is_uint(value, least, most):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_ascending(items):
    return all(a < b for a, b in pairwise(items))


def is_list(value, least, most):
    return isinstance(value, list) and least <= len(value) <= most


def check_map(value, kind, keys):
    need(isinstance(value, dict) and value.keys() == {"kind", *keys} and value["kind"] == kind)


def check_plan(value):
    check_map(value, PLAN, ("file", "fixed", "class", "cuts"))
    need(is_text(value["file"], 1024) and ".." not in value["file"].split("/"))
    need(is_list(value["fixed"], 0, 64) and is_list(value["cuts"], 0, 128) and value["class"] in CLASSES)
    for row in value["fixed"]:
        need(is_list(row, 3, 3) and is_text(row[0]) and row[1] in WIDTHS and isinstance(row[2], bytes))
        need(len(row[2]) == WIDTHS[row[1]] and (row[1] != "BOOL" or row[2] in (b"\0", b"\1")))
    need(is_ascending([row[0].encode() for row in value["fixed"]]))
    for cut in value["cuts"]:
        need(is_list(cut, 1, 16) and all(map(is_text, cut)) and is_ascending([name.encode() for name in cut]))
    need(len({tuple(cut) for cut in value["cuts"]}) == len(value["cuts"]))


def check_runtime(value):
    texts = ("runtime", "version", "provider", "device")
    check_map(value, RUNTIME, (*texts, "optimization", "threads", "class", "features"))
    need(is_list(value["features"], 0, 64) and is_ascending(value["features"]))
    for text in [value[key] for key in texts] + value["features"]:
        need(is_text(text, 64) and all(" " <= character <= "~" for character in text))
    need(value["optimization"] in ("disabled", "basic", "extended", "all") and value["class"] in CLASSES)
    need(is_uint(value["threads"], 1, 4096))


def check_calibration(value):
    check_map(value, CALIBRATION, ("release", "plan", "samples", "runtimes", "rows"))
    need(all(isinstance(value[key], bytes) and len(value[key]) == 32 for key in ("release", "plan")))
    need(is_uint(value["samples"], 1, 2**63 - 1))
    need(is_list(value["runtimes"], 1, 256) and is_list(value["rows"], 1, 4096))
    for runtime in value["runtimes"]:
        check_runtime(runtime)
    need(is_ascending([reference_encode(runtime) for runtime in value["runtimes"]]))
    for row in value["rows"]:
        need(is_list(row, 4, 4) and is_uint(row[0], 0, 255) and is_uint(row[1], 0, 255))
        need(is_uint(row[2], 1, 2**20) and is_list(row[3], 1, 129))
        for pair in row[3]:
            check_distance(pair)
    need(is_ascending([row[:3] for row in value["rows"]]))
    need(len({len(row[3]) for row in value["rows"]}) == 1)
    numbers = {number for row in value["rows"] for number in row[:2]}
    need(numbers == set(range(len(value["runtimes"]))))


def check_distance(pair):
    need(is_list(pair, 2, 2) and is_uint(pair[0], 0, 2**24 - 1) and is_uint(pair[1], -149, 104))
    need(pair == [0, 0] or pair[0] >= 2**23)


CHECKS = {"plan": check_plan, "runtime": check_runtime, "calibration": check_calibration}
MOST = {"plan": 1 << 20, "runtime": 8192, "calibration": 1 << 20}


def read(kind, block):
    """The value of a block, or Refused."""
    need(len(block) <= MOST[kind])
    try:
        value = reference_decode(block)
    except ValueError:
        raise Refused from None
    CHECKS[kind](value)
    return value


def distance_above(value):
    """The least [mantissa, exponent] that is not below a number."""
    exact = Fraction(value)
    if exact == 0:
        return [0, 0]
    for exponent in range(-149, 105):
        mantissa = -((-exact) // Fraction(2) ** exponent)
        if mantissa < 2**24:
            return [max(int(mantissa), 2**23), exponent]
    raise Refused


def frontier(nodes, inputs, place):
    """What stands behind node `place`: `nodes` are pairs of what is read and what is made."""
    varying = set(inputs)
    for reads, makes in nodes:
        if varying & set(reads):
            varying |= set(makes)
    early = {name for _, makes in nodes[: place + 1] for name in makes}
    late = {name for reads, _ in nodes[place + 1 :] for name in reads}
    return early & late & varying - set(inputs)


def plan(**changes):
    return {"kind": PLAN, "file": "model.onnx", "fixed": [], "class": "fp32", "cuts": []} | changes


def runtime(**changes):
    return {
        "kind": RUNTIME,
        "runtime": "onnxruntime",
        "version": "1.20.1",
        "provider": "CPUExecutionProvider",
        "optimization": "all",
        "threads": 1,
        "class": "fp32",
        "device": "x86-64",
        "features": ["avx", "avx2", "fma"],
    } | changes


ONE, TWO = sorted([runtime(), runtime(version="1.32.0")], key=reference_encode)


def calibration(**changes):
    return {
        "kind": CALIBRATION,
        "release": bytes(range(32)),
        "plan": digest(reference_encode(plan())),
        "samples": 8,
        "runtimes": [ONE, TWO],
        "rows": [[0, 1, 1, [[0, 0], [2**23, -45]]], [0, 1, 2, [[2**24 - 1, -149], [2**23, 104]]]],
    } | changes


_RATE = ["sr", "INT64", (16000).to_bytes(8, "little")]
VALID = {
    "plan": {
        "bare": plan(),
        "a fixed input and two cuts": plan(file="a/b.onnx", fixed=[_RATE], cuts=[["a"], ["a", "b"]]),
        "fixed inputs of each datatype": plan(
            fixed=[
                [f"{n:02}", name, b"\1" + bytes(width - 1)] for n, (name, width) in enumerate(WIDTHS.items())
            ]
        ),
        "the most cuts and tensors": plan(cuts=[[f"{cut}/{n:02}" for n in range(16)] for cut in range(128)]),
        "the longest names": plan(cuts=[["x" * 256, "é" * 128]]),
        **{f"class {name}": plan(**{"class": name}) for name in CLASSES},
    },
    "runtime": {
        "a processor": runtime(),
        "an accelerator": runtime(device="NVIDIA H200", provider="CUDAExecutionProvider", features=[]),
        "the most": runtime(version="v" * 64, threads=4096, features=[f"{n:064}" for n in range(64)]),
        **{f"optimization {name}": runtime(optimization=name) for name in ("disabled", "basic", "extended")},
    },
    "calibration": {
        "two runtimes": calibration(),
        "one runtime against itself": calibration(runtimes=[ONE], rows=[[0, 0, 2**20, [[2**23, -149]]]]),
        "128 cuts": calibration(rows=[[0, 1, 1, [[2**23, -45]] * 129]]),
    },
}

_ROWS = calibration()["rows"]
_REFUSED = {
    "plan": {
        "a list": [],
        "another kind": plan(kind=RUNTIME),
        "a key more": plan(x=0),
        "a key less": {key: value for key, value in plan().items() if key != "cuts"},
        "path that leaves the release": plan(file="../model.onnx"),
        "path of bytes": plan(file=b"model.onnx"),
        "no path": plan(file=""),
        "unknown class": plan(**{"class": "int8"}),
        "class of a number": plan(**{"class": 32}),
        "129 cuts": plan(cuts=[[f"{n}"] for n in range(129)]),
        "cut without a tensor": plan(cuts=[[]]),
        "cut of 17 tensors": plan(cuts=[[f"{n:02}" for n in range(17)]]),
        "cut that is a text": plan(cuts=["a"]),
        "tensor twice in a cut": plan(cuts=[["a", "a"]]),
        "tensors out of order": plan(cuts=[["b", "a"]]),
        "tensors in the order of UTF-16": plan(cuts=[["\U00010000", "\uffee"]]),
        "cut twice": plan(cuts=[["a"], ["b"], ["a"]]),
        "tensor without a name": plan(cuts=[[""]]),
        "name of 257 bytes": plan(cuts=[["x" * 257]]),
        "name of 129 characters and 258 bytes": plan(cuts=[["é" * 129]]),
        "fixed input twice": plan(fixed=[_RATE, _RATE]),
        "fixed inputs out of order": plan(fixed=[_RATE, ["a", *_RATE[1:]]]),
        "65 fixed inputs": plan(fixed=[[f"{n:02}", *_RATE[1:]] for n in range(65)]),
        "fixed input of seven bytes": plan(fixed=[["sr", "INT64", bytes(7)]]),
        "fixed input of two elements": plan(fixed=[["sr", "INT32", bytes(8)]]),
        "fixed input of BYTES": plan(fixed=[["sr", "BYTES", b"\1\0\0\0a"]]),
        "fixed input of an unknown datatype": plan(fixed=[["sr", "INT4", b"\1"]]),
        "fixed truth of 2": plan(fixed=[["sr", "BOOL", b"\2"]]),
        "fixed input with a number for a value": plan(fixed=[["sr", "INT64", 16000]]),
        "fixed input with more": plan(fixed=[[*_RATE, 0]]),
        "fixed input without a name": plan(fixed=[["", *_RATE[1:]]]),
    },
    "runtime": {
        "a key more": runtime(x=0),
        "unknown optimization": runtime(optimization="most"),
        "unknown class": runtime(**{"class": "fp8"}),
        "no threads": runtime(threads=0),
        "threads below zero": runtime(threads=-1),
        "4097 threads": runtime(threads=4097),
        "threads that are true": runtime(threads=True),
        "no version": runtime(version=""),
        "version of 65 bytes": runtime(version="v" * 65),
        "version with a control character": runtime(version="1\n"),
        "device that is not ASCII": runtime(device="é"),
        "features out of order": runtime(features=["fma", "avx"]),
        "feature twice": runtime(features=["avx", "avx"]),
        "feature that is a number": runtime(features=[1]),
        "65 features": runtime(features=[f"{n:02}" for n in range(65)]),
    },
    "calibration": {
        "a key more": calibration(x=0),
        "release of 31 bytes": calibration(release=bytes(31)),
        "plan as text": calibration(plan="0" * 32),
        "no samples": calibration(samples=0),
        "no runtimes": calibration(runtimes=[]),
        "no rows": calibration(rows=[]),
        "runtimes out of order": calibration(runtimes=[TWO, ONE]),
        "runtime twice": calibration(runtimes=[ONE, ONE]),
        "runtime that is refused": calibration(runtimes=[ONE, TWO | {"threads": 0}]),
        "runtime that no row names": calibration(rows=[[0, 0, 1, [[0, 0]]]]),
        "row of a runtime that is not there": calibration(rows=[[0, 2, 1, [[0, 0]]]]),
        "rows out of order": calibration(rows=_ROWS[::-1]),
        "row twice": calibration(rows=[_ROWS[0], _ROWS[0]]),
        "batch of none": calibration(rows=[[0, 1, 0, [[0, 0]]]]),
        "batch of more than 2^20": calibration(rows=[[0, 1, 2**20 + 1, [[0, 0]]]]),
        "rows of different lengths": calibration(rows=[_ROWS[0], [0, 1, 2, [[0, 0]]]]),
        "row without distances": calibration(rows=[[0, 1, 1, []]]),
        "130 distances": calibration(rows=[[0, 1, 1, [[0, 0]] * 130]]),
        "distance of 23 bits": calibration(rows=[[0, 1, 1, [[2**22, -45]]]]),
        "distance of 25 bits": calibration(rows=[[0, 1, 1, [[2**24, -45]]]]),
        "distance below zero": calibration(rows=[[0, 1, 1, [[-(2**23), -45]]]]),
        "zero with an exponent": calibration(rows=[[0, 1, 1, [[0, -45]]]]),
        "exponent of -150": calibration(rows=[[0, 1, 1, [[2**23, -150]]]]),
        "exponent of 105": calibration(rows=[[0, 1, 1, [[2**23, 105]]]]),
        "exponent that is false": calibration(rows=[[0, 1, 1, [[0, False]]]]),
        "distance alone": calibration(rows=[[0, 1, 1, [[2**23]]]]),
    },
}
REFUSED = {kind: {name: reference_encode(v) for name, v in rows.items()} for kind, rows in _REFUSED.items()}
REFUSED["plan"]["not canonical"] = reference_encode(plan()).replace(
    b"\x65class\x64fp32", b"\x65class\x78\x04fp32"
)
REFUSED["runtime"]["more than 8192 bytes"] = reference_encode(runtime(features=["x" * 8192]))


def documents():
    """The vector files by name."""
    valid = [
        {
            "kind": kind,
            "name": name,
            "value": to_json(value),
            "hex": block.hex(),
            "digest": digest(block).hex(),
        }
        for kind, rows in VALID.items()
        for name, value in rows.items()
        for block in [reference_encode(value)]
    ]
    refused = [
        {"kind": kind, "name": name, "hex": block.hex()}
        for kind, rows in REFUSED.items()
        for name, block in rows.items()
    ]
    return {"valid.json": valid, "refused.json": refused}


def vectors(file, kind):
    """The rows of one kind, by name."""
    return {row["name"]: row for row in json.loads((VECTORS / file).read_text()) if row["kind"] == kind}


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
