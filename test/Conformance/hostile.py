#!/usr/bin/env python3
"""Builds hostile ONNX models, each with a benign twin.

A twin has the same construction without the fault and must be accepted, so that a refusal cannot be accidental.
Run as a script it fills a folder: `hostile.py OUT` makes OUT/NN_name/{bad,twin}/model.onnx and OUT/cases.json.
"""
import dataclasses
import json
import os
import pathlib
import random
import struct
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

W = numpy.arange(16, dtype=numpy.float32).reshape(4, 4) / 8 - 1
B = numpy.array([1, -2, 0.5, 0], dtype=numpy.float32)


@dataclasses.dataclass
class Case:
    number: int
    name: str
    # Code of the error, or None where the model must be accepted.
    code: str
    path: pathlib.Path
    twin: pathlib.Path = None
    # The fault is found on IR, not on the messages of the file.
    needs_ir: bool = False
    # The twin can be computed, not only carried.
    computes: bool = True

    @property
    def id(self):
        return f"{self.number:02}_{self.name}"


CASES = []


def case(code, needs_ir=False, computes=True):
    """Registers a builder: build(folder, bad) writes folder/model.onnx; cases are numbered in order."""

    def register(build):
        CASES.append((build.__name__, code, needs_ir, computes, build))
        return build

    return register


def base(weights=True, opset=17, ir=8):
    """x[1,4] -> MatMul W[4,4] -> Add B[4] -> Relu -> y."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"], "matmul"),
        helper.make_node("Add", ["h", "B"], ["s"], "add"),
        helper.make_node("Relu", ["s"], ["y"], "relu"),
    ]
    initializers = [numpy_helper.from_array(B, "B")]
    if weights:
        initializers.insert(0, numpy_helper.from_array(W, "W"))
    graph = helper.make_graph(nodes, "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    return model


def save(folder, model):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)


def weight(model):
    return next(t for t in model.graph.initializer if t.name == "W")


def external(folder, *entries, data=W.tobytes(), file="w.bin"):
    """The base model with W in a file beside it."""
    if file:
        (folder / file).write_bytes(data)
    model = base(weights=False)
    tensor = model.graph.initializer.add(name="W", data_type=TensorProto.FLOAT, dims=[4, 4],
                                         data_location=TensorProto.EXTERNAL)
    for key, value in entries:
        tensor.external_data.add(key=key, value=str(value))
    save(folder, model)


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@case("I001")
def empty_file(folder, bad):
    save(folder, b"" if bad else base())


@case("I001")
def random_bytes(folder, bad):
    save(folder, random.Random(1).randbytes(4096) if bad else base())


@case("I001")
def truncated_half(folder, bad):
    data = base().SerializeToString()
    save(folder, data[: len(data) // 2] if bad else data)


@case("I001")
def length_claims_2g(folder, bad):
    model = base()
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    head = model.SerializeToString() + bytes([7 << 3 | 2])
    save(folder, head + (varint(2**31 - 1) + graph[:10] if bad else varint(len(graph)) + graph))


@case("I001")
def no_graph(folder, bad):
    model = base()
    if bad:
        model.ClearField("graph")
    save(folder, model)


@case("I301")
def graph_without_outputs(folder, bad):
    model = base()
    if bad:
        model.graph.ClearField("output")
    save(folder, model)


@case("I402")
def ir_version_max(folder, bad):
    save(folder, base(ir=2**31 - 1 if bad else 8))


@case("I401")
def no_opset(folder, bad):
    model = base()
    if bad:
        model.ClearField("opset_import")
    save(folder, model)


@case("I401")
def opset_9999(folder, bad):
    save(folder, base(opset=9999 if bad else 17))


@case("I401")
def opset_negative(folder, bad):
    save(folder, base(opset=-1 if bad else 17))


@case("I401")
def opset_alias_conflict(folder, bad):
    model = base()
    model.opset_import.append(helper.make_opsetid("ai.onnx", 9 if bad else 17))
    save(folder, model)


@case("I401", needs_ir=True)
def op_newer_than_opset(folder, bad):
    model = base(opset=17 if bad else 20)
    model.graph.node[2].op_type = "Gelu"
    save(folder, model)


@case("I401", computes=False)
def unknown_domain(folder, bad):
    model = base()
    model.graph.node[2].domain = "evil"
    if not bad:
        model.opset_import.append(helper.make_opsetid("evil", 1))
    save(folder, model)


@case("I101")
def ext_absolute(folder, bad):
    external(folder, ("location", "/etc/hostname" if bad else "w.bin"))


@case("I101")
def ext_dotdot(folder, bad):
    (folder.parent / "secret.bin").write_bytes(W.tobytes())
    external(folder, ("location", "../secret.bin" if bad else "w.bin"))


@case("I102")
def ext_symlink(folder, bad):
    (folder.parent / "secret.bin").write_bytes(W.tobytes())
    (folder / "real.bin").write_bytes(W.tobytes())
    os.symlink("../secret.bin" if bad else "real.bin", folder / "w.bin")
    external(folder, ("location", "w.bin"), file=None)


@case("I103")
def ext_hardlink(folder, bad):
    external(folder, ("location", "w.bin"))
    if bad:
        os.link(folder / "w.bin", folder / "other.bin")


@case("I105")
def ext_directory(folder, bad):
    if bad:
        (folder / "w.bin").mkdir()
    external(folder, ("location", "w.bin"), file=None if bad else "w.bin")


@case("I105")
def ext_missing_file(folder, bad):
    external(folder, ("location", "w.bin"), file=None if bad else "w.bin")


@case("I106")
def ext_offset_beyond_eof(folder, bad):
    external(folder, ("location", "w.bin"), ("offset", 81 if bad else 16), data=bytes(16) + W.tobytes())


@case("I106")
def ext_negative_length(folder, bad):
    external(folder, ("location", "w.bin"), ("length", -1 if bad else 64))


@case("I106")
def ext_length_differs(folder, bad):
    external(folder, ("location", "w.bin"), ("length", 60 if bad else 64))


@case("I107")
def ext_location_twice(folder, bad):
    (folder.parent / "secret.bin").write_bytes(W.tobytes())
    external(folder, ("location", "w.bin"), *([("location", "../secret.bin")] if bad else []))


@case("I203")
def raw_short(folder, bad):
    model = base()
    weight(model).raw_data = W.tobytes()[: 63 if bad else 64]
    save(folder, model)


@case("I203")
def raw_long(folder, bad):
    model = base()
    weight(model).raw_data = W.tobytes() + bytes(4 if bad else 0)
    save(folder, model)


@case("I201")
def dims_product_overflow(folder, bad):
    model = base()
    if bad:
        weight(model).dims[:] = [2**32] * 3
    save(folder, model)


@case("I202")
def dim_negative(folder, bad):
    model = base()
    weight(model).dims[:] = [-4 if bad else 4, 4]
    save(folder, model)


@case("I204")
def two_payloads(folder, bad):
    model = base()
    if bad:
        weight(model).float_data[:] = W.flatten()
    save(folder, model)


@case("I204")
def wrong_payload_field(folder, bad):
    model = base()
    weight(model).ClearField("raw_data")
    if bad:
        weight(model).int64_data[:] = struct.unpack("16I", W.tobytes())
    else:
        weight(model).float_data[:] = W.flatten()
    save(folder, model)


@case("I207")
def dtype_99(folder, bad):
    model = base()
    weight(model).data_type = 99 if bad else TensorProto.FLOAT
    save(folder, model)


@case("I207")
def string_weight(folder, bad):
    model = base()
    if bad:
        weight(model).CopyFrom(helper.make_tensor("W", TensorProto.STRING, [4, 4], [b"1.0"] * 16))
    save(folder, model)


@case("I208")
def sparse_index_out_of_range(folder, bad):
    model = base(weights=False)
    values = helper.make_tensor("W", TensorProto.FLOAT, [3], [1.0, -2.0, 3.0])
    indices = helper.make_tensor("", TensorProto.INT64, [3], [0, 5, 17 if bad else 15])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 4]))
    save(folder, model)


@case("I302")
def undefined_input(folder, bad):
    model = base()
    model.graph.node[1].input[0] = "nope" if bad else "h"
    save(folder, model)


@case("I301")
def value_defined_twice(folder, bad):
    model = base()
    model.graph.node.insert(1, helper.make_node("Relu", ["x"], ["h" if bad else "h2"]))
    save(folder, model)


@case("I302")
def two_node_cycle(folder, bad):
    model = base()
    model.graph.node[1].input[1] = "y" if bad else "B"
    save(folder, model)


@case("I303")
def function_calls_itself(folder, bad):
    model = base()
    model.graph.node[2].op_type, model.graph.node[2].domain = "F", "loc"
    body = helper.make_node("F" if bad else "Relu", ["a"], ["b"], domain="loc" if bad else "")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("loc", 1)]
    model.functions.append(helper.make_function("loc", "F", ["a"], ["b"], [body], opsets))
    model.opset_import.append(opsets[1])
    save(folder, model)


@case("I501", needs_ir=True)
def attr_wrong_type(folder, bad):
    model = base()
    gemm = helper.make_node("Gemm", ["x", "W", "B"], ["s"], transB="1" if bad else 1)
    del model.graph.node[0]
    model.graph.node[0].CopyFrom(gemm)
    save(folder, model)


@case("I201", needs_ir=True)
def fold_bomb(folder, bad):
    model = base()
    shape = numpy.array([2**31, 2**31] if bad else [1, 4], dtype=numpy.int64)
    model.graph.initializer.append(numpy_helper.from_array(shape, "shape"))
    model.graph.node[2].input[0] = "t"
    model.graph.node.insert(2, helper.make_node("Add", ["s", "c"], ["t"]))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["c"]))
    save(folder, model)


@case(None)
def shared_external_range(folder, bad):
    (folder / "w.bin").write_bytes(W.tobytes())
    model = base(weights=False)
    for name in ("W", "V"):
        tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[4, 4],
                                             data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="w.bin")
    model.graph.node[1].input[0] = "h2"
    model.graph.node.insert(1, helper.make_node("MatMul", ["h", "V"], ["h2"]))
    save(folder, model)


@case(None)
def nan_inf_denormal_weights(folder, bad):
    model = base(ir=3)
    values = W.copy()
    values[0] = [numpy.nan, numpy.inf, -numpy.inf, -0.0]
    values[1] = numpy.float32(1e-45)
    # A NaN with payload, to see that bits are kept.
    values.view(numpy.uint32)[2, 0] = 0x7FC12345
    weight(model).raw_data = values.tobytes()
    for name, dims in (("W", [4, 4]), ("B", [4])):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    save(folder, model)


def build_all(out):
    """Writes all cases below `out` and returns them."""
    out = pathlib.Path(out)
    cases = []
    for number, (name, code, needs_ir, computes, build) in enumerate(CASES, 1):
        made = {}
        for kind in ("bad", "twin") if code else ("bad",):
            folder = out / f"{number:02}_{name}" / kind
            folder.mkdir(parents=True)
            build(folder, kind == "bad")
            made[kind] = folder / "model.onnx"
        cases.append(Case(number, name, code, made["bad"], made.get("twin"), needs_ir, computes))
    return cases


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    cases = build_all(sys.argv[1])
    listing = [{key: str(value) if isinstance(value, pathlib.Path) else value
                for key, value in dataclasses.asdict(c).items()} for c in cases]
    (pathlib.Path(sys.argv[1]) / "cases.json").write_text(json.dumps(listing, indent=1) + "\n")
    print(f"{len(cases)} cases in {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
