"""Laws of the first passes, on the interpreter: float64 of the exact weights.

An exact rewrite may only re-associate sums, so its error is within
gamma_n * (|x| |W|) of every element (gamma_n = n u / (1 - n u), u of float64).
|x| |W| is the model run on magnitudes; ReLU does not enlarge them.
"""
import os
import pathlib
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from interpreter import ROOT, build_dir, interpret, shared_dir

pytestmark = pytest.mark.skipif(build_dir() is None or not (build_dir() / "bin/ffn-opt").exists(), reason="ffn-opt is not built (set FFN_BUILD_DIR)")

D, M, EPS = 12, 20, 1e-5
U64, U32 = 2.0**-53, 2.0**-24


def gamma(n, unit):
    return n * unit / (1 - n * unit)


def run_passes(model, folder, passes, name="out.mlir"):
    """Result of `passes` on an ONNX model, and the remarks."""
    path = pathlib.Path(folder, name)
    done = subprocess.run(
        [str(build_dir() / "bin/ffn-opt"), str(model), f"--pass-pipeline=builtin.module({passes})", "--mlir-print-op-on-diagnostic=false", "-o", str(path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return path, re.findall(r"remark: (?:loc\(.*?\): )?(.*)", done.stderr)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=outputs.split()[0], **attributes)


def save(folder, nodes, weights, outputs=("y",), name="model.onnx", opset=17):
    initializers = [numpy_helper.from_array(value if value.dtype in (np.float16, np.bool_) else value.astype(np.float32), key) for key, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "law",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", D])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", None]) for output in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path = pathlib.Path(folder, name)
    onnx.save(model, path)
    return path


def draw(seed, **shapes):
    random = np.random.default_rng(seed)
    return {name: (random.standard_normal(shape) / 3).astype(np.float32) for name, shape in shapes.items()}


def feed(seed=1, n=5):
    return {"x": np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)}


def assert_within(before, after, bound):
    """Each element within its bound, and not by being nothing."""
    assert before.shape == after.shape and np.isfinite(before).all() and np.abs(before).max() > 0.1
    excess = np.abs(before - after) - bound
    assert excess.max() <= 0, (np.abs(before - after).max(), bound[np.unravel_index(excess.argmax(), excess.shape)])


# --- ffn-fold-norm ---------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_fold_norm_keeps_the_bound_of_each_element(seed, tmp_path):
    """y = W (g z + b) + c, with z the normalised rows."""
    w = draw(seed, g=(D,), b=(D,), w=(D, M), c=(M,))
    path = save(tmp_path, [node("LayerNormalization", "x g b", "h", epsilon=EPS, axis=-1), node("MatMul", "h w", "p"), node("Add", "p c", "y")], w)
    x = feed(seed)
    raised, _ = run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    folded, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm", "folded.mlir")
    assert "norm folded into 1 weight" in remarks
    assert "ffn.scale_cols" in folded.read_text() and " scale %" not in folded.read_text()
    before, after = interpret(raised, x)[0], interpret(folded, x)[0]
    wide = {name: value.astype(np.float64) for name, value in w.items()}
    rows = x["x"].astype(np.float64)
    z = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + EPS)
    magnitude = (np.abs(z * wide["g"]) + np.abs(wide["b"])) @ np.abs(wide["w"]) + np.abs(wide["c"])
    assert_within(before, after, gamma(4 * (D + 8), U64) * magnitude)
    # The bytes of the folded weights are rounded to f32, twice for the bias.
    rounded, _ = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm,ffn-materialize-weights", "rounded.mlir")
    assert "ffn.scale_cols" not in rounded.read_text()
    error = interpret(rounded, x)[0]
    assert_within(before, error, gamma(3, U32) * magnitude)
    assert np.abs(error - before).max() > 0


def half_model(tmp_path, scale):
    """A norm before a weight that is stored in f16 and computed in f32."""
    w = draw(5, w=(D, M))
    w["w"] = w["w"].astype(np.float16)
    w["g"] = np.resize(np.float32(scale), D)
    path = save(tmp_path, [node("RMSNormalization", "x g", "h", epsilon=EPS, axis=-1), node("Cast", "w", "v", to=1), node("MatMul", "h v", "y")], w, opset=23)
    return path, w


@pytest.mark.parametrize("scale", [[1.0], [2.0, 0.5, 4.0]], ids=["ones", "powers-of-two"])
def test_fold_norm_keeps_half_weights_where_products_are_exact(scale, tmp_path):
    path, _ = half_model(tmp_path, scale)
    raised, _ = run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    folded, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm,ffn-materialize-weights", "folded.mlir")
    assert "norm folded into 1 weight" in remarks, remarks
    before, after = interpret(raised, feed(5))[0], interpret(folded, feed(5))[0]
    # Factors that are powers of two commute with every rounding of f64.
    np.testing.assert_array_equal(before, after)
    nodes, _ = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm,ffn-decompose,ffn-materialize-weights", "nodes.mlir")
    weights = [line for line in nodes.read_text().splitlines() if "ffn.weight" in line and ("x" + str(D) in line or "x" + str(M) in line)]
    assert weights and all("xf16>" in line for line in weights)


def test_fold_norm_widens_half_weights_on_request_only(tmp_path):
    path, w = half_model(tmp_path, [3.0, 1.1])
    raised, _ = run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    same, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm", "same.mlir")
    assert any(remark.startswith("norm not folded: products of its scale and weight 'w' are not in f16") for remark in remarks), remarks
    assert same.read_text() == raised.read_text()
    wide, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-fold-norm{widen}", "wide.mlir")
    assert f"norm folded into 1 weight, {2 * D * M} bytes more" in remarks, remarks
    before, after = interpret(raised, feed(5))[0], interpret(wide, feed(5))[0]
    rows = feed(5)["x"].astype(np.float64)
    z = rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + EPS)
    magnitude = np.abs(z * w["g"]) @ np.abs(w["w"].astype(np.float64))
    assert_within(before, after, gamma(4 * (D + 8), U64) * magnitude)


# --- ffn-merge-parallel ------------------------------------------------------


def test_merge_linears_computes_what_they_did(tmp_path):
    """Every element is the same dot product, so every bit is the same."""
    w = draw(9, q=(D, M), k=(D, 3), v=(D, 1), c=(3,))
    nodes = [node("MatMul", "x q", "a"), node("MatMul", "x k", "p"), node("Add", "p c", "b"), node("MatMul", "x v", "d"), node("Concat", "a b d", "y", axis=-1)]
    path = save(tmp_path, nodes, w)
    raised, _ = run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    merged, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-merge-parallel{linears}", "merged.mlir")
    assert f"merged 3 linears into one of width {M + 4}" in remarks, remarks
    assert merged.read_text().count("= ffn.linear ") == 1
    for rows in (0, 1, 5):
        np.testing.assert_array_equal(interpret(raised, feed(9, rows))[0], interpret(merged, feed(9, rows))[0])



@pytest.mark.parametrize("seed", range(3))
def test_merge_parallel_keeps_the_bound_of_each_element(seed, tmp_path):
    """y = x + down0 relu(up0 x) + down1 relu(up1 x): sums in another order."""
    w = draw(seed, u0=(D, M), d0=(M, D), u1=(D, 7), d1=(7, D), b1=(7,), e=(D,))
    nodes = [
        node("MatMul", "x u0", "p0"), node("Relu", "p0", "a0"), node("MatMul", "a0 d0", "f0"),
        node("MatMul", "x u1", "p1"), node("Add", "p1 b1", "q1"), node("Relu", "q1", "a1"), node("MatMul", "a1 d1", "r1"), node("Add", "r1 e", "f1"),
        node("Add", "x f0", "s"), node("Add", "s f1", "y"),
    ]
    path = save(tmp_path, nodes, w)
    x = feed(seed)
    raised, _ = run_passes(path, tmp_path, "ffn-raise", "raised.mlir")
    merged, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-merge-parallel", "merged.mlir")
    before, after = interpret(raised, x)[0], interpret(merged, x)[0]
    assert any(remark.startswith("merged 2 networks") and remark.endswith(f"of width {M + 7}") for remark in remarks), remarks
    assert merged.read_text().count("= ffn.feed_forward ") == 1
    wide = {name: np.abs(value.astype(np.float64)) for name, value in w.items()}
    rows = np.abs(x["x"].astype(np.float64))
    magnitude = rows + (rows @ wide["u0"]) @ wide["d0"] + (rows @ wide["u1"] + wide["b1"]) @ wide["d1"] + wide["e"]
    assert_within(before, after, gamma(2 * (D + M + 16), U64) * magnitude)


# --- ffn-dedup-weights -------------------------------------------------------


def test_dedup_weights_keeps_every_bit(tmp_path):
    w = draw(3, a=(D, D))
    w["same"], w["other"] = w["a"].copy(), w["a"].copy()
    w["other"][3, 4] = np.nextafter(w["other"][3, 4], np.float32(2))
    nodes = [node("MatMul", "x a", "p"), node("Tanh", "p", "q"), node("MatMul", "q same", "r"), node("Tanh", "r", "s"), node("MatMul", "s other", "y")]
    path = save(tmp_path, nodes, w)
    plain, _ = run_passes(path, tmp_path, "canonicalize", "plain.mlir")
    merged, remarks = run_passes(path, tmp_path, "ffn-dedup-weights", "merged.mlir")
    assert [remark for remark in remarks if "has the bytes of" in remark] == [f"weight 'same' has the bytes of 'a': {4 * D * D} bytes less"]
    assert "other" in merged.read_text()
    assert np.array_equal(interpret(plain, feed())[0], interpret(merged, feed())[0])


# --- ffn-prune-sublayers -----------------------------------------------------


def residual_network(removed=None):
    """Two pre-norm networks; nodes of the residual branch `removed` are left out."""
    nodes, hidden = [], "x"
    for i in range(2):
        if i == removed:
            continue
        nodes += [
            node("LayerNormalization", f"{hidden} g{i} b{i}", f"n{i}", epsilon=EPS, axis=-1),
            node("MatMul", f"n{i} u{i}", f"p{i}"),
            node("Relu", f"p{i}", f"a{i}"),
            node("MatMul", f"a{i} d{i}", f"f{i}"),
            node("Add", f"{hidden} f{i}", f"h{i}"),
        ]
        hidden = f"h{i}"
    nodes.append(node("MatMul", f"{hidden} head", "y"))
    weights = draw(5, head=(D, D))
    for i in range(2):
        if i != removed:
            weights.update({f"{key}{i}": value for key, value in draw(10 + i, g=(D,), b=(D,), u=(D, M), d=(M, D)).items()})
    return nodes, weights


@pytest.mark.parametrize("removed", [0, 1])
def test_pruned_model_is_the_one_without_the_branch(removed, tmp_path):
    path = save(tmp_path, *residual_network())
    without = save(tmp_path, *residual_network(removed), name="without.onnx")
    raised, listed = run_passes(path, tmp_path, "ffn-raise,ffn-list-ffns", "raised.mlir")
    names = [re.search(r"ffn '(.*?)'", remark).group(1) for remark in listed if remark.startswith("ffn ")]
    assert len(names) == 2
    pruned, remarks = run_passes(path, tmp_path, f"ffn-raise,ffn-prune-sublayers{{only={names[removed]}}}", "pruned.mlir")
    assert f"removed '{names[removed]}' (ffn)" in remarks
    text = pruned.read_text()
    assert text.count("= ffn.sublayer ") == 1 and f'"u{removed}"' not in text and f'"u{1 - removed}"' in text
    expected, _ = run_passes(without, tmp_path, "ffn-raise", "expected.mlir")
    before, after = interpret(expected, feed())[0], interpret(pruned, feed())[0]
    assert np.array_equal(before, after)
    assert not np.allclose(after, interpret(raised, feed())[0])


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    path = save(tmp_path, *residual_network())
    done = subprocess.run([str(build_dir() / "bin/ffn-opt"), str(path), "--pass-pipeline=builtin.module(ffn-raise{remarks=false},ffn-prune-sublayers{only=none})", "-o", str(tmp_path / "out.mlir")], capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "out.mlir").exists()
    assert "no sublayer is named 'none' [FFN-P102]" in done.stderr and "known: " in done.stderr


# --- Whole models ------------------------------------------------------------

SHARED = shared_dir()
WHOLE = {
    "pycode-lm": ROOT / "examples/pycode-lm/pycode-lm.onnx",
    "stories260K": SHARED / "models/stories260K.onnx" if SHARED else None,
    "kwt1": SHARED / "models/kwt1/kwt1.onnx" if SHARED else None,
}
PASSES = {"ffn-fold-norm{shared widen}": "ffn.scale_cols", "ffn-merge-parallel{linears}": "ffn.concat_rows", "ffn-dedup-weights": None}


@pytest.mark.parametrize("name", WHOLE)
def test_exact_passes_on_whole_models(name, tmp_path):
    path = WHOLE[name]
    if path is None or not os.path.exists(path):
        pytest.skip(f"no model {name} (set FFN_SHARED)")
    random = np.random.default_rng(4)
    feeds = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        kind = value.type.tensor_type
        shape = [dim.dim_value or (1 if i == 0 else 6) for i, dim in enumerate(kind.shape.dim)]
        feeds[value.name] = random.integers(0, 100, shape) if kind.elem_type == TensorProto.INT64 else random.standard_normal(shape).astype(np.float32)
    raised, _ = run_passes(path, tmp_path, "ffn-raise{remarks=false}", "raised.mlir")
    before = interpret(raised, feeds)[0]
    for passes, expected in PASSES.items():
        changed, _ = run_passes(path, tmp_path, "ffn-raise{remarks=false}," + passes, "changed.mlir")
        if expected and name != "kwt1":  # post-norm: every norm is read by the next residual
            assert expected in changed.read_text()
        after = interpret(changed, feeds)[0]
        # Through the layers no bound for one element is sharper than this.
        assert np.abs(after - before).max() <= 2.0**-40 * np.abs(before).max(), passes
