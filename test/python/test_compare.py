"""The interpreter from Python, and the comparison of models."""
import math

import handmade
import numpy as np
import pytest
from conftest import BUILD, ROOT

import ffn_mlir

SAME = """
func.func @main(%x: tensor<?x?xf32> {onnx.name = "x", ffn.dims = ["batch", "seq"]}, %p: tensor<?x?xf32> {onnx.name = "past.0", ffn.dims = ["batch", "past"]})
    -> (tensor<?x?xf32> {onnx.name = "y"}) {
  %two = ffn.weight dense<2.0> : tensor<f32>
  %one = ffn.weight dense<WEIGHT> : tensor<f32>
  %a = onnx.node "Mul" v14 (%x, %two) : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  %y = onnx.node "Add" v14 (%a, %one) : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ffn_mlir.load(handmade.build(tmp_path_factory.mktemp("model"), BUILD))


def module(weight="1.0"):
    return ffn_mlir.parse_module(SAME.replace("WEIGHT", weight))


def test_interpreter():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = ffn_mlir.interpret(module(), {"x": x, "past.0": np.zeros((2, 0), np.float32)})
    assert list(got) == ["y"] and got["y"].dtype == np.float64
    np.testing.assert_array_equal(got["y"], 2 * x + 1)
    got["y"][0, 0] = 5  # the caller's own


def test_interpreter_refusals():
    x = np.zeros((2, 3), np.float32)
    for feeds in ({"x": x}, {"x": x, "past.0": x, "q": x}, {"x": x, "past.0": np.zeros((2, 3), complex)}):
        with pytest.raises(ffn_mlir.Error) as caught:
            ffn_mlir.interpret(module(), feeds)
        assert caught.value.code == "FFN-E105"


def test_compiled_against_the_interpreter(model):
    (found,) = ffn_mlir.compare(model, module(), sizes={"seq": 5})
    assert found.name == "y" and found.shape == (3, 5)
    assert found.equal or found.relative < 1e-6
    (found,) = ffn_mlir.compare(model, module("1.5"))
    assert not found.equal and found.largest == pytest.approx(0.5, rel=1e-6)
    assert 0 < found.relative < 0.5
    found = ffn_mlir.compare(model.path, model.session(1))
    assert [entry.equal for entry in found] == [True] * 3


def test_differences_of_any_kind():
    x = {"x": np.zeros(1)}
    run = lambda *values: lambda feeds: {"y": np.array(values)}
    one = lambda a, b: ffn_mlir.compare(a, b, x)[0]
    assert one(run(1.0, math.nan), run(1.0, math.nan)).equal
    assert one(run(1.0, math.nan), run(1.0, 2.0)).largest == math.inf
    assert one(run(math.inf), run(math.inf)).equal
    assert one(run(1.0), run(1.0, 2.0)).relative == math.inf
    assert one(run(), run()).equal
    assert one(run(3.0), run(2.0)).relative == 0.5
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.compare(lambda feeds: {}, run(1.0), x)
    assert caught.value.code == "FFN-R400"
    with pytest.raises(ffn_mlir.Error):
        ffn_mlir.compare(run(1.0), run(1.0))
    with pytest.raises(ffn_mlir.Error):
        ffn_mlir.compare(3, run(1.0), x)


def test_random_inputs_fit_the_signature(model):
    for subject in (model, module()):
        feeds = ffn_mlir.random_inputs(subject, sizes={"batch": 2, "past": 0})
        assert {name: value.shape for name, value in feeds.items()} == {"x": (2, 3), "past.0": (2, 0)}
        assert all(value.dtype == np.float32 for value in feeds.values())
    graph = ffn_mlir.load_onnx(ROOT / "examples" / "pycode-lm" / "pycode-lm-kv.onnx")
    feeds = ffn_mlir.random_inputs(graph, sizes={"past_sequence": 5})
    assert feeds["input_ids"].dtype == np.int64 and feeds["past_key_values.0.key"].shape == (3, 4, 5, 32)


def test_interpreter_on_the_bundled_model():
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
    session = onnxruntime.InferenceSession(str(path))
    runtime = lambda feeds: dict(zip([value.name for value in session.get_outputs()], session.run(None, dict(feeds))))
    (found,) = ffn_mlir.compare(runtime, path, sizes={"batch": 1, "sequence": 4})
    assert found.name == "logits" and 0 < found.relative < 1e-4


BUNDLED = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
PRUNE = "builtin.module(ffn-raise,ffn-prune-sublayers{only=model.layers.5.mlp})"


@pytest.fixture(scope="module")
def pruned():
    graph = ffn_mlir.load_onnx(BUNDLED)
    ffn_mlir.PassManager.parse(PRUNE).run(graph)
    return graph


def test_comparison_on_data(pruned, tmp_path):
    tokens = [list(b"import os\n\ndef main():\n    return os.getcwd()\n"), list(b"class A:\n    pass\n")]
    found = ffn_mlir.compare(BUNDLED, pruned, data=tokens, layers=True, limits={"kl": 1e-9, "top1": 0.0}, threads=1)
    assert found["samples"] == 2 and 0 < found["logits"]["kl"] < 5
    assert [entry["metric"] for entry in found["violations"]] == ["kl"] and not found["equal"]
    states = {entry["sublayer"]: entry["status"] for entry in found["layers"]}
    assert states.pop("model.layers.5.mlp") == "removed" and set(states.values()) == {"compared"} and len(states) == 15
    library = ffn_mlir.compile(BUNDLED, tmp_path / "m.so")
    same = ffn_mlir.compare(ffn_mlir.load(library), library, data=tokens, limits={"abs": 0, "kl": 0})
    assert same["equal"] and same["logits"]["a"]["perplexity"] == pytest.approx(found["logits"]["a"]["perplexity"], rel=1e-6)


def test_bisect_from_python(pruned):
    found = ffn_mlir.compare(BUNDLED, pruned, data=[list(b"import sys\n")], bisect=1e-6, threads=1)
    assert found["first"] == "model.layers.6.self_attn" and found["removed_before"] == ["model.layers.5.mlp"]
    assert found["runs"] <= math.ceil(math.log2(found["sublayers"])) + 2
    # The sublayer itself is innocent.
    assert found["sublayers"] == 15


def test_comparison_on_data_refuses(model, pruned, tmp_path):
    for arguments, code in [(dict(data=[[1, 2]], bisect=0.1), "FFN-R400"), (dict(data=[[1, 2]]), "FFN-D205"), (dict(data=tmp_path / "no"), "FFN-D203"),
                            (dict(data=[[1, 2]], sizes={}), "FFN-R400"), (dict(data=[[1, 2]], bisect=1.0, layers=True), "FFN-R400")]:
        with pytest.raises(ffn_mlir.Error) as caught:
            ffn_mlir.compare(model, model, **arguments)
        assert caught.value.code == code, arguments
    with pytest.raises(TypeError):
        ffn_mlir.compare(model, model, data=[[1, 2]], no_such=1)
    with pytest.raises(TypeError):
        ffn_mlir.compare(model, model, window=3)
