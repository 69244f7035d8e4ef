"""Split of an axis whose size only the run knows."""
import numpy as np
import onnx
import pytest
from artefact import Model, RunError, compile_model, ort_session
from onnx import TensorProto, helper, numpy_helper

F, I = TensorProto.FLOAT, TensorProto.INT64


def build(path, nodes, inputs, outputs, opset, constants=()):
    value = lambda name, pair: helper.make_tensor_value_info(name, *pair)
    graph = helper.make_graph(nodes, "g", [value(*item) for item in inputs.items()], [value(*item) for item in outputs.items()],
                              [numpy_helper.from_array(array, name) for name, array in dict(constants).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    done = compile_model(path, path.with_suffix(".so"))
    assert done.returncode == 0, done.stderr
    return Model(path.with_suffix(".so")), ort_session(path)


def rand(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def agree(ours, theirs, feeds):
    for mine, wanted in zip(ours.run(feeds), theirs.run(None, feeds), strict=True):
        assert mine.shape == wanted.shape and np.array_equal(mine, wanted)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_equal_parts(axis, tmp_path):
    """The size must be a multiple of the number of parts."""
    shape = ["a", "b", "c"]
    ours, theirs = build(tmp_path / "m.onnx", [helper.make_node("Split", ["x"], ["p", "q", "r"], axis=axis, name="parts")], {"x": (F, shape)},
                         {name: (F, [None] * 3) for name in "pqr"}, 13)
    for n in (3, 6, 0, 21):
        sizes = [2, 4, 5]
        sizes[axis] = n
        agree(ours, theirs, {"x": rand(*sizes)})
    for n in (1, 2, 7):
        sizes = [2, 4, 5]
        sizes[axis] = n
        with pytest.raises(RunError, match=r"node 0 'parts' \(Split\): .*FFN-R403"):
            ours.run({"x": rand(*sizes)})


def test_last_part_takes_what_is_left(tmp_path):
    ours, theirs = build(tmp_path / "m.onnx", [helper.make_node("Split", ["x"], ["p", "q", "r"], num_outputs=3, name="parts")], {"x": (F, ["a", 2])},
                         {name: (F, [None, 2]) for name in "pqr"}, 18)
    for n in (3, 5, 7, 8, 9):
        agree(ours, theirs, {"x": rand(n, 2)})
    # Two parts of one and a last one of minus one.
    with pytest.raises(RunError, match="FFN-R40[34]"):
        ours.run({"x": rand(1, 2)})


def test_sizes_made_of_other_sizes(tmp_path):
    nodes = [helper.make_node("Shape", ["y"], ["s"]), helper.make_node("Shape", ["x"], ["t"]), helper.make_node("Sub", ["t", "s"], ["u"]),
             helper.make_node("Concat", ["s", "u"], ["sizes"], axis=0), helper.make_node("Split", ["x", "sizes"], ["p", "q"], name="parts")]
    ours, theirs = build(tmp_path / "m.onnx", nodes, {"x": (F, ["a"]), "y": (F, ["b"])}, {name: (F, [None]) for name in "pq"}, 13)
    for a, b in ((5, 2), (5, 5), (5, 0), (0, 0)):
        agree(ours, theirs, {"x": rand(a), "y": rand(b)})
    with pytest.raises(RunError, match="FFN-R40[34]"):
        ours.run({"x": rand(2), "y": rand(5)})


def test_sizes_given_as_data(tmp_path):
    """Parts that only the data tell may be used where no size of a result depends on them; a negative one reaches nothing."""
    nodes = [helper.make_node("Split", ["x", "sizes"], ["p", "q"], name="parts"), helper.make_node("ReduceSum", ["p", "zero"], ["v"], keepdims=0),
             helper.make_node("ReduceSum", ["q", "zero"], ["w"], keepdims=0)]
    ours, theirs = build(tmp_path / "m.onnx", nodes, {"x": (F, ["a", 3]), "sizes": (I, [2])}, {name: (F, [3]) for name in "vw"}, 13, {"zero": np.int64([0])})
    x = np.arange(18, dtype=np.float32).reshape(6, 3)
    for parts in ((2, 4), (0, 6), (6, 0), (5, 1)):
        agree(ours, theirs, {"x": x, "sizes": np.int64(parts)})
    for parts in ((2, 3), (7, -1), (-1, 7), (2**62, 6 - 2**62)):
        with pytest.raises(RunError, match=r"node 0 'parts' \(Split\): .*FFN-R403"):
            ours.run({"x": x, "sizes": np.int64(parts)})
