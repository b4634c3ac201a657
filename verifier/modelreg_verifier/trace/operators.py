"""Kinds of ONNX operators, by what they do to small differences (https://onnx.ai/onnx/operators/)."""

__all__ = ["CHOOSING", "EXACT", "FLAT", "HEAVY", "MIXES", "MOVES", "NORMS", "QUANTIZERS", "STANDARD_DOMAINS"]

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
"""Two names of the domain in which ONNX defines its operators."""
FLAT = frozenset(
    {
        "AveragePool",
        "DequantizeLinear",
        "Erf",
        "Exp",
        "GlobalAveragePool",
        "HardSigmoid",
        "LogSoftmax",
        "Pow",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceMean",
        "Sigmoid",
        "Softmax",
        "Sqrt",
        "Tanh",
    }
)
"""They saturate, flatten or round: behind them a difference looks smaller than it was."""
MOVES = frozenset(
    {
        "Cast",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""They re-arrange their first input."""
MIXES = frozenset({"Concat", "If"})
"""They pass on any of what they read."""
HEAVY = frozenset(
    {
        "Attention",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "Einsum",
        "GRU",
        "Gemm",
        "LSTM",
        "MatMul",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "RNN",
    }
)
"""They do most of the work, and each value that they make depends on many."""
NORMS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
"""They normalise."""

QUANTIZERS = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"})
"""Their first output stands for floats, rounded to steps."""
EXACT = frozenset(
    {
        "Add",
        "And",
        "Concat",
        "Equal",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Mul",
        "Not",
        "Or",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
        "Xor",
    }
)
"""Of integers, truths and strings they make such again, and every machine makes the same."""
CHOOSING = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Compress",
        "If",
        "Loop",
        "NonMaxSuppression",
        "NonZero",
        "Scan",
        "TopK",
        "Unique",
    }
)
"""They choose by values, so that a difference in the last bit can lead to another shape."""
