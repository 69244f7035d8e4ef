"""The Python package: loading, pipelines, errors."""
import subprocess
import sys

import pytest

import ffn_mlir

MODULE = """
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", ffn.dims = ["batch", 4]}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
  %y = onnx.node "Relu" v14 (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
"""


def test_text_round_trip():
    module = ffn_mlir.parse_module(MODULE)
    assert 'onnx.node "Relu" v14' in str(module)
    assert str(ffn_mlir.parse_module(str(module))) == str(module)


def test_pipeline_text_is_the_tools_text():
    passes = ffn_mlir.PassManager.parse("builtin.module(canonicalize,cse)")
    assert str(passes).startswith("builtin.module(canonicalize")
    assert str(ffn_mlir.PassManager.parse(str(passes))) == str(passes)
    passes.run(ffn_mlir.parse_module(MODULE))


def test_pipeline_error_has_a_caret_under_the_users_text():
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.PassManager.parse("builtin.module(cse,no-such-pass)")
    lines = str(caught.value).splitlines()
    text = next(i for i, line in enumerate(lines) if line == "builtin.module(cse,no-such-pass)")
    assert lines[text + 1].index("^") == lines[text].index("no-such-pass")


def test_missing_file_is_an_error_with_a_code(tmp_path):
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.load_onnx(tmp_path / "none.onnx")
    assert caught.value.diagnostics
    assert all(entry.text for entry in caught.value.diagnostics)


def test_inspect_leaves_the_module_alone():
    module = ffn_mlir.parse_module(MODULE)
    before = str(module)
    found = ffn_mlir.inspect(module)
    assert found["inputs"] == [{"name": "x", "dtype": "f32", "dims": ["batch", 4]}]
    assert found["totals"]["onnx_nodes"] == 1
    assert str(module) == before


@pytest.mark.parametrize("order", ["onnxruntime,ffn_mlir", "ffn_mlir,onnxruntime", "onnx,ffn_mlir", "ffn_mlir,onnx"])
def test_import_order_does_not_matter(order):
    code = "\n".join(f"import {name}" for name in order.split(",")) + "\nimport ffn_mlir\nffn_mlir.PassManager.parse('builtin.module(cse)')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rewritten_model_is_written_as_onnx(tmp_path):
    onnx = __import__("onnx")
    module = ffn_mlir.parse_module(MODULE.replace("func.func", 'module attributes {onnx.model = {ir_version = 8 : i64, opset_imports = {ai.onnx = 17 : i64}}} {\nfunc.func', 1) + "}")
    ffn_mlir.PassManager.parse("builtin.module(ffn-raise,ffn-decompose,ffn-materialize-weights)").run(module)
    module.export_onnx(tmp_path / "m.onnx")
    assert [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node] == ["Relu"]
