"""Operators whose edge cases the specification settles: the interpreter and compiled code give what it says."""
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, Model, RunError, compile_model
from onnx import TensorProto, helper

onnx_type = helper.np_dtype_to_tensor_dtype
INF, NAN = float("inf"), float("nan")


def build(path, op, inputs, outputs, attrs, opset, constants=()):
    """One node; `inputs` and `outputs` are pairs of an element type and a shape, `constants` arrays by position."""
    names = [f"i{k}" for k in range(len(inputs))]
    value = lambda name, pair: helper.make_tensor_value_info(name, *pair)
    graph = helper.make_graph(
        [helper.make_node(op, names, [f"o{k}" for k in range(len(outputs))], name="node", **attrs)], "g",
        [value(n, pair) for k, (n, pair) in enumerate(zip(names, inputs, strict=True)) if k not in dict(constants)],
        [value(f"o{k}", pair) for k, pair in enumerate(outputs)],
        [onnx.numpy_helper.from_array(array, names[k]) for k, array in dict(constants).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def interpret(model, feeds, folder):
    command = [BUILD / "bin" / "ffn-interpret", model]
    for name, array in feeds.items():
        np.save(folder / f"{name}.npy", array)
        command += ["--input", f"{name}={folder / name}.npy"]
    (folder / "out").mkdir()
    done = subprocess.run([*command, "--output-dir", folder / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "out" / "0.npy")


def check(tmp_path, op, arrays, expected, attrs, opset, constants=(), tolerance=0.0, dynamic=True):
    """Compiled code with dynamic and with static shapes, and the interpreter, on one node."""
    arrays, expected = [np.asarray(a) for a in arrays], np.asarray(expected)
    feeds = {f"i{k}": a for k, a in enumerate(arrays) if k not in constants}
    known = {size for name, a in feeds.items() for size in a.shape}
    for kind in ["static", "dynamic"] if dynamic else ["static"]:
        def shape(array):  # equal sizes are one symbol; other sizes of outputs are computed
            return [f"n{size}" if size in known else None for size in array.shape] if kind == "dynamic" else array.shape
        folder = tmp_path / kind
        folder.mkdir()
        model = build(folder / "m.onnx", op, [(onnx_type(a.dtype), shape(a)) for a in arrays],
                      [(onnx_type(expected.dtype), shape(expected))], attrs, opset, {k: arrays[k] for k in constants})
        done = compile_model(model, folder / "m.so")
        assert done.returncode == 0, (kind, done.stderr)
        compiled = Model(folder / "m.so").run(feeds)[0]
        assert compiled.dtype == expected.dtype
        for how, mine in {"compiled": compiled, "interpreted": interpret(model, feeds, folder)}.items():
            assert mine.shape == expected.shape, (kind, how)
            error = np.abs(mine - expected, where=mine != expected, out=np.zeros(expected.shape, np.result_type(mine, expected)))
            number = (mine == mine) & (expected == expected)
            assert np.array_equal(mine[~np.isfinite(expected)], expected[~np.isfinite(expected)], equal_nan=True), (kind, how, mine)
            assert np.array_equal(mine != mine, expected != expected), (kind, how, mine)
            assert np.all((error <= tolerance * np.abs(expected))[number & np.isfinite(expected)]), (kind, how, mine, expected)
            if mine.dtype.kind == "f":
                assert np.array_equal(np.signbit(mine[number]), np.signbit(expected[number])), (kind, how, mine)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mod_of_floats_follows_the_divisor(dtype, tmp_path):
    a = np.array([-4.25, 7.25, 5, 4.25, -7.25, 8, 0.0, -0.0, -3, 3, -1, 1, INF, 1, NAN], dtype)
    b = np.array([2, -3.5, 8, -2, 3.5, 5, -2, 2, INF, INF, -INF, -INF, 2, 0, 2], dtype)
    expected = np.array([1.75, -3.25, 5, -1.75, 3.25, 3, -0.0, 0.0, INF, 3, -1, -INF, NAN, NAN, NAN], dtype)
    check(tmp_path, "Mod", [a, b], expected, {"fmod": 0}, 28)


def test_fmod_follows_the_dividend(tmp_path):
    a, b = np.float32([-4.25, 7.25, -3]), np.float32([2, -3.5, INF])
    check(tmp_path, "Mod", [a, b], np.float32([-0.25, 0.25, -3]), {"fmod": 1}, 13)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_shift_of_signed_integers(dtype, tmp_path):
    low, width = np.iinfo(dtype).min, np.iinfo(dtype).bits
    x, y = np.array([-8, -1, low, -8, 4, -1, 16], dtype), np.array([1, 1, 1, width, width + 1, -3, 2], dtype)
    check(tmp_path, "BitShift", [x, y], np.array([-4, -1, low // 2, -1, 0, -1, 4], dtype), {"direction": "RIGHT"}, 28)
    (tmp_path / "left").mkdir()
    check(tmp_path / "left", "BitShift", [x, y], np.array([-16, -2, 0, 0, 0, 0, 64], dtype), {"direction": "LEFT"}, 28)


def test_shift_of_unsigned_integers(tmp_path):
    x, y = np.uint8([200, 200, 1]), np.uint8([1, 8, 255])
    check(tmp_path, "BitShift", [x, y], np.uint8([100, 0, 0]), {"direction": "RIGHT"}, 11)


NOOP = {"ReduceSum": lambda x: x, "ReduceMean": lambda x: x, "ReduceMax": lambda x: x, "ReduceL1": np.abs, "ReduceL2": np.abs,
        "ReduceSumSquare": np.square, "ReduceLogSum": np.log, "ReduceLogSumExp": lambda x: x}


@pytest.mark.parametrize("op", NOOP)
def test_no_axes_leave_the_rest_of_a_reduction(op, tmp_path):
    x = np.float32([[0.5, 2, 3], [1.5, 0.25, 7]]) * (1 if op == "ReduceLogSum" else np.float32([1, -1, 1]))
    check(tmp_path, op, [x], NOOP[op](x), {"noop_with_empty_axes": 1}, 18, tolerance=2e-7)


def test_log_sum_exp_of_infinities(tmp_path):
    x = np.float32([[1, -INF, INF, NAN, 1, -INF], [INF, -INF, -INF, 1, 1, 2]])
    expected = np.float32([INF, -INF, INF, NAN, 1 + np.log(2), 2])
    check(tmp_path, "ReduceLogSumExp", [x, np.int64([0])], expected, {"keepdims": 0}, 18, constants=[1], tolerance=2e-7)


LONG = {"ReduceSum": 1e6, "ReduceMean": 0.1, "ReduceL1": 1e6, "ReduceSumSquare": 1e5, "ReduceL2": np.sqrt(1e5)}


@pytest.mark.parametrize("op", LONG)
def test_long_sums_keep_their_accuracy(op, tmp_path):
    x = np.full(10_000_000, 0.1, np.float32)
    check(tmp_path, op, [x], np.float32([LONG[op]]), {}, 13, tolerance=3e-7)


def test_statistics_of_long_rows_keep_their_accuracy(tmp_path):
    x = (np.random.default_rng(1).standard_normal((2, 4_000_000)) + 3).astype(np.float32)
    wide = x.astype(np.float64)
    scale = np.ones(x.shape[1], np.float32)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    model = build(tmp_path / "m.onnx", "LayerNormalization", [(1, ["a", "b"]), (1, ["b"])], [(1, ["a", "b"])], {"axis": -1}, 17)
    for flags in ([], ["--no-kernels"]):
        done = compile_model(model, tmp_path / "m.so", *flags)
        assert done.returncode == 0, done.stderr
        mine = Model(tmp_path / "m.so").run({"i0": x, "i1": scale})[0]
        assert np.abs(mine - expected).max() < 2e-6, flags


PADS = [("wrap", [-1, 1], [2, 3, 2]), ("wrap", [2, -1], [1, 2, 1, 2]), ("wrap", [7, 0], [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]),
        ("reflect", [5, 4], [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3]), ("reflect", [-1, 1], [2, 3, 2]),
        ("reflect", [-2, 2], [3, 3, 3]), ("edge", [-1, 2], [2, 3, 3, 3]), ("constant", [-1, 1], [2, 3, 0])]


@pytest.mark.parametrize("mode, pads, expected", PADS, ids=lambda v: str(v))
def test_pads_beyond_the_axis_and_negative(mode, pads, expected, tmp_path):
    check(tmp_path, "Pad", [np.float32([1, 2, 3]), np.int64(pads)], np.float32(expected), {"mode": mode}, 19, constants=[1])


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
def test_pads_of_nothing_are_refused(mode, tmp_path):
    model = build(tmp_path / "m.onnx", "Pad", [(1, ["n"]), (7, [2])], [(1, [None])], {"mode": mode}, 19, {1: np.int64([1, 1])})
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    ours = Model(tmp_path / "m.so")
    with pytest.raises(RunError, match="FFN-R403"):
        ours.run({"i0": np.zeros(0, np.float32)})
    assert np.array_equal(ours.run({"i0": np.float32([4])})[0], np.float32([4, 4, 4]))


@pytest.mark.parametrize("attrs", [{"left_window_size": 1}, {"right_window_size": 2}, {"softcap": 2.0}, {"softmax_precision": 10}],
                         ids=lambda a: next(iter(a)))
def test_attention_names_what_it_refuses(attrs, tmp_path):
    x = (TensorProto.FLOAT, [1, 1, 5, 4])
    model = build(tmp_path / "m.onnx", "Attention", [x] * 3, [x], attrs, 25 if "window" in str(attrs) else 23)
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode != 0 and "FFN-C101" in done.stderr and f"'{next(iter(attrs))}'" in done.stderr, done.stderr


@pytest.mark.parametrize("indices", [np.float32([0, -7, -8, 12]), np.int64([0, -7, -8, 12])], ids=["float", "int"])
@pytest.mark.parametrize("depth", [np.float32(10), np.int64(10)], ids=["float", "int"])
def test_one_hot_of_floats(indices, depth, tmp_path):
    values = np.float32([1, 3])
    expected = np.ones((10, 4), np.float32)
    for column, row in enumerate([0, 3, 2]):
        expected[row, column] = 3
    check(tmp_path, "OneHot", [indices, depth, values], expected, {"axis": 0}, 11, constants=[1])


def test_empty_parts(tmp_path):
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(
        [helper.make_node("Split", ["x", "parts"], ["a", "b"], axis=1), helper.make_node("Concat", ["a", "b", "b"], ["y"], axis=1)],
        "g", [helper.make_tensor_value_info("x", 1, ["n", 8])],
        [helper.make_tensor_value_info("y", 1, ["n", 8]), helper.make_tensor_value_info("b", 1, ["n", 0])],
        [onnx.numpy_helper.from_array(np.int64([8, 0]), "parts")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    done = compile_model(path, tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    x = np.arange(24, dtype=np.float32).reshape(3, 8)
    whole, empty = Model(tmp_path / "m.so").run({"x": x})
    assert np.array_equal(whole, x) and empty.shape == (3, 0)


def test_arithmetic_of_bf16(tmp_path):
    """No CPU instruction and no library: rounded to nearest even by what is linked into the artefact."""
    path = tmp_path / "m.onnx"
    nodes = [helper.make_node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16), helper.make_node("Cast", ["z"], ["b"], to=TensorProto.BFLOAT16),
             helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)]
    vector = lambda name: helper.make_tensor_value_info(name, 1, ["n"])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [vector("x"), vector("z")], [vector("y")]),
                                opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    done = compile_model(path, tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    # 257 and 259 lie half way between two: to even. 2^-133 is the least subnormal.
    x = np.float32([256, 256, 1, INF, NAN, -3e38, 2.0**-133, 2.0**-126])
    z = np.float32([1, 3, -1, 1, 1, -3e38, 2.0**-133, -(2.0**-133)])
    (mine,) = Model(tmp_path / "m.so").run({"x": x, "z": z})
    expected = np.float32([256, 260, 0, INF, NAN, -INF, 2.0**-132, 2.0**-126 - 2.0**-133])
    assert np.array_equal(mine, expected, equal_nan=True), mine


@pytest.mark.parametrize("op, inputs", [("Gelu", 1), ("QuickGelu", 1), ("FastGelu", 1), ("FastGelu", 2), ("BiasGelu", 2)])
def test_contributed_activations_have_the_shape_of_their_input(op, inputs, tmp_path):
    """What ONNX Runtime's optimizer writes, between products of open sizes."""
    import onnxruntime

    rng = np.random.default_rng(5)
    w, b = rng.standard_normal((8, 8), np.float32), rng.standard_normal(8, np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(op, ["h", "b"][:inputs], ["a"], domain="com.microsoft"),
         helper.make_node("MatMul", ["a", "w"], ["y"])], "g",
        [value("x", TensorProto.FLOAT, ["batch", "length", 8])], [value("y", TensorProto.FLOAT, ["batch", "length", 8])],
        [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(b, "b")])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    x = rng.standard_normal((2, 3, 8), np.float32)
    mine = Model(tmp_path / "m.so").run({"x": x})[0]
    theirs = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})[0]
    # ONNX Runtime approximates tanh.
    assert np.abs(mine - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("opset, attrs, constants", [(13, {}, {1: np.float32(0.5), 2: np.bool_(True)}), (6, {"is_test": 0}, {})])
def test_dropout_that_trains_is_refused(opset, attrs, constants, tmp_path):
    inputs = [(TensorProto.FLOAT, [4])] + [(onnx_type(np.asarray(c).dtype), []) for c in constants.values()]
    model = build(tmp_path / "m.onnx", "Dropout", inputs, [(TensorProto.FLOAT, [4])], attrs, opset,
                  {k: np.asarray(c) for k, c in constants.items()})
    done = compile_model(model, tmp_path / "m.so", "--pass-pipeline=builtin.module(canonicalize)")
    assert done.returncode == 1 and "training mode" in done.stderr and "[FFN-C101]" in done.stderr


@pytest.mark.parametrize("upper, k, kept", [(0, 2**63 - 1, True), (1, 2**63 - 1, False), (0, -(2**63), False), (1, -(2**63), True)])
def test_trilu_far_beyond_the_matrix(upper, k, kept, tmp_path):
    x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    check(tmp_path, "Trilu", [x, np.int64(k)], x if kept else np.zeros_like(x), {"upper": upper}, 14, {1})


def test_reshape_of_nothing_to_other_sizes(tmp_path):
    check(tmp_path, "Reshape", [np.zeros((2, 0, 3), np.float32), np.int64([0, 5])], np.zeros((0, 5), np.float32), {"allowzero": 1}, 14, {1})


@pytest.mark.parametrize("first", [1, "n"])
def test_reshape_to_another_count_is_refused(first, tmp_path):
    inputs = [(TensorProto.FLOAT, [first, 3]), (TensorProto.INT64, [4])]
    target = np.array([0 if first == "n" else 1, 1, 1, 1])
    model = build(tmp_path / "m.onnx", "Reshape", inputs, [(TensorProto.FLOAT, None)], {}, 14, {1: target})
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 1 and "node 'node' (Reshape)" in done.stderr and "[FFN-C199]" not in done.stderr
    assert not (tmp_path / "m.so").exists()


@pytest.mark.parametrize("k", [0, 1, -2, 4, -3, 9, -9, 2**63 - 1, -(2**63)])
def test_diagonal_of_eye_like(k, tmp_path):
    expected = np.eye(3, 4, k=max(min(k, 9), -9), dtype=np.float32)
    check(tmp_path, "EyeLike", [np.zeros((3, 4), np.float32)], expected, {"k": k}, 9)


@pytest.mark.parametrize("shape", [[3], [1, 1], [0]])
def test_bounds_of_clip_are_scalars(shape, tmp_path):
    model = build(tmp_path / "m.onnx", "Clip", [(TensorProto.FLOAT, [2, 3]), (TensorProto.FLOAT, shape)], [(TensorProto.FLOAT, [2, 3])], {}, 13)
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 1 and "node 'node' (Clip)" in done.stderr and "bound 1" in done.stderr and "[FFN-I504]" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_bound_of_clip_may_be_one_element(tmp_path):
    x = np.float32([[-2, 0.5, 3]])
    check(tmp_path, "Clip", [x, np.float32([-1]), np.float32(1)], np.clip(x, -1, 1), {}, 13, constants=[1, 2])
