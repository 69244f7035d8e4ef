"""ffn_mlir.profile and Profile: samples from Python, errors, Ctrl-C."""
import json

import numpy as np
import pytest
from conftest import ROOT

import ffn_mlir

MODEL = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
TEXT = ROOT / "examples" / "pycode-lm" / "train.py"


def windows(count, length):
    ids = np.frombuffer(TEXT.read_bytes()[:count * length], np.uint8).astype(np.int64)
    return [{"input_ids": row[None]} for row in ids.reshape(count, length)]


def test_any_iterable_of_dicts(tmp_path):
    """The same rows as a file give the same statistics; a generator is an iterable too."""
    lines = []
    report = ffn_mlir.profile(MODEL, (sample for sample in windows(3, 20)), tmp_path / "a", probes="moments,hidden-gram", threads=2,
                              progress=lambda *line: lines.append(line))
    assert report["samples"] == 3 and report["tokens"] == 60 and report["resumed_stages"] == 0
    assert [done for done, *_ in lines] == list(range(1, 19)) and {total for _, total, *_ in lines} == {18}
    np.savez(tmp_path / "rows.npz", input_ids=np.concatenate([sample["input_ids"] for sample in windows(3, 20)]))
    ffn_mlir.profile(MODEL, tmp_path / "rows.npz", tmp_path / "b", probes=["moments", "hidden-gram"], samples=3)
    a, b = ffn_mlir.Profile(tmp_path / "a"), ffn_mlir.Profile(tmp_path / "b")
    assert list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)
    assert a.header["calibration"]["hashes"] == b.header["calibration"]["hashes"]
    gram = a["model.layers.2.mlp/ffn.hidden/gram"]
    assert gram.shape == (640, 640) and gram.dtype == np.float64 and np.array_equal(gram, gram.T)
    assert np.array_equal(np.diag(gram), a["model.layers.2.mlp/ffn.hidden/sum_sq"])
    assert "nothing" not in a and "model.layers.2.mlp/ffn.hidden/gram" in a
    a.check(MODEL)
    with pytest.raises(ffn_mlir.Error) as error:
        a["nothing"]
    assert error.value.code == "FFN-D105"
    text = """module { func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> tensor<2xf32> { return %x : tensor<2xf32> } }"""
    with pytest.raises(ffn_mlir.Error) as error:
        a.check(ffn_mlir.parse_module(text))
    assert error.value.code == "FFN-D106"
    # Samples may differ in length.
    report = ffn_mlir.profile(MODEL, windows(1, 5) + windows(1, 1) + windows(1, 33), tmp_path / "c")
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
def test_errors(tmp_path, arguments, code):
    with pytest.raises(ffn_mlir.Error) as error:
        ffn_mlir.profile(MODEL, **{"calibration": TEXT, "out": tmp_path / "p", **arguments})
    assert error.value.code == code and not (tmp_path / "p").exists()


def test_an_exception_stops_the_run_and_loses_nothing(tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total, layer, seconds):
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        ffn_mlir.profile(MODEL, windows(2, 16), tmp_path / "p", progress=stop)
    assert not (tmp_path / "p").exists()
    report = ffn_mlir.profile(MODEL, windows(2, 16), tmp_path / "p")
    assert report["resumed_stages"] == 4
    ffn_mlir.profile(MODEL, windows(2, 16), tmp_path / "q")
    assert (tmp_path / "p").read_bytes() == (tmp_path / "q").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "q"]
