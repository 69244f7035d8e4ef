"""The wire reader and writer against the onnx package.

ffn-wire-dump reads a model and writes all that it read again. Both files must be the same message for protobuf, and
the elements of each tensor must be those that onnx.numpy_helper sees.
"""
import hashlib
import itertools
import json
import subprocess

import builds
import numpy
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper

DUMP = builds.tool("ffn-wire-dump")
pytestmark = pytest.mark.skipif(DUMP is None, reason="ffn-wire-dump is not built")

MODELS = builds.shared_models()
SHARED = sorted(MODELS.rglob("*.onnx")) if MODELS else []

# Their weights were stripped before they came here.
INCOMPLETE = {
    "ir-py__resnet18_dynamo.onnx": "FFN-I203",
    "ir-py__torchscript_model.onnx": "FFN-I203",
    "model-explorer-onnx__phi-4-mm-speech.onnx": "FFN-I105",
}


def dump(path, *options):
    done = subprocess.run([DUMP, path, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def normalise(message):
    """Clears what protobuf can tell apart, but means the same: optional fields that are set to their default."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                normalise(item)
            continue
        # Presence of these has a meaning.
        if field.is_repeated or field.containing_oneof or (message.DESCRIPTOR.name, field.name) in {
            ("AttributeProto", "f"), ("AttributeProto", "i"), ("AttributeProto", "s"), ("TensorProto", "raw_data"),
        }:
            continue
        if value == field.default_value:
            message.ClearField(field.name)


def assert_same_message(original, rewritten):
    a, b = onnx.load(original, load_external_data=False), onnx.load(rewritten, load_external_data=False)
    normalise(a)
    normalise(b)
    assert a == b


def all_tensors(model):
    """Tensors in the order of ffn-wire-dump --tensors."""

    def of_nodes(nodes):
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                    yield from of_graph(graph)

    def of_graph(graph):
        yield from graph.initializer
        yield from of_nodes(graph.node)

    return list(itertools.chain(of_graph(model.graph), *(of_nodes(f.node) for f in model.functions)))


def packed_bytes(tensor, folder):
    if tensor.data_type == TensorProto.STRING:
        return b"".join(s + b"\0" for s in tensor.string_data)
    array = onnx.numpy_helper.to_array(tensor, str(folder))
    return onnx.numpy_helper.from_array(array).raw_data


def assert_same_tensors(path, listed):
    expected = all_tensors(onnx.load(path, load_external_data=False))
    assert len(listed) == len(expected)
    for ours, theirs in zip(listed, expected):
        assert (ours["type"], ours["dims"]) == (theirs.data_type, list(theirs.dims))
        assert ours["name"] == theirs.name
        digest = hashlib.sha1(packed_bytes(theirs, path.parent)).hexdigest()
        assert ours["sha1"] == digest, f"{theirs.name!r} of type {theirs.data_type}"


@pytest.mark.skipif(not SHARED, reason="no shared models beside the checkout (FFN_SHARED)")
@pytest.mark.parametrize("path", SHARED, ids=lambda p: p.stem)
@pytest.mark.parametrize("mode", ["mmap", "no-mmap"])
def test_shared_model(path, mode, tmp_path):
    options = ["--no-mmap"] if mode == "no-mmap" else []
    out = tmp_path / "again.onnx"
    result = dump(path, f"--rewrite={out}", *options)
    assert_same_message(path, out)
    model = onnx.load(path, load_external_data=False)
    assert result["nodes"] == len(model.graph.node)
    assert result["initializers"] == len(model.graph.initializer)
    checked = subprocess.run([DUMP, path, "--check", *options], capture_output=True, text=True, timeout=60)
    if code := INCOMPLETE.get(path.name):
        assert checked.returncode == 1 and f"[{code}]" in checked.stderr and checked.stdout.strip() == ""
    else:
        assert checked.returncode == 0, checked.stderr
        assert_same_tensors(path, dump(path, "--tensors", *options)["tensors"])


def typed_values(data_type, count):
    """Numbers that the type can hold, extremes among them."""
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    name = numpy.dtype(dtype).name
    random = numpy.random.default_rng(count)
    if name == "bool":
        return random.integers(0, 2, count).astype(bool)
    if name.startswith("complex"):
        return (random.normal(size=count) + 1j * random.normal(size=count)).astype(dtype)
    if "int" in name:
        bits = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4}.get(name) or numpy.dtype(dtype).itemsize * 8
        low, high = (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        values = [low, high, 0, 1] + [int(random.integers(low // 2, high // 2 + 1)) for _ in range(count)]
        return numpy.array(values[:count], dtype=object).astype(numpy.int64 if low < 0 else numpy.uint64).astype(dtype)
    return random.uniform(0.25, 3, count).astype(numpy.float32).astype(dtype)


TYPES = [(name, value) for name, value in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING")]


@pytest.mark.parametrize("name, data_type", TYPES, ids=[n for n, _ in TYPES])
def test_every_type_typed_and_raw(name, data_type, tmp_path):
    path = tmp_path / "m.onnx"
    tensors = []
    for count in (0, 1, 2, 3, 4, 5, 7, 8, 9, 64):
        values = typed_values(data_type, count)
        raw = onnx.numpy_helper.from_array(values, f"raw{count}")
        assert raw.data_type == data_type
        tensors += [raw, helper.make_tensor(f"typed{count}", data_type, [count], values.flatten())]
    graph = helper.make_graph([helper.make_node("Identity", ["raw1"], ["y"])], "g", [],
                              [helper.make_tensor_value_info("y", data_type, [1])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())]), path)
    listed = dump(path, "--tensors", "--check")["tensors"]
    assert_same_tensors(path, listed)
    # The typed form holds the same elements as the raw one.
    assert [t["sha1"] for t in listed[0::2]] == [t["sha1"] for t in listed[1::2]]


def make_everything():
    """A model with something in every field of the schema."""
    tensor = onnx.numpy_helper.from_array(numpy.arange(6, dtype=numpy.int64).reshape(2, 3), "t")
    values = helper.make_tensor("sv", TensorProto.FLOAT, [2], [1, 2])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("", TensorProto.INT64, [2], [1, 5]), [2, 3])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "inner", [],
                              [helper.make_tensor_value_info("r", 1, None)])
    kinds = [
        helper.make_tensor_type_proto(1, ["batch", 4, None]),
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(7, [])),
        helper.make_optional_type_proto(helper.make_sequence_type_proto(helper.make_tensor_type_proto(8, None))),
        helper.make_sparse_tensor_type_proto(1, [2, 3]),
        helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [1])),
    ]
    opaque = onnx.TypeProto(denotation="IMAGE")
    opaque.opaque_type.domain, opaque.opaque_type.name = "d", "n"
    kinds.append(opaque)
    kinds[0].tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    node = helper.make_node("Everything", ["x", "", "f"], ["y", ""], name="n\u00e4me", domain="loc", doc_string="doc",
                            overload="o", f=1.5, i=-3, s=b"\xff\x00", floats=[1.0, -0.0], ints=[1, -1, 2**62],
                            strings=[b"", b"a"], tensor=tensor, tensors=[tensor, tensor], graph=inner,
                            graphs=[inner, inner], sparse=sparse, sparses=[sparse], type=kinds[2], types=kinds)
    node.attribute.append(helper.make_attribute("zero", 0))
    node.attribute.append(helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.STRINGS))
    node.attribute[0].doc_string = "attribute doc"
    helper.set_metadata_props(node, {"k": "v"})
    device = node.device_configurations.add(configuration_id="c", pipeline_stage=1)
    device.sharding_spec.add(tensor_name="x", device=[0, 1])
    function = helper.make_function("loc", "F", ["a"], ["b"], [
        helper.make_node("Elu", ["a"], ["b"]),
    ], [helper.make_opsetid("", 21)], ["alpha"], [helper.make_attribute("beta", 2.0)])
    reference = function.node[0].attribute.add(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    assert reference.ref_attr_name
    function.overload = "o"
    function.value_info.append(helper.make_tensor_value_info("b", 1, None))
    helper.set_metadata_props(function, {"k": "v"})
    call = helper.make_node("F", ["x"], ["f"], domain="loc", overload="o", alpha=1.0)
    graph = helper.make_graph(
        [call, node], "main", [helper.make_value_info("x", kinds[0])],
        [helper.make_tensor_value_info("y", 1, ["batch"])],
        [tensor, helper.make_tensor("s", TensorProto.STRING, [2], [b"a", b"\xff"])], "graph doc",
        [helper.make_value_info(f"v{i}", kind) for i, kind in enumerate(kinds)], [sparse])
    graph.input[0].doc_string = "input doc"
    helper.set_metadata_props(graph.input[0], {"k": "v"})
    helper.set_metadata_props(graph.initializer[0], {"k": "v"})
    graph.initializer[0].doc_string = "tensor doc"
    helper.set_metadata_props(graph, {"k": "v"})
    annotation = graph.quantization_annotation.add(tensor_name="x")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="t")
    model = helper.make_model(graph, producer_name="p", producer_version="1", domain="d", model_version=7,
                              doc_string="doc", functions=[function],
                              opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("loc", 1)])
    model.ir_version = 11
    helper.set_model_props(model, {"k": "v", "empty": ""})
    model.configuration.add(name="c", num_devices=2, device=["a", "b"])
    training = model.training_info.add()
    training.algorithm.CopyFrom(helper.make_graph([helper.make_node("Neg", ["t"], ["u"])], "step", [],
                                                  [helper.make_tensor_value_info("u", 7, [2, 3])]))
    training.initialization.name = "init"
    training.initialization.output.add(name="x")
    training.update_binding.add(key="t", value="u")
    training.initialization_binding.add(key="t", value="u")
    return model


def test_every_field(tmp_path):
    path, out = tmp_path / "m.onnx", tmp_path / "again.onnx"
    onnx.save(make_everything(), path)
    result = dump(path, "--check", "--tensors", f"--rewrite={out}")
    assert_same_message(path, out)
    assert_same_tensors(path, result["tensors"])


def test_normalise_sees_differences(tmp_path):
    """The comparison above must be able to fail."""
    path = tmp_path / "m.onnx"
    for change in (
        lambda m: next(a for a in m.graph.node[1].attribute if a.name == "zero").ClearField("i"),
        lambda m: m.graph.node[1].input.pop(),
        lambda m: m.graph.initializer[0].metadata_props.pop(),
        lambda m: m.configuration.pop(),
    ):
        model = make_everything()
        onnx.save(model, path)
        change(model)
        changed = tmp_path / "changed.onnx"
        onnx.save(model, changed)
        with pytest.raises(AssertionError):
            assert_same_message(path, changed)


def test_large_external_data_costs_nothing(tmp_path):
    """6 GiB of external weights in a sparse file: no byte of them may be read."""
    path = tmp_path / "m.onnx"
    size = 6 << 30
    with open(tmp_path / "w.bin", "wb") as data:
        data.truncate(size)
    weight = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[size // 4 // 4096, 4096],
                         data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "W"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", 1, [1, size // 4 // 4096])],
                              [helper.make_tensor_value_info("y", 1, [1, 4096])], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    for options in ([], ["--no-mmap"]):
        report = tmp_path / "time"
        done = subprocess.run(["/usr/bin/env", "python3", "-c", (
            "import resource,subprocess,sys\n"
            "code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL)\n"
            "open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
            "sys.exit(code)"), report, DUMP, path, "--check", *options], timeout=10, check=False)
        assert done.returncode == 0
        assert int(report.read_text()) < 150 << 10, "kilobytes resident"
