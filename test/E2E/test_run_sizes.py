"""Sizes that only a run knows: what does not fit ends in an error before any memory is touched."""
import re

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
        with pytest.raises(RunError, match=r"^\d+: graph 'g', node \d+ '\w+' \(\w+\): .*FFN-R403") as error:
            model.run({**feed, **change})
        index, label, kind = re.search(r"node (\d+) '(\w+)' \((\w+)\)", str(error.value)).groups()
        assert nodes[int(index)].output[0] == label and nodes[int(index)].op_type == kind
    # The session is as good as before.
    assert model.run(feed)[0].tobytes() == first.tobytes()


def test_dims_without_names_are_independent(tmp_path):
    for dim in (None, ""):
        graph = helper.make_graph([node("Relu", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", F, [dim, dim])], [helper.make_tensor_value_info("y", F, [dim, dim])])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
        assert compile_model(tmp_path / "m.onnx", tmp_path / "m.so").returncode == 0
        assert Model(tmp_path / "m.so").run({"x": rand(3, 4)})[0].shape == (3, 4)


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "loops"])
def test_two_dims_that_broadcast(kernels, tmp_path):
    """Either may be 1 in any run; the signature says the size, and a run whose sizes differ names the node."""
    nodes = [node("Add", ["x", "y"], ["s"], name="sum"), node("Mul", ["s", "x"], ["z"], name="again")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(key, F, [dim, 3]) for key, dim in (("x", "a"), ("y", "b"))],
                              [helper.make_tensor_value_info("z", F, [None, 3])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so", *([] if kernels else ["--no-kernels"]))
    assert done.returncode == 0, done.stderr
    model = Model(tmp_path / "m.so")
    for a, b in ((1, 1), (1, 4), (4, 1), (4, 4), (0, 0), (0, 1), (1, 0)):
        x, y = rand(a, 3), rand(b, 3) + 1
        assert np.array_equal(model.run({"x": x, "y": y})[0], (x + y) * x)
    for a, b in ((2, 3), (3, 2), (0, 2), (2, 0)):
        with pytest.raises(RunError, match=r"^\d+: graph 'g', node 0 'sum' \(Add\): .*FFN-R403"):
            model.run({"x": rand(a, 3), "y": rand(b, 3)})


def test_size_of_data_names_the_node(tmp_path):
    """A size that follows from the contents of an input has no expression."""
    nodes = [node("Relu", ["x"], ["r"], name="before"), node("Reshape", ["r", "z"], ["m"], name="shaped"), node("Neg", ["m"], ["y"], name="after")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", F, ["n"]), helper.make_tensor_value_info("z", TensorProto.INT64, [2])],
                              [helper.make_tensor_value_info("y", F, [None, None])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode == 1 and "graph 'g', node 1 'shaped' (Reshape): " in done.stderr, done.stderr
    assert "output 0 'y'" in done.stderr and "dimension 0" in done.stderr and "[FFN-C103]" in done.stderr and "note: " in done.stderr
