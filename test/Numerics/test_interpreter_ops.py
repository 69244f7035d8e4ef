"""Each operator of the interpreter against ONNX Runtime or onnx.reference.

All cases of a family that share an opset are one model, run by one process.
"""
import collections

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import op_cases
from interpreter import InterpreterError, build_dir, error_of, interpret, ort_session

pytestmark = pytest.mark.skipif(build_dir() is None, reason="ffn-interpret is not built (set FFN_BUILD_DIR)")


def to_tensor(array, name):
    array = np.asarray(array)
    if array.dtype == object:
        return helper.make_tensor(name, TensorProto.STRING, array.shape, [s.encode() for s in array.ravel()])
    return numpy_helper.from_array(array, name)


def model_of(cases, cast_back=None):
    """One graph with the nodes of all cases; no inputs, all outputs."""
    nodes, initializers, outputs = [], [], []
    for i, case in enumerate(cases):
        names = []
        for j, value in enumerate(case.inputs):
            names.append("" if value is None else f"c{i}_in{j}")
            if value is not None:
                initializers.append(to_tensor(value, names[-1]))
        outs = [f"c{i}_out{j}" for j in range(case.outputs)]
        nodes.append(helper.make_node(case.op, names, outs, name=f"c{i}", domain=case.domain, **case.attrs))
        if cast_back:
            nodes.append(helper.make_node("Cast", [outs[0]], [outs[0] + "_back"], to=TensorProto.FLOAT))
            outs = [outs[0] + "_back"]
        outputs += [onnx.ValueInfoProto(name=name) for name in outs]
    graph = helper.make_graph(nodes, "cases", [], outputs, initializers)
    opsets = [helper.make_opsetid("", cases[0].opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def expected(case):
    """What another implementation gives for one case."""
    if case.oracle == "castchain":
        # Types that .npy files do not have: both sides cast back to float.
        return ReferenceEvaluator(model_of([case], cast_back=True)).run(None, {})
    if callable(case.oracle):
        return case.oracle(*[x.astype(np.float64) for x in case.inputs if x is not None])
    model = model_of([case])
    if case.oracle == "reference":
        return ReferenceEvaluator(model).run(None, {})
    return ort_session(model.SerializeToString()).run(None, {})


def compare(case, ours, theirs):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        error = error_of(a, b)
        if not error <= case.tolerance:
            return f"{case}: output {i} has error {error:.3g}\n ours {a}\n theirs {b}"
    return None


@pytest.mark.parametrize("name", sorted(op_cases.FAMILIES))
def test_family(name, tmp_path):
    groups = collections.defaultdict(list)
    for case in op_cases.FAMILIES[name]():
        groups[case.opset, case.oracle == "castchain"].append(case)
    problems, count = [], 0
    for i, ((_, cast_back), cases) in enumerate(sorted(groups.items())):
        path = tmp_path / f"{i}.onnx"
        onnx.save(model_of(cases, cast_back), path)
        results = interpret(path, {})
        for case in cases:
            outputs = 1 if cast_back else case.outputs
            ours, results = results[:outputs], results[outputs:]
            count += 1
            try:
                problem = compare(case, ours, expected(case))
            except AssertionError as error:
                problem = f"{case}: shapes {error}"
            except Exception as error:  # the oracle refuses the case
                problem = f"{case}: oracle: {error}"
            if problem:
                problems.append(problem)
    assert not problems, f"{len(problems)} of {count} cases:\n" + "\n".join(problems[:20])
    print(f"{name}: {count} cases")


BAD = [
    ("E102", "MatMul", [(2, 3), (4, 5)], {}),
    ("E102", "Add", [(2, 3), (4,)], {}),
    ("E103", "Gather", [(3, 2), np.array([3])], {}),
    ("E103", "Gather", [(3, 2), np.array([-4])], {}),
    ("E103", "Div", [np.array([1]), np.array([0])], {}),
    ("E103", "Mod", [np.array([1]), np.array([0])], {}),
    ("E102", "Reshape", [(2, 3), np.array([4])], {}),
    ("E102", "Reshape", [(2, 3), np.array([-1, -1])], {}),
    ("E104", "ConstantOfShape", [np.array([1 << 20, 1 << 20])], {}),
    ("E102", "ConstantOfShape", [np.array([1 << 62, 1 << 62, 0])], {}),
    ("E104", "Expand", [(1,), np.array([1 << 40])], {}),
    ("E103", "Tile", [(2, 3), np.array([1 << 62, 1])], {}),
    ("E103", "TopK", [(5,), np.array([6])], {}),
    ("E103", "ScatterND", [(3, 2), np.array([[5]]), (1, 2)], {}),
    ("E102", "Einsum", [(2, 3), (4, 5)], {"equation": "ij,jk->ik"}),
    ("E102", "Concat", [(2, 3), (3, 3)], {"axis": 1}),
    ("E103", "Squeeze", [(2, 3), np.array([7])], {}),
    ("E103", "Range", [np.array(0), np.array(5), np.array(0)], {}),
    ("E101", "RandomNormalLike", [(2, 3)], {}),
]


@pytest.mark.parametrize("code,op,inputs,attrs", BAD, ids=[f"{b[1]}-{i}" for i, b in enumerate(BAD)])
def test_bad_values_are_coded_errors(code, op, inputs, attrs, tmp_path):
    """Contents come as run-time inputs, so that no check at import sees them."""
    feeds, values = {}, []
    for i, value in enumerate(inputs):
        array = np.zeros(value, np.float32) if isinstance(value, tuple) else value.astype(np.int64)
        feeds[f"x{i}"] = array
        kind = TensorProto.FLOAT if array.dtype == np.float32 else TensorProto.INT64
        values.append(helper.make_tensor_value_info(f"x{i}", kind, [f"d{i}_{j}" for j in range(array.ndim)]))
    outputs = ["y", "indices"] if op == "TopK" else ["y"]
    node = helper.make_node(op, list(feeds), outputs, name="the node", **attrs)
    graph = helper.make_graph([node], "g", values, [onnx.ValueInfoProto(name="y")])
    path = tmp_path / "bad.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    with pytest.raises(InterpreterError) as caught:
        interpret(path, feeds)
    assert caught.value.code == code, str(caught.value)
    assert "the node" in str(caught.value)
