"""Rewritten models written as ONNX keep weights as narrow as they are stored."""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from artefact import BUILD, BUNDLED, Model, compile_model

MODEL = BUNDLED / "pycode-lm.onnx"
EXACT = "--pass-pipeline=builtin.module(ffn-raise,ffn-fold-norm,ffn-merge-parallel{linears=true})"
TOKENS = {"input_ids": np.frombuffer(MODEL.read_bytes()[:120], np.uint8).astype(np.int64)[None] % 256}


def write(output, *options):
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", MODEL, "-o", output, "--gate=off", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(output)
    return output


def initializer_bytes(path):
    model = onnx.load(path)
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def run(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # initializers that nobody reads are the model's own
    # Its fusions of DequantizeLinear round the activations to 8 bits.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options).run(None, TOKENS)[0]


def test_half_precision_stays_half(tmp_path):
    exact = write(tmp_path / "exact.onnx", EXACT)
    # Merged matrices take the place of their parts; the head is read twice, as
    # embedding and as product.
    assert initializer_bytes(exact) < 1.05 * initializer_bytes(MODEL)
    before, after = run(MODEL), run(exact)
    assert np.abs(after - before).max() < 4 * 2.0**-20 * np.abs(before).max()


@pytest.mark.parametrize("options", ["type=int8", "type=int8 group=32", "type=int4 group=64"])
def test_codes_stay_codes(options, tmp_path):
    pipeline = f"--pass-pipeline=builtin.module(ffn-raise,ffn-quantize{{{options} shared}})"
    codes = write(tmp_path / "codes.onnx", pipeline)
    assert initializer_bytes(codes) < 0.6 * initializer_bytes(MODEL)
    assert sum(node.op_type == "DequantizeLinear" for node in onnx.load(codes).graph.node) == 7 * 8 + 1
    # Read again, the codes are codes: the same program comes of them, bit by bit.
    assert compile_model(codes, tmp_path / "again.so").returncode == 0
    assert compile_model(MODEL, tmp_path / "direct.so", pipeline).returncode == 0
    again, direct = (Model(tmp_path / name).run(TOKENS)[0] for name in ("again.so", "direct.so"))
    assert again.tobytes() == direct.tobytes()
    assert np.abs(run(codes) - direct).max() < 2.0**-17 * np.abs(direct).max()


def test_precision_counts_for_onnx_too(tmp_path):
    assert initializer_bytes(write(tmp_path / "int8.onnx", "--precision=int8")) < 0.6 * initializer_bytes(MODEL)
