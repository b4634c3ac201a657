"""Small graphs to cut: a BERT of two layers, a switch on a fixed input, a graph with early outputs."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, parser

from modelreg_cli.demo_onnx import Shape, bert_onnx

TINY = Shape(layers=2, heads=2, hidden=16)
WORDS = 50


def bert(seed=0):
    rng = np.random.default_rng(seed)
    wide = 4 * TINY.hidden
    parts = {"attention.self.query": None, "attention.self.key": None, "attention.self.value": None}
    parts |= {"attention.output.dense": None, "intermediate.dense": (wide, TINY.hidden)}
    parts |= {"output.dense": (TINY.hidden, wide)}
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, TINY.hidden)
              for name, rows in (("word", WORDS), ("token_type", 2), ("position", 64))}  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    for layer in range(TINY.layers):
        place = f"encoder.layer.{layer}"
        norms += [f"{place}.attention.output.LayerNorm", f"{place}.output.LayerNorm"]
        for name, shape in parts.items():
            shapes[f"{place}.{name}.weight"] = shape or (TINY.hidden, TINY.hidden)
            shapes[f"{place}.{name}.bias"] = (shape or (TINY.hidden,))[:1]
    weights = {name: rng.normal(0, 0.2, shape) for name, shape in shapes.items()}
    weights |= {f"{name}.weight": 1 + rng.normal(0, 0.1, TINY.hidden) for name in norms}
    weights |= {f"{name}.bias": rng.normal(0, 0.1, TINY.hidden) for name in norms}
    return bert_onnx({name: array.astype(np.float32) for name, array in weights.items()}, TINY)


def sentences(batch=1, seed=0, length=9):
    ids = np.random.default_rng(seed).integers(0, WORDS, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def parsed(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')


def switch():
    """Another network for each rate, and inside the first an `If` on the shape of x."""
    return parsed(
        """
        switch (float[N, 2] x, int64 rate) => (float[N, 2] y, float[N, 2] z)
        <int64 fast = {16000}, float[2] one = {1.0, 1.0}> {
          same = Equal(rate, fast)
          y, mid = If (same) <
            then_branch = quick () => (float[N, 2] a, float[N, 2] b) <float[2] two = {2.0, 2.0}> {
              b = Add(x, two)
              size = Size(x)
              four = Constant <value = int64 {4}> ()
              small = Less(size, four)
              a = If (small) <
                then_branch = t () => (float[N, 2] c) { c = Mul(b, two) },
                else_branch = e () => (float[N, 2] d) { d = Sub(b, two) }
              >
            },
            else_branch = slow () => (float[N, 2] f, float[N, 2] g) <float[2] ten = {10.0, 10.0}> {
              g = Mul(x, ten)
              f = Sub(g, one)
            }
          >
          z = Add(mid, one)
        }
        """
    )


def early():
    """`first` is an output before the end, and used again; `kept` is used in the last node only."""
    return parsed(
        """
        early (float[N, 2] x) => (float[N, 2] last, float[N, 2] first, float[N, 2] x2)
        <float[2] w = {2.0, 3.0}> {
          kept = Mul(x, w)
          first = Add(kept, w)
          x2 = Sub(first, w)
          next = Mul(first, first)
          last = Add(next, kept)
        }
        """
    )


def quantized():
    """Two linear layers of integers: x is rounded, multiplied, rounded, multiplied; and a rounded output."""
    return parsed(
        """
        quantized (float[N, 4] x) => (float[N, 4] y, uint8[N, 4] z)
        <float s = {0.05}, uint8 o = {128},
         float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float t = {2.0}> {
          a = QuantizeLinear(x, s, o)
          b = DequantizeLinear(a, s, o)
          c = MatMul(b, w)
          d = QuantizeLinear(c, t, o)
          e = DequantizeLinear(d, t, o)
          y = MatMul(e, w)
          z = QuantizeLinear(y, t, o)
          v = QuantizeLinear(w, t, o)
        }
        """
    )


def made_of(rows, inputs, outputs):
    """A graph of nodes that are pairs of what is read and what is made; the operators are of no library."""
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in (*inputs, *outputs)]
    nodes = [helper.make_node("Any", reads, makes, domain="test") for reads, makes in rows]
    constants = [numpy_helper.from_array(np.zeros(1, np.float32), "constant")]
    return helper.make_model(
        helper.make_graph(nodes, "made", port[: len(inputs)], port[len(inputs) :], constants)
    )
