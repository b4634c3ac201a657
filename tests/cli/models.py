"""Small models of the forms that publishers release."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def weights(seed: int = 0, scale: float = 0.02) -> dict[str, np.ndarray]:
    """A few tensors, 0.9 MB together."""
    random = np.random.default_rng(seed)
    shapes = {
        "embeddings.weight": (1200, 64),
        "layer.0.weight": (256, 256),
        "layer.0.bias": (256,),
        "layer.1.weight": (256, 256),
        "head.weight": (64, 256),
    }
    return {name: (random.normal(size=shape) * scale).astype("<f4") for name, shape in shapes.items()}


def fine_tuned(base: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """The same tensors after a little training of one layer."""
    random = np.random.default_rng(seed)
    change = (random.normal(size=base["layer.1.weight"].shape) * 1e-5).astype("<f4")
    return base | {"layer.1.weight": base["layer.1.weight"] + change}


def write_huggingface(root: Path, tensors: dict[str, np.ndarray]) -> Path:
    """A directory in the form of the Hugging Face hub, an empty file and a subdirectory included."""
    (root / "assets").mkdir(parents=True)
    (root / "config.json").write_text('{"hidden_size": 64}\n')
    (root / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}\n' * 100)
    (root / "assets" / "empty.txt").write_bytes(b"")
    save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})
    return root


def write_onnx(root: Path, tensors: dict[str, np.ndarray], location: str = "model.onnx.data") -> Path:
    """An ONNX model beside the file that holds its weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    root.mkdir(parents=True, exist_ok=True)
    initializers, data = [], b""
    for name, array in tensors.items():
        tensor = numpy_helper.from_array(array, name)
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", len(data)), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(value))
        initializers.append(tensor)
        data += raw
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 256])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 256])
    node = helper.make_node("MatMul", ["x", "layer.0.weight"], ["y"])
    graph = helper.make_graph([node], "tiny", [x], [y], initializers)
    onnx.save_model(helper.make_model(graph), root / "model.onnx")
    if "/" not in location:
        (root / location).write_bytes(data)
    return root
