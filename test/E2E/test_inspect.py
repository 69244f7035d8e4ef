"""What ffnc inspect finds in trained models."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared")) / "models"
BUNDLED = ROOT / "examples" / "pycode-lm"

# model, layers, form, activation, d, m, bias
EXPECTED = [
    (BUNDLED / "pycode-lm.onnx", 8, "gated", "silu", 256, 640, False),
    (BUNDLED / "pycode-lm-kv.onnx", 8, "gated", "silu", 256, 640, False),
    (SHARED / "stories260K.onnx", 5, "gated", "silu", 64, 172, False),
    (SHARED / "stories260K_torch_op14.onnx", 5, "gated", "silu", 64, 172, False),
    (SHARED / "babyllama105.onnx", 5, "gated", "silu", 128, 352, False),
    (SHARED / "kwt1" / "kwt1.onnx", 12, "plain", "gelu_tanh", 64, 256, True),
    (SHARED / "kwt1" / "kwt1_torch_op14.onnx", 12, "plain", "gelu_tanh", 64, 256, True),
]


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: case[0].stem)
def test_networks_are_found(case):
    model, layers, form, activation, d, m, bias = case
    if not model.exists():
        pytest.skip(f"{model} is not there")
    output = subprocess.run([BUILD / "bin" / "ffnc", "inspect", "--json", model], capture_output=True, text=True, check=True).stdout
    found = json.loads(output)
    networks = [entry for entry in found["sublayers"] if entry["kind"] == "ffn"]
    assert len(networks) == layers and len(found["sublayers"]) == 2 * layers
    wanted = {"form": form, "activation": activation, "d": d, "m": m, "bias": bias}
    assert all(entry["ffn"] == wanted for entry in networks)
    assert len({entry["name"] for entry in found["sublayers"]}) == 2 * layers
