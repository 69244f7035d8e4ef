"""Results never take the place of what a model is read from, and weights files are those that were imported."""
import os
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, Model, compile_model
from onnx import TensorProto, helper, numpy_helper


def tool(name, *arguments):
    return subprocess.run([str(BUILD / "bin" / name), *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def save(path, external=False, rows=64):
    weight = numpy_helper.from_array(np.arange(rows * rows, dtype=np.float32).reshape(rows, rows), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", rows])], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location=path.name + ".data", size_threshold=0)
    return path


@pytest.mark.parametrize("how", ["own name", "link", "data", "data as ONNX"])
def test_compile_does_not_overwrite_what_it_reads(how, tmp_path):
    model = save(tmp_path / "m.onnx", external=how.startswith("data"))
    source = tmp_path / "m.onnx.data" if how.startswith("data") else model
    output = {"own name": model, "data": source, "link": tmp_path / "l.onnx", "data as ONNX": tmp_path / "copy.onnx"}[how]
    arguments = ["--emit=so"] if how == "data" else []
    if how == "link":
        output.symlink_to(model.name)
    if how == "data as ONNX":
        # The name that the data of the result would get.
        shutil.move(source, tmp_path / "copy.onnx.data")
        renamed = onnx.load(model, load_external_data=False)
        for entry in renamed.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = "copy.onnx.data"
        onnx.save(renamed, model)
        source = tmp_path / "copy.onnx.data"
        done = tool("ffn-translate", "--export-onnx", "--external-data-threshold=0", model, "-o", output)
    else:
        done = compile_model(model, output, *arguments)
    assert done.returncode == 1 and "weights of the model are read from it" in done.stderr and "[FFN-O101]" in done.stderr, done.stderr
    (tmp_path / "again").mkdir()
    expected = save(tmp_path / "again" / "m.onnx", external=how.startswith("data"))
    expected = expected.with_name("m.onnx.data") if how.startswith("data") else expected
    assert source.read_bytes() == expected.read_bytes()


def test_translate_does_not_overwrite_the_file_of_its_spans(tmp_path):
    model = save(tmp_path / "m.onnx")
    before = model.read_bytes()
    assert tool("ffn-translate", "--import-onnx", model, "-o", tmp_path / "m.mlir").returncode == 0
    done = tool("ffn-translate", "--export-onnx", tmp_path / "m.mlir", "-o", model)
    assert done.returncode == 1 and "[FFN-O101]" in done.stderr and model.read_bytes() == before


def test_weights_file_of_another_size_is_refused(tmp_path):
    model = save(tmp_path / "m.onnx")
    assert tool("ffn-translate", "--import-onnx", model, "-o", tmp_path / "m.mlir").returncode == 0
    assert compile_model(tmp_path / "m.mlir", tmp_path / "a.so").returncode == 0
    save(model, rows=96)
    done = compile_model(tmp_path / "m.mlir", tmp_path / "b.so")
    assert done.returncode == 1 and "weights file 'm.onnx' has" in done.stderr and "[FFN-W103]" in done.stderr
    assert not (tmp_path / "b.so").exists()


@pytest.mark.parametrize("rank", [16, 17])
def test_rank_that_libraries_take(rank, tmp_path):
    shape = [1] * (rank - 1) + [3]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    if rank == 16:
        x = np.ones(shape, np.float32)
        assert done.returncode == 0 and np.array_equal(Model(tmp_path / "m.so").run({"x": x})[0], -x)
    else:
        assert done.returncode == 1 and "input 'x' is of rank 17" in done.stderr and "[FFN-C102]" in done.stderr


def test_more_symbols_than_libraries_take(tmp_path):
    values = lambda kind: [helper.make_tensor_value_info(f"{kind}{i}", TensorProto.FLOAT, [f"n{i}"]) for i in range(65)]
    graph = helper.make_graph([helper.make_node("Neg", [f"x{i}"], [f"y{i}"]) for i in range(65)], "g", values("x"), values("y"))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode == 1 and "65 symbolic dimensions" in done.stderr and "[FFN-C102]" in done.stderr, done.stderr


@pytest.mark.parametrize("shape, start, step", [([4], 2, 3), ([4], 0, 5), ([4, 6], 5, 6), (["n", 6], 5, 6)])
def test_product_of_what_a_slice_with_steps_leaves(shape, start, step, tmp_path):
    """A row of one element is contiguous whatever its stride says."""
    weight = np.arange(1, 6, dtype=np.float32).reshape(1, 5)
    constants = {"s": [start], "e": [100], "a": [len(shape) - 1], "t": [step]}
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["c"]), helper.make_node("MatMul", ["c", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape[:-1], 5])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()] + [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    done = compile_model(tmp_path / "m.onnx", tmp_path / "m.so")
    assert done.returncode == 0, done.stderr
    sizes = [7 if size == "n" else size for size in shape]
    x = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
    assert np.array_equal(Model(tmp_path / "m.so").run({"x": x})[0], x[..., start::step] @ weight)


@pytest.mark.parametrize("verb", [["inspect"], ["run", "--random"], ["compile", "-o", "m.so"]], ids=lambda verb: verb[0])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_waiting_for_a_pipe_or_a_device(verb, kind, tmp_path):
    path = "/dev/zero"
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    done = subprocess.run([BUILD / "bin" / "ffnc", *verb, path], capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert done.returncode == 1 and "[FFN-I105]" in done.stderr, done.stderr
