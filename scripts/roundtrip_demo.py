#!/usr/bin/env python3
"""Sends a model through the compiler and back to ONNX and compares the outputs.

    roundtrip_demo.py MODEL.onnx [MODEL.onnx ...]

Needs ffnc on the path. Exits with 1 where ONNX Runtime's outputs for the model
and for what came back differ by more than 1e-5 of the largest value.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

LIMIT = 1e-5


def rewrite(model, folder):
    """The model after raising and decomposing, as ONNX in `folder`."""
    back = pathlib.Path(folder, "back.onnx")
    subprocess.run(["ffnc", "compile", str(model), "--pass-pipeline=builtin.module(ffn-raise)", "-o", str(back)], check=True)
    return back


def random_inputs(session, seed=0, sizes=None):
    """Inputs by the signature: batch 2, small sizes for other symbols."""
    random = np.random.default_rng(seed)
    sizes = {"batch": 2, "sequence": 33, "past_sequence": 3, **(sizes or {})}
    feeds = {}
    for value in session.get_inputs():
        shape = [dim if isinstance(dim, int) else sizes.get(dim, 5) for dim in value.shape]
        if "mask" in value.name:
            feeds[value.name] = np.ones(shape, np.int64)
        elif "int64" in value.type:
            feeds[value.name] = random.integers(0, 100, shape)
        else:
            feeds[value.name] = random.standard_normal(shape).astype(np.float32)
    return feeds


def largest_difference(model, back):
    """Over all outputs: max|a - b| / max|a|."""
    original = onnxruntime.InferenceSession(str(model))
    feeds = random_inputs(original)
    before, after = original.run(None, feeds), onnxruntime.InferenceSession(str(back)).run(None, feeds)
    return max(float(np.abs(a - b).max(initial=0) / (np.abs(a).max(initial=0) or 1)) for a, b in zip(before, after, strict=True))


def main():
    worst = 0.0
    for model in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            error = largest_difference(model, rewrite(model, folder))
        print(f"{model}: outputs differ by at most {error:.1e} of their largest value")
        worst = max(worst, error)
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
