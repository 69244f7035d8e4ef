"""Graphs that are almost a network, a norm or attention and must stay as they
are: each leaves the remark that says why, and comes back equal."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import raising

pytestmark = pytest.mark.skipif(raising.build_dir() is None, reason="ffn-opt is not built (set FFN_BUILD_DIR)")

D, M = 8, 16
RANDOM = np.random.default_rng(7)


def weight(name, *shape):
    return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32) / 4, name)


def scalar(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def node(op, inputs, outputs, **attributes):
    outputs = outputs.split()
    return helper.make_node(op, inputs.split(), outputs, name=outputs[0], **attributes)


def model(nodes, weights, inputs=None, outputs=("y",), shape=("n", D), opset=17):
    inputs = {"x": shape, **(inputs or {})}
    graph = helper.make_graph(
        nodes,
        "near_miss",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shape)) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FC1, FC2 = node("MatMul", "x w1", "h"), node("MatMul", "a w2", "f")
WEIGHTS = [weight("w1", D, M), weight("w2", M, D)]
END = node("Add", "x f", "y")


def unknown_activation():
    return model([FC1, node("Elu", "h", "a"), FC2, END], WEIGHTS)


def gelu_of_another_width():
    nodes = [FC1, node("Div", "h c", "t"), node("Erf", "t", "e"), node("Add", "e one", "p"), node("Mul", "h p", "q"), node("Mul", "q half", "a"), FC2, END]
    return model(nodes, WEIGHTS + [scalar("c", 1.5), scalar("one", 1), scalar("half", 0.5)])


def sigmoid_of_another_slope():
    nodes = [FC1, node("Mul", "h c", "t"), node("Sigmoid", "t", "s"), node("Mul", "h s", "a"), FC2, END]
    return model(nodes, WEIGHTS + [scalar("c", 1.5)])


def hidden_is_an_output():
    return model([FC1, node("Relu", "h", "a"), FC2, END], WEIGHTS, outputs=("y", "a"))


def hidden_is_used_elsewhere():
    return model([FC1, node("Relu", "h", "a"), FC2, END, node("Neg", "a", "z")], WEIGHTS, outputs=("y", "z"))


def weight_is_an_input():
    return model([FC1, node("Relu", "h", "a"), FC2, END], WEIGHTS[1:], inputs={"w1": (D, M)})


def down_is_an_input():
    return model([FC1, node("Relu", "h", "a"), FC2, END], WEIGHTS[:1], inputs={"w2": (M, D)})


def gate_reads_another_value():
    nodes = [node("MatMul", "x w1", "u"), node("MatMul", "z w3", "g"), node("Sigmoid", "g", "s"), node("Mul", "g s", "t"), node("Mul", "t u", "a"), FC2, END]
    return model(nodes, WEIGHTS + [weight("w3", D, M)], inputs={"z": ("n", D)})


def bias_of_rows():
    nodes = [node("MatMul", "x w1", "u"), node("Add", "u b", "h"), node("Relu", "h", "a"), FC2, END]
    return model(nodes, WEIGHTS + [weight("b", 3, M)], shape=(3, D))


def activation_of_half():
    nodes = [FC1, node("Split", "h", "p q", axis=-1), node("Relu", "p", "a"), FC2, END]
    return model(nodes, [weight("w1", D, 2 * M), WEIGHTS[1]])


def attention(softmax_axis=-1, outputs=("y",)):
    nodes = [
        node("Transpose", "k", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "x t", "s"),
        node("Softmax", "s", "p", axis=softmax_axis),
        node("MatMul", "p v", "y"),
    ]
    return model(nodes, [], inputs={"k": (1, 2, 5, 4), "v": (1, 2, 5, 4)}, shape=(1, 2, 5, 4), outputs=outputs)


def softmax_over_queries():
    return attention(softmax_axis=2)


def probabilities_are_an_output():
    return attention(outputs=("y", "p"))


# Graph -> the remark, and an operation that must not appear.
CASES = {
    unknown_activation: ("near miss: feed-forward network at linear 'f': node 'a' (Elu) is not an activation between two linears that is known", "ffn.feed_forward"),
    gelu_of_another_width: ("near miss: feed-forward network at linear 'f': GELU with erf(0.666667 x), not erf(x / sqrt(2))", "ffn.feed_forward"),
    sigmoid_of_another_slope: ("near miss: feed-forward network at linear 'f': x * sigmoid(c x) with c = 1.5, not 1 or 1.702", "ffn.feed_forward"),
    hidden_is_an_output: ("near miss: feed-forward network at linear 'f': a hidden value is also used by return", "ffn.feed_forward"),
    hidden_is_used_elsewhere: ("near miss: feed-forward network at linear 'f': a hidden value is also used by node 'z' (Neg)", "ffn.feed_forward"),
    weight_is_an_input: ("near miss: feed-forward network at linear 'f': the weight of node 'h' (MatMul) is not constant: it comes from input 'w1'", "ffn.feed_forward"),
    down_is_an_input: ("near miss: feed-forward network at node 'f' (MatMul): the weight of node 'f' (MatMul) is not constant: it comes from input 'w2'", "ffn.feed_forward"),
    gate_reads_another_value: ("near miss: feed-forward network at linear 'f': gate and up read different values", "ffn.feed_forward"),
    bias_of_rows: ("near miss: feed-forward network at linear 'f': what node 'h' (Add) adds is not a constant vector of the hidden width", "ffn.feed_forward"),
    activation_of_half: ("near miss: feed-forward network at linear 'f': the activation reads node 'p' (Split), not a linear", "ffn.feed_forward"),
    softmax_over_queries: ("near miss: attention at node 'y' (MatMul): the softmax is not over the keys", "ffn.attention"),
    probabilities_are_an_output: ("near miss: attention at node 'y' (MatMul): its scores or probabilities are also used by return", "ffn.attention"),
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_near_miss_stays(build, tmp_path):
    remark, forbidden = CASES[build]
    original = build()
    onnx.checker.check_model(original, full_check=True)
    path = tmp_path / "model.onnx"
    onnx.save(original, path)
    text, remarks = raising.run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    assert remarks == [remark]
    assert f"= {forbidden} " not in text.read_text()
    # A network that is not raised makes no addend of kind ffn either.
    assert "#ffn.addend<ffn " not in text.read_text()
    back = raising.back_to_onnx(path, tmp_path)
    feeds = {
        value.name: RANDOM.standard_normal([dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in original.graph.input
    }
    assert raising.largest_error(raising.run_ort(path, feeds), raising.run_ort(back, feeds)) < 1e-6
