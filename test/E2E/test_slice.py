"""Slice against ONNX Runtime: bounds within, at and beyond the axis, steps of both directions, axes of no elements."""
import itertools
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, Model, compile_model, ort_session
from onnx import TensorProto, helper, numpy_helper

LONGEST, LEAST = 2**63 - 1, -(2**63)
BOUNDS = [0, 1, -1, 2, -2, 4, -4, 5, -5, 6, -6, 2**31 - 1, -(2**31), LONGEST, LEAST]
STEPS = [1, -1, 2, -3, 6, -6, 2**31, -(2**31), LONGEST, LEAST]


def plain(end, step):
    """ONNX Runtime reads an end of INT_MAX as "to the front" under a negative step. The specification clamps it to the last element, as any
    end behind the axis, and so does ONNX Runtime with ends that are not quite as large."""
    return min(end, 2**30) if step < 0 else end


def save(path, cuts, axis=0, sizes=("a", 3), dtype=np.int64, opset=13):
    """One Slice of the same input for each of `cuts`."""
    nodes, constants = [], []
    for k, (start, end, step) in enumerate(cuts):
        if opset < 10:
            nodes.append(helper.make_node("Slice", ["x"], [f"y{k}"], starts=[start], ends=[end], axes=[axis]))
            continue
        parts = {"s": start, "e": end, "a": axis, "t": step}
        constants += [numpy_helper.from_array(np.array([v], dtype), f"{name}{k}") for name, v in parts.items()]
        nodes.append(helper.make_node("Slice", ["x", *(f"{name}{k}" for name in parts)], [f"y{k}"], name=f"cut{k}"))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
                              [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, [None] * len(sizes)) for k in range(len(cuts))], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def interpreted(model, x, folder, count):
    folder.mkdir()
    np.save(folder / "x.npy", x)
    done = subprocess.run([BUILD / "bin" / "ffn-interpret", model, "--input", f"x={folder / 'x.npy'}", "--output-dir", folder],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [np.load(folder / f"{k}.npy") for k in range(count)]


def agree(path, oracle, cuts, shapes):
    """Compiled code and the interpreter give what ONNX Runtime gives for the model `oracle`."""
    done = compile_model(path, path.with_suffix(".so"))
    assert done.returncode == 0, done.stderr
    ours, theirs = Model(path.with_suffix(".so")), ort_session(oracle)
    for shape in shapes:
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        wanted = theirs.run(None, {"x": x})
        folder = path.parent / (path.stem + "x".join(map(str, shape)))
        for how, results in {"compiled": ours.run({"x": x}), "interpreted": interpreted(path, x, folder, len(cuts))}.items():
            for cut, mine, other in zip(cuts, results, wanted, strict=True):
                assert mine.shape == other.shape and np.array_equal(mine, other), (how, cut, shape, mine.tolist(), other.tolist())


@pytest.mark.parametrize("step", STEPS)
def test_constant_bounds(step, tmp_path):
    cuts = [(start, end, step) for start, end in itertools.product(BOUNDS, BOUNDS)]
    oracle = save(tmp_path / "oracle.onnx", [(start, plain(end, step), step) for start, end, step in cuts])
    agree(save(tmp_path / "dynamic.onnx", cuts), oracle, cuts, [(size, 3) for size in (0, 1, 2, 5, 7)])
    for size in (0, 5):
        agree(save(tmp_path / f"static{size}.onnx", cuts, sizes=(size, 3)), oracle, cuts, [(size, 3)])


@pytest.mark.parametrize("axis", [1, -1, -3])
def test_other_axes_and_types_of_bounds(axis, tmp_path):
    cuts = [(start, end, step) for start, end in itertools.product([0, 2, -1, -9, 2**31 - 1], [0, -2, 3, -(2**31)]) for step in (1, -1, 2, -3)]
    model = save(tmp_path / "m.onnx", cuts, axis, ("a", "b", "c"), np.int32)
    oracle = save(tmp_path / "oracle.onnx", [(start, plain(end, step), step) for start, end, step in cuts], axis, ("a", "b", "c"), np.int32)
    agree(model, oracle, cuts, [(2, 3, 4), (1, 0, 2), (0, 2, 3), (5, 1, 1)])


def test_bounds_as_attributes(tmp_path):
    cuts = [(start, end, 1) for start, end in itertools.product(BOUNDS, BOUNDS)]
    model = save(tmp_path / "m.onnx", cuts, opset=9)
    agree(model, model, cuts, [(size, 3) for size in (0, 1, 5)])


@pytest.mark.parametrize("step", [1, -1, -2])
def test_bounds_that_are_sizes(step, tmp_path):
    """From and to the length of another input, counted from either end."""
    nodes = [helper.make_node("Shape", ["y"], ["b"]), helper.make_node("Neg", ["b"], ["back"])]
    names = ["b", "back", "front", "last", "least", "longest"]
    cuts = list(itertools.product(names, names))
    nodes += [helper.make_node("Slice", ["x", start, end, "axis", "step"], [f"z{k}"]) for k, (start, end) in enumerate(cuts)]
    values = {"front": 0, "last": -1, "least": LEAST, "longest": LONGEST, "axis": 0, "step": step}
    constants = [numpy_helper.from_array(np.int64([value]), name) for name, value in values.items()]
    # A length that may be 0 has a negative that may be 0: which end it counts from is known only at run time.
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]), helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m"])],
                              [helper.make_tensor_value_info(f"z{k}", TensorProto.FLOAT, [None]) for k, cut in enumerate(cuts) if "back" not in cut], constants)
    path, oracle = tmp_path / "m.onnx", tmp_path / "oracle.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    done = compile_model(path, path.with_suffix(".so"))
    assert done.returncode == 0, done.stderr
    for constant in graph.initializer:
        if constant.name == "longest":
            constant.CopyFrom(numpy_helper.from_array(np.int64([plain(LONGEST, step)]), "longest"))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), oracle)
    ours, theirs = Model(path.with_suffix(".so")), ort_session(oracle)
    for n, m in itertools.product((0, 1, 2, 5), (0, 1, 4, 5, 9)):
        feeds = {"x": np.arange(n, dtype=np.float32), "y": np.zeros(m, np.float32)}
        for mine, wanted in zip(ours.run(feeds), theirs.run(None, feeds), strict=True):
            assert mine.shape == wanted.shape and np.array_equal(mine, wanted), (n, m)
