"""Sizes that only a run knows: what does not fit ends in an error before any memory is touched."""
import numpy as np
import onnx
import pytest
from artefact import Model, RunError, compile_model
from onnx import TensorProto, helper, numpy_helper

F, node = TensorProto.FLOAT, helper.make_node


def rand(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


ATTENTION = [
    node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["s"]), node("Mul", ["s", "c"], ["t"]),
]
PLAIN = ATTENTION + [node("Softmax", ["t"], ["p"], axis=-1), node("MatMul", ["p", "v"], ["y"])]
MASKED = ATTENTION + [node("Add", ["t", "m"], ["u"]), node("Softmax", ["u"], ["p"], axis=-1), node("MatMul", ["p", "v"], ["y"])]
QUERY, KEYS = {"q": ["b", 4, "s", 8]}, {"k": ["b", 4, "t", 8]}
SCALE = {"c": np.float32(0.3)}
FIT = {"q": rand(2, 4, 3, 8), "k": rand(2, 4, 5, 8), "v": rand(2, 4, 5, 8)}
MASK = {"m": ["mb", "mh", "ms", "mt"]}
# name: nodes, inputs, shape of y, weights, a feed that fits, changes that do not.
CASES = {
    "matmul": ([node("MatMul", ["x", "w"], ["y"])], {"x": ["a", "k"]}, ["a", 2], {"w": rand(7, 2)}, {"x": rand(3, 7)}, [{"x": rand(3, k)} for k in (0, 1, 6, 8)]),
    "gemm": ([node("Gemm", ["x", "w", "c"], ["y"], transB=1)], {"x": ["a", None]}, ["a", 64], {"w": rand(64, 16), "c": rand(64)}, {"x": rand(3, 16)},
             [{"x": rand(3, k)} for k in (15, 17)]),
    "network": ([node("MatMul", ["x", "u"], ["p"]), node("Relu", ["p"], ["r"]), node("MatMul", ["r", "d"], ["o"]), node("Add", ["x", "o"], ["y"])], {"x": ["a", "k"]},
                ["a", "k"], {"u": rand(16, 64), "d": rand(64, 16)}, {"x": rand(3, 16)}, [{"x": rand(3, k)} for k in (1, 15, 17)]),
    "norm": ([node("LayerNormalization", ["x", "g", "h"], ["y"], axis=-1)], {"x": ["a", "k"]}, ["a", "k"], {"g": rand(7), "h": rand(7)}, {"x": rand(3, 7)},
             [{"x": rand(3, k)} for k in (1, 6, 9)]),
    "keys and values": (PLAIN, {**QUERY, **KEYS, "v": ["b", 4, "u", 8]}, ["b", 4, "s", 8], SCALE, FIT, [{"v": rand(2, 4, n, 8)} for n in (0, 1, 4, 6)]),
    "head size": (PLAIN, {"q": ["b", 4, "s", "d"], "k": ["b", 4, "t", "e"], "v": ["b", 4, "t", 8]}, ["b", 4, "s", 8], SCALE, FIT, [{"k": rand(2, 4, 5, 7)}]),
    "mask": (MASKED, {**QUERY, **KEYS, "v": ["b", 4, "t", 8], **MASK}, ["b", 4, "s", 8], SCALE, {**FIT, "m": rand(2, 1, 3, 5)},
             [{"m": rand(*shape)} for shape in ((2, 1, 3, 4), (2, 1, 2, 5), (3, 1, 3, 5), (2, 2, 3, 5))]),
    "reshape": ([node("Reshape", ["x", "z"], ["y"])], {"x": ["a", "b"]}, ["p", 2], {"z": np.array([-1, 2])}, {"x": rand(3, 4)}, [{"x": rand(3, 3)}, {"x": rand(1, 1)}]),
}


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "loops"])
@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit(name, kernels, tmp_path):
    nodes, inputs, shape, weights, feed, wrong = CASES[name]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(key, F, dims) for key, dims in inputs.items()],
                              [helper.make_tensor_value_info("y", F, shape)], [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so", *([] if kernels else ["--no-kernels"]))
    assert done.returncode == 0, done.stderr
    model = Model(tmp_path / "m.so")
    first = model.run(feed)[0]
    for change in wrong:
        with pytest.raises(RunError, match="FFN-R403"):
            model.run({**feed, **change})
    # The session is as good as before.
    assert model.run(feed)[0].tobytes() == first.tobytes()


def test_dims_without_names_are_independent(tmp_path):
    for dim in (None, ""):
        graph = helper.make_graph([node("Relu", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", F, [dim, dim])], [helper.make_tensor_value_info("y", F, [dim, dim])])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
        assert compile_model(tmp_path / "m.onnx", tmp_path / "m.so").returncode == 0
        assert Model(tmp_path / "m.so").run({"x": rand(3, 4)})[0].shape == (3, 4)
