"""Raise, decompose and export give back the function of the original."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared")) / "models"
sys.path.insert(0, str(ROOT / "scripts"))
os.environ["PATH"] = os.pathsep.join([str(BUILD / "bin"), os.environ["PATH"]])

import roundtrip_demo  # noqa: E402

BUNDLED = ROOT / "examples" / "pycode-lm"
MODELS = [
    BUNDLED / "pycode-lm.onnx",
    BUNDLED / "pycode-lm-kv.onnx",
    SHARED / "stories260K.onnx",
    SHARED / "stories260K_fp16w.onnx",
    SHARED / "stories260K_torch_op14.onnx",
    SHARED / "babyllama105.onnx",
    SHARED / "babyllama105_ext.onnx",
    SHARED / "kwt1" / "kwt1.onnx",
    SHARED / "kwt1" / "kwt1_ln17.onnx",
    SHARED / "kwt1" / "kwt1_torch_op14.onnx",
]


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_outputs_are_those_of_the_original(model, tmp_path):
    if not model.exists():
        pytest.skip(f"{model} is not there")
    back = roundtrip_demo.rewrite(model, tmp_path)
    assert roundtrip_demo.largest_difference(model, back) < roundtrip_demo.LIMIT


def test_failure_leaves_no_file(tmp_path):
    import subprocess

    output = tmp_path / "out.onnx"
    result = subprocess.run(["ffnc", "compile", str(tmp_path / "none.onnx"), "-o", str(output)], capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == "" and not output.exists()
    result = subprocess.run(["ffnc", "compile", str(MODELS[0]), "--pass-pipeline=builtin.module(nope)", "-o", str(output)], capture_output=True, text=True)
    assert result.returncode == 2 and "nope" in result.stderr and not output.exists()
