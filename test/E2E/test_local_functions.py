"""Local functions of a model are expanded before it is raised and compiled."""
import numpy as np
import onnx
import pytest
from artefact import Model, compile_model, error_of, ort_session
from onnx import TensorProto, helper, numpy_helper

import raising

F, LOCAL = TensorProto.FLOAT, "test.local"
node = helper.make_node


def rand(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def function(name, inputs, outputs, nodes, opset=17, **fields):
    return helper.make_function(LOCAL, name, inputs.split(), outputs.split(), nodes, [helper.make_opsetid("", opset), helper.make_opsetid(LOCAL, 1)], **fields)


def call(name, inputs, outputs, **attrs):
    return node(name, inputs.split(), outputs.split(), name=f"call_{outputs}", domain=LOCAL, **attrs)


def refer(made, attribute, name, kind):
    """Lets an attribute of a node be one of the function around it."""
    made.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=name, type=kind))
    return made


def save(path, nodes, inputs, outputs, functions, constants=()):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(name, F, shape) for name, shape in inputs.items()],
                              [helper.make_tensor_value_info(name, F, shape) for name, shape in outputs.items()],
                              [numpy_helper.from_array(array, name) for name, array in dict(constants).items()])
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(LOCAL, 1)], ir_version=8), path)
    return path


def agree(model, feeds, tmp_path, tolerance=2.0**-20):
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    for mine, theirs in zip(Model(tmp_path / "m.so").run(feeds), ort_session(model).run(None, feeds), strict=True):
        assert mine.shape == theirs.shape and error_of(mine, theirs) <= tolerance


def test_attributes_and_nested_calls(tmp_path):
    leaky = function("Leaky", "a", "b", [refer(node("LeakyRelu", ["a"], ["b"]), "alpha", "slope", onnx.AttributeProto.FLOAT)], attributes=["slope"])
    defaults = function("Shift", "a", "b", [refer(node("Constant", [], ["c"]), "value_float", "by", onnx.AttributeProto.FLOAT), node("Add", ["a", "c"], ["b"])],
                        attribute_protos=[helper.make_attribute("by", 0.25)])
    inner = refer(call("Leaky", "h", "b"), "slope", "outer", onnx.AttributeProto.FLOAT)
    outer = function("Outer", "a", "b c", [call("Shift", "a", "h"), inner, node("Neg", ["h"], ["c"])], attributes=["outer"])
    nodes = [call("Outer", "x", "y n", outer=0.5), call("Leaky", "x", "z"), call("Shift", "x", "w", by=-2.0), call("Outer", "x", "u v")]
    model = save(tmp_path / "m.onnx", nodes, {"x": ["n", 3]}, {name: ["n", 3] for name in "ynzwuv"}, [leaky, defaults, outer])
    agree(model, {"x": rand(4, 3)}, tmp_path)


def test_inputs_that_are_left_out_or_passed_through(tmp_path):
    clip = function("Bound", "a low high", "b same", [node("Clip", ["a", "low", "high"], ["b"]), node("Identity", ["a"], ["same"])])
    swap = function("Swap", "a b", "b a", [])
    nodes = [node("Bound", ["x", "", "top"], ["p", "q"], domain=LOCAL), node("Bound", ["x", "top"], ["r", "s"], domain=LOCAL)]
    model = save(tmp_path / "m.onnx", nodes, {"x": ["n"]}, {name: ["n"] for name in "pqrs"}, [clip], {"top": np.float32(0.25)})
    agree(model, {"x": rand(9)}, tmp_path, 0)
    model = save(tmp_path / "s.onnx", [call("Swap", "x y", "s t"), node("Sub", ["s", "t"], ["d"])], {"x": ["n"], "y": ["n"]}, {"d": ["n"]}, [swap])
    done = compile_model(model, tmp_path / "s.so")
    assert done.returncode == 0, done.stderr
    x, y = rand(5), rand(5) * 2
    assert np.array_equal(Model(tmp_path / "s.so").run({"x": x, "y": y})[0], y - x)


@pytest.mark.parametrize("names", [("first", "second"), ("", ""), ("same", "same")])
def test_networks_in_functions_are_raised(names, tmp_path):
    block = function("Block", "x u d", "y", [node("MatMul", ["x", "u"], ["h"], name="up"), node("Relu", ["h"], ["a"]), node("MatMul", ["a", "d"], ["f"], name="down"),
                                              node("Add", ["x", "f"], ["y"])])
    nodes = [node("Block", list(ins), [out], name=name, domain=LOCAL) for name, ins, out in zip(names, (("x", "u0", "d0"), ("h", "u1", "d1")), "hy")]
    weights = {name: rand(*shape) / 4 for i in "01" for name, shape in (("u" + i, (8, 16)), ("d" + i, (16, 8)))}
    model = save(tmp_path / "m.onnx", nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, [block], weights)
    found = raising.list_networks(model, tmp_path)
    assert len(found) == 2 and all("plain relu d=8 m=16" in text and "residual=plain" in text for text in found), found
    if names[0] != "same":  # ONNX Runtime refuses two nodes of one name
        agree(model, {"x": rand(3, 8)}, tmp_path)
    # Without a pass an export has the functions of the file.
    done = compile_model(model, tmp_path / "back.onnx", "--emit=onnx")
    assert done.returncode == 0, done.stderr
    assert [f.name for f in onnx.load(tmp_path / "back.onnx").functions] == ["Block"]
    raised = raising.back_to_onnx(model, tmp_path)
    assert not onnx.load(raised).functions
    x = rand(3, 8)
    wanted = x.astype(np.float64)
    for i in "01":
        wanted = wanted + np.maximum(wanted @ weights["u" + i], 0) @ weights["d" + i]
    assert error_of(raising.run_ort(raised, {"x": x})[0], wanted.astype(np.float32)) <= 2.0**-20


def test_operator_without_lowering_is_named(tmp_path):
    inner = function("Inner", "a", "b", [node("Det", ["a"], ["b"], name="determinant")])
    outer = function("Outer", "a", "b", [node("Inner", ["a"], ["b"], name="middle", domain=LOCAL)])
    model = save(tmp_path / "m.onnx", [call("Outer", "x", "y")], {"x": ["n", 3, 3]}, {"y": ["n"]}, [outer, inner])
    done = compile_model(model, tmp_path / "m.so")
    assert done.returncode == 1 and done.stderr.count("error:") == 1, done.stderr
    for part in ("'call_y/middle/determinant'", "operator Det version 11", "[FFN-C101]", "note:"):
        assert part in done.stderr
    assert not (tmp_path / "m.so").exists()


TEMPLATE = 'onnx.function "l", "F{i}" overload "" opsets {{ai.onnx = 17 : i64}} formals [] defaults {{}} {{\n^bb0(%a: tensor<2xf32>):\n  {body}\n  onnx.yield %b : tensor<2xf32>\n}}\n'
MAIN = 'func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {\n  %y = onnx.node "l::F0" v1 (%x) : (tensor<2xf32>) -> tensor<2xf32> names ["start", "y"]\n  return %y : tensor<2xf32>\n}\n'
ONE = '%b = onnx.node "l::F{next}" v1 (%a) : (tensor<2xf32>) -> tensor<2xf32>'
TWO = '%c = onnx.node "l::F{next}" v1 (%a) : (tensor<2xf32>) -> tensor<2xf32>\n  %b = onnx.node "l::F{next}" v1 (%c) : (tensor<2xf32>) -> tensor<2xf32>'
END = '%b = onnx.node "Neg" v13 (%a) : (tensor<2xf32>) -> tensor<2xf32>'


def chain(length, body, end=END):
    parts = [TEMPLATE.format(i=i, body=body.format(next=i + 1)) for i in range(length - 1)]
    return MAIN + "".join(parts) + TEMPLATE.format(i=length - 1, body=end)


@pytest.mark.parametrize("text, why", [(chain(1, ONE, ONE.format(next=0)), "nested more than 100 deep"), (chain(101, ONE), "nested more than 100 deep"),
                                        (chain(40, TWO), "more than 1000000 nodes")], ids=["cycle", "chain", "doubling"])
def test_text_that_calls_without_end(text, why, tmp_path):
    (tmp_path / "m.mlir").write_text(text)
    done = raising.tool("ffn-opt", tmp_path / "m.mlir", "--ffn-raise", "--mlir-print-op-on-diagnostic=false", check=False)
    assert done.returncode == 1 and why in done.stderr and "[FFN-I303]" in done.stderr, done.stderr[-2000:]


def test_longest_chain(tmp_path):
    (tmp_path / "m.mlir").write_text(chain(100, ONE))
    done = raising.tool("ffn-opt", tmp_path / "m.mlir", "--ffn-raise")
    assert "Neg" in done.stdout and "onnx.function" not in done.stdout and "l::" not in done.stdout


def test_subgraph_that_a_call_gives_is_named(tmp_path):
    """The branches of an If are attributes of the function, so graphs of the caller are part of the call."""
    def branch(op):
        return helper.make_graph([node(op, ["v"], ["w"])], op, [], [helper.make_tensor_value_info("w", F, [2])])
    choose = refer(refer(node("If", ["c"], ["b"], name="choice"), "then_branch", "yes", onnx.AttributeProto.GRAPH), "else_branch", "no", onnx.AttributeProto.GRAPH)
    pick = function("Pick", "a", "b", [node("ReduceSum", ["a"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=TensorProto.BOOL), choose],
                    attributes=["yes", "no"])
    model = save(tmp_path / "m.onnx", [node("Abs", ["x"], ["v"]), call("Pick", "x", "y", yes=branch("Neg"), no=branch("Identity"))],
                 {"x": [2]}, {"y": [2]}, [pick])
    for done in (compile_model(model, tmp_path / "m.so"), raising.tool("ffn-opt", model, "--ffn-raise", check=False)):
        assert done.returncode == 1 and done.stderr.count("error:") == 1 and done.stdout == "", done.stderr
        for part in ("'choice'", "[FFN-C101]", "'else_branch'", "is a subgraph that the call of a local function gives"):
            assert part in done.stderr, done.stderr
    assert not (tmp_path / "m.so").exists()
    # Nothing is expanded where nothing is compiled.
    raising.tool("ffn-translate", "--onnx-to-onnx", model, "-o", tmp_path / "back.onnx")
    back = onnx.load(tmp_path / "back.onnx")
    assert [f.name for f in back.functions] == ["Pick"] and {a.name for a in back.graph.node[1].attribute} == {"yes", "no"}
