"""ffn-opt on ONNX files: passes run on the imported model, weights stay where they are."""
import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))


def run(tool, *arguments):
    return subprocess.run([BUILD / "bin" / tool, *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture
def model(tmp_path):
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], name="product"), helper.make_node("Relu", ["h"], ["y"], name="rectify")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_reads_onnx(model):
    done = run("ffn-opt", model, "--pass-pipeline=builtin.module(ffn-raise)")
    assert done.returncode == 0, done.stderr
    assert "ffn.weight" in done.stdout and '"rectify"' in done.stdout and "onnx.node" in done.stdout


@pytest.mark.parametrize("bytecode", [False, True])
def test_edited_name_is_in_the_export(model, tmp_path, bytecode):
    """The IR is the model: no copy of the file stands behind it."""
    text = tmp_path / "m.mlir"
    assert run("ffn-opt", model, "-o", text).returncode == 0
    text.write_text(text.read_text().replace('"rectify"', '"renamed"'))
    source = text
    if bytecode:
        source = tmp_path / "m.mlirbc"
        assert run("ffn-opt", text, "--emit-bytecode", "-o", source).returncode == 0
    out = tmp_path / "out.onnx"
    done = run("ffnc", "compile", source, "--emit=onnx", "-o", out)
    assert done.returncode == 0, done.stderr
    assert [node.name for node in onnx.load(out).graph.node] == ["product", "renamed"]


def test_passes_are_checked_on_onnx(model, tmp_path):
    done = run("ffn-opt", model, "--ffn-check-passes", "--pass-pipeline=builtin.module(ffn-raise)", "-o", tmp_path / "sub.mlir")
    assert done.returncode == 0, done.stderr


def test_missing_file_is_coded(tmp_path):
    done = run("ffn-opt", tmp_path / "none.onnx")
    assert done.returncode == 1 and "[FFN-I105]" in done.stderr and done.stdout == ""


def test_damaged_file_is_coded(model):
    model.write_bytes(model.read_bytes()[:40])
    done = run("ffn-opt", model)
    assert done.returncode == 1 and "[FFN-I" in done.stderr and done.stdout == ""


def test_wrong_flag_is_wrong_use(model):
    assert run("ffn-opt", model, "--no-such-flag").returncode == 2


def test_files_that_a_text_names(model, tmp_path):
    """A text may name weights anywhere, as ffn-opt itself writes them; only regular files are read, and nothing blocks."""
    # Too large to be in the text.
    proto = onnx.load(model)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 4000), np.float32), "w"))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4000
    onnx.save(proto, model)
    folder = tmp_path / "texts" / "deep"
    folder.mkdir(parents=True)
    text = folder / "m.mlir"
    assert run("ffn-opt", model, "-o", text).returncode == 0
    assert '"../../m.onnx"' in text.read_text()
    export = lambda: run("ffn-translate", "--export-onnx", text, "-o", tmp_path / "out.onnx")
    assert export().returncode == 0
    (tmp_path / "out.onnx").unlink()
    os.mkfifo(folder / "pipe")
    written = text.read_text()
    for name in ("pipe", ".", "missing", "/dev/zero"):
        text.write_text(written.replace("../../m.onnx", name))
        done = export()
        assert done.returncode == 1 and "[FFN-W102]" in done.stderr and name in done.stderr, done
        assert not (tmp_path / "out.onnx").exists()
    # What lies in a file that is no longer the one that was imported is not taken on trust.
    text.write_text(written)
    model.write_bytes(model.read_bytes()[:40])
    done = export()
    assert done.returncode == 1 and "[FFN-W103]" in done.stderr, done


@pytest.mark.parametrize(
    "pipeline,what,word",
    [
        ("builtin.module(ffn-rais)", "'ffn-rais' does not refer to a registered pass", "ffn-rais"),
        ("builtin.module(ffn-fold-norm{foo=1})", "pass 'ffn-fold-norm' has no option 'foo'", "foo=1"),
        ("builtin.module(cse,func.func(canonicalize,ffn-raise))", "pass 'ffn-raise' runs on 'builtin.module', not on 'func.func'", "ffn-raise"),
        ("func.func(ffn-raise)", "pass 'ffn-raise' runs on 'builtin.module', not on 'func.func'", "ffn-raise"),
        ("builtin.module(\n  cse,\n  canonicalize{max-iterations=x})", "these options do not fit the pass 'canonicalize'", "max-iterations"),
        ("cse", "expected pass pipeline to be wrapped", "cse"),
    ],
)
def test_wrong_pipelines_have_one_text_in_all_tools(model, pipeline, what, word, tmp_path):
    out = tmp_path / "x.onnx"
    told = set()
    for done in (run("ffn-opt", model, f"--pass-pipeline={pipeline}"),
                 run("ffnc", "compile", model, "-o", out, f"--pass-pipeline={pipeline}")):
        assert done.returncode == 2 and done.stdout == "" and not out.exists()
        # LLVM has a line of its own before, with the name of the tool, where a number is none.
        told.add("\n".join(done.stderr.rstrip("\n").split("\n")[-3:]))
    text, = told
    first, shown, caret = text.split("\n")
    assert what in first and first.startswith("pipeline:") and first.endswith("[FFN-P100]") and shown in pipeline
    assert caret.strip() == "^" and shown[caret.index("^"):].startswith(word)


def test_wrong_option_of_a_pass_flag_is_coded(model):
    done = run("ffn-opt", model, "--ffn-fold-norm=foo=1")
    assert done.returncode == 2 and done.stdout == "" and "no such option foo [FFN-P100]" in done.stderr


@pytest.mark.parametrize("version", [3, 8])
def test_inputs_with_default_values_are_constants(model, tmp_path, version):
    """From IR version 4 on they are defaults that a caller may override, of which the import tells; before, a duty."""
    proto = onnx.load(model)
    proto.ir_version = version
    proto.opset_import[0].version = 17 if version > 3 else 8
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))
    path = tmp_path / "listed.onnx"
    onnx.save(proto, path)
    done = run("ffnc", "inspect", path)
    assert done.returncode == 0, done.stderr
    warned = "'w': inputs with a default value are constants here [FFN-I305W]" in done.stderr and "take its initializer out" in done.stderr
    assert warned == (version >= 4) and (version >= 4 or done.stderr == "")
    # Not twice on the way through text; the listing comes back in the export.
    assert run("ffn-opt", path, "-o", tmp_path / "m.mlir").returncode == 0
    done = run("ffn-translate", "--export-onnx", tmp_path / "m.mlir", "-o", tmp_path / "out.onnx")
    assert done.returncode == 0 and done.stderr == ""
    assert [value.name for value in onnx.load(tmp_path / "out.onnx").graph.input] == ["x", "w"]
    # The remedy.
    del proto.graph.initializer[:]
    onnx.save(proto, path)
    done = run("ffn-opt", path)
    assert done.returncode == 0 and done.stderr == "" and 'onnx.name = "w"' in done.stdout
