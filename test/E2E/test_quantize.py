"""Weights in fewer bits: what the kernels compute, how large it is, and what it costs."""
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from artefact import BUILD, BUNDLED, Model, compile_model

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "Numerics"))
from interpreter import interpret  # noqa: E402

MODEL = BUNDLED / "pycode-lm.onnx"
TYPES = ["bf16", "int8", "int4", "int8 group=64", "int4 group=32"]


def quantized(tmp_path, options):
    path = tmp_path / "quantized.mlir"
    done = subprocess.run([BUILD / "bin" / "ffn-opt", MODEL, "-o", path,
                           f"--pass-pipeline=builtin.module(ffn-raise,ffn-quantize{{type={options} shared}})"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("options", TYPES[1:])
def test_kernels_agree_with_float64_of_the_codes(options, tmp_path):
    path = quantized(tmp_path, options)
    assert path.read_text().count("ffn.dequantize") == 7 * 8 + 1
    assert compile_model(path, tmp_path / "codes.so").returncode == 0
    tokens = np.random.default_rng(1).integers(0, 256, (2, 9))
    got = Model(tmp_path / "codes.so").run({"input_ids": tokens})[0]
    want = interpret(path, {"input_ids": tokens})[0]
    # The bound of the unquantized model: rounding in f32 through all layers.
    assert np.abs(got - want).max() <= 2.0**-18 * np.abs(want).max()


def test_groups_give_the_bits_of_their_dequantized_weights(tmp_path):
    path = quantized(tmp_path, "int4 group=64")
    wide = tmp_path / "wide.mlir"
    done = subprocess.run([BUILD / "bin" / "ffn-opt", path, "--ffn-materialize-weights", "-o", wide], capture_output=True, text=True)
    assert done.returncode == 0 and "ffn.dequantize" not in wide.read_text(), done.stderr
    tokens = {"input_ids": np.random.default_rng(2).integers(0, 256, (3, 13))}
    outputs = []
    for source in (path, wide):
        assert compile_model(source, tmp_path / "m.so").returncode == 0
        outputs.append(Model(tmp_path / "m.so").run(tokens)[0].tobytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("precision, most, error", [("int8", 0.56, 0.03), ("int4", 0.34, 0.4)])
def test_size_and_cost(precision, most, error, tmp_path):
    assert compile_model(MODEL, tmp_path / "plain.so").returncode == 0
    done = compile_model(MODEL, tmp_path / "small.so", f"--precision={precision}", "--remarks")
    assert done.returncode == 0 and done.stderr.count(f" quantized to {precision} in groups of") == 7 * 8
    assert "'model.embed_tokens.weight' not quantized: it is also read by" in done.stderr
    plain, small = (tmp_path / name for name in ("plain.so", "small.so"))
    assert small.stat().st_size < most * plain.stat().st_size
    tokens = {"input_ids": np.frombuffer(pathlib.Path(__file__).read_bytes()[:256], np.uint8).astype(np.int64)[None]}
    before, after = (Model(path).run(tokens)[0].astype(np.float64) for path in (plain, small))
    assert 0 < np.abs(after - before).mean() < error * np.abs(before - before.mean(-1, keepdims=True)).mean()


def test_bf16_and_wrong_use(tmp_path):
    # Stored in f16 already, so nothing is gained and nothing changes.
    for name, arguments in (("plain.so", []), ("same.so", ["--precision=bf16"]), ("f32.so", ["--precision=f32"])):
        assert compile_model(MODEL, tmp_path / name, *arguments).returncode == 0
    assert len({(tmp_path / name).read_bytes() for name in ("plain.so", "same.so", "f32.so")}) == 1
    done = compile_model(MODEL, tmp_path / "wrong.so", "--precision=int3")
    assert done.returncode == 2 and "expected f32, bf16, int8 or int4" in done.stderr and not (tmp_path / "wrong.so").exists()


def test_export_of_a_quantized_model(tmp_path):
    import onnxruntime as ort

    done = compile_model(MODEL, tmp_path / "m.onnx", "--precision=int8", "--pass-pipeline=builtin.module(ffn-raise)")
    assert done.returncode == 0, done.stderr
    assert compile_model(MODEL, tmp_path / "m.so", "--precision=int8").returncode == 0
    tokens = {"input_ids": np.random.default_rng(3).integers(0, 256, (1, 20))}
    theirs = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(None, tokens)[0]
    ours = Model(tmp_path / "m.so").run(tokens)[0]
    assert np.abs(ours - theirs).max() <= 2.0**-18 * np.abs(theirs).max()
