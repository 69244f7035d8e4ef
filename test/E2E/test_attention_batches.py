"""Attention whose keys or values serve the whole batch, which MatMul broadcasts: what is raised or compiled gives what ONNX Runtime gives."""
import numpy as np
import onnx
import pytest
from artefact import Model, compile_model, error_of, ort_session
from onnx import TensorProto, helper

import raising

F = TensorProto.FLOAT


@pytest.mark.parametrize("key, value, why", [
    ("b", "b", None), (1, "b", "the batches of query and key may differ"), ("b", 1, "the batches of query and value may differ"),
    (1, 1, "the batches of query and key may differ"), ("c", "b", "the batches of query and key may differ"),
], ids=["equal", "one-key", "one-value", "one-of-each", "unknown"])
@pytest.mark.parametrize("rank", [3, 4])
def test_broadcast_batches(key, value, why, rank, tmp_path):
    heads = [2] if rank == 4 else []
    shapes = {"q": ["b", *heads, 5, 8], "k": [key, *heads, 8, 7], "v": [value, *heads, 7, 4]}
    nodes = [helper.make_node("MatMul", ["q", "k"], ["s"]), helper.make_node("Softmax", ["s"], ["p"], axis=-1),
             helper.make_node("MatMul", ["p", "v"], ["y"], name="out")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(name, F, shape) for name, shape in shapes.items()],
                              [helper.make_tensor_value_info("y", F, ["b", *heads, 5, 4])])
    model = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    done = raising.tool("ffn-opt", model, "--ffn-raise")
    assert ("ffn.attention" in done.stdout) == (why is None)
    assert (f"near miss: attention at node 'out' (MatMul): {why}" in done.stderr) == (why is not None), done.stderr
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    ours, theirs = Model(tmp_path / "m.so"), ort_session(model)
    random = np.random.default_rng(rank)
    for batch in (1, 3):
        sizes = {"b": batch, "c": 1}
        feeds = {name: random.standard_normal([sizes.get(d, d) for d in shape]).astype(np.float32) for name, shape in shapes.items()}
        assert error_of(ours.run(feeds)[0], theirs.run(None, feeds)[0]) <= 2.0**-20
