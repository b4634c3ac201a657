"""Files that run code when they are loaded, made by the libraries that write them where there are such."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.format.unsafe import HEAD_BYTES, classify
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.onnx import W, model
from tests.reference.safetensors import build, entry

# pickletools tries escapes of text that is no pickle.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")


class Command:
    """Unpickling this would call os.getcwd; nothing here unpickles."""

    def __reduce__(self):
        return os.getcwd, ()


class State:
    """Reduced by import, NEWOBJ and BUILD."""

    def __init__(self):
        self.weights = {"w": list(range(50))}


def judged(data, path="file", head=HEAD_BYTES):
    def read_at(offset, length):
        assert offset >= 0 and length > 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return classify(path, data[:head], read_at, len(data))


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members, kind=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def npy(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def npz(compressed, **arrays):
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def torch_legacy():
    """torch.save before 1.6: four pickles and the storages end to end."""
    magic, system = 0x1950A86A20F9469CFC6C, {"protocol_version": 1001, "little_endian": True}
    state = OrderedDict(weight=[1.0, 2.0])
    return b"".join(pickle.dumps(part, 2) for part in (magic, 1001, system, state, ["0"])) + bytes(64)


STATE = pickle.dumps(OrderedDict(weight=np.arange(6.0)), 2)
OBJECTS = np.array([{"a": 1}, None], dtype=object)
PICKLES = {
    f"{type(value).__name__}_protocol_{protocol}": pickle.dumps(value, protocol)
    for value in (Command(), State(), OrderedDict(w=np.arange(9.0)), ["plain", 1, 2.5])
    for protocol in range(6)
}
PICKLES |= {
    "by_hand": b"cos\nsystem\n(S'echo'\ntR.",
    "by_hand_inst": b"(S'echo'\nios\nsystem\n.",
    "without_protocol": pickle.dumps(Command(), 4)[11:] + bytes(9),
    "without_stop": b"cos\nsystem\n(S'echo'\ntR",
    "with_bytes_behind": b"cos\nsystem\n(S'echo'\ntR." + bytes(1000),
    "longer_than_the_head": pickle.dumps(list(range(200_000)), 4),
    "one_long_string": pickle.dumps("x" * 200_000, 2),
    "one_long_string_framed": pickle.dumps(b"x" * 200_000, 5),
    "torch_legacy": torch_legacy(),
}
COMPRESSED = {
    "gzip": gzip.compress(PICKLES["State_protocol_2"]),
    "zlib": zlib.compress(PICKLES["State_protocol_4"]),
    "bzip2": bz2.compress(PICKLES["Command_protocol_0"]),
    "xz": lzma.compress(PICKLES["Command_protocol_3"]),
    "gzip_of_much": gzip.compress(pickle.dumps(list(range(500_000)), 2)),
}
ARRAYS = {
    "objects": npy(OBJECTS, allow_pickle=True),
    "record_with_an_object": npy(np.zeros(2, [("a", "<f4"), ("b", "O")]), allow_pickle=True),
    "header_beyond_the_head": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 20) + b"{" * (1 << 20),
}
ARCHIVES = {
    "torch": zipped({"archive/data.pkl": STATE, "archive/data/0": bytes(64), "archive/version": b"3\n"}),
    "torchscript": zipped(
        {"m/code/__torch__.py": b"def forward():\n", "m/constants.pkl": pickle.dumps((), 2)}
    ),
    "torchscript_constants": zipped({"m/constants.pkl": b"x"}),
    "keras": zipped({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
    "keras_weights_elsewhere": zipped(
        {"metadata.json": b"{}", "config.json": b"{}", "model.weights.bin": b"x"}
    ),
    "pickle_under_another_name": zipped({"data/0": STATE}),
    "pickle_deflated": zipped(
        {"a.txt": b"x" * 99, "b.txt": PICKLES["State_protocol_4"]}, zipfile.ZIP_DEFLATED
    ),
    "script_inside": zipped({"model.json": b"{}", "handler.py": b"import os\n"}),
    "library_inside": zipped({"lib/op.so.1": b"x"}),
    "npz_of_objects": npz(compressed=False, a=np.zeros(3), b=OBJECTS),
    "npz_of_objects_deflated": npz(compressed=True, b=OBJECTS),
    "bzip2_members": zipped({"a.txt": b"x" * 99}, zipfile.ZIP_BZIP2),
    "without_directory": zipped({"a.txt": b"x"})[:30] + bytes(100),
    "directory_elsewhere": zipped({"a.txt": b"x"}).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "tar_torch": tarred({"sys_info": b"x", "pickle": STATE, "tensors": b"", "storages": b""}),
    "tar_with_a_script": tarred({"weights/a.bin": bytes(700), "weights/run.sh": b"x"}),
    "tar_pax": tarred({"a/é" * 60: b"x", "model.pkl": b"x"}, tarfile.PAX_FORMAT),
    "tar_damaged": tarred({"a": bytes(600), "b": b"x"})[:1536] + b"x" * 2048,
}
MACHO = struct.pack("<7I", 0xFEEDFACF, 0x0100000C, 0, 2, 0, 0, 0)
PROGRAMS = {
    "elf_of_this_interpreter": Path(sys.executable).resolve().read_bytes()[:4096],
    "elf_library": Path(np._core._multiarray_umath.__file__).read_bytes()[:4096],
    "pe": b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\0\0\x64\x86" + bytes(200),
    "llamafile": b"MZqFpD='\n" + bytes(200),
    "macho": MACHO,
    "macho_32": struct.pack("<I", 0xFEEDFACE) + MACHO[4:],
    "macho_big_endian": struct.pack(">7I", 0xFEEDFACF, 0x0100000C, 0, 2, 0, 0, 0),
    "macho_big_endian_32": struct.pack(">7I", 0xFEEDFACE, 7, 0, 2, 0, 0, 0),
    "macho_of_two_kinds": struct.pack(">7I", 0xCAFEBABE, 2, 7, 3, 4096, 100, 12),
    "java_class": struct.pack(">IHH", 0xCAFEBABE, 0, 52) + bytes(20),
    "webassembly": b"\0asm\x01\0\0\0" + bytes(20),
    "static_library": b"!<arch>\nx.o/" + bytes(60),
    "shell_script": b"#!/bin/sh\nexit 0\n",
    "python_script": b"#!/usr/bin/env python3\n",
}
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)
HDF5_FILES = {"plain": HDF5, **{f"behind_{n}": bytes(n) + HDF5 for n in (512, 1024, 2048, 32768)}}
BY_NAME = [
    *["model.pkl", "model.PKL", "a/b/model.pt", "model.pth", "model.ckpt", "model.joblib", "model.pickle"],
    *["model.pkl.gz", "model.joblib.xz", "model.pth.tar", "model.keras", "model.h5", "weights.hdf5", "op.so"],
    *["op.so.1.2", "op.dll", "run.exe", "op.dylib", "op.pyd", "a.pyc", "a.jar", "modeling_x.py", "run.sh"],
    *["run.bat", "a.js", "saved_model.pb", "x/Saved_Model.pb", "a.pkl\n.py"],
]
GGUF = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 7)
    + b"general"
    + struct.pack("<IQ", 8, 1)
    + b"x"
)
SAFE = {
    "model.safetensors": build({"__metadata__": {"format": "pt"}, "a": entry("F32", [2], 0, 8)}, bytes(8)),
    # Its length, 0x280 bytes, begins like a pickle of protocol 2.
    "like_a_pickle.safetensors": build(b"{}" + b" " * 638),
    "model.onnx": model((5, W)),
    "model.gguf": GGUF,
    "config.json": json.dumps({"model_type": "bert", "layers": [1, 2]}).encode(),
    "list.json": b'["import", "os"]',
    "README.md": b"# A model\n\nUse `import os`.\n",
    "import.md": b"import os\nimport sys\nimport numpy as np\n",
    "labels.txt": b"cat\ndog\n",
    "two_lines.txt": b"config\nindex\n",
    "vocab.txt": b"[PAD]\n[unused0]\n(\n)\n.\nthe\n",
    "merges.txt": b"#version: 0.2\ni n\nt h\n",
    "number.txt": b"I1\n",
    "one_dot.txt": b".",
    "nothing.txt": b"N.",
    "LICENSE": b"Copyright (c) the authors.\n",
    "table.csv": b"a,b\n1,2\n",
    "spiece.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02",
    "weights.bin": np.random.default_rng(1).normal(size=5000).astype(np.float32).tobytes(),
    "zeros.bin": bytes(100_000),
    "array.npy": npy(np.arange(10.0)),
    "records.npy": npy(np.zeros(2, [("Order", "<f4"), ("b", "i8")])),
    "arrays.npz": npz(compressed=False, a=np.zeros(3), b=np.ones(2, np.int8)),
    "arrays_deflated.npz": npz(compressed=True, a=np.zeros(3000)),
    "texts.zip": zipped({"a.txt": b"hello", "b/c.json": b"{}"}, zipfile.ZIP_DEFLATED),
    "texts.tar": tarred({"a.txt": b"hello", "b/c.json": bytes(1000)}),
    "vocab.json.gz": gzip.compress(b'{"a": 1}' * 1000),
    "image.png": b"\x89PNG\r\n\x1a\n" + bytes(30),
    "mz.txt": b"MZ is a pair of letters, and 64 more bytes follow here, as in a program.",
    "empty.py.txt": b"",
    "zlib_like.bin": b"\x78\x9c" + bytes(range(200)),
}
SEEDS = [
    data[:20_000]
    for group in (PICKLES, COMPRESSED, ARRAYS, ARCHIVES, PROGRAMS, HDF5_FILES, SAFE)
    for data in group.values()
]


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_refused(name):
    assert judged(PICKLES[name], "weights.bin") == "a pickle, which runs code when it is loaded"
    assert judged(PICKLES[name], "model.safetensors")
    assert judged(PICKLES[name], "config.json", head=16)


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_pickles_are_refused(name):
    assert "compressed pickle" in judged(COMPRESSED[name], "weights.bin")


@pytest.mark.parametrize("name", ARRAYS)
def test_numpy_arrays_of_objects_are_refused(name):
    assert "array of objects" in judged(ARRAYS[name], "a.npy")


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_hold_code_are_refused(name):
    assert judged(ARCHIVES[name], "weights.bin")


def test_archives_are_named_by_what_they_are():
    assert "PyTorch archive" in judged(ARCHIVES["torch"])
    assert "TorchScript" in judged(ARCHIVES["torchscript"])
    assert "TorchScript" in judged(ARCHIVES["torchscript_constants"])
    assert "Keras" in judged(ARCHIVES["keras"])
    assert "PyTorch archive" in judged(ARCHIVES["tar_torch"])
    assert "cannot be looked into" in judged(ARCHIVES["without_directory"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_and_scripts_are_refused(name):
    expected = "a script" if name.endswith("script") else "a program or a library of machine code"
    assert judged(PROGRAMS[name], "weights.bin") == expected


@pytest.mark.parametrize("name", HDF5_FILES)
def test_hdf5_and_keras_files_are_refused(name):
    assert "Lambda" in judged(HDF5_FILES[name], "weights.bin")


@pytest.mark.parametrize("path", BY_NAME)
def test_names_of_formats_that_run_code_are_refused_whatever_they_hold(path):
    assert judged(b"{}", path)


@pytest.mark.parametrize("path", SAFE)
def test_harmless_files_pass(path):
    assert judged(SAFE[path], path) is None


def test_empty_files_hold_no_code():
    assert judged(b"", "__init__.py") is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.float32, np.float16, np.int8, np.int64]))
def test_raw_weights_are_not_taken_for_code(seed, dtype):
    data = (np.random.default_rng(seed).normal(size=500) * 50).astype(dtype).tobytes()
    if data[:2] not in (b"#!", b"BZ", b"\x1f\x8b"):
        assert judged(data, "model.onnx_data") is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "PK\x03\x04", "\x80\x02", "\x93NUMPY", "(c", "BZh9"]))
def test_any_bytes_give_a_reason_or_none(data, magic):
    assert judged(magic.encode("latin-1") + data) in {None, *REASONS}


REASONS = {
    "a pickle, which runs code when it is loaded",
    "a numpy array of objects, which is a pickle",
    "a compressed pickle, which runs code when it is loaded",
    "an archive that cannot be looked into",
    "a program or a library of machine code",
    "a script",
    "a Keras or HDF5 model, which can hold code in Lambda layers",
}


def test_decompression_bombs_are_not_unfolded():
    bomb = gzip.compress(bytes(50 << 20))
    assert judged(bomb, "a.gz") is None
    member = zipped({"a.txt": bytes(20 << 20)}, zipfile.ZIP_DEFLATED)
    assert judged(member, "a.zip") is None


def test_large_files_are_read_in_parts():
    asked = []

    def read_at(offset, length):
        asked.append(length)
        return bytes(length)

    assert classify("w.bin", bytes(HEAD_BYTES), read_at, 140 << 30) is None
    assert sum(asked) <= HEAD_BYTES


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("unsafe")
