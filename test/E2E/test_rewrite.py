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


def test_sublayers_are_found_behind_the_optimizer_of_onnx_runtime(tmp_path):
    """It fuses norms, activations and products into operators of its own, whose sizes stay open."""
    import json
    import subprocess

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(BUNDLED / "pycode-lm.onnx", options)
    done = subprocess.run(["ffnc", "inspect", options.optimized_model_filepath, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["sublayers"]) == 16 and found["totals"]["feed_forwards"] == 8
