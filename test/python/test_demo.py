"""The measurements of scripts/demo.py, against ONNX Runtime."""
import math
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import demo  # noqa: E402


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return demo.Artefact(tmp_path_factory.mktemp("demo") / "original.so", demo.pipeline())


def test_pipelines():
    assert demo.pipeline() == "builtin.module(ffn-raise)"
    assert demo.pipeline(["a", "b"]) == "builtin.module(ffn-raise,ffn-prune-sublayers{only=a,b})"
    assert "ffn-fold-norm" in demo.pipeline(exact=True)


def test_windows_cover_the_modules_evenly():
    found = demo.windows(("json",), 5)
    assert len(found) == 5 and all(window.shape == (demo.WINDOW + 1,) for window in found)
    assert not np.array_equal(found[0], found[-1])
    with pytest.raises(SystemExit):
        demo.windows(("no_such_module",), 5)


def test_bits_per_byte_equal_those_of_onnx_runtime(original):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (window,) = demo.windows(("json",), 1)
    session = onnxruntime.InferenceSession(str(ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"))
    logits = session.run(None, {"input_ids": window[None, :-1]})[0][0, -demo.SCORED :].astype(np.float64)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    want = -log[np.arange(demo.SCORED), window[-demo.SCORED :]].mean() / math.log(2)
    assert original.bits_per_byte([window]) == pytest.approx(want, abs=1e-4)


def test_a_removed_attention_takes_its_cache_along(original, tmp_path):
    pruned = demo.Artefact(tmp_path / "pruned.so", demo.pipeline(["model.layers.6.self_attn", "model.layers.1.mlp"]))
    assert len(pruned.state) == len(original.state) - 2
    assert pruned.model.info.weight_bytes < 0.95 * original.model.info.weight_bytes
    assert pruned.write(b"def f(", 20).startswith(b"def f(")
    assert pruned.tokens_per_second(demo.windows(("json",), 1)[0], steps=4) > 0
