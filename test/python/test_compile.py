"""Compiling from Python, and running what was compiled."""
import pathlib
import threading

import numpy as np
import pytest
from conftest import ROOT

import ffn_mlir

EXAMPLE = ROOT / "examples" / "pycode-lm"
SMALL = """
module {
  func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", ffn.dims = ["batch", 4]}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
    %y = onnx.node "Relu" v14 (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>
  }
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    return ffn_mlir.load(ffn_mlir.compile(EXAMPLE / "pycode-lm-kv.onnx", folder / "model.so"))


def test_bundled_model_equals_onnx_runtime(compiled):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(str(EXAMPLE / "pycode-lm-kv.onnx"))
    names = [value.name for value in session.get_outputs()]
    runtime = lambda feeds: dict(zip(names, session.run(None, dict(feeds))))
    for sizes in ({"batch": 2, "sequence": 5, "past_sequence": 3}, {"batch": 1, "sequence": 1, "past_sequence": 0}):
        for found in ffn_mlir.compare(compiled, runtime, ffn_mlir.random_inputs(compiled, sizes=sizes)):
            assert found.relative < 1e-4, found


def test_decoding_step_by_step_equals_one_pass(compiled):
    names = [value.name for value in compiled.inputs[1:]]
    tokens = np.frombuffer(b"def main():\n", np.uint8).astype(np.int64)[None]
    empty = {name: np.zeros((1, 4, 0, 32), np.float32) for name in names}
    whole = compiled.run({"input_ids": tokens, **empty})["logits"]
    past, steps = empty, []
    for i in range(tokens.shape[1]):
        got = compiled.run({"input_ids": tokens[:, i : i + 1], **past})
        steps.append(got["logits"])
        past = dict(zip(names, list(got.values())[1:]))
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=1e-3, atol=1e-3)


def test_module_stays_and_progress_is_told(tmp_path):
    module = ffn_mlir.parse_module(SMALL)
    before, lines = str(module), []
    path = ffn_mlir.compile(module, tmp_path / "m.so", progress=lines.append)
    assert str(module) == before
    assert any("native" in line for line in lines) and f"{pathlib.Path(path).stat().st_size:,} bytes" in lines[-1]
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(ffn_mlir.load(path).run(x)["y"], np.maximum(x, 0))


def test_two_compiles_give_the_same_bytes(tmp_path):
    module = ffn_mlir.parse_module(SMALL)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ffn_mlir.compile(module, tmp_path / name / "m.so")
    assert (tmp_path / "a" / "m.so").read_bytes() == (tmp_path / "b" / "m.so").read_bytes()


def test_intermediate_forms(tmp_path):
    ffn_mlir.compile(ffn_mlir.parse_module(SMALL), tmp_path / "m.mlir", emit="linalg")
    assert "linalg" in (tmp_path / "m.mlir").read_text()


def test_refusals_leave_no_file(tmp_path):
    unknown = ffn_mlir.parse_module(SMALL.replace('"Relu" v14', '"com.acme::Thing" v1'))
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.compile(unknown, tmp_path / "m.so")
    assert caught.value.code.startswith("FFN-C") and "com.acme::Thing" in str(caught.value)
    small = ffn_mlir.parse_module(SMALL)
    for options in ({"emit": "elf"}, {"opt_level": 4}, {"cpu": "z80"}, {"pipeline": "builtin.module(nope)"}):
        with pytest.raises(ffn_mlir.Error):
            ffn_mlir.compile(small, tmp_path / "m.so", **options)
    with pytest.raises(ffn_mlir.Error):
        ffn_mlir.compile(small, tmp_path / "no" / "m.so")
    assert list(tmp_path.iterdir()) == []


def test_compiles_of_several_threads(tmp_path):
    failures = []

    def work(n):
        try:
            path = ffn_mlir.compile(ffn_mlir.parse_module(SMALL), tmp_path / f"{n}.so")
            x = np.full((1, 4), n - 1.0, np.float32)
            np.testing.assert_array_equal(ffn_mlir.load(path).run(x)["y"], np.maximum(x, 0))
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
