"""An unchanged tritonclient: synchronous, asynchronous, many at once, every datatype."""

import asyncio

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.serving import graphs

MODEL = "acme/linear"
X = np.arange(8, dtype="f4").reshape(2, 4)
Y = X @ graphs.WEIGHTS


@pytest.fixture
def client(url):
    with triton.InferenceServerClient(url.removeprefix("http://"), concurrency=8) as found:
        yield found


def filled(name, array, datatype, module=triton, **options):
    given = module.InferInput(name, array.shape, datatype)
    given.set_data_from_numpy(array, **options)
    return given


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "stable")
    assert not client.is_model_ready("acme/none")
    assert not client.is_model_ready(MODEL, "9.9.9")
    assert client.get_server_metadata()["name"] == "modelreg"
    assert client.get_model_metadata(MODEL)["versions"] == ["1.0.0", "2.0.0+bf16"]
    assert client.get_model_config(MODEL, "2.0.0+bf16")["input"][0]["data_type"] == "TYPE_FP32"
    assert {"name": MODEL, "version": "1.0.0", "state": "READY", "reason": ""} in (
        client.get_model_repository_index()
    )


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(client, binary_in, binary_out):
    outputs = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    given = [filled("x", X, "FP32", binary_data=binary_in)]
    result = client.infer(MODEL, given, outputs=outputs, request_id="7")
    assert np.array_equal(result.as_numpy("y"), Y)
    assert result.as_numpy("total") is None
    assert result.get_response()["id"] == "7"


def test_all_outputs_where_none_is_named(client):
    result = client.infer(MODEL, [filled("x", X, "FP32")], model_version="2.0.0+bf16")
    assert np.array_equal(result.as_numpy("y"), -Y)
    assert result.as_numpy("total").shape == (1, 1)
    assert result.get_response()["model_version"] == "2.0.0+bf16"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression(client, coding):
    result = client.infer(
        MODEL,
        [filled("x", X, "FP32")],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert np.array_equal(result.as_numpy("y"), Y)


SAMPLES = {
    "BOOL": np.array([[True, False]]),
    "FP16": np.array([[1.5, -0.0, np.nan]], "f2"),
    "FP32": np.array([[1.5, -0.0, np.inf]], "f4"),
    "FP64": np.array([[1.5, 1e300]], "f8"),
    "BF16": np.array([[1.5, -2]], ml_dtypes.bfloat16),
    "BYTES": np.array([[b"a", "é\0".encode(), b""]], dtype=object),
    **{f"INT{n}": np.array([[-(1 << n - 1), (1 << n - 1) - 1]], f"i{n // 8}") for n in (8, 16, 32, 64)},
    **{f"UINT{n}": np.array([[0, (1 << n) - 1]], f"u{n // 8}") for n in (8, 16, 32, 64)},
}


@pytest.mark.parametrize("datatype", SAMPLES)
def test_every_datatype_as_binary(client, datatype):
    sample = SAMPLES[datatype]
    result = client.infer(f"acme/{datatype.lower()}", [filled("in", sample, datatype)])
    assert result.get_output("out")["datatype"] == datatype
    found = result.as_numpy("out")
    if datatype == "BYTES":
        assert found.tolist() == sample.tolist()
    else:
        assert found.tobytes() == sample.tobytes()


@pytest.mark.parametrize("datatype", sorted(set(SAMPLES) - {"FP16", "BF16", "FP32"}))
def test_other_datatypes_as_json(client, datatype):
    sample = SAMPLES[datatype]
    result = client.infer(
        f"acme/{datatype.lower()}",
        [filled("in", sample, datatype, binary_data=False)],
        outputs=[triton.InferRequestedOutput("out", binary_data=False)],
    )
    expected = [item.decode() for item in sample.ravel()] if datatype == "BYTES" else sample.ravel().tolist()
    assert result.get_output("out")["data"] == expected


@pytest.mark.parametrize("shape", [(0, 3), (1, 0)])
def test_nothing_in_a_tensor(client, shape):
    result = client.infer("acme/fp32", [filled("in", np.zeros(shape, "f4"), "FP32")])
    assert result.as_numpy("out").shape == shape


def test_scalar(client):
    given = filled("in", np.array(5, "i8"), "INT64")
    assert client.infer("acme/scalar", [given]).as_numpy("out") == 5


def test_large_tensor(client):
    sample = np.random.default_rng(0).random((1500, 1000), dtype="f4")
    result = client.infer("acme/fp32", [filled("in", sample, "FP32")])
    assert np.array_equal(result.as_numpy("out"), sample)


def test_errors_reach_the_client(client):
    with pytest.raises(InferenceServerException, match="shape of x") as caught:
        client.infer(MODEL, [filled("x", X.T.copy(), "FP32")])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="is not served"):
        client.infer(MODEL, [filled("x", X, "FP32")], model_version="9.9.9")


def test_many_at_once_with_statistics(client):
    before = client.get_inference_statistics(MODEL, "1.0.0")["model_stats"][0]
    waiting = []
    for number in range(100):
        given = [filled("x", X + number, "FP32")]
        waiting.append((number, client.async_infer(MODEL, given, request_id=str(number))))
    for number, request in waiting:
        result = request.get_result()
        assert result.get_response()["id"] == str(number)
        assert np.array_equal(result.as_numpy("y"), (X + number) @ graphs.WEIGHTS)
    after = client.get_inference_statistics(MODEL, "1.0.0")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 100
    assert after["inference_stats"]["success"]["count"] == after["execution_count"]
    assert len(client.get_inference_statistics()["model_stats"]) > 2


def test_asyncio(url):
    async def work():
        async with triton_aio.InferenceServerClient(url.removeprefix("http://")) as client:
            assert await client.is_server_ready()
            given = [[filled("x", X + n, "FP32", triton_aio)] for n in range(32)]
            results = await asyncio.gather(*(client.infer(MODEL, one) for one in given))
            return [result.as_numpy("y") for result in results]

    for number, found in enumerate(asyncio.run(work())):
        assert np.array_equal(found, (X + number) @ graphs.WEIGHTS)
