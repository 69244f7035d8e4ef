"""ffn.moe: the interpreter, standard ONNX in ONNX Runtime, and NumPy agree."""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from artefact import BUILD
from experts import Experts

CASES = {
    "cmoe": Experts(d=24, width=6, experts=6, top_k=2, shared=12),
    "cmoe-biased": Experts(d=24, width=5, experts=3, top_k=1, shared=7, biased=True, selection=True, seed=1),
    "plain": Experts(d=24, width=6, experts=6, top_k=3, gated=False, biased=True, activation="gelu_erf", seed=2),
    "switch": Experts(d=16, width=8, experts=5, top_k=1, gated=False, router="linear", weighted=True, activation="relu", seed=3),
    "mixtral": Experts(d=16, width=8, experts=8, top_k=2, router="linear", weighted=True, normalize=True, seed=4),
    "deepseek": Experts(d=16, width=8, experts=8, top_k=3, shared=8, router="linear", gating="sigmoid", weighted=True, normalize=True,
                        scale=2.5, selection=True, seed=5),
    "factor": Experts(d=16, width=8, experts=4, top_k=2, router="linear", gating="identity", scale=2.0, out=9, seed=6),
    "one": Experts(d=8, width=3, experts=1, top_k=1, seed=7),
    "all": Experts(d=16, width=4, experts=5, top_k=5, shared=4, biased=True, seed=8),
}


def interpret(path, feeds, tmp_path):
    np.save(tmp_path / "x.npy", feeds["x"])
    done = subprocess.run([BUILD / "bin" / "ffn-interpret", path, "--input", f"x={tmp_path / 'x.npy'}", "--output-dir", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "0.npy")


def rows(case, count, seed=9):
    """Tokens whose choice rounding cannot change."""
    x = np.random.default_rng(seed).standard_normal((8 * count + 8, case.d)).astype(np.float32)
    _, margin = case.run(x)
    x = x[margin > 1e-4][:count]
    assert len(x) == count
    return x


@pytest.mark.parametrize("name", CASES)
def test_meaning(name, tmp_path):
    case = CASES[name]
    (tmp_path / "m.mlir").write_text(case.to_mlir())
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", tmp_path / "m.mlir", "--emit=onnx", "-o", tmp_path / "m.onnx"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert all(node.domain in ("", "ai.onnx") for node in model.graph.node)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for count in (0, 1, 7):
        x = rows(case, count)
        wanted, _ = case.run(x)
        scale = np.abs(wanted).max(initial=1)
        # Nodes have the constants of activations in f32.
        for file, close in (("m.mlir", 1e-12), ("m.onnx", 1e-7)):
            ours = interpret(tmp_path / file, {"x": x}, tmp_path)
            assert ours.shape == wanted.shape and np.abs(ours - wanted).max(initial=0) <= close * scale
        (theirs,) = session.run(None, {"x": x})
        assert theirs.shape == wanted.shape and (np.abs(theirs - wanted) <= case.bound(x)).all()


@pytest.mark.parametrize("name", ["cmoe", "plain"])
def test_all_experts_are_the_dense_network(name, tmp_path):
    """With every expert on and weight 1, the sum over neurons is the same one."""
    case = CASES[name]
    case = Experts(**{**{f: getattr(case, f) for f in ("d", "width", "experts", "shared", "gated", "biased", "activation", "seed")}, "top_k": case.experts})
    (tmp_path / "m.mlir").write_text(case.to_mlir())
    x = rows(case, 5)
    dense = case.hidden(x, case.weights, "up") @ case.weights["down"].astype(np.float64).T + case.weights.get("down_bias", 0)
    assert np.abs(interpret(tmp_path / "m.mlir", {"x": x}, tmp_path) - dense).max() <= 1e-12 * np.abs(dense).max()
