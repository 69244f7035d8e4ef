"""Weights in fewer bits: what the kernels compute, how large it is, and what it costs."""
import json
import os
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


LEVELS = {"avx512_vnni": "avx512vnni", "avx512": "avx512f", "avx2_vnni": "avxvnni", "avx2": "avx2"}


def machine_features():
    found = subprocess.run([BUILD / "bin" / "ffnc", "doctor", "--json"], capture_output=True, text=True, check=True)
    return {name for name, has in json.loads(found.stdout)["machine"]["features"].items() if has}


def levels():
    return [level for level, feature in LEVELS.items() if feature in machine_features()]


def quantized(tmp_path, options):
    path = tmp_path / "quantized.mlir"
    done = subprocess.run([BUILD / "bin" / "ffn-opt", MODEL, "-o", path,
                           f"--pass-pipeline=builtin.module(ffn-raise,ffn-quantize{{type={options} shared activations=f32}})"], capture_output=True, text=True)
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
    assert compile_model(MODEL, tmp_path / "m.so", "--precision=int8", "--activations=f32").returncode == 0
    tokens = {"input_ids": np.random.default_rng(3).integers(0, 256, (1, 20))}
    options = ort.SessionOptions()
    # Its fusions of DequantizeLinear round the rows to 8 bits.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    theirs = ort.InferenceSession(str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"]).run(None, tokens)[0]
    ours = Model(tmp_path / "m.so").run(tokens)[0]
    assert np.abs(ours - theirs).max() <= 2.0**-18 * np.abs(theirs).max()


@pytest.mark.parametrize("precision, error", [("int8", 0.03), ("int4", 0.4)])
def test_rows_of_8_bits(precision, error, tmp_path):
    """Small error, and the same bits for any number of threads."""
    tokens = {"input_ids": np.frombuffer(pathlib.Path(__file__).read_bytes()[:200], np.uint8).astype(np.int64).reshape(2, 100)}
    outputs = {}
    for name, arguments in (("plain", []), ("kept", [f"--precision={precision}", "--activations=f32"]), ("rows", [f"--precision={precision}"])):
        assert compile_model(MODEL, tmp_path / f"{name}.so", *arguments).returncode == 0
        outputs[name] = Model(tmp_path / f"{name}.so").run(tokens)[0]
    for threads in (1, 2, 3, 7):
        assert Model(tmp_path / "rows.so", threads).run(tokens)[0].tobytes() == outputs["rows"].tobytes()
    spread = np.abs(outputs["plain"] - outputs["plain"].mean(-1, keepdims=True)).mean()
    assert 0 < np.abs(outputs["rows"] - outputs["kept"]).mean() < 0.03 * spread
    assert np.abs(outputs["rows"] - outputs["plain"]).mean() < error * spread


@pytest.mark.parametrize("level", levels())
def test_levels_agree(level, tmp_path):
    """Integer sums have no rounding for a level to differ in; what is left is that of f32."""
    tokens = {"input_ids": np.random.default_rng(5).integers(0, 256, (1, 21))}
    outputs = []
    for cpu in (level, "native"):
        assert compile_model(MODEL, tmp_path / "m.so", "--precision=int8", f"--cpu={cpu}").returncode == 0
        outputs.append(Model(tmp_path / "m.so").run(tokens)[0])
    assert np.abs(outputs[0] - outputs[1]).max() <= 0.02 * np.abs(outputs[1]).max()


def test_hidden_features_choose_the_level(tmp_path):
    """FFN_CPU_FEATURES is a list of what may be used, for the compiler and for the library."""
    path = tmp_path / "m.so"
    assert compile_model(MODEL, path, "--precision=int8").returncode == 0
    features = Model(path).info.features.decode().replace(",", " ").split()
    assert Model(path).info.level.decode() == levels()[0]
    visible = [feature for feature in features if "vnni" not in feature]
    code = ("import sys; sys.path.insert(0, sys.argv[1]); from artefact import Model; Model(sys.argv[2])")
    environment = os.environ | {"FFN_CPU_FEATURES": ",".join(visible)}
    if "vnni" in " ".join(features):
        done = subprocess.run([sys.executable, "-c", code, str(pathlib.Path(__file__).parent), str(path)], capture_output=True, text=True, env=environment)
        assert done.returncode != 0 and "vnni" in done.stderr and "FFN_CPU_FEATURES" in done.stderr
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", MODEL, "-o", path, "--precision=int8"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert Model(path).info.level.decode() in ("avx512", "avx2")
    environment["FFN_CPU_FEATURES"] = "sse4.2"
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", MODEL, "-o", tmp_path / "no.so"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "FFN-C303" in done.stderr and not (tmp_path / "no.so").exists()


def test_weights_by_name(tmp_path):
    def remarks(precision):
        done = compile_model(MODEL, tmp_path / "m.so", f"--precision={precision}", "--remarks")
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if " quantized to " in line]

    found = remarks("int4,layers.0.*=int8,*down_proj*=f32,head=int8")
    int8, int4 = ([line for line in found if f"quantized to {name}" in line] for name in ("int8", "int4"))
    assert len(int8) == 6 + 1 and len(int4) == 6 * 7
    assert all("layers.0." in line or "embed_tokens" in line for line in int8) and not any("down_proj" in line for line in found)
    for wrong, text in (("int8,layers.0", "expected name=type"), ("int8,layers.0=int3", "in place of 'int3'"), ("=int8", "expected name=type"), ("int8,a b=f32", "expected name=type")):
        done = compile_model(MODEL, tmp_path / "wrong.so", f"--precision={wrong}")
        assert done.returncode == 2 and text in done.stderr, done.stderr
    done = compile_model(MODEL, tmp_path / "wrong.so", "--precision=int8", "--activations=int4")
    assert done.returncode == 2 and "expected f32 or int8" in done.stderr
    done = compile_model(MODEL, tmp_path / "wrong.so", "--precision=int8,layers.77=f32")
    assert done.returncode == 1 and "'layers.77' is the name of no weight of a product [FFN-P121]" in done.stderr
