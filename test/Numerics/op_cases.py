"""One-operator models over boundary shapes (0, 1, primes) for each family.

A case is (op, domain, opset, inputs, attributes, number of outputs); inputs
are arrays (or None where absent) and become initializers.
"""
import dataclasses
import itertools

import numpy as np
from onnx import TensorProto, helper

FAMILIES = {}


@dataclasses.dataclass
class Case:
    op: str
    inputs: list
    attrs: dict
    opset: int = 17
    domain: str = ""
    outputs: int = 1
    tolerance: float = 1e-5
    # "ort"; "reference" where ONNX Runtime has no kernel or deviates from the
    # specification; "castchain" for results that .npy files cannot hold; or a
    # function of the inputs in float64 where neither knows the case.
    oracle: object = "ort"

    def __str__(self):
        shapes = [None if x is None else (x.dtype.name, x.shape) for x in self.inputs]
        return f"{self.domain}:{self.op}@{self.opset} {shapes} {self.attrs}"


def family(function):
    FAMILIES[function.__name__] = function
    return function


rng = np.random.default_rng(20240501)
SHAPES = [(), (1,), (0,), (7,), (2, 3), (3, 1), (1, 5), (0, 3), (2, 3, 5), (1, 1, 1), (2, 0, 3)]
F = np.float32
I = np.int64


def f32(*shape, scale=1.0):
    return np.asarray(rng.normal(size=shape) * scale).astype(F)


def ints(low, high, *shape, dtype=I):
    return np.asarray(rng.integers(low, high, size=shape)).astype(dtype)


def bools(*shape):
    return np.asarray(rng.integers(0, 2, size=shape)).astype(bool)


def vec(*values, dtype=I):
    return np.array(values, dtype=dtype)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def skip_norm(x, skip, gamma):
    total = x + skip
    mean = total.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt(((total - mean) ** 2).mean(-1, keepdims=True) + 1e-12)
    return [(total - mean) * inverse * gamma, mean, inverse, total]


def attend(q, k, v):
    """q [b, s, n, h], k and v [b, t, n, h]."""
    scores = np.einsum("bsnh,btnh->bnst", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores)
    weights /= weights.sum(-1, keepdims=True)
    return [np.einsum("bnst,btnh->bsnh", weights, v).reshape(q.shape[0], q.shape[1], -1)]


def lrn(size, alpha, beta, bias):
    def run(x):
        y = np.zeros_like(x)
        for i in range(x.shape[1]):
            part = x[:, max(0, i - (size - 1) // 2) : i + size // 2 + 1]
            y[:, i] = x[:, i] / (bias + alpha / size * (part**2).sum(1)) ** beta
        return [y]

    return run


def c(op, *inputs, opset=17, domain="", outputs=1, tolerance=1e-5, oracle="ort", **attrs):
    return Case(op, list(inputs), attrs, opset, domain, outputs, tolerance, oracle)


@family
def unary():
    plain = "Floor Ceil Round Sqrt Reciprocal Exp Log Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Sigmoid Tanh Softsign Softplus HardSwish Mish Abs Neg Sign Relu LeakyRelu Elu Selu Celu ThresholdedRelu HardSigmoid Shrink Identity".split()
    special = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, 60.0, -60.0, np.inf, -np.inf, np.nan], F)
    for op in plain:
        opset = 18 if op == "Mish" else 17
        for shape in SHAPES:
            x = f32(*shape)
            if op in ("Sqrt", "Log"):
                x = np.abs(x)
            if op in ("Asin", "Acos", "Atanh"):
                x = np.tanh(x)
            if op == "Acosh":
                x = np.abs(x) + 1
            yield c(op, x, opset=opset)
        if op not in ("Tan", "Sin", "Cos", "Shrink", "Softplus", "Mish", "ThresholdedRelu"):
            oracle = "reference" if op in ("Erf", "HardSigmoid", "Celu", "Elu", "Selu", "Sign", "HardSwish", "Tanh", "Sigmoid", "Sinh", "Cosh", "Asinh", "Acosh", "Relu", "LeakyRelu", "Softsign", "Exp") else "ort"
            yield c(op, special, opset=opset, oracle=oracle)
    for dtype in (np.int8, np.int32, np.int64):
        low = np.iinfo(dtype).min
        x = np.array([0, 1, -1, 5, -7, low, low + 1, np.iinfo(dtype).max], dtype)
        for op in ("Abs", "Neg", "Sign"):
            yield c(op, x)
        if dtype != np.int64:
            yield c("Relu", x, oracle="reference")
    for alpha in (0.1, 2.0):
        x = f32(3, 7)
        for op in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu"):
            yield c(op, x, alpha=alpha)
        yield c("Selu", x, alpha=alpha, gamma=1.5)
        yield c("HardSigmoid", x, alpha=alpha, beta=0.25)
        yield c("Swish", x, alpha=alpha, opset=24, oracle="reference")
        yield c("QuickGelu", x, alpha=alpha, domain="com.microsoft")
    yield c("Shrink", f32(3, 7), bias=0.2, lambd=0.7)
    for approximate in ("none", "tanh"):
        yield c("Gelu", f32(5, 7, scale=3), opset=20, approximate=approximate)
    yield c("IsNaN", special)
    yield c("IsInf", special)
    yield c("IsInf", special, detect_positive=0)
    yield c("IsInf", special, detect_negative=0)
    yield c("Not", bools(3, 5))
    yield c("BitwiseNot", ints(-100, 100, 7, dtype=np.int32), opset=18)
    yield c("BitwiseNot", ints(0, 255, 7, dtype=np.uint8), opset=18)
    yield c("Dropout", f32(2, 3), outputs=2)
    yield c("Clip", f32(5, 7), F(-0.5), F(0.5))
    yield c("Clip", f32(5, 7), None, F(0.5))
    yield c("Clip", f32(5, 7), F(-0.5))
    yield c("Clip", special, F(-0.5), F(0.5), oracle="reference")
    yield c("Clip", f32(5), F(1), F(-1), oracle="reference")
    yield c("Clip", ints(-9, 9, 11, dtype=np.int32), np.int32(-3), np.int32(4))
    yield c("Clip", ints(0, 200, 11, dtype=np.uint8), np.uint8(3), np.uint8(140))
    yield c("Clip", f32(5, 7), opset=6, min=-0.25, max=0.75)


@family
def binary():
    pairs = [((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 5), (3, 1)), ((0, 3), (1,)), ((1,), (0,)), ((2, 3), (2, 3)), ((7, 1), (1, 5)), ((1, 0, 1), (2, 1, 3))]
    for op in ("Add", "Sub", "Mul", "Div"):
        for a, b in pairs:
            yield c(op, f32(*a), f32(*b))
            x, y = ints(-20, 20, *a), ints(1, 9, *b)
            yield c(op, x, y)
        yield c(op, ints(-9, 9, 7, dtype=np.int32), ints(1, 5, 7, dtype=np.int32))
        yield c(op, ints(0, 255, 9, dtype=np.uint8), ints(1, 255, 9, dtype=np.uint8), oracle="reference")
        yield c(op, ints(-128, 127, 9, dtype=np.int8), ints(1, 127, 9, dtype=np.int8), oracle="reference")
    low = np.iinfo(np.int64).min
    yield c("Add", vec(low, 2**63 - 1), vec(-1, 1))
    yield c("Mul", vec(low, 2**62), vec(3, 4))
    yield c("Div", vec(-7, 7, -7), vec(2, -2, -2))
    yield c("Div", f32(4), np.array([0, -0.0, 1, 2], F))
    for a, b in pairs:
        for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            yield c(op, ints(0, 3, *a), ints(0, 3, *b))
        for op in ("And", "Or", "Xor"):
            yield c(op, bools(*a), bools(*b))
        yield c("Pow", np.abs(f32(*a)), f32(*b))
        yield c("Min", f32(*a), f32(*b), f32())
        yield c("Max", f32(*a), f32(*b))
        yield c("Mean", f32(*a), f32(*b))
        yield c("Sum", f32(*a), f32(*b), f32(1))
        yield c("Where", bools(*a), f32(*b), f32())
        yield c("Where", bools(*b), ints(0, 9, *a), ints(0, 9, 1))
        yield c("Mod", ints(-20, 20, *a), ints(1, 9, *b))
        yield c("Mod", f32(*a), np.abs(f32(*b)) + F(0.5), fmod=1)
    nan = np.array([np.nan, 1, np.inf, -np.inf, 0], F)
    for op in ("Equal", "Less", "Greater", "GreaterOrEqual", "LessOrEqual"):
        yield c(op, nan, np.array([np.nan, 1, np.inf, 3, -0.0], F))
    yield c("Max", nan, np.array([1, np.nan, 0, 0, 0], F))
    yield c("Min", nan, np.array([1, np.nan, 0, 0, 0], F))
    yield c("Equal", bools(5), bools(5))
    yield c("Less", ints(0, 2**63, 5, dtype=np.uint64), np.full(5, 2**63, np.uint64) + np.uint64(1), oracle="reference")
    yield c("Pow", ints(-5, 5, 9), vec(3))
    yield c("Pow", ints(1, 5, 9, dtype=np.int32), np.array([0.5], F), oracle="reference")
    yield c("Pow", f32(5), vec(2))
    yield c("Pow", f32(5), vec(-3, dtype=np.int32))
    for fmod in (0, 1):
        yield c("Mod", vec(-7, 7, -7, 7), vec(3, -3, -3, 3), fmod=fmod)
    yield c("Mod", ints(0, 255, 5, dtype=np.uint8), ints(1, 9, 5, dtype=np.uint8))
    for direction in ("LEFT", "RIGHT"):
        for dtype in (np.uint8, np.uint32, np.uint64):
            yield c("BitShift", ints(0, 200, 7, dtype=dtype), ints(0, 7, 7, dtype=dtype), direction=direction)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        yield c(op, ints(-99, 99, 3, 5, dtype=np.int32), ints(-99, 99, 5, dtype=np.int32), opset=18)
    yield c("PRelu", f32(2, 3, 5), f32(3, 1))
    yield c("PRelu", f32(2, 3), f32(1))
    yield c("Equal", np.array(["a", "b"], object), np.array(["a", "c"], object), opset=19, oracle="reference")
    yield c("Add", f32(2, 3, 5), f32(3), opset=6, axis=1, broadcast=1, oracle=lambda x, y: [x + y[:, None]])
    yield c("Mul", f32(2, 3), f32(3), opset=6, broadcast=1, oracle=lambda x, y: [x * y])


@family
def reduce():
    ops = "ReduceSum ReduceMean ReduceProd ReduceMax ReduceMin ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp".split()
    for op in ops:
        positive = op == "ReduceLogSum"
        for shape, axes in [((7,), [0]), ((2, 3, 5), [1]), ((2, 3, 5), [0, 2]), ((2, 3, 5), [-1]), ((1, 1), [0]), ((2, 3, 5), None), ((3, 1, 2), [2, 0])]:
            for keep in (0, 1):
                x = f32(*shape)
                x = np.abs(x) + F(0.1) if positive else x
                attrs = {} if axes is None else {"axes": axes}
                if op == "ReduceSum":
                    yield c(op, x, *([] if axes is None else [vec(*axes)]), keepdims=keep)
                else:
                    yield c(op, x, keepdims=keep, **attrs)
                yield c(op, x, *([] if axes is None else [vec(*axes)]), opset=18, keepdims=keep)
        yield c(op, ints(1, 5, 3, 4, dtype=np.int32), vec(1), opset=18)
        yield c(op, np.abs(f32(2, 3)), vec(dtype=I), opset=18, noop_with_empty_axes=1, oracle="reference")
    for op in ("ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1"):
        yield c(op, f32(2, 0, 3), vec(1), opset=18)
    yield c("ReduceMax", bools(3, 4), vec(1), opset=20, oracle="reference")
    yield c("ReduceMin", ints(0, 255, 3, 4, dtype=np.uint8), vec(0), opset=18)
    yield c("ReduceMax", np.array([[1, np.nan], [2, 3]], F), vec(1), opset=18, oracle="reference")
    for op in ("ArgMax", "ArgMin"):
        for keep, last in itertools.product((0, 1), (0, 1)):
            yield c(op, ints(0, 3, 2, 7, 3, dtype=np.int32), axis=1, keepdims=keep, select_last_index=last)
            yield c(op, f32(5, 3), axis=-1, keepdims=keep, select_last_index=last)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for shape in [(1,), (7,), (2, 3), (2, 3, 5), (0, 3), (1, 1, 1)]:
            for axis in range(-1, len(shape)):
                yield c(op, f32(*shape, scale=5), axis=axis)
                if axis >= 0:
                    yield c(op, f32(*shape, scale=5), axis=axis, opset=11)
    yield c("Softmax", np.array([[1e4, -1e4, 0], [-np.inf, 0, 1]], F))
    for shape in [(5,), (2, 3, 7), (0, 3), (1,)]:
        for axis in range(-1, len(shape)):
            for exclusive, reverse in itertools.product((0, 1), (0, 1)):
                yield c("CumSum", f32(*shape), vec(axis)[0], exclusive=exclusive, reverse=reverse)
    yield c("CumSum", ints(-9, 9, 3, 4, dtype=np.int32), np.int64(1))
    yield c("CumProd", f32(2, 5), np.int64(1), opset=26, oracle="reference")
    for largest, axis in itertools.product((0, 1), (0, 1, -1)):
        yield c("TopK", f32(5, 7), vec(3), axis=axis, largest=largest, outputs=2)
        yield c("TopK", ints(0, 3, 5, 7), vec(4), axis=axis, largest=largest, outputs=2)
    yield c("TopK", f32(5), vec(0), outputs=2)
    yield c("TopK", f32(5, 7), opset=9, k=2, outputs=2)
    for p in (1, 2):
        yield c("LpNormalization", f32(2, 3, 5), axis=1, p=p)


@family
def shape_ops():
    for shape in SHAPES:
        yield c("Shape", f32(*shape))
        yield c("Size", f32(*shape))
        for start, end in ((0, 1), (-1, 9), (1, -1), (-9, 2)):
            yield c("Shape", f32(*shape), start=start, end=end)
        if len(shape) <= 3:
            for axis in range(len(shape) + 1):
                yield c("Flatten", f32(*shape), axis=axis)
            for axis in range(-len(shape) - 1, len(shape) + 1):
                yield c("Unsqueeze", f32(*shape), vec(axis))
            yield c("Transpose", f32(*shape))
    yield c("Reshape", f32(2, 3, 5), vec(5, -1))
    yield c("Reshape", f32(2, 3, 5), vec(0, -1))
    yield c("Reshape", f32(2, 3, 5), vec(0, 0, 5, 1))
    yield c("Reshape", f32(0, 3), vec(3, 0), allowzero=1)
    yield c("Reshape", f32(), vec(1, 1))
    yield c("Reshape", f32(1), vec(dtype=I))
    yield c("Squeeze", f32(1, 3, 1))
    yield c("Squeeze", f32(1, 3, 1), vec(-1))
    yield c("Squeeze", f32(1, 3, 1), opset=11, axes=[0])
    yield c("Unsqueeze", f32(3, 2), vec(0, -1))
    yield c("Unsqueeze", f32(3, 2), opset=11, axes=[1, 3])
    for perm in itertools.permutations(range(3)):
        yield c("Transpose", f32(2, 3, 5), perm=list(perm))
    for axis in (0, 1, -1):
        yield c("Concat", f32(2, 3), f32(2, 3), axis=axis)
        yield c("Concat", f32(2, 3), f32(2, 0) if axis else f32(0, 3), f32(2, 3), axis=axis)
    yield c("Concat", ints(0, 9, 2), ints(0, 9, 1), ints(0, 9, 3), axis=0)
    yield c("Split", f32(7, 2), vec(3, 0, 4), outputs=3)
    yield c("Split", f32(2, 6), axis=1, outputs=3)
    yield c("Split", f32(2, 7), axis=1, opset=18, num_outputs=3, outputs=3)
    yield c("Split", f32(2, 6), axis=-1, opset=11, split=[2, 4], outputs=2)
    big = 2**63 - 1
    slices = [
        ([0], [big], None, None), ([1], [-1], [0], None), ([-3], [big], [1], [1]), ([big], [-big], [1], [-1]),
        ([0, 0], [2, 3], [1, 0], [2, 1]), ([5], [0], [0], [-2]), ([3], [1], [0], None), ([-100], [100], [1], [3]),
        ([100], [-100], [0], [-3]), ([0], [big], [0], [big]), ([6], [-2**63], [0], [-1]), ([1], [1], [1], None), ([-1], [-8], [1], [-1]),
    ]
    for starts, ends, axes, steps in slices:
        for shape in ((7, 5), (1, 7), (0, 3)):
            extra = [] if axes is None else [vec(*axes)]
            if steps is not None:
                extra.append(vec(*steps))
            yield c("Slice", f32(*shape), vec(*starts), vec(*ends), *extra)
    yield c("Slice", f32(7, 5), opset=9, starts=[1, 0], ends=[-1, 100], axes=[1, 0])
    yield c("Slice", f32(7, 5), np.array([1], np.int32), np.array([3], np.int32))
    for shape, target in [((3, 1), (2, 3, 4)), ((1,), (0,)), ((3,), (1,)), ((), (2,)), ((2, 1), (1, 5)), ((0, 1), (0, 3))]:
        yield c("Expand", f32(*shape), vec(*target))
    yield c("Tile", f32(2, 3), vec(2, 1))
    yield c("Tile", f32(2, 3), vec(0, 2))
    yield c("Tile", ints(0, 9, 2, 1), vec(1, 5))
    for mode in ("constant", "edge", "reflect"):
        yield c("Pad", f32(3, 5), vec(1, 2, 0, 3), mode=mode)
    yield c("Pad", f32(3, 5), vec(1, 2, 0, 3), mode="wrap", opset=19)
    yield c("Pad", f32(3, 5), vec(-1, 0, 2, -2))
    yield c("Pad", f32(3, 5), vec(1, 0, 2, 0), F(7.5))
    yield c("Pad", ints(0, 9, 3), vec(1, 1), I(4))
    yield c("Pad", f32(3, 5), vec(1, 2), F(1), vec(-1), opset=18)
    yield c("Pad", f32(0, 3), vec(1, 0, 1, 0))
    yield c("Pad", f32(3, 5), opset=10, pads=[0, 1, 1, 0], value=2.0)
    for upper, k in itertools.product((0, 1), (None, 0, 1, -2, 9, -9)):
        yield c("Trilu", f32(2, 4, 5), *([] if k is None else [I(k)]), upper=upper)
    yield c("Trilu", ints(0, 9, 3, 3), upper=0)
    for mode in ("DCR", "CRD"):
        yield c("DepthToSpace", f32(2, 8, 3, 2), blocksize=2, mode=mode)
    yield c("SpaceToDepth", f32(2, 3, 4, 6), blocksize=2)
    yield c("ReverseSequence", f32(5, 3, 2), vec(1, 5, 0), batch_axis=1, time_axis=0, oracle="reference")
    yield c("ReverseSequence", f32(3, 5), vec(2, 5, 1), batch_axis=0, time_axis=1)
    yield c("Range", I(3), I(20), I(4))
    yield c("Range", I(5), I(-6), I(-3))
    yield c("Range", I(5), I(5), I(1))
    yield c("Range", F(0.5), F(3.1), F(0.25))
    yield c("ConstantOfShape", vec(2, 3))
    yield c("ConstantOfShape", vec(dtype=I), value=helper.make_tensor("v", TensorProto.INT64, [1], [7]))
    yield c("ConstantOfShape", vec(0, 2), value=helper.make_tensor("v", TensorProto.BOOL, [1], [1]))
    yield c("EyeLike", f32(3, 5), k=1)
    yield c("EyeLike", f32(5, 3), k=-2, dtype=TensorProto.INT64)
    for axis in (-1, 0, 1):
        yield c("OneHot", vec(0, 2, -1, 9), vec(4), np.array([0.5, 2], F), axis=axis)
    yield c("OneHot", ints(0, 3, 2, 2), I(3), vec(0, 1), axis=1)
    yield c("Constant", value_ints=[1, 2, 3])
    yield c("Constant", value_floats=[1.5, -2.0])
    yield c("Constant", value_float=0.1)
    yield c("Constant", value_int=-3)


@family
def gather():
    for axis in (0, 1, -1):
        for shape in ((), (1,), (3,), (2, 2), (0,)):
            yield c("Gather", f32(3, 5, 2), ints(-2, 2, *shape), axis=axis)
    yield c("Gather", f32(3, 0), vec(1, 2), axis=0)
    yield c("Gather", ints(0, 9, 7), np.array([6, -7], np.int32))
    for axis in (0, 1, -1):
        yield c("GatherElements", f32(3, 5), ints(-3, 3, 3, 4) if axis == 1 else ints(-3, 3, 2, 5), axis=axis if axis != -1 else 0)
    yield c("GatherElements", f32(3, 5), ints(-5, 5, 3, 7), axis=1)
    yield c("GatherND", f32(3, 5, 2), ints(-3, 3, 4, 1))
    yield c("GatherND", f32(3, 5, 2), ints(-2, 2, 4, 3))
    yield c("GatherND", f32(3, 5, 2), ints(0, 2, 3, 2), batch_dims=1)
    yield c("GatherND", f32(2, 3, 5), ints(0, 3, 2, 4, 1), batch_dims=1)
    yield c("GatherND", f32(3, 5), ints(0, 3, 0, 2))
    for reduction in ("none", "add", "mul", "max", "min"):
        yield c("ScatterElements", f32(4, 5), vec(0, 2, 3, 1, 2).reshape(1, 5), f32(1, 5), axis=0, reduction=reduction, opset=18)
        yield c("ScatterElements", ints(0, 9, 4, 5), vec(0, -1, -2, 1).reshape(4, 1), ints(0, 9, 4, 1), axis=1, reduction=reduction, opset=18)
        yield c("ScatterND", f32(4, 5, 2), vec(0, 3).reshape(2, 1), f32(2, 5, 2), reduction=reduction, opset=18)
        yield c("ScatterND", f32(4, 5), vec(0, 1, 3, -1, 2, 0).reshape(3, 2), f32(3), reduction=reduction, opset=18)
    yield c("ScatterElements", f32(5), vec(1, 1, 1), f32(3), reduction="add", opset=18)
    yield c("Scatter", f32(3, 3), vec(1, 0, 2).reshape(1, 3), f32(1, 3), opset=9)
    yield c("ScatterND", f32(3, 2), ints(0, 1, 0, 1), f32(0, 2))
    yield c("Compress", f32(3, 5), np.array([0, 1, 1], bool), axis=0)
    yield c("Compress", f32(3, 5), np.array([1, 0, 0, 1], bool), axis=1)
    yield c("Compress", f32(3, 5), bools(15))
    yield c("NonZero", ints(0, 2, 3, 5))
    yield c("NonZero", f32(0, 3))
    yield c("NonZero", ints(0, 2, 7))
    for sorted_ in (0, 1):
        yield c("Unique", ints(0, 5, 13), sorted=sorted_, outputs=4)
        yield c("Unique", f32(3), sorted=sorted_, outputs=4)
        yield c("Unique", ints(0, 2, 5, 2), sorted=sorted_, axis=0, outputs=4)
    for mode in ("linear", "circular"):
        yield c("TensorScatter", f32(2, 3, 7, 4), f32(2, 3, 2, 4), vec(1, 5), mode=mode, opset=24, oracle="reference")


@family
def matmul():
    shapes = [((3, 5), (5, 7)), ((5,), (5,)), ((5,), (5, 3)), ((2, 3, 5), (5,)), ((2, 3, 5), (5, 7)), ((2, 3, 5), (2, 5, 7)),
              ((4, 1, 3, 5), (2, 5, 7)), ((0, 5), (5, 3)), ((3, 0), (0, 2)), ((1, 1), (1, 1)), ((13, 17), (17, 19)), ((5, 300), (300, 11)), ((2, 3), (3, 600))]
    for a, b in shapes:
        yield c("MatMul", f32(*a), f32(*b))
    yield c("MatMul", ints(-9, 9, 3, 5, dtype=np.int32), ints(-9, 9, 5, 2, dtype=np.int32))
    yield c("MatMul", vec(2**40, 2**41).reshape(1, 2), vec(2**40, 3).reshape(2, 1))
    for ta, tb in itertools.product((0, 1), (0, 1)):
        a = f32(5, 3) if ta else f32(3, 5)
        b = f32(7, 5) if tb else f32(5, 7)
        for bias in ([], [f32(7)], [f32(3, 1)], [f32(1)], [f32(3, 7)], [f32()]):
            yield c("Gemm", a, b, *bias, transA=ta, transB=tb, alpha=0.5, beta=2.0)
        yield c("FusedMatMul", f32(2, *a.shape), f32(2, *b.shape), transA=ta, transB=tb, alpha=0.25, domain="com.microsoft")
    yield c("Gemm", f32(0, 3), f32(3, 2), f32(2))
    yield c("Gemm", f32(3, 0), f32(0, 2), f32(2))
    for dtype in (np.uint8, np.int8):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        a, b = ints(low, high + 1, 3, 5, dtype=dtype), ints(low, high + 1, 5, 7, dtype=dtype)
        # ONNX Runtime knows no signed left operand.
        oracle = "reference" if dtype == np.int8 else "ort"
        yield c("MatMulInteger", a, b, oracle=oracle)
        yield c("MatMulInteger", a, b, dtype(3), dtype(7), oracle=oracle)
    yield c("MatMulInteger", ints(0, 255, 2, 5, dtype=np.uint8), ints(0, 255, 5, 3, dtype=np.uint8), np.uint8(3), ints(0, 255, 3, dtype=np.uint8))
    yield c("QLinearMatMul", ints(0, 255, 3, 5, dtype=np.uint8), F(0.03), np.uint8(100), ints(0, 255, 5, 2, dtype=np.uint8), F(0.02), np.uint8(120), F(0.05), np.uint8(110))
    for equation, *tensors in [
        ("ij,jk->ik", (3, 5), (5, 7)), ("ij,jk", (3, 5), (5, 7)), ("bij,bjk->bik", (2, 3, 5), (2, 5, 7)), ("ij->ji", (3, 5)), ("ii->i", (5, 5)),
        ("ii", (5, 5)), ("ij->", (3, 5)), ("i,j->ij", (3,), (5,)), ("...ij,...jk->...ik", (2, 3, 5), (1, 5, 7)), ("bshd,bthd->bhst", (2, 3, 2, 5), (2, 7, 2, 5)),
        ("ij,j->i", (3, 0), (0,)), ("i,i->", (5,), (5,)), ("ij,ik,il->jkl", (3, 2), (3, 5), (3, 2)), ("...i->...", (2, 3, 5)), ("abc,cd->abd", (2, 3, 5), (5, 2)),
        ("i,i->i", (7,), (7,)), ("...->...", (2, 3)), (" i j , j -> i ", (3, 5), (5,)),
    ]:
        yield c("Einsum", *[f32(*shape) for shape in tensors], equation=equation, oracle="reference" if 0 in tensors[0] else "ort")
    yield c("GemmFastGelu", f32(3, 5), f32(5, 7), f32(7), domain="com.microsoft", oracle=lambda x, w, b: [gelu_tanh(x @ w + b)])
    for bits, block, k in itertools.product((4, 8), (16, 32), (16, 32, 37)):
        n, blocks = 5, -(-k // block)
        codes = ints(0, 256, n, blocks, block * bits // 8, dtype=np.uint8)
        scales = np.abs(f32(n * blocks)) + F(0.01)
        zeros = ints(0, 256, n * -(-blocks * bits // 8), dtype=np.uint8)
        attrs = dict(K=k, N=n, bits=bits, block_size=block, domain="com.microsoft")
        yield c("MatMulNBits", f32(3, k), codes, scales, **attrs)
        yield c("MatMulNBits", f32(2, 3, k), codes, scales, zeros, **attrs)
        if bits == 4:
            yield c("MatMulNBits", f32(3, k), codes, scales, None, None, f32(n), **attrs)


@family
def norm():
    for shape in [(1,), (7,), (2, 3), (2, 3, 5), (0, 3), (1, 1, 1)]:
        for axis in range(-1, len(shape)):
            tail = shape[axis:]
            yield c("LayerNormalization", f32(*shape), f32(*tail), f32(*tail), axis=axis, epsilon=1e-3, outputs=3, oracle="reference" if 0 in shape else "ort")
            yield c("LayerNormalization", f32(*shape), f32(*tail), axis=axis, oracle="reference" if 0 in shape else "ort")
            yield c("RMSNormalization", f32(*shape), f32(*tail), axis=axis, opset=23, oracle="reference")
        yield c("SimplifiedLayerNormalization", f32(*shape), f32(shape[-1]), epsilon=1e-4) if 0 not in shape else c("Identity", f32(1))
    for shape in [(2, 3), (2, 3, 5), (1, 3, 2, 5), (0, 3, 2)]:
        factors = [f32(3), f32(3), f32(3), np.abs(f32(3))]
        yield c("BatchNormalization", f32(*shape), *factors, oracle="reference" if 0 in shape or len(shape) < 3 else "ort")
        if len(shape) > 2 and 0 not in shape:
            yield c("InstanceNormalization", f32(*shape), f32(3), f32(3), oracle="reference" if len(shape) == 3 else "ort")
    yield c("GroupNormalization", f32(2, 6, 5), f32(6), f32(6), num_groups=3, opset=21, oracle="reference")
    yield c("MeanVarianceNormalization", f32(2, 3, 5, 2))
    yield c("MeanVarianceNormalization", f32(2, 3, 5), axes=[0, 2])
    for size in (1, 3, 4):
        yield c("LRN", f32(2, 5, 3, 2), size=size, alpha=0.1, beta=0.6, bias=1.5, oracle=lrn(size, 0.1, 0.6, 1.5) if size == 4 else "ort")
    m = dict(domain="com.microsoft")
    for shape in [(1, 1, 7), (2, 3, 5)]:
        w = shape[-1]
        yield c("SkipLayerNormalization", f32(*shape), f32(*shape), f32(w), f32(w), f32(w), epsilon=1e-5, **m)
        yield c("SkipLayerNormalization", f32(*shape), f32(*shape), f32(w), outputs=4, oracle=skip_norm, **m)
        yield c("SkipLayerNormalization", f32(*shape), f32(1, *shape[1:]), f32(w), f32(w), **m)
        yield c("SkipSimplifiedLayerNormalization", f32(*shape), f32(*shape), f32(w), f32(w), **m)
        yield c("BiasGelu", f32(*shape), f32(w), **m)
        yield c("FastGelu", f32(*shape), f32(w), tolerance=2e-5, **m)
        yield c("FastGelu", f32(*shape), tolerance=2e-5, **m)
        yield c("Gelu", f32(*shape), **m)
    ids = ints(0, 7, 2, 3, dtype=np.int32)
    tables = [f32(7, 5), f32(9, 5), f32(2, 5), f32(5), f32(5)]
    yield c("EmbedLayerNormalization", ids, ints(0, 2, 2, 3, dtype=np.int32), *tables, ints(0, 2, 2, 3, dtype=np.int32), outputs=2, **m)
    yield c("EmbedLayerNormalization", ids, None, tables[0], tables[1], None, tables[3], tables[4], outputs=2, **m)
    yield c("EmbedLayerNormalization", ids, None, tables[0], tables[1], None, tables[3], tables[4], None, ints(0, 9, 2, 3, dtype=np.int32), outputs=2, **m)


@family
def conv():
    cases = [((1, 1, 5), (1, 1, 3), {}), ((2, 3, 7, 5), (4, 3, 3, 2), {}), ((2, 4, 7, 5), (6, 2, 3, 3), dict(group=2, pads=[1, 0, 1, 2])),
             ((1, 2, 9, 8), (3, 2, 3, 3), dict(strides=[2, 3])), ((1, 2, 9, 8), (3, 2, 3, 3), dict(dilations=[2, 1])),
             ((1, 4, 5, 5), (4, 1, 3, 3), dict(group=4, auto_pad="SAME_UPPER")), ((1, 1, 6, 5), (2, 1, 2, 3), dict(auto_pad="SAME_LOWER", strides=[2, 2])),
             ((1, 1, 4, 4, 4), (2, 1, 2, 2, 2), {}), ((1, 2, 5, 5), (2, 2, 3, 3), dict(auto_pad="VALID")), ((0, 2, 5), (3, 2, 2), {})]
    for x, w, attrs in cases:
        oracle = "reference" if 0 in x else "ort"
        yield c("Conv", f32(*x), f32(*w), oracle=oracle, **attrs)
        yield c("Conv", f32(*x), f32(*w), f32(w[0]), oracle=oracle, **attrs)
    transposed = [((1, 2, 5), (2, 3, 3), {}), ((2, 4, 3, 5), (4, 3, 3, 2), dict(strides=[2, 1])), ((1, 4, 3, 3), (4, 2, 3, 3), dict(group=2, pads=[1, 1, 0, 1])),
                  ((1, 2, 3, 3), (2, 2, 3, 3), dict(strides=[2, 2], output_padding=[1, 1])), ((1, 1, 4, 4), (1, 2, 3, 3), dict(dilations=[2, 2])),
                  ((1, 1, 3, 3), (1, 2, 3, 3), dict(strides=[3, 2], output_shape=[10, 8])), ((1, 1, 4, 5), (1, 1, 3, 3), dict(auto_pad="SAME_UPPER", strides=[2, 2]))]
    for x, w, attrs in transposed:
        yield c("ConvTranspose", f32(*x), f32(*w), **attrs)
        yield c("ConvTranspose", f32(*x), f32(*w), f32(w[1] * attrs.get("group", 1)), **attrs)
    pools = [((1, 2, 7), dict(kernel_shape=[3])), ((2, 3, 7, 8), dict(kernel_shape=[2, 3], strides=[2, 2])), ((1, 1, 7, 8), dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])),
             ((1, 1, 7, 8), dict(kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1)), ((1, 2, 6, 5), dict(kernel_shape=[2, 2], auto_pad="SAME_UPPER"))]
    for x, attrs in pools:
        yield c("MaxPool", f32(*x), **attrs)
        yield c("MaxPool", f32(*x), outputs=2, **attrs)
        yield c("AveragePool", f32(*x), **attrs)
        yield c("AveragePool", f32(*x), count_include_pad=1, **attrs)
        if "ceil_mode" not in attrs:
            yield c("LpPool", f32(*x), p=2, opset=18, **attrs)
    yield c("MaxPool", f32(1, 1, 7, 8), kernel_shape=[2, 2], dilations=[2, 3])
    yield c("MaxPool", f32(1, 2, 4, 5), kernel_shape=[2, 2], storage_order=1, outputs=2)
    yield c("MaxPool", ints(0, 200, 1, 1, 5, 5, dtype=np.uint8), kernel_shape=[2, 2])
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield c(op, f32(2, 3, 5, 4))
        yield c(op, f32(1, 2, 7))
    yield c("ConvInteger", ints(0, 255, 1, 2, 5, 5, dtype=np.uint8), ints(0, 255, 3, 2, 3, 3, dtype=np.uint8), np.uint8(7), np.uint8(100), pads=[1, 1, 1, 1])
    yield c("QLinearConv", ints(0, 255, 1, 2, 5, 5, dtype=np.uint8), F(0.02), np.uint8(7), ints(0, 255, 3, 2, 3, 3, dtype=np.uint8), F(0.03), np.uint8(100), F(0.2), np.uint8(128), ints(-99, 99, 3, dtype=np.int32))


@family
def quantize():
    for dtype in (np.uint8, np.int8, np.uint16, np.int16):
        info = np.iinfo(dtype)
        x = np.concatenate([f32(40, scale=10), np.array([0, 0.05, 0.15, 0.25, -0.05, -0.15, 1e9, -1e9, np.inf, -np.inf], F)])
        opset = 21
        yield c("QuantizeLinear", x, F(0.1), dtype(5), opset=opset)
        yield c("QuantizeLinear", x, F(0.1), dtype(info.max), opset=opset)
        yield c("DequantizeLinear", ints(info.min, info.max + 1, 3, 7, dtype=dtype), F(0.03), dtype(5), opset=opset)
    for axis in (0, 1, -1):
        n = 3 if axis == 0 else 5
        yield c("QuantizeLinear", f32(3, 5, scale=9), np.abs(f32(n)) + F(0.1), ints(0, 99, n, dtype=np.uint8), axis=axis)
        yield c("DequantizeLinear", ints(0, 255, 3, 5, dtype=np.uint8), np.abs(f32(n)) + F(0.1), ints(0, 99, n, dtype=np.uint8), axis=axis)
    yield c("QuantizeLinear", f32(3, 5), F(0.1))
    yield c("QuantizeLinear", f32(0, 5), F(0.1), np.uint8(3))
    yield c("QuantizeLinear", f32(3, 8, scale=9), np.abs(f32(3, 2)) + F(0.1), ints(0, 9, 3, 2, dtype=np.uint8), axis=1, block_size=4, opset=21)
    yield c("DequantizeLinear", ints(0, 255, 6, 5, dtype=np.uint8), np.abs(f32(2, 5)), ints(0, 9, 2, 5, dtype=np.uint8), axis=0, block_size=3, opset=21)
    yield c("DequantizeLinear", ints(-99, 99, 3, 5, dtype=np.int32), F(0.1))
    for n in (1, 5, 13):
        yield c("DynamicQuantizeLinear", f32(n, 7, scale=4), outputs=3)
    yield c("DynamicQuantizeLinear", np.zeros((3,), F), outputs=3)
    yield c("DynamicQuantizeLinear", np.abs(f32(9)) + F(1), outputs=3)


@family
def cast():
    values = np.array([0, 1, -1, 2.5, 3.5, -2.5, 100.25, -100.75, 1e-8, 65504, 65519, 65520, 1e5, 0.1, 3.0517578e-05, 5.9604645e-08, 2.98e-08, 448, 464, 465, 57344, 61440, 61441, np.inf, -np.inf, np.nan], F)
    for to in ("FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"):
        yield c("Cast", values, to=getattr(TensorProto, to), opset=21, oracle="castchain")
    for to in ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"):
        yield c("Cast", values, to=getattr(TensorProto, to), opset=21, saturate=0, oracle="castchain")
    in_range = np.array([0, 1, -1, 2.5, -2.5, 100.9, -100.9, 0.999, -0.999], F)
    for to in ("INT8", "INT16", "INT32", "INT64", "BOOL"):
        yield c("Cast", in_range, to=getattr(TensorProto, to))
    for to in ("UINT8", "UINT16", "UINT32", "UINT64"):
        yield c("Cast", np.abs(in_range), to=getattr(TensorProto, to))
    wide = vec(0, 1, -1, 255, 256, -129, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1)
    for to in ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "UINT64", "BOOL", "FLOAT", "DOUBLE", "FLOAT16"):
        yield c("Cast", wide, to=getattr(TensorProto, to))
    yield c("Cast", np.array([2**63, 2**64 - 1, 3], np.uint64), to=TensorProto.FLOAT)
    yield c("Cast", np.array([2**63, 2**64 - 1, 3], np.uint64), to=TensorProto.INT64)
    yield c("Cast", np.array(["1.5", "-2", "inf", "NaN", "3e5"], object), to=TensorProto.FLOAT)
    yield c("Cast", np.array(["15", "-2", "+7"], object), to=TensorProto.INT64, oracle="reference")
    yield c("Cast", bools(5), to=TensorProto.FLOAT)
    yield c("CastLike", f32(5, scale=9), vec(1), oracle="reference")
    yield c("CastLike", ints(0, 9, 5), f32(1), oracle="reference")
    for to in ("INT4", "UINT4"):
        yield c("Cast", in_range[:5], to=getattr(TensorProto, to), opset=21, oracle="castchain")
    yield c("BitCast", np.array([1.5, -2.0, np.inf], F), to=TensorProto.INT32, opset=26, oracle="reference")


@family
def attention():
    def qkv(b=2, h=4, g=2, s=3, t=5, d=8, e=6):
        return f32(b, h, s, d), f32(b, g, t, d), f32(b, g, t, e)

    # ONNX Runtime 1.32 has no kernel for a few of the modes; the reference does.
    base = dict(opset=24, oracle="reference")
    yield c("Attention", *qkv(), **base)
    yield c("Attention", *qkv(g=4), scale=0.3, **base)
    yield c("Attention", *qkv(g=1), is_causal=1, **base)
    yield c("Attention", *qkv(s=5, t=5), is_causal=1, softcap=2.0, **base)
    yield c("Attention", *qkv(), bools(3, 5) | np.eye(3, 5, dtype=bool), **base)
    yield c("Attention", *qkv(), f32(2, 4, 3, 5), **base)
    yield c("Attention", *qkv(), f32(2, 1, 3, 5), is_causal=1, **base)
    yield c("Attention", *qkv(), np.zeros((3, 5), bool), **base)
    yield c("Attention", *qkv(), f32(3, 3), **base)
    for mode in range(4):
        # The reference gives mode 0 after the softcap, against its own text.
        oracle = dict(opset=23) if mode == 0 else base
        yield c("Attention", *qkv(g=4), f32(3, 5), softcap=1.5, qk_matmul_output_mode=mode, outputs=4, **oracle)
    past = f32(2, 2, 7, 8), f32(2, 2, 7, 6)
    yield c("Attention", *qkv(t=3), None, *past, is_causal=1, outputs=3, **base)
    yield c("Attention", *qkv(t=3), f32(3, 10), *past, outputs=4, **base)
    yield c("Attention", *qkv(t=3), None, f32(2, 2, 0, 8), f32(2, 2, 0, 6), outputs=3, **base)
    yield c("Attention", *qkv(t=7), None, None, None, vec(3, 7), **base)
    yield c("Attention", *qkv(t=7), None, None, None, vec(2, 5), is_causal=1, **base)
    yield c("Attention", f32(2, 3, 32), f32(2, 5, 16), f32(2, 5, 12), q_num_heads=4, kv_num_heads=2, **base)
    yield c("Attention", *qkv(b=0), **base)
    yield c("Attention", *qkv(s=1, t=1), is_causal=1, **base)
    x = f32(2, 3, 5, 8)
    cos, sin = f32(11, 4), f32(11, 4)
    ids = ints(0, 11, 2, 5)
    for interleaved in (0, 1):
        rope = dict(opset=23, oracle="reference", interleaved=interleaved)
        yield c("RotaryEmbedding", x, cos, sin, ids, **rope)
        yield c("RotaryEmbedding", f32(2, 5, 24), cos, sin, ids, num_heads=3, **rope)
        yield c("RotaryEmbedding", x, f32(2, 5, 4), f32(2, 5, 4), **rope)
        yield c("RotaryEmbedding", x, cos[:, :2].copy(), sin[:, :2].copy(), ids, rotary_embedding_dim=4, **rope)
        m = dict(domain="com.microsoft", interleaved=interleaved)
        yield c("RotaryEmbedding", x, ids, cos, sin, **m)
        yield c("RotaryEmbedding", x, vec(3), cos, sin, **m)
        yield c("RotaryEmbedding", f32(2, 5, 24), ids, cos, sin, **m)


@family
def contrib_attention():
    m = dict(domain="com.microsoft")
    b, s, n, h = 2, 3, 4, 8
    d = n * h
    x, w, bias = f32(b, s, 10), f32(10, 3 * d, scale=0.3), f32(3 * d)
    masks = [None, np.array([3, 2], np.int32), np.array([3, 2, 0, 1], np.int32), ints(0, 2, b, s, dtype=np.int32), ints(0, 2, b, s, s, dtype=np.int32)]
    for mask, causal in itertools.product(masks, (0, 1)):
        # A row that is masked as a whole is rounded at 10000 in float32.
        yield c("Attention", x, w, bias, mask, num_heads=n, unidirectional=causal, tolerance=1e-3, **m)
    past = f32(2, b, n, 5, h)
    yield c("Attention", x, w, bias, None, past, num_heads=n, unidirectional=1, outputs=2, **m)
    yield c("Attention", x, w, bias, ints(0, 2, b, s + 5, dtype=np.int32), past, num_heads=n, outputs=2, tolerance=1e-3, **m)
    yield c("Attention", x, w, bias, np.ones((b, 1), np.int32), past, num_heads=n, unidirectional=1, outputs=2, **m)
    yield c("Attention", x, w, bias, None, None, f32(b, n, s, s), num_heads=n, **m)
    yield c("Attention", x, w, bias, None, None, f32(1, n, s, s), num_heads=n, **m)
    yield c("Attention", x, w, bias, masks[3], num_heads=n, mask_filter_value=-5.0, scale=0.5, **m)
    yield c("Attention", x, f32(10, 2 * d + 16, scale=0.3), f32(2 * d + 16), num_heads=n, qkv_hidden_sizes=[d, d, 16], **m)
    q, k, v = f32(b, s, d), f32(b, 5, d), f32(b, 5, d)
    yield c("MultiHeadAttention", q, k, v, num_heads=n, **m)
    yield c("MultiHeadAttention", q, k, v, bias, num_heads=n, **m)
    yield c("MultiHeadAttention", q, k, v, bias, np.array([3, 5], np.int32), num_heads=n, **m)
    yield c("MultiHeadAttention", q, k, v, bias, ints(0, 2, b, 5, dtype=np.int32), num_heads=n, tolerance=1e-3, **m)
    yield c("MultiHeadAttention", q, k, v, None, None, f32(1, n, s, 5), num_heads=n, scale=0.7, **m)
    yield c("MultiHeadAttention", q, k, v, None, None, f32(b, 1, s, 5), num_heads=n, **m)
    yield c("MultiHeadAttention", q, f32(b, s, d), f32(b, s, d), bias, num_heads=n, unidirectional=1, **m)
    yield c("MultiHeadAttention", q, f32(b, n, 5, h), f32(b, n, 5, h), num_heads=n, **m)
    # ONNX Runtime has packed keys and values on GPUs only.
    yield c("MultiHeadAttention", q, f32(b, 5, n, 2, h), num_heads=n, oracle=lambda q, kv: attend(q.reshape(b, s, n, -1), kv[..., 0, :], kv[..., 1, :]), **m)
    yield c("MultiHeadAttention", f32(b, s, n, 3, h), num_heads=n, oracle=lambda x: attend(x[..., 0, :], x[..., 1, :], x[..., 2, :]), **m)
    kv = f32(b, n, 7, h), f32(b, n, 7, h)
    yield c("MultiHeadAttention", q, f32(b, s, d), f32(b, s, d), bias, None, None, *kv, num_heads=n, unidirectional=1, outputs=3, **m)
    yield c("MultiHeadAttention", q, f32(b, s, d), f32(b, s, d), None, None, None, *kv, num_heads=n, outputs=3, **m)
    one = f32(b, 1, d)
    yield c("MultiHeadAttention", one, f32(b, 1, d), f32(b, 1, d), bias, None, None, *kv, np.array([4], np.int32), num_heads=n, outputs=3, **m)
    g, h, d = 2, 16, 64
    lengths = np.array([s - 1, s - 1], np.int32)
    cos, sin = f32(16, h // 2), f32(16, h // 2)

    def gqa(q, k, v, pk, pv, lengths, total, *rest, **attrs):
        return c("GroupQueryAttention", q, k, v, pk, pv, lengths, np.array(total, np.int32), *rest, num_heads=n, kv_num_heads=g, outputs=3, **attrs, **m)

    fresh = f32(b, s, d), f32(b, s, g * h), f32(b, s, g * h)
    yield gqa(*fresh, None, None, lengths, s)
    yield gqa(*fresh, None, None, lengths, s, softcap=1.5)
    yield gqa(*fresh, None, None, lengths, s, local_window_size=2)
    yield gqa(*fresh, None, None, lengths, s, smooth_softmax=1)
    yield gqa(*fresh, None, None, lengths, s, scale=0.4)
    for interleaved in (0, 1):
        yield gqa(*fresh, None, None, lengths, s, cos, sin, do_rotary=1, rotary_interleaved=interleaved)
    yield gqa(f32(b, s, d + 2 * g * h), None, None, None, None, lengths, s, cos, sin, do_rotary=1)
    step = f32(b, 1, d), f32(b, 1, g * h), f32(b, 1, g * h)
    yield gqa(*step, f32(b, g, 4, h), f32(b, g, 4, h), np.array([4, 4], np.int32), 5, cos, sin, do_rotary=1)
    yield gqa(*step, f32(b, g, 7, h), f32(b, g, 7, h), np.array([2, 4], np.int32), 5, cos, sin, do_rotary=1)
    yield gqa(*step, f32(b, g, 7, h), f32(b, g, 7, h), np.array([4, 4], np.int32), 5, None, None, None, f32(1, n, 1, 5))
