"""Runs the pass driver on ONNX models, for the tests of raise.

FFN_BUILD_DIR names the build folder (default: build/release, then build/dev of
this checkout), FFN_SHARED the folder with models.
"""
import os
import pathlib
import re
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared")) / "models"
BUNDLED = ROOT / "examples" / "pycode-lm"


def build_dir():
    for folder in (os.environ.get("FFN_BUILD_DIR"), ROOT / "build/release", ROOT / "build/dev"):
        if folder and (pathlib.Path(folder) / "bin/ffn-opt").exists():
            return pathlib.Path(folder)
    return None


def tool(name, *arguments, check=True):
    done = subprocess.run([str(build_dir() / "bin" / name), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


def run_passes(model, folder, passes, output="out.mlir", flags=()):
    """Runs `passes` on a model; the path of the result and the remarks."""
    path = pathlib.Path(folder, output)
    done = tool("ffn-opt", model, f"--pass-pipeline=builtin.module({passes})", "--mlir-print-op-on-diagnostic=false", "-o", path, *flags)
    return path, re.findall(r"remark: (?:loc\(.*?\): )?(.*)", done.stderr)


def list_networks(model, folder):
    """What ffn-list-ffns says of the raised model."""
    return run_passes(model, folder, "ffn-raise{remarks=false},ffn-list-ffns", "raised.mlir")[1]


def back_to_onnx(model, folder):
    """The model raised, decomposed and exported."""
    back = pathlib.Path(folder, "back.onnx")
    tool("ffnc", "compile", model, "--pass-pipeline=builtin.module(ffn-raise)", "-o", back)
    return back


def run_ort(model, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def largest_error(before, after):
    """max|a - b| / max|a| over all outputs."""
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        worst = max(worst, float(np.max(np.abs(a - b), initial=0) / (np.max(np.abs(a), initial=0) or 1)))
    return worst
