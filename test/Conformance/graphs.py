"""Small ONNX graphs that use what files may hold and exporters rarely write; all must come back as they were."""
import numpy
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

GRAPHS = {}


def graph(build):
    GRAPHS[build.__name__] = build
    return build


def info(name, shape=("n", 4), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs=None, outputs=None, initializers=(), opset=21, ir=10, domains=(), functions=(), **fields):
    """A model over x[n,4] and y[n,4] unless told otherwise."""
    made = helper.make_graph(nodes, fields.pop("name", "main"), inputs or [info("x")], outputs or [info("y")],
                             list(initializers), **fields)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=opsets, functions=functions, ir_version=ir)


def tensor(name, values, dtype=numpy.float32):
    return numpy_helper.from_array(numpy.array(values, dtype), name)


def custom(attributes, name="custom"):
    """A node of an operator that nobody knows."""
    node = helper.make_node("Op", ["x"], ["y"], name, domain="test.custom")
    node.attribute.extend(attributes)
    return model([node], domains=["test.custom"])


# Attributes


@graph
def attributes_of_every_kind():
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "inner", [], [info("r")])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["a"])], "other", [], [info("a")])
    sparse = helper.make_sparse_tensor(tensor("", [1.5, -2]), tensor("", [1, 5], numpy.int64), [2, 4])
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["a", None, 3])
    sequence = helper.make_sequence_type_proto(kind)
    made = helper.make_attribute
    return custom([
        made("z_float", 1.5), made("a_int", -(2**63)), made("m_string", b"\xff\x00 \"\\\n"), made("floats", [1.0, -0.0, 1e-45]),
        made("ints", [2**63 - 1, -1, 0]), made("strings", ["", "a", "Ω\u2028"]),
        made("tensor", tensor("named", [[1, 2], [3, 4]])), made("tensors", [tensor("p", [1]), tensor("", [2.0] * 100)]),
        made("graph", inner), made("graphs", [other, inner]), made("sparse", sparse), made("sparses", [sparse, sparse]),
        made("type", kind), made("types", [sequence, helper.make_optional_type_proto(sequence), helper.make_map_type_proto(TensorProto.STRING, kind)]),
    ])


@graph
def attributes_that_are_empty():
    def empty(name, kind):
        return AttributeProto(name=name, type=kind)

    return custom([
        AttributeProto(name="s", type=AttributeProto.STRING, s=b""), empty("ints", AttributeProto.INTS),
        empty("floats", AttributeProto.FLOATS), empty("strings", AttributeProto.STRINGS), empty("tensors", AttributeProto.TENSORS),
        empty("graphs", AttributeProto.GRAPHS), empty("sparses", AttributeProto.SPARSE_TENSORS), empty("types", AttributeProto.TYPE_PROTOS),
        AttributeProto(name="i", type=AttributeProto.INT, i=0), AttributeProto(name="f", type=AttributeProto.FLOAT, f=0.0),
    ])


@graph
def attributes_that_are_not_numbers():
    nan = numpy.array([0x7FA12345, 0xFFC00001, 0x7F800000], numpy.uint32).view(numpy.float32)
    attributes = [AttributeProto(name="inf", type=AttributeProto.FLOAT, f=float("-inf")),
                  AttributeProto(name="nan", type=AttributeProto.FLOAT, f=float("nan")),
                  AttributeProto(name="zero", type=AttributeProto.FLOAT, f=-0.0)]
    quiet = AttributeProto(name="nans", type=AttributeProto.TENSOR)
    quiet.t.CopyFrom(helper.make_tensor("", TensorProto.FLOAT, [3], nan.tobytes(), raw=True))
    return custom([*attributes, quiet])


@graph
def attributes_with_comments():
    first = helper.make_attribute("alpha", 0.5, doc_string="slope")
    second = helper.make_attribute("value", tensor("weights of it", [1, 2]), doc_string="with\nlines")
    second.t.doc_string = "a tensor with a comment"
    entry = second.t.metadata_props.add()
    entry.key, entry.value = "origin", "test"
    return custom([first, second])


# Names


@graph
def names_of_all_sorts():
    odd = ["x/y:0", "%0", "a b\tc", "Ωß😀", "\"quoted\"", "-", "0", "a" * 3000]
    nodes, last = [], "x"
    for i, name in enumerate(odd):
        nodes.append(helper.make_node("Relu", [last], [name], name if i % 2 else ""))
        last = name
    nodes.append(helper.make_node("Neg", [last], ["y"], ""))
    return model(nodes, name="graph name with \n line")


@graph
def node_names_given_twice():
    return model([helper.make_node("Relu", ["x"], ["a"], "same"), helper.make_node("Relu", ["a"], ["b"], "same"),
                  helper.make_node("Neg", ["b"], ["y"], "a")])


@graph
def names_like_made_ones():
    return model([helper.make_node("Relu", ["x"], ["v"]), helper.make_node("Relu", ["v"], ["v_0"]),
                  helper.make_node("Relu", ["v_0"], ["output"]), helper.make_node("Neg", ["output"], ["y"])])


@graph
def comments_everywhere():
    node = helper.make_node("Relu", ["x"], ["y"], "relu", doc_string="what it does")
    made = model([node], doc_string="a graph", initializers=[tensor("unused", [1.0] * 64)])
    made.producer_name, made.producer_version, made.domain = "tests", "1.2", "org.test"
    made.model_version, made.doc_string = 7, "a model\nin two lines"
    made.graph.input[0].doc_string = "an input"
    made.graph.output[0].doc_string = "an output"
    made.graph.initializer[0].doc_string = "a weight"
    places = [made, made.graph, node, made.graph.node[0], made.graph.input[0], made.graph.output[0], made.graph.initializer[0]]
    for i, place in enumerate(places):
        for key in ("b", "a"):
            entry = place.metadata_props.add()
            entry.key, entry.value = f"{key}{i}", f"value {i}" if key == "a" else ""
    return made


@graph
def denotations():
    made = model([helper.make_node("Relu", ["x"], ["y"])])
    made.graph.input[0].type.denotation = "IMAGE"
    made.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    made.graph.output[0].type.tensor_type.shape.dim[1].denotation = "DATA_FEATURE"
    return made


@graph
def quantization_annotations():
    made = model([helper.make_node("Relu", ["x"], ["y"])], initializers=[tensor("scale", 0.5), tensor("zero", 3, numpy.uint8)])
    note = made.graph.quantization_annotation.add(tensor_name="y")
    for key, value in (("SCALE_TENSOR", "scale"), ("ZERO_POINT_TENSOR", "zero")):
        note.quant_parameter_tensor_names.add(key=key, value=value)
    return made


@graph
def device_configurations():
    made = model([helper.make_node("Relu", ["x"], ["y"], "relu")], ir=11, opset=23)
    made.configuration.add(name="two", num_devices=2, device=["d0", "d1"])
    spec = made.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    spec.sharding_spec.add(tensor_name="x", device=[0, 1])
    return made


# Edges of the graph


@graph
def output_is_an_input():
    return model([helper.make_node("Relu", ["x"], ["y"])], outputs=[info("y"), info("x")])


@graph
def output_is_an_initializer():
    return model([helper.make_node("Add", ["x", "w"], ["y"])], outputs=[info("y"), info("w", [4])], initializers=[tensor("w", [1, 2, 3, 4])])


@graph
def output_is_used_inside():
    return model([helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])], outputs=[info("h"), info("y")])


@graph
def outputs_without_shapes():
    bare = onnx.ValueInfoProto(name="y")
    bare.type.tensor_type.elem_type = TensorProto.FLOAT
    return model([helper.make_node("Relu", ["x"], ["y"])], outputs=[bare])


@graph
def initializers_that_are_inputs():
    weights = [tensor("w", [[0.0] * 4] * 4), tensor("b", [1.0] * 4)]
    return model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], ir=3, opset=9,
                 inputs=[info("w", [4, 4]), info("x"), info("b", [4])], initializers=weights)


@graph
def one_initializer_that_is_an_input():
    return model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], inputs=[info("b", [4]), info("x")],
                 initializers=[tensor("w", numpy.eye(4)), tensor("b", [1.0] * 4)])


@graph
def initializers_nobody_uses():
    return model([helper.make_node("Relu", ["x"], ["y"])], initializers=[tensor("big", numpy.zeros([64, 64])), tensor("small", [7], numpy.int64)])


@graph
def optional_inputs_and_outputs():
    return model([
        helper.make_node("Clip", ["x", "", "hi"], ["c"]), helper.make_node("Clip", ["c", "", ""], ["d"]),
        helper.make_node("Dropout", ["d"], ["e", ""]), helper.make_node("TopK", ["e", "k"], ["", "i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ], initializers=[tensor("hi", 6.0), tensor("k", [4], numpy.int64)])


@graph
def empty_strings_for_every_input():
    return model([helper.make_node("Op", ["", "x", "", ""], ["", "y", ""], domain="test.custom")], domains=["test.custom"])


@graph
def nodes_without_inputs():
    return model([helper.make_node("Constant", [], ["c"], value=tensor("named", numpy.ones([3, 40]))),
                  helper.make_node("Constant", [], ["d"], value_floats=[1.0, 2, 3, 4]),
                  helper.make_node("Constant", [], ["e"], value_string=b"text"),
                  helper.make_node("Add", ["x", "d"], ["y"])])


@graph
def nodes_nobody_uses():
    return model([helper.make_node("Relu", ["x"], ["dead"], "dead"), helper.make_node("Neg", ["dead"], ["deader"]), helper.make_node("Relu", ["x"], ["y"])])


@graph
def nodes_out_of_order():
    return model([helper.make_node("Neg", ["h"], ["y"], "second"), helper.make_node("Relu", ["x"], ["h"], "first")])


@graph
def alias_of_the_default_domain():
    made = model([helper.make_node("Relu", ["x"], ["h"], domain="ai.onnx"), helper.make_node("Neg", ["h"], ["y"])])
    made.opset_import[0].domain = "ai.onnx"
    return made


@graph
def imports_nobody_uses():
    return model([helper.make_node("Relu", ["x"], ["y"])], domains=["test.unused", "ai.onnx.ml"])


@graph
def old_opset():
    return model([helper.make_node("Dropout", ["x"], ["d"], is_test=1), helper.make_node("Clip", ["d"], ["y"], min=0.0, max=6.0)],
                 opset=6, ir=3)


# Weights


@graph
def weights_of_every_type():
    weights = []
    random = numpy.random.default_rng(0)
    for name, number in TensorProto.DataType.items():
        if number in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        bits = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}.get(name)
        bits = bits or helper.tensor_dtype_to_np_dtype(number).itemsize * 8
        for suffix, shape in (("", [3, 5, 7]), ("_scalar", []), ("_empty", [0, 3])):
            size = (int(numpy.prod(shape)) * bits + 7) // 8
            data = bytearray(random.bytes(size))
            if name == "BOOL":
                data = bytearray(byte & 1 for byte in data)
            if data and int(numpy.prod(shape)) * bits % 8:
                data[-1] &= (1 << int(numpy.prod(shape)) * bits % 8) - 1
            weights.append(helper.make_tensor(name + suffix, number, shape, bytes(data), raw=True))
    return model([helper.make_node("Relu", ["x"], ["y"])], initializers=weights, ir=13, opset=25)


@graph
def weights_in_typed_fields():
    made = helper.make_tensor
    values = list(range(-8, 8))
    return model([helper.make_node("Relu", ["x"], ["y"])], ir=13, opset=25, initializers=[
        made("float", TensorProto.FLOAT, [4, 4], values), made("double", TensorProto.DOUBLE, [16], values),
        made("int8", TensorProto.INT8, [16], values), made("int16", TensorProto.INT16, [16], values),
        made("int32", TensorProto.INT32, [16], values), made("int64", TensorProto.INT64, [16], values),
        made("uint8", TensorProto.UINT8, [2], [0, 255]), made("uint16", TensorProto.UINT16, [2], [0, 65535]),
        made("uint32", TensorProto.UINT32, [2], [0, 2**32 - 1]), made("uint64", TensorProto.UINT64, [2], [0, 2**64 - 1]),
        made("bool", TensorProto.BOOL, [3], [True, False, True]), made("half", TensorProto.FLOAT16, [2], [1.5, -0.0]),
        made("bfloat", TensorProto.BFLOAT16, [2], [1.5, -3.0]), made("complex", TensorProto.COMPLEX64, [2], [1 + 2j, -3j]),
        made("complex128", TensorProto.COMPLEX128, [1], [1 - 2j]), made("int4", TensorProto.INT4, [16], values),
        made("uint4", TensorProto.UINT4, [5], [0, 15, 7, 8, 3]), made("fp8", TensorProto.FLOAT8E4M3FN, [2], [1.0, -448.0]),
        made("fp4", TensorProto.FLOAT4E2M1, [3], [0.5, -6.0, 1.0]),
        made("string", TensorProto.STRING, [2], [b"a", b"\xff\x00"]), made("empty", TensorProto.FLOAT, [0], []),
    ])


@graph
def sparse_weights():
    def sparse(name, indices):
        return helper.make_sparse_tensor(tensor(name, [1.5, -2, 3]), tensor("", indices, numpy.int64), [4, 4])

    made = model([helper.make_node("MatMul", ["x", "linear"], ["h"]), helper.make_node("MatMul", ["h", "pairs"], ["y"])])
    made.graph.sparse_initializer.extend([sparse("linear", [0, 5, 15]), sparse("pairs", [[0, 1], [2, 2], [3, 0]])])
    return made


@graph
def weights_equal_but_for_the_name():
    same = numpy.arange(256, dtype=numpy.float32)
    return model([helper.make_node("Relu", ["x"], ["y"])], initializers=[tensor("a", same), tensor("b", same), tensor("c", [1, 2]), tensor("d", [1, 2])])


# Subgraphs and functions


def branch(name, node, out, shape=("n", 4)):
    return helper.make_graph([node], name, [], [info(out, shape)])


@graph
def branches_that_capture():
    then = branch("then_graph", helper.make_node("Add", ["x", "w"], ["t"], "add"), "t")
    other = branch("else_graph", helper.make_node("Mul", ["h", "w"], ["e"], "mul"), "e")
    return model([helper.make_node("Relu", ["x"], ["h"]), helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other)],
                 inputs=[info("x"), info("c", [], TensorProto.BOOL)], initializers=[tensor("w", [1, 2, 3, 4])])


@graph
def branches_that_return_a_constant():
    first, second = (helper.make_graph([], name, [], [info(name, [4])], [tensor(name, [1, 2, 3, 4])]) for name in ("k", "l"))
    return model([helper.make_node("If", ["c"], ["y"], then_branch=first, else_branch=second)],
                 inputs=[info("x"), info("c", [], TensorProto.BOOL)], outputs=[info("y", [4])])


def branch_that_returns_an_outer_value():
    """Comes back with an Identity, without which ONNX Runtime does not load it."""
    outer = helper.make_graph([], "outer", [], [info("x")])
    other = branch("other", helper.make_node("Neg", ["x"], ["n"]), "n")
    return model([helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=other)],
                 inputs=[info("x"), info("c", [], TensorProto.BOOL)])


@graph
def branches_that_cannot_run():
    """Shapes that do not fit, in a branch that the condition never takes."""
    dead = branch("dead", helper.make_node("Split", ["size"], ["p", "q", "r", "s"], num_outputs=4), "p", ["a"])
    live = branch("live", helper.make_node("Identity", ["size"], ["t"]), "t", [5])
    return model([helper.make_node("If", ["c"], ["y"], then_branch=dead, else_branch=live)],
                 inputs=[info("size", [5]), info("c", [], TensorProto.BOOL)], outputs=[info("y", ["m"])])


@graph
def branches_three_deep():
    node = helper.make_node("Add", ["x", "w"], ["d0"], "add")
    for depth in range(3):
        inner = helper.make_graph([node], f"level{depth}", [], [info(f"d{depth}")])
        plain = branch(f"plain{depth}", helper.make_node("Neg", ["x"], [f"n{depth}"]), f"n{depth}")
        node = helper.make_node("If", ["c"], [f"d{depth + 1}" if depth < 2 else "y"], f"if{depth}", then_branch=inner, else_branch=plain)
    return model([node], inputs=[info("x"), info("c", [], TensorProto.BOOL)], initializers=[tensor("w", [1, 2, 3, 4])])


@graph
def names_reused_by_branches():
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["t"], "n"), helper.make_node("Neg", ["t"], ["o"], "n")], "g", [], [info("o")])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["t"], "n"), helper.make_node("Neg", ["t"], ["o"], "n")], "g", [], [info("o")])
    return model([helper.make_node("If", ["c"], ["y"], "n", then_branch=then, else_branch=other)], inputs=[info("x"), info("c", [], TensorProto.BOOL)])


@graph
def loop_with_state():
    body = helper.make_graph([
        helper.make_node("Add", ["state", "x"], ["next"], "step"), helper.make_node("Identity", ["go"], ["again"]),
        helper.make_node("Identity", ["next"], ["seen"]),
    ], "body", [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("state", None)],
        [info("again", [], TensorProto.BOOL), info("next"), info("seen")], doc_string="the body")
    return model([helper.make_node("Loop", ["m", "", "x"], ["y", "all"], "loop", body=body)],
                 outputs=[info("y"), info("all", ["i", "n", 4])], initializers=[tensor("m", 3, numpy.int64)])


@graph
def scan_with_weights():
    body = helper.make_graph([helper.make_node("Mul", ["row", "factor"], ["scaled"]), helper.make_node("Add", ["sum", "scaled"], ["total"])],
                             "rows", [info("sum", [4]), info("row", [4])], [info("total", [4]), info("scaled", [4])], [tensor("factor", [2.0, 3, 4, 5])])
    return model([helper.make_node("Scan", ["zero", "x"], ["last", "y"], num_scan_inputs=1, body=body)],
                 outputs=[info("last", [4]), info("y")], initializers=[tensor("zero", [0.0] * 4)])


@graph
def sequences_and_optionals():
    return model([helper.make_node("SequenceConstruct", ["x", "x"], ["s"]), helper.make_node("Optional", ["s"], ["o"]),
                  helper.make_node("OptionalGetElement", ["o"], ["q"]), helper.make_node("SequenceAt", ["q", "i"], ["y"])],
                 inputs=[info("x"), helper.make_tensor_sequence_value_info("unused", TensorProto.FLOAT, ["n"])],
                 initializers=[tensor("i", 1, numpy.int64)])


def function(name, nodes, domain="test.local", inputs=("a",), outputs=("b",), opset=21, **fields):
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("test.local", 1)]
    return helper.make_function(domain, name, list(inputs), list(outputs), nodes, opsets, **fields)


@graph
def functions_that_call_functions():
    inner = function("Inner", [helper.make_node("Relu", ["a"], ["b"], "relu")], doc_string="the inner one")
    outer = function("Outer", [helper.make_node("Inner", ["a"], ["h"], "call", domain="test.local"), helper.make_node("Neg", ["h"], ["b"])])
    return model([helper.make_node("Outer", ["x"], ["y"], "outer", domain="test.local")], domains=["test.local"], functions=[outer, inner])


@graph
def functions_with_attributes():
    node = helper.make_node("LeakyRelu", ["a"], ["h"])
    node.attribute.add(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    other = helper.make_node("Transpose", ["h"], ["b"])
    other.attribute.add(name="perm", ref_attr_name="order", type=AttributeProto.INTS)
    made = function("F", [node, other], attributes=["slope"], attribute_protos=[helper.make_attribute("order", [0, 1])])
    entry = made.metadata_props.add()
    entry.key, entry.value = "source", "test"
    return model([helper.make_node("F", ["x"], ["y"], slope=0.25, domain="test.local"), helper.make_node("F", ["x"], ["z"], slope=0.5, order=[1, 0], domain="test.local")],
                 outputs=[info("y"), info("z", [4, "n"])], domains=["test.local"], functions=[made])


@graph
def functions_with_constants_and_branches():
    then, other = (branch(name, helper.make_node(op, ["a"], [name]), name) for name, op in (("t", "Relu"), ("e", "Neg")))
    nodes = [helper.make_node("Constant", [], ["k"], value=tensor("", numpy.ones([64, 4]))),
             helper.make_node("ReduceMax", ["k"], ["m"], keepdims=0), helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
             helper.make_node("If", ["c"], ["b"], then_branch=then, else_branch=other)]
    return model([helper.make_node("G", ["x"], ["y"], domain="test.local")], domains=["test.local"], functions=[function("G", nodes)])


@graph
def functions_with_overloads():
    first, second = (function("F", [helper.make_node(op, ["a"], ["b"])], overload=overload) for op, overload in (("Relu", ""), ("Neg", "other")))
    nodes = [helper.make_node("F", ["x"], ["h"], domain="test.local"), helper.make_node("F", ["h"], ["y"], domain="test.local", overload="other")]
    return model(nodes, domains=["test.local"], functions=[first, second])


@graph
def functions_with_value_infos():
    made = function("F", [helper.make_node("Relu", ["a"], ["h"]), helper.make_node("Neg", ["h"], ["b"])], value_info=[info("h"), info("a"), info("b")])
    return model([helper.make_node("F", ["x"], ["y"], domain="test.local")], domains=["test.local"], functions=[made])


@graph
def functions_that_return_inputs():
    made = function("Swap", [helper.make_node("Relu", ["a"], ["unused"])], inputs=["a", "b"], outputs=["b", "a"])
    return model([helper.make_node("Swap", ["x", "x2"], ["y", "z"], domain="test.local")], inputs=[info("x"), info("x2")],
                 outputs=[info("y"), info("z")], domains=["test.local"], functions=[made])


@graph
def functions_that_replace_operators():
    """A body for an operator of a known domain."""
    made = function("FastGelu", [helper.make_node("Gelu", ["a"], ["b"], approximate="tanh")], domain="com.microsoft")
    return model([helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")], domains=["com.microsoft"], functions=[made])


@graph
def functions_nobody_calls():
    return model([helper.make_node("Relu", ["x"], ["y"])], domains=["test.local"], functions=[function("F", [helper.make_node("Neg", ["a"], ["b"])])])
