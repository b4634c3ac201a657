"""Uses of operators on random shapes: functions that draw attributes, inputs and an opset for each."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CASES = {}


@dataclass
class Use:
    """One node and what it reads; `makes` outputs are asked of it, and `model` the rest of the graph."""

    operator: str
    inputs: list
    attributes: dict = field(default_factory=dict)
    opset: int = 17
    makes: int = 1

    @property
    def model(self):
        names = [f"x{place}" if array is not None else "" for place, array in enumerate(self.inputs)]
        ports = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
            )
            for name, array in zip(names, self.inputs, strict=True)
            if name
        ]
        outputs = [helper.make_empty_tensor_value_info(f"y{place}") for place in range(self.makes)]
        node = helper.make_node(self.operator, names, [out.name for out in outputs], **self.attributes)
        graph = helper.make_graph([node], "use", ports, outputs)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    @property
    def given(self):
        return {f"x{place}": array for place, array in enumerate(self.inputs) if array is not None}


def case(*operators):
    def add(function):
        for operator in operators:
            CASES.setdefault(operator, []).append(partial(function, operator))
        return function

    return add


def floats(rng, *shape, scale=1.0):
    return np.asarray(rng.normal(0, scale, shape), np.float32)


def dims(rng, least=0, most=4):
    return tuple(int(dim) for dim in rng.integers(1, 7, rng.integers(least, most + 1)))


def like(rng, shape):
    """A shape that broadcasts with this one."""
    return tuple(1 if rng.random() < 0.3 else dim for dim in shape[int(rng.integers(0, len(shape) + 1)) :])


def ints(*values):
    return np.array(values, np.int64)


@case("Add", "Sub", "Mul", "Div", "Max", "Min")
def pairs(operator, rng):
    shape = dims(rng)
    if rng.random() < 0.3:
        a, b = (rng.integers(1, 9, s).astype(np.int64) for s in (shape, like(rng, shape)))
        return Use(operator, [-a, b])
    scale = 10.0 ** rng.integers(-3, 4)
    return Use(operator, [floats(rng, *shape, scale=scale), floats(rng, *like(rng, shape))])


@case("Pow")
def powers(operator, rng):
    exponent = np.float32(rng.choice([2, 3, 0.5, -1.5]))
    return Use(operator, [np.abs(floats(rng, *dims(rng))) + np.float32(1e-3), np.asarray(exponent)])


@case("Sqrt", "Reciprocal", "Log")
def positive(operator, rng):
    x = np.exp(floats(rng, *dims(rng), scale=5))
    return Use(operator, [x.astype(np.float32)])


@case("Exp", "Erf", "Tanh", "Sigmoid", "HardSigmoid", "Relu", "LeakyRelu", "Neg", "Abs", "Floor", "Ceil")
def functions(operator, rng):
    return Use(operator, [floats(rng, *dims(rng), 64, scale=float(10.0 ** rng.uniform(-4, 1.3)))])


@case("Clip")
def clips(operator, rng):
    limits = [np.float32(-0.5), np.float32(0.7)]
    kept = [limit if rng.random() < 0.8 else None for limit in limits]
    if rng.random() < 0.3:
        return Use(operator, [floats(rng, *dims(rng))], {"min": -0.5, "max": 0.7}, 6)
    return Use(operator, [floats(rng, *dims(rng)), *(None if k is None else np.asarray(k) for k in kept)])


@case("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def comparisons(operator, rng):
    shape = dims(rng)
    return Use(operator, [rng.integers(0, 3, s).astype(np.float32) for s in (shape, like(rng, shape))])


@case("And", "Or")
def logic(operator, rng):
    shape = dims(rng)
    return Use(operator, [rng.random(s) < 0.5 for s in (shape, like(rng, shape))])


@case("Not")
def negated(operator, rng):
    return Use(operator, [rng.random(dims(rng)) < 0.5])


@case("Where")
def choices(operator, rng):
    shape = dims(rng)
    return Use(
        operator, [rng.random(like(rng, shape)) < 0.5, floats(rng, *shape), floats(rng, *like(rng, shape))]
    )


@case("Cast")
def casts(operator, rng):
    to = int(rng.choice([TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL,
                         TensorProto.FLOAT16, TensorProto.DOUBLE]))  # fmt: skip
    kind = rng.choice(["f4", "i8", "?"])
    x = (floats(rng, *dims(rng), scale=30)).astype(kind)
    return Use(operator, [x], {"to": to})


@case("MatMul")
def products(operator, rng):
    m, k, n = (int(dim) for dim in rng.integers(1, [9, 400, 9]))
    stack = dims(rng, 0, 2)
    a, b = floats(rng, *like(rng, stack), m, k), floats(rng, *stack, k, n)
    form = rng.random()
    if form < 0.15:
        a = a.reshape(-1, k)[0]
    elif form < 0.3:
        b = np.ascontiguousarray(b.reshape(-1, k, n)[0, :, 0])
    if form > 0.85:
        a, b = a + np.float32(3), b + np.float32(2)
    return Use(operator, [a, b])


@case("MatMul")
def constant_products(operator, rng):
    """Equal numbers all over: rounding errors do not cancel, so sums are further off than by chance."""
    k = int(rng.integers(100, 3000))
    a, b = (np.full(shape, rng.normal(), np.float32) for shape in ((4, k), (k, 5)))
    return Use(operator, [a, b])


@case("Gemm")
def gemms(operator, rng):
    m, k, n = (int(dim) for dim in rng.integers(1, [9, 300, 9]))
    flips = [int(rng.integers(0, 2)) for _ in range(2)]
    a = floats(rng, *((k, m) if flips[0] else (m, k)))
    b = floats(rng, *((n, k) if flips[1] else (k, n)))
    c = [floats(rng, *like(rng, (m, n)))] if rng.random() < 0.8 else []
    attributes = {"transA": flips[0], "transB": flips[1], "alpha": 0.7, "beta": 1.3}
    return Use(operator, [a, b, *c], attributes if rng.random() < 0.5 else dict(list(attributes.items())[:2]))


def windows(rng, rank, kernel):
    found = {"strides": [int(s) for s in rng.integers(1, 4, rank)]}
    if rng.random() < 0.3 and all(s <= k for s, k in zip(found["strides"], kernel, strict=True)):
        found["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    else:
        pads = [int(rng.integers(0, (k + 1) // 2 + (k > 1))) for k in kernel]
        found["pads"] = [min(p, k - 1) for p, k in zip(pads, kernel, strict=True)] * 2
    return found


@case("Conv")
def convolutions(operator, rng):
    rank, groups = int(rng.integers(1, 3)), int(rng.choice([1, 1, 2, 3]))
    kernel = [int(k) for k in rng.integers(1, 5, rank)]
    channels, made = groups * int(rng.integers(1, 6)), groups * int(rng.integers(1, 6))
    size = [int(s) for s in rng.integers(9, 20, rank)]
    x = floats(rng, int(rng.integers(1, 4)), channels, *size)
    w = floats(rng, made, channels // groups, *kernel)
    attributes = windows(rng, rank, kernel) | {"group": groups}
    if "auto_pad" not in attributes and rng.random() < 0.5:
        attributes["dilations"] = [2] * rank
    return Use(operator, [x, w, *([floats(rng, made)] if rng.random() < 0.7 else [])], attributes)


@case("MaxPool", "AveragePool")
def pools(operator, rng):
    rank = int(rng.integers(1, 3))
    kernel = [int(k) for k in rng.integers(1, 4, rank)]
    size = [int(s) for s in rng.integers(5, 14, rank)]
    attributes = windows(rng, rank, kernel) | {"kernel_shape": kernel}
    if "pads" in attributes:
        attributes["ceil_mode"] = int(rng.integers(0, 2))
        if operator == "AveragePool" and not attributes["ceil_mode"]:
            attributes["count_include_pad"] = int(rng.integers(0, 2))
    return Use(operator, [floats(rng, 2, 3, *size)], attributes)


@case("GlobalMaxPool", "GlobalAveragePool")
def whole_pools(operator, rng):
    return Use(operator, [floats(rng, 2, 3, *(int(s) for s in rng.integers(1, 30, 2)))])


@case("ReduceSum", "ReduceMean", "ReduceMax")
def reductions(operator, rng):
    shape = (*dims(rng, 1, 2), int(rng.integers(1, 500)))
    x = floats(rng, *shape) + np.float32(rng.choice([0, 3]))
    axes = [int(axis) for axis in rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]]
    attributes = {"keepdims": int(rng.integers(0, 2))}
    if operator == "ReduceSum":
        return Use(operator, [x, ints(*axes)], attributes, 13)
    return Use(operator, [x], {**attributes, "axes": axes}, 13)


@case("ReduceMean", "ReduceSum")
def constant_reductions(operator, rng):
    x = np.full((3, int(rng.integers(100, 3000))), rng.normal(), np.float32)
    return Use(operator, [x, ints(1)] if operator == "ReduceSum" else [x],
               {} if operator == "ReduceSum" else {"axes": [1]}, 13)  # fmt: skip


@case("LayerNormalization")
def layer_norms(operator, rng):
    shape = (*dims(rng, 1, 2), int(rng.integers(8, 400)))
    x = floats(rng, *shape) * np.float32(rng.choice([0.1, 1, 20])) + np.float32(rng.choice([0, 2]))
    axis = int(rng.choice([-1, len(shape) - 2]))
    wide = shape[axis:] if axis >= 0 else shape[-1:]
    bias = [floats(rng, *wide)] if rng.random() < 0.8 else []
    return Use(operator, [x, floats(rng, *wide), *bias], {"axis": axis, "epsilon": 1e-5})


@case("BatchNormalization")
def batch_norms(operator, rng):
    c = int(rng.integers(1, 9))
    x = floats(rng, 2, c, *dims(rng, 1, 2), scale=3)
    inputs = [x, floats(rng, c), floats(rng, c), floats(rng, c), np.abs(floats(rng, c)) + np.float32(0.1)]
    return Use(operator, inputs, {"epsilon": 1e-5}, int(rng.choice([9, 14, 15])))


@case("Softmax")
def softmaxes(operator, rng):
    shape = (*dims(rng, 1, 3), int(rng.integers(1, 300)))
    x = floats(rng, *shape, scale=float(rng.choice([0.1, 1, 10, 50])))
    return Use(operator, [x], {"axis": int(rng.integers(0, len(shape)))}, int(rng.choice([11, 13, 17])))


@case("QuantizeLinear")
def quantizers(operator, rng):
    x = floats(rng, 4, 6, 5, scale=3)
    kind = rng.choice(["u1", "i1"])
    if rng.random() < 0.5:
        return Use(operator, [x, np.float32(0.03), np.array(3, kind)])
    scale = np.abs(floats(rng, 6)) * np.float32(0.02) + np.float32(0.01)
    return Use(operator, [x, scale, rng.integers(0, 9, 6).astype(kind)], {"axis": 1})


@case("QuantizeLinear")
def ties(operator, rng):
    x = (rng.integers(-40, 40, (50,)) / 2).astype(np.float32) * np.float32(0.1)
    return Use(operator, [x, np.float32(0.1), np.array(100, "u1")])


@case("DequantizeLinear")
def dequantizers(operator, rng):
    if rng.random() < 0.5:
        return Use(
            operator,
            [rng.integers(-128, 128, (4, 6)).astype("i1"), np.float32(0.03), np.array(3, "i1")],
            opset=19,
        )
    scale = np.abs(floats(rng, 6)) + np.float32(0.01)
    x, zero = rng.integers(0, 256, (4, 6)).astype("u1"), rng.integers(0, 256, 6).astype("u1")
    return Use(operator, [x, scale, zero], {"axis": 1}, 19)


@case("Reshape")
def reshapes(operator, rng):
    return Use(
        operator, [floats(rng, 2, 3, 4), ints(*[(-1, 4), (0, -1), (24,), (2, 0, 4)][rng.integers(0, 4)])]
    )


@case("Unsqueeze")
def unsqueezes(operator, rng):
    axes = [[0], [1, -1], [-2]][rng.integers(0, 3)]
    if rng.random() < 0.5:
        return Use(operator, [floats(rng, 2, 3), ints(*axes)])
    return Use(operator, [floats(rng, 2, 3)], {"axes": axes}, 11)


@case("Squeeze")
def squeezes(operator, rng):
    x = floats(rng, 1, 3, 1, 2)
    if rng.random() < 0.3:
        return Use(operator, [x])
    axes = [[0], [2], [0, -2]][rng.integers(0, 3)]
    return Use(operator, [x, ints(*axes)]) if rng.random() < 0.5 else Use(operator, [x], {"axes": axes}, 11)


@case("Flatten")
def flattens(operator, rng):
    return Use(operator, [floats(rng, 2, 3, 4)], {"axis": int(rng.integers(-2, 4))})


@case("Transpose")
def transposes(operator, rng):
    shape = dims(rng, 1, 4)
    order = [int(axis) for axis in rng.permutation(len(shape))]
    return Use(operator, [floats(rng, *shape)], {"perm": order} if rng.random() < 0.8 else {})


@case("Shape")
def shapes(operator, rng):
    attributes = [{}, {"start": 1}, {"start": -2, "end": -1}, {"end": 9}][rng.integers(0, 4)]
    return Use(operator, [floats(rng, *dims(rng, 2, 4))], attributes)


@case("Size", "Identity")
def plain(operator, rng):
    return Use(operator, [floats(rng, *dims(rng))])


@case("Expand")
def expansions(operator, rng):
    shape = dims(rng, 1, 4)
    return Use(operator, [floats(rng, *like(rng, shape)), ints(*shape)])


@case("Concat")
def joins(operator, rng):
    shape = list(dims(rng, 1, 4))
    axis, arrays = int(rng.integers(0, len(shape))), []
    for _ in range(rng.integers(1, 4)):
        shape[axis] = int(rng.integers(1, 5))
        arrays.append(floats(rng, *shape))
    return Use(operator, arrays, {"axis": axis - len(shape) * int(rng.integers(0, 2))})


@case("Split")
def parts(operator, rng):
    x = floats(rng, 2, 6, 3)
    if rng.random() < 0.5:
        return Use(operator, [x, ints(1, 2, 3)], {"axis": 1}, makes=3)
    if rng.random() < 0.5:
        return Use(operator, [x], {"axis": -2, "split": [4, 2]}, 11, 2)
    return Use(operator, [x], {"axis": 1}, makes=2)


@case("Slice")
def slices(operator, rng):
    shape = dims(rng, 1, 4)
    axes = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
    starts, ends = (rng.integers(-9, 9, len(axes)) for _ in range(2))
    steps = rng.choice([1, 1, 2, -1, -2], len(axes))
    if rng.random() < 0.3:
        ends = np.where(steps > 0, 2**63 - 1, -(2**63))
    return Use(operator, [floats(rng, *shape), *(ints(*row) for row in (starts, ends, axes, steps))])


@case("Gather")
def gathers(operator, rng):
    shape = dims(rng, 1, 3)
    axis = int(rng.integers(0, len(shape)))
    places = rng.integers(-shape[axis], shape[axis], dims(rng, 0, 2))
    return Use(operator, [floats(rng, *shape), np.asarray(places)], {"axis": axis})


@case("Pad")
def pads(operator, rng):
    mode = str(rng.choice(["constant", "reflect", "edge"]))
    widths = ints(*rng.integers(0, 3, 4))
    fill = [np.asarray(np.float32(0.5))] if mode == "constant" and rng.random() < 0.5 else []
    return Use(operator, [floats(rng, 4, 5), widths, *fill], {"mode": mode})


@case("ConstantOfShape")
def filled(operator, rng):
    value = numpy_helper.from_array(np.array([[7], [2.5]][rng.integers(0, 2)], np.float32))
    return Use(operator, [ints(*dims(rng, 1, 3))], {"value": value} if rng.random() < 0.7 else {})


@case("Range")
def ranges(operator, rng):
    if rng.random() < 0.5:
        return Use(
            operator, [np.asarray(np.int64(item)) for item in (1, rng.integers(2, 40), rng.integers(1, 4))]
        )
    return Use(operator, [np.asarray(np.float32(item)) for item in (-1.5, rng.uniform(3, 90), 0.3)])


@case("Resize")
def resizes(operator, rng):
    scales = np.array([1, 1, *rng.integers(1, 4, 2)], np.float32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return Use(operator, [floats(rng, 1, 2, 3, 4), None, scales], attributes)


@case("LSTM")
def recurrences(operator, rng):
    steps, batch, inputs, size = (int(dim) for dim in rng.integers(1, [5, 4, 30, 30]))
    x, w, r = (
        floats(rng, steps, batch, inputs),
        floats(rng, 1, 4 * size, inputs),
        floats(rng, 1, 4 * size, size),
    )
    parts = [x, w * np.float32(0.3), r * np.float32(0.2), floats(rng, 1, 8 * size), None]
    states = [floats(rng, 1, batch, size), floats(rng, 1, batch, size)]
    form = rng.random()
    if form < 0.2:
        parts, states = parts[:3], []
    return Use(operator, [*parts, *states], {"hidden_size": size}, makes=3)
