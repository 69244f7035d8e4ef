"""Sizes that only a run knows: what does not fit ends in an error before any memory is touched."""
import json
import re
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, Model, RunError, compile_model
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
# A width that an input alone has is fixed by the weights; twice a width is known in the run.
TWICE = [node("Concat", ["h", "h"], ["x"], axis=1)]
MASK = {"m": ["mb", "mh", "ms", "mt"]}
# name: nodes, inputs, shape of y, weights, a feed that fits, changes that do not.
CASES = {
    "matmul": (TWICE + [node("MatMul", ["x", "w"], ["y"])], {"h": ["a", "k"]}, ["a", 2], {"w": rand(6, 2)}, {"h": rand(3, 3)},
               [{"h": rand(3, k)} for k in (0, 1, 2, 4)]),
    "gemm": (TWICE + [node("Gemm", ["x", "w", "c"], ["y"], transB=1)], {"h": ["a", None]}, ["a", 64], {"w": rand(64, 16), "c": rand(64)}, {"h": rand(3, 8)},
             [{"h": rand(3, k)} for k in (7, 9)]),
    "product of inputs": ([node("MatMul", ["x", "w"], ["y"])], {"x": ["a", "k"], "w": ["j", 2]}, ["a", 2], {}, {"x": rand(3, 7), "w": rand(7, 2)},
                          [{"x": rand(3, k)} for k in (0, 1, 6, 8)]),
    "network": (TWICE + [node("MatMul", ["x", "u"], ["p"]), node("Relu", ["p"], ["r"]), node("MatMul", ["r", "d"], ["o"]), node("Add", ["x", "o"], ["y"])], {"h": ["a", "k"]},
                ["a", "j"], {"u": rand(16, 64), "d": rand(64, 16)}, {"h": rand(3, 8)}, [{"h": rand(3, k)} for k in (1, 7, 9)]),
    "norm": (TWICE + [node("LayerNormalization", ["x", "g", "b"], ["y"], axis=-1)], {"h": ["a", "k"]}, ["a", "j"], {"g": rand(6), "b": rand(6)}, {"h": rand(3, 3)},
             [{"h": rand(3, k)} for k in (1, 2, 5)]),
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


def test_weights_fix_the_width_of_an_input(tmp_path):
    """The signature and the file say the size, a run with another one is refused before it starts."""
    graph = helper.make_graph([node("Relu", ["x"], ["r"]), node("MatMul", ["r", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info(name, F, dims) for name, dims in {"x": ["a", "b", "k"], "z": ["k"]}.items()],
                              [helper.make_tensor_value_info("y", F, ["a", "b", 5]), helper.make_tensor_value_info("z", F, ["k"])],
                              [numpy_helper.from_array(rand(12, 5), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    for file in ("m.onnx", "m.so"):
        told = subprocess.run([BUILD / "bin" / "ffnc", "inspect", tmp_path / file, "--json"], capture_output=True, check=True)
        inputs, outputs = (json.loads(told.stdout)[key] for key in ("inputs", "outputs"))
        assert [value["dims"] for value in inputs] == [["a", "b", 12], [12]] and outputs[1]["dims"] == [12], file
    model = Model(tmp_path / "m.so")
    assert model.run({"x": rand(2, 3, 12), "z": rand(12)})[0].shape == (2, 3, 5)
    for feed, text in (({"x": rand(2, 3, 11), "z": rand(12)}, "input 'x': dimension 2 is 11, expected 12"),
                       ({"x": rand(2, 3, 12), "z": rand(1)}, "input 'z': dimension 0 is 1, expected 12")):
        with pytest.raises(RunError, match=text):
            model.run(feed)


def test_weights_that_ask_for_two_widths_name_both_nodes(tmp_path):
    graph = helper.make_graph([node("MatMul", ["x", "w"], ["y"], name="first"), node("MatMul", ["x", "v"], ["z"], name="second")], "g",
                              [helper.make_tensor_value_info("x", F, ["a", "k"])], [helper.make_tensor_value_info(name, F, None) for name in "yz"],
                              [numpy_helper.from_array(rand(12, 5), "w"), numpy_helper.from_array(rand(11, 5), "v")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode != 0 and re.search("'second'.* size 'k' has to be 11 here, and 12 at .*'first'.*FFN-I504", done.stderr), done.stderr
    assert not (tmp_path / "m.so").exists()


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
