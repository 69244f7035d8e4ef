"""Runs the reference interpreter and ONNX Runtime on the same inputs.

The environment: FFN_BUILD_DIR names the build folder (default: build/dev, then
build/release of this checkout), FFN_SHARED the folder with models.
"""
import os
import pathlib
import re
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build_dir():
    candidates = [os.environ.get("FFN_BUILD_DIR"), ROOT / "build/dev", ROOT / "build/release"]
    for folder in candidates:
        if folder and (pathlib.Path(folder) / "bin/ffn-interpret").exists():
            return pathlib.Path(folder)
    return None


def shared_dir():
    folder = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "models").is_dir() else None


class InterpreterError(Exception):
    """The driver's messages; `code` is that of the first error in them."""

    def __init__(self, text):
        super().__init__(text)
        found = re.search(r"error: .*\[FFN-(\w+)\]", text)
        self.code = found.group(1) if found else ""


def interpret(model, feeds, tool="ffn-interpret", extra=()):
    """Outputs of `model` in order: float64, int64 or uint64, bool; lists for
    sequences."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(build_dir() / "bin" / tool), str(model), "--output-dir", folder, *extra]
        for i, (name, value) in enumerate(feeds.items()):
            path = os.path.join(folder, f"input{i}.npy")
            np.save(path, value)
            command += ["--input", f"{name}={path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise InterpreterError(done.stderr)
        outputs = []
        for i, line in enumerate(done.stdout.splitlines()):
            path = os.path.join(folder, f"{i}.npy")
            if os.path.exists(path):
                outputs.append(np.load(path))
                continue
            parts, j = [], 0
            while os.path.exists(os.path.join(folder, f"{i}.{j}.npy")):
                parts.append(np.load(os.path.join(folder, f"{i}.{j}.npy")))
                j += 1
            outputs.append(parts)
        return outputs


def ort_session(model):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def error_of(ours, theirs):
    """max|theirs - ours| / max|ours|; integers must be equal, NaN and infinity
    must be in the same places. `ours` is the float64 value."""
    if isinstance(ours, list) or isinstance(theirs, list):
        assert len(ours) == len(theirs), (len(ours), len(theirs))
        return max((error_of(a, b) for a, b in zip(ours, theirs)), default=0.0)
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    if ours.dtype.kind != "f":
        return 0.0 if np.array_equal(ours.astype(theirs.dtype), theirs) else float("inf")
    theirs = theirs.astype(np.float64)
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)):
        return float("inf")
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return float("inf")
    scale = np.max(np.abs(ours[finite]), initial=0.0)
    difference = np.max(np.abs(ours[finite] - theirs[finite]), initial=0.0)
    if difference == 0:
        return 0.0
    return float(difference / scale) if scale else float("inf")
