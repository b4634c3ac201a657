"""What the demo's client asks, over the Open Inference Protocol."""

import json
import urllib.request
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["answers_of", "likeness"]

Inputs = dict[str, NDArray[np.int64]]
_FIRST, _LAST = 101, 102
_SECONDS = 60.0


def answers_of(port: int, model: str, count: int) -> tuple[str, list[NDArray[np.float32]]]:
    """Ask a node on this machine; the client's name, and an embedding for each question.

    The client is tritonclient where it is installed, as it is sold; else plain HTTP does.
    """
    try:
        import tritonclient.http as triton
    except ImportError:
        url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
        return "plain HTTP", [_ask(url, _question(number)) for number in range(count)]
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        return "tritonclient", [_ask_triton(triton, client, model, _question(n)) for n in range(count)]


def likeness(first: list[NDArray[np.float32]], second: list[NDArray[np.float32]]) -> float:
    """The mean cosine of answers to the same questions."""
    return float(np.mean([a @ b for a, b in zip(first, second, strict=True)]))


def _question(number: int) -> Inputs:
    """Tokens, as a tokenizer gives them."""
    random = np.random.default_rng(number)
    ids = random.integers(1000, 30_000, (1, int(random.integers(8, 24))))
    ids[:, 0], ids[:, -1] = _FIRST, _LAST
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def _embedding(state: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = state.reshape(-1, state.shape[-1]).mean(axis=0)
    found: NDArray[np.float32] = mean / np.linalg.norm(mean)
    return found


def _ask_triton(triton: Any, client: Any, model: str, inputs: Inputs) -> NDArray[np.float32]:
    given = []
    for name, array in inputs.items():
        given.append(triton.InferInput(name, array.shape, "INT64"))
        given[-1].set_data_from_numpy(array)
    answer = client.infer(model, given)
    return _embedding(answer.as_numpy(answer.get_response()["outputs"][0]["name"]))


def _ask(url: str, inputs: Inputs) -> NDArray[np.float32]:
    rows = [
        {"name": name, "datatype": "INT64", "shape": array.shape, "data": array.ravel().tolist()}
        for name, array in inputs.items()
    ]
    request = urllib.request.Request(url, json.dumps({"inputs": rows}).encode())  # noqa: S310  as above: http
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        output = json.load(answer)["outputs"][0]
    return _embedding(np.array(output["data"], np.float32).reshape(output["shape"]))
