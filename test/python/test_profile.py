"""ffn_mlir.profile and Profile: samples from Python, errors, Ctrl-C."""
import json

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper

import ffn_mlir

TEXT = ROOT / "examples" / "pycode-lm" / "train.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A language model of bytes with three sublayers and random weights: what is tested with it are bytes and errors."""
    generator = np.random.default_rng(2)
    weights, nodes, x = [], [], "x0"

    def weight(name, *shape):
        weights.append(numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name))
        return name

    nodes.append(helper.make_node("Gather", [weight("table", 256, 8), "input_ids"], [x]))
    for i in range(3):
        nodes += [helper.make_node("MatMul", [x, weight(f"{i}.up", 8, 24)], [f"u{i}"]), helper.make_node("Relu", [f"u{i}"], [f"a{i}"]),
                  helper.make_node("MatMul", [f"a{i}", weight(f"{i}.down", 24, 8)], [f"d{i}"]),
                  helper.make_node("Add", [x, f"d{i}"], [f"x{i + 1}"])]
        x = f"x{i + 1}"
    nodes.append(helper.make_node("MatMul", [x, weight("head", 8, 256)], ["logits"]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "tiny", [info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
                              [info("logits", TensorProto.FLOAT, ["batch", "sequence", 256])], weights)
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def windows(count, length):
    ids = np.frombuffer(TEXT.read_bytes()[:count * length], np.uint8).astype(np.int64)
    return [{"input_ids": row[None]} for row in ids.reshape(count, length)]


def test_any_iterable_of_dicts(model, tmp_path):
    """The same rows as a file give the same statistics; a generator is an iterable too."""
    lines = []
    report = ffn_mlir.profile(model, (sample for sample in windows(3, 20)), tmp_path / "a", probes="moments,hidden-gram", threads=2,
                              progress=lambda *line: lines.append(line))
    assert report["samples"] == 3 and report["tokens"] == 60 and report["resumed_stages"] == 0
    assert [done for done, *_ in lines] == list(range(1, 6)) and {total for _, total, *_ in lines} == {5}
    np.savez(tmp_path / "rows.npz", input_ids=np.concatenate([sample["input_ids"] for sample in windows(3, 20)]))
    ffn_mlir.profile(model, tmp_path / "rows.npz", tmp_path / "b", probes=["moments", "hidden-gram"], samples=3)
    a, b = ffn_mlir.Profile(tmp_path / "a"), ffn_mlir.Profile(tmp_path / "b")
    assert list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)
    assert a.header["calibration"]["hashes"] == b.header["calibration"]["hashes"]
    layer = a.header["layers"][1]["names"][0]
    gram = a[f"{layer}/ffn.hidden/gram"]
    assert gram.shape == (24, 24) and gram.dtype == np.float64 and np.array_equal(gram, gram.T)
    assert np.array_equal(np.diag(gram), a[f"{layer}/ffn.hidden/sum_sq"])
    assert "nothing" not in a and f"{layer}/ffn.hidden/gram" in a
    a.check(model)
    with pytest.raises(ffn_mlir.Error) as error:
        a["nothing"]
    assert error.value.code == "FFN-D105"
    text = """module { func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> tensor<2xf32> { return %x : tensor<2xf32> } }"""
    with pytest.raises(ffn_mlir.Error) as error:
        a.check(ffn_mlir.parse_module(text))
    assert error.value.code == "FFN-D106"
    # Samples may differ in length.
    report = ffn_mlir.profile(model, windows(1, 5) + windows(1, 1) + windows(1, 33), tmp_path / "c")
    assert report["tokens"] == 39
    assert json.loads(json.dumps(ffn_mlir.Profile(tmp_path / "c").header))["request"]["probes"] == ["moments", "hidden", "influence"]


@pytest.mark.parametrize("arguments, code", [
    ({"passes": "ffn-fold-norm"}, "FFN-P141"),
    ({"passes": ["ffn-none"]}, "FFN-P140"),
    ({"probes": "all"}, "FFN-P143"),
    ({"samples": 0}, "FFN-R400"),
    ({"threads": 257}, "FFN-R400"),
    ({"max_memory": 1}, "FFN-M101"),
    ({"cpu": "z80"}, "FFN-C303"),
    ({"evaluation": TEXT}, "FFN-D211"),
    ({"calibration": "/nonexistent"}, "FFN-D203"),
    ({"calibration": []}, "FFN-D209"),
    ({"calibration": [{"ids": np.zeros((1, 3), np.int64)}]}, "FFN-D208"),
    ({"calibration": [{"input_ids": np.zeros(3, np.int64)}]}, "FFN-D208"),
    ({"calibration": [{"input_ids": "text"}]}, "FFN-D208"),
    ({"calibration": [{"input_ids": np.zeros((1, 3), np.float32)}]}, "FFN-D101"),
    ({"calibration": [{"input_ids": np.zeros((1, 3), np.int64), "more": np.zeros(1)}]}, "FFN-D208"),
])
def test_errors(model, tmp_path, arguments, code):
    with pytest.raises(ffn_mlir.Error) as error:
        ffn_mlir.profile(model, **{"calibration": TEXT, "out": tmp_path / "p", **arguments})
    assert error.value.code == code and not (tmp_path / "p").exists()


def test_an_exception_stops_the_run_and_loses_nothing(model, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total, layer, seconds):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        ffn_mlir.profile(model, windows(2, 16), tmp_path / "p", progress=stop)
    assert not (tmp_path / "p").exists()
    report = ffn_mlir.profile(model, windows(2, 16), tmp_path / "p")
    assert report["resumed_stages"] == 2
    ffn_mlir.profile(model, windows(2, 16), tmp_path / "q")
    assert (tmp_path / "p").read_bytes() == (tmp_path / "q").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "q"]
