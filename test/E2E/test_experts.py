"""ffn.moe: the interpreter, standard ONNX in ONNX Runtime, and NumPy agree."""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from artefact import BUILD, Model, compile_model
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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The library of a case; each is made once."""
    made = {}

    def get(case, *arguments, residual=False):
        key = (repr(case), arguments, residual)
        if key not in made:
            folder = tmp_path_factory.mktemp("experts")
            (folder / "m.mlir").write_text(case.to_mlir(residual))
            done = compile_model(folder / "m.mlir", folder / "m.so", *arguments)
            assert done.returncode == 0, done.stderr
            made[key] = folder / "m.so"
        return made[key]

    return get


@pytest.mark.parametrize("cpu", ["avx2", "native"])
@pytest.mark.parametrize("name", CASES)
def test_kernels(name, cpu, compiled):
    """Every number of rows, whatever the threads: within the bound of f32, and the same bits row by row."""
    case = CASES[name]
    path = compiled(case, f"--cpu={cpu}")
    models = [Model(path, threads=threads) for threads in (1, 2)]
    x = rows(case, 523)
    (all_rows,) = models[0].run({"x": x})
    wanted, _ = case.run(x)
    assert (np.abs(all_rows - wanted) <= case.bound(x)).all()
    for begin, count in ((0, 0), (0, 1), (5, 1), (7, 2), (11, 7), (18, 97), (0, 256), (0, 257), (0, 523)):
        for model in models:
            (y,) = model.run({"x": x[begin:begin + count]})
            assert y.tobytes() == all_rows[begin:begin + count].tobytes(), (begin, count)


def test_residual_is_added_last(compiled):
    case = CASES["cmoe-biased"]
    x = rows(case, 70)
    (y,) = Model(compiled(case, residual=True), threads=2).run({"x": x})
    (alone,) = Model(compiled(case), threads=2).run({"x": x})
    assert (y == x + alone).all()


def test_order_of_tokens_does_not_matter(compiled):
    case = CASES["deepseek"]
    model, x = Model(compiled(case), threads=2), rows(case, 300)
    order = np.random.default_rng(0).permutation(len(x))
    assert (model.run({"x": x[order]})[0] == model.run({"x": x})[0][order]).all()


def test_ties_and_empty_experts(compiled):
    """Equal scores: all tokens use the first experts, and the others have none."""
    case = Experts(d=16, width=8, experts=5, top_k=2, router="linear", gating="identity", weighted=True, scale=3.0)
    case.weights["router"][:] = 0
    case.weights["router"][4] = -1
    case.weights["router_bias"] = np.array([2, 2, 2, 1, 0], np.float32)
    x = np.abs(np.random.default_rng(1).standard_normal((65, 16))).astype(np.float32)
    wanted, _ = case.run(x)
    (y,) = Model(compiled(case), threads=2).run({"x": x})
    assert (np.abs(y - wanted) <= case.bound(x)).all()
    only = Experts(**{f: getattr(case, f) for f in ("d", "width", "router", "gating", "weighted", "scale")}, experts=2, top_k=2)
    only.weights = {k: v[:16] if k in ("up", "gate") else v[:, :16] if k == "down" else v[:2] for k, v in case.weights.items()}
    (same,) = Model(compiled(only), threads=2).run({"x": x})
    assert y.tobytes() == same.tobytes()


def test_values_that_are_no_numbers(compiled):
    """They spoil their own row alone, and the choice stays one of distinct experts."""
    case = CASES["cmoe"]
    x = rows(case, 9)
    clean = Model(compiled(case), threads=2).run({"x": x})[0]
    x[4, 3] = np.nan
    x[6, 0] = np.inf
    y = Model(compiled(case), threads=2).run({"x": x})[0]
    keep = [i for i in range(9) if i not in (4, 6)]
    assert np.isnan(y[4]).all() and not np.isfinite(y[6]).any() and y[keep].tobytes() == clean[keep].tobytes()


def test_without_kernels(compiled):
    """Other types go through standard nodes."""
    case = CASES["mixtral"]
    x = rows(case, 20)
    (y,) = Model(compiled(case, "--no-kernels"), threads=2).run({"x": x})
    assert (np.abs(y - case.run(x)[0]) <= case.bound(x)).all()


def test_bf16_weights(compiled):
    """Weights of half the size: the result of the rounded weights, to the accuracy of f32."""
    case = Experts(d=32, width=16, experts=6, top_k=2, shared=32, seed=11)
    for name in ("up", "gate", "down"):
        bits = case.weights[name].view(np.uint32)
        case.weights[name] = ((bits + 0x8000) & 0xffff0000).view(np.float32)
    x = rows(case, 300)
    text = case.to_mlir()
    for name in ("up", "gate", "down"):
        shape = "x".join(map(str, case.weights[name].shape))
        narrow = (case.weights[name].view(np.uint32) >> 16).astype(np.uint16)
        wide = f'%{name} = ffn.weight dense<"0x{case.weights[name].tobytes().hex()}"> : tensor<{shape}xf32>'
        assert wide in text
        text = text.replace(wide, f'%{name}_n = ffn.weight dense<"0x{narrow.tobytes().hex()}"> : tensor<{shape}xbf16>\n'
                                  f"    %{name} = ffn.cast %{name}_n : tensor<{shape}xbf16> to tensor<{shape}xf32>")
    narrow_case = type("Narrow", (), {"to_mlir": lambda self, residual: text, "__repr__": lambda self: "narrow"})()
    (y,) = Model(compiled(narrow_case), threads=2).run({"x": x})
    (wide,) = Model(compiled(case), threads=2).run({"x": x})
    assert y.tobytes() == wide.tobytes()
