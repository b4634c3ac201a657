"""Models as people release them, if there is a folder of them: MODELREG_ONNX_MODELS names it."""

import os
import random
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from modelreg.errors import InputError
from tests.serving import graphs
from tests.serving.running import Limits, ServerSettings, running

REAL = os.environ.get("MODELREG_ONNX_MODELS")
FILES = sorted(Path(REAL).glob("*.onnx")) if REAL else []
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FILES, reason="MODELREG_ONNX_MODELS names no models")]
USUAL = {"sr": 16000}
USUAL_DIMS = {"input": [1, 512]}


def array(port, dims, source):
    """An input that a model may well refuse."""
    if port.name in USUAL:
        return np.full(dims, USUAL[port.name], "i8")
    dtype = triton_to_np_dtype(port.datatype)
    if port.datatype.startswith(("INT", "UINT")):
        return source.integers(0, 2, dims).astype(dtype)
    return source.random(dims).astype(dtype)


def dims(port, choice, source):
    """Those that the model fixes, and others chosen; what is usual where there is no choice."""
    if not choice:
        return USUAL_DIMS.get(port.name) or [1 if dim is None else dim for dim in port.dims]
    return [source.choice(choice) if dim is None else dim for dim in port.dims]


def given(arrays, ports):
    found = []
    for port in ports:
        tensor = triton.InferInput(port.name, arrays[port.name].shape, port.datatype)
        tensor.set_data_from_numpy(arrays[port.name])
        found.append(tensor)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_model(path):
    """Whatever shapes a client sends, the answer is the runtime's, or 400; the server lives on."""
    raw = path.read_bytes()
    try:
        model = graphs.served("acme/real", raw)
    except InputError as error:
        pytest.skip(str(error))
    plain = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    ports, source, dims_of = model.engine.inputs, np.random.default_rng(0), random.Random(0)
    statuses = []
    limits = Limits(run_seconds=20)
    with (
        running(graphs.table(model), ServerSettings(port=0, limits=limits)) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        for choice in (
            [],
            [1],
            [1, 32, 64, 128, 512],
            [0, 1, 2],
            [0],
            [1, 3, 7, 250],
            [1, 512],
            [64, 128],
            [2, 512],
        ):
            shapes = {port.name: dims(port, choice, dims_of) for port in ports}
            arrays = {port.name: array(port, shapes[port.name], source) for port in ports}
            try:
                result = client.infer("acme/real", given(arrays, ports))
            except InferenceServerException as error:
                statuses.append(error.status())
                continue
            statuses.append("200")
            for node, expected in zip(plain.get_outputs(), plain.run(None, arrays), strict=True):
                found = result.as_numpy(node.name)
                assert found.shape == expected.shape
                assert np.allclose(found, expected, rtol=1e-2, atol=1e-3, equal_nan=True)
        assert client.is_model_ready("acme/real")
    assert set(statuses) <= {"200", "400", "413", "503"}
    print(path.name, statuses)
