"""The Python package: loading, pipelines, errors."""
import importlib.util
import inspect
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT

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


@pytest.mark.parametrize(
    "text,word",
    [
        ("builtin.module(cse,no-such-pass)", "no-such-pass"),
        ("builtin.module(func.func(cse,no-such-pass))", "no-such-pass"),
        ("builtin.module(func.func(cse),func.func(cse,))", "))"),
        ("builtin.module(\n  cse,\n  no-such-pass)", "no-such-pass"),
        ("builtin.module(no-such,\n  cse)", "no-such"),
        ("builtin.module(cse))", "))"),
        ("builtin.module(canonicalize{no-such=1})", "no-such=1"),
        ("builtin.module(cse,canonicalize{max-iterations=abc})", "max-iterations"),
        ("builtin.module(cse,func.func(canonicalize,ffn-raise))", "ffn-raise"),
        ("func.func(ffn-raise)", "ffn-raise"),
        ("cse", "cse"),
        ("builtin.module(cse", ""),
        ("", ""),
    ],
)
def test_pipeline_error_has_a_caret_under_the_users_text(text, word):
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.PassManager.parse(text)
    *_, shown, caret = str(caught.value).split("\n")
    assert shown in text.split("\n")
    assert caret.strip() == "^"
    assert caret.index("^") == (shown.rindex(word) if word else len(shown))
    assert caught.value.diagnostics[0].severity == "error"


def test_pipeline_for_another_anchor_does_not_run():
    with pytest.raises(ffn_mlir.Error, match="no-such"):
        ffn_mlir.PassManager.parse("no-such(cse)").run(ffn_mlir.parse_module(MODULE))


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


@pytest.mark.parametrize("other", ["onnx", "onnxruntime", "torch"])
@pytest.mark.parametrize("first", [True, False])
def test_import_order_does_not_matter(other, first):
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    order = ["ffn_mlir", other] if first else [other, "ffn_mlir"]
    use = {
        "onnx": "onnx.ModelProto().SerializeToString()",
        "onnxruntime": "onnxruntime.SessionOptions()",
        "torch": "assert float(torch.ones(3).sum()) == 3",
    }[other]
    code = f"""
import {order[0]}, {order[1]}
import ffn_mlir
assert 'canonicalize' in str(ffn_mlir.PassManager.parse('builtin.module(canonicalize)'))
try:
    ffn_mlir.PassManager.parse('builtin.module(')
    raise SystemExit('no error')
except ffn_mlir.Error:
    pass
{use}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stub_of_the_extension_is_current():
    result = subprocess.run([sys.executable, ROOT / "scripts" / "gen_stub.py", "--check", BUILD], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def public_callables():
    for name in ffn_mlir.__all__:
        entry = getattr(ffn_mlir, name)
        yield name, entry
        if inspect.isclass(entry) and not issubclass(entry, Exception):
            for member, value in inspect.getmembers(entry):
                if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value.fget if isinstance(value, property) else value


@pytest.mark.parametrize("name,entry", [pytest.param(name, entry, id=name) for name, entry in public_callables()])
def test_public_names_are_documented_and_typed(name, entry):
    assert inspect.getdoc(entry), name
    if inspect.isclass(entry):
        return
    hints = inspect.signature(entry)
    assert hints.return_annotation is not inspect.Signature.empty, name
    for parameter in hints.parameters.values():
        assert parameter.name in ("self", "cls") or parameter.annotation is not inspect.Parameter.empty, (name, parameter)


def test_rewritten_model_is_written_as_onnx(tmp_path):
    onnx = __import__("onnx")
    module = ffn_mlir.parse_module(MODULE.replace("func.func", 'module attributes {onnx.model = {ir_version = 8 : i64, opset_imports = {ai.onnx = 17 : i64}}} {\nfunc.func', 1) + "}")
    ffn_mlir.PassManager.parse("builtin.module(ffn-raise,ffn-decompose,ffn-materialize-weights)").run(module)
    module.export_onnx(tmp_path / "m.onnx")
    assert [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node] == ["Relu"]


def test_text_that_does_not_parse_has_a_code():
    for call, code in ((lambda: ffn_mlir.parse_module("garbage"), "FFN-I108"), (lambda: ffn_mlir.PassManager.parse("builtin.module(nope)"), "FFN-P100")):
        with pytest.raises(ffn_mlir.Error) as caught:
            call()
        assert caught.value.code == code and caught.value.diagnostics
