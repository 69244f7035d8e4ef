"""Laws of the rewrites of networks that cost nothing: dead neurons, slices, and
networks in a row that read one input. Bounds as in test_passes.py."""
import re
import subprocess

import numpy as np
import pytest

from interpreter import build_dir, interpret
from test_passes import D, EPS, M, U32, U64, assert_within, draw, feed, gamma, node, run_passes, save

pytestmark = pytest.mark.skipif(build_dir() is None or not (build_dir() / "bin/ffnc").exists(), reason="ffnc is not built (set FFN_BUILD_DIR)")


def compile_and_run(model, folder, x, passes="ffn-raise{remarks=false}", name="model.so"):
    """The f32 output of the compiled model on one thread, and its remarks."""
    tool, library = str(build_dir() / "bin/ffnc"), str(folder / name)
    done = subprocess.run([tool, "compile", str(model), "-o", library, "--remarks", f"--pass-pipeline=builtin.module({passes})"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    np.save(folder / "x.npy", x)
    ran = subprocess.run([tool, "run", library, "--input", f"x={folder / 'x.npy'}", "--output-dir", str(folder / "out"), "--threads=1"], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return np.load(folder / "out/y.npy"), done.stderr


def bits(values):
    return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)


# --- ffn-remove-dead-neurons: the provable bound ---------------------------------

# 24 neurons below the bound, 24 two ulp below zero without it, 16 alive.
DEAD, NEAR, LIVE = 24, 24, 16
TRIALS = 10_000


def planted(kind, gated):
    """A model whose pre-activations reach known suprema, and its weights."""
    random = np.random.default_rng(11)
    m = DEAD + NEAR + LIVE
    w = draw(12, g=(D,), gate=(D, m), up=(D, m), down=(m, D))
    rows = w["gate"].astype(np.float64).T
    reach = np.sqrt(D) * np.linalg.norm(rows * w["g"].astype(np.float64), axis=1)
    slack = gamma(D + 8, U32) * reach + 2 * gamma(D + 2, U32) * reach
    bias = (random.uniform(-0.3, 0.3, m) * reach).astype(np.float32)
    bias[:DEAD] = np.nextafter((-(reach + slack) * (1 + 4 * U32))[:DEAD].astype(np.float32), np.float32(-np.inf))
    near = -reach[DEAD : DEAD + NEAR].astype(np.float32)
    for _ in range(2):
        near = np.nextafter(near, np.float32(-np.inf))
    bias[DEAD : DEAD + NEAR] = near
    w["b"] = bias
    norm = node("RMSNormalization", "x g", "h", epsilon=EPS, axis=-1)
    if kind == "layer":
        w["s"] = np.zeros(D, np.float32)
        norm = node("LayerNormalization", "x g s", "h", epsilon=EPS, axis=-1)
    nodes = [norm, node("MatMul", "h gate", "p"), node("Add", "p b", "q"), node("Relu", "q", "a")]
    if gated:
        nodes += [node("MatMul", "h up", "u"), node("Mul", "a u", "v")]
    else:
        del w["up"]
    nodes.append(node("MatMul", f"{'v' if gated else 'a'} down", "y"))
    return nodes, w


def adversarial(w):
    """Rows along w * g of each planted neuron, and next to them, of many sizes."""
    random = np.random.default_rng(13)
    directions = (w["gate"].T * w["g"]).astype(np.float64)[: DEAD + NEAR]
    x = directions[np.arange(TRIALS) % (DEAD + NEAR)]
    x = x * (1 + random.choice([0, 1e-7, 1e-6], (TRIALS, 1)) * random.standard_normal((TRIALS, D)))
    return (x * 10.0 ** random.uniform(-1, 6, (TRIALS, 1))).astype(np.float32)


def without(w, gone):
    """The weights with some neurons cut out by hand."""
    kept = np.setdiff1d(np.arange(w["b"].size), gone)
    return {name: value[kept] if name in ("b", "down") else value[:, kept] if name in ("gate", "up") else value for name, value in w.items()}


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_proved_neurons_go_without_a_bit_and_two_ulp_are_no_proof(gated, tmp_path):
    nodes, w = planted("rms", gated)
    path, x = save(tmp_path, nodes, w, opset=23), adversarial(w)
    plain, _ = compile_and_run(path, tmp_path, x)
    removed, remarks = compile_and_run(path, tmp_path, x, "ffn-raise{remarks=false},ffn-remove-dead-neurons")
    assert f"removed {DEAD} of {DEAD + NEAR + LIVE} neurons: {DEAD} that no input makes fire" in remarks, remarks
    assert np.isfinite(plain).all() and np.abs(plain).max() > 0.1
    np.testing.assert_array_equal(bits(plain), bits(removed))
    # The same trials find out a margin of two ulp.
    by_hand = save(tmp_path, nodes, without(w, np.arange(DEAD + NEAR)), name="near.onnx", opset=23)
    wrong, _ = compile_and_run(by_hand, tmp_path, x)
    assert (bits(plain) != bits(wrong)).any(), "no neuron within two ulp fired"
    # And the oracle agrees to the bit: what goes is zero.
    few = {"x": x[:64]}
    before, _ = run_passes(path, tmp_path, "ffn-raise{remarks=false}", "before.mlir")
    after, _ = run_passes(path, tmp_path, "ffn-raise{remarks=false},ffn-remove-dead-neurons", "after.mlir")
    np.testing.assert_array_equal(interpret(before, few)[0], interpret(after, few)[0])


def test_layer_norms_of_rows_far_from_zero_keep_every_bit(tmp_path):
    """Computed rows with a mean far above their spread are not centred."""
    nodes, w = planted("layer", False)
    path, x = save(tmp_path, nodes, w), adversarial(w)
    x += np.float32(10) ** np.random.default_rng(2).uniform(-2, 8, (TRIALS, 1)).astype(np.float32)
    plain, _ = compile_and_run(path, tmp_path, x)
    removed, remarks = compile_and_run(path, tmp_path, x, "ffn-raise{remarks=false},ffn-remove-dead-neurons")
    assert f"{DEAD} that no input makes fire" in remarks, remarks
    np.testing.assert_array_equal(bits(plain), bits(removed))


def test_neurons_that_are_always_on_become_a_linear_path(tmp_path):
    m, on = 4 * D, 3 * D
    w = draw(21, g=(D,), up=(D, m), b=(m,), down=(m, D))
    reach = np.sqrt(D) * np.linalg.norm(w["up"].T * w["g"], axis=1)
    w["b"][:on] = 1.01 * reach[:on]
    nodes = [node("RMSNormalization", "x g", "h", epsilon=EPS, axis=-1), node("MatMul", "h up", "p"), node("Add", "p b", "q"), node("Relu", "q", "a"), node("MatMul", "a down", "y")]
    path = save(tmp_path, nodes, w, opset=23)
    before, _ = run_passes(path, tmp_path, "ffn-raise", "before.mlir")
    after, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-remove-dead-neurons", "after.mlir")
    assert f"removed {on} of {m} neurons: {on} always on, now a linear path" in remarks, remarks
    x = feed(21, 50)
    z = x["x"].astype(np.float64)
    z = np.abs(z / np.sqrt((z * z).mean(-1, keepdims=True) + EPS) * w["g"])
    magnitude = (z @ np.abs(w["up"]) + np.abs(w["b"])) @ np.abs(w["down"])
    assert_within(interpret(before, x)[0], interpret(after, x)[0], gamma(4 * (D + m + 16), U64) * magnitude)
    # The bytes are rounded once: products of two f32 weights.
    assert_within(interpret(before, x)[0], compile_and_run(path, tmp_path, x["x"], "ffn-raise{remarks=false},ffn-remove-dead-neurons")[0], gamma(4 * (D + m + 16), U32) * magnitude)


def test_equal_constant_and_idle_neurons(tmp_path):
    """Three of one kind, two constant ones, one that reads and one that writes nothing."""
    w = draw(31, up=(D, M), b=(M,), down=(M, D))
    w["up"][:, [4, 9]] = w["up"][:, [2]]
    w["b"][[4, 9]] = w["b"][2]
    w["up"][:, [5, 6]], w["b"][[5, 6]] = 0, [0.5, 0.25]
    w["up"][:, 7], w["b"][7] = 0, -1
    w["down"][8] = 0
    nodes = [node("MatMul", "x up", "p"), node("Add", "p b", "q"), node("Relu", "q", "a"), node("MatMul", "a down", "y")]
    path = save(tmp_path, nodes, w)
    before, _ = run_passes(path, tmp_path, "ffn-raise", "before.mlir")
    after, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-remove-dead-neurons", "after.mlir")
    assert f"removed 6 of {M} neurons: 2 without effect, 2 constant, 2 duplicates" in remarks, remarks
    x = feed(31)
    magnitude = (np.abs(x["x"]) @ np.abs(w["up"]) + np.abs(w["b"])) @ np.abs(w["down"])
    assert_within(interpret(before, x)[0], interpret(after, x)[0], gamma(4 * (D + M + 16), U64) * magnitude)


@pytest.mark.parametrize("passes", ["ffn-remove-dead-neurons{dead=false zero=false duplicates=false linear=false}", "ffn-slice-nested", "ffn-slice-nested{width=64}", "ffn-parallelize{max-length=1}"])
def test_neutral_settings_change_no_byte(passes, tmp_path):
    nodes, w = planted("rms", True)
    path = save(tmp_path, nodes, w, opset=23)
    before, _ = run_passes(path, tmp_path, "ffn-raise", "before.mlir")
    after, _ = run_passes(path, tmp_path, f"ffn-raise,{passes}", "after.mlir")
    assert before.read_bytes() == after.read_bytes()


# --- ffn-slice-nested --------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 7, M - 1])
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_a_slice_is_the_smaller_model(width, gated, tmp_path):
    def model(m, name):
        w = draw(41, u=(D, M), v=(D, M), b=(M,), d=(M, D))
        w = {key: value[:m] if key in "bd" else value[:, :m] for key, value in w.items()}
        nodes = [node("MatMul", "x u", "p"), node("Add", "p b", "q"), node("Sigmoid", "q", "s"), node("Mul", "q s", "a")]
        if gated:
            nodes += [node("MatMul", "x v", "r"), node("Mul", "a r", "c")]
        else:
            del w["v"]
        nodes += [node("MatMul", f"{'c' if gated else 'a'} d", "y")]
        return save(tmp_path, nodes, w, name=name)

    sliced, remarks = run_passes(model(M, "whole.onnx"), tmp_path, f"ffn-raise,ffn-slice-nested{{width={width}}}", "sliced.mlir")
    small, _ = run_passes(model(width, "small.onnx"), tmp_path, "ffn-raise", "small.mlir")
    assert f"cut from {M} to its first {width} neurons" in " ".join(remarks), remarks
    np.testing.assert_array_equal(interpret(small, feed(41))[0], interpret(sliced, feed(41))[0])


# --- ffn-parallelize and ffn-fusion --------------------------------------------------


def run_of_networks(count, scale=1.0):
    """Pre-norm networks in a row, and a head."""
    nodes, w = [], draw(50, head=(D, D))
    hidden = "x"
    for i in range(count):
        w.update({f"{key}{i}": value for key, value in draw(51 + i, g=(D,), u=(D, M + i), d=(M + i, D)).items()})
        w[f"d{i}"] *= np.float32(scale)
        nodes += [node("RMSNormalization", f"{hidden} g{i}", f"n{i}", epsilon=EPS, axis=-1), node("MatMul", f"n{i} u{i}", f"p{i}"), node("Relu", f"p{i}", f"a{i}"), node("MatMul", f"a{i} d{i}", f"f{i}"), node("Add", f"{hidden} f{i}", f"h{i}")]
        hidden = f"h{i}"
    return nodes + [node("MatMul", f"{hidden} head", "y")], w


def network(w, i, x):
    z = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w[f"g{i}"]
    return np.maximum(z @ w[f"u{i}"], 0) @ w[f"d{i}"]


@pytest.mark.parametrize("keep_last", [True, False])
@pytest.mark.parametrize("passes", ["ffn-parallelize", "ffn-fusion"])
def test_a_run_reads_one_input(passes, keep_last, tmp_path):
    nodes, w = run_of_networks(4)
    path = save(tmp_path, nodes, w, opset=23)
    text, remarks = run_passes(path, tmp_path, f"ffn-raise,{passes}{{keep-last={str(keep_last).lower()}}}", "fused.mlir")
    wide = {name: value.astype(np.float64) for name, value in w.items()}
    x = feed(51)["x"].astype(np.float64)
    count = 3 if keep_last else 4
    y = x + sum(network(wide, i, x) for i in range(count))
    if keep_last:
        y = y + network(wide, 3, y)
    assert sum(remark.startswith("parallelized ") for remark in remarks) == 1, remarks
    assert any("stays behind it" in remark for remark in remarks) == keep_last
    assert text.read_text().count("= ffn.feed_forward ") == (4 if passes == "ffn-parallelize" else 5 - count)
    after = interpret(text, feed(51))[0]
    np.testing.assert_allclose(after, y @ wide["head"], rtol=1e-12, atol=1e-12)
    compiled, _ = compile_and_run(path, tmp_path, feed(51)["x"], f"ffn-raise{{remarks=false}},{passes}{{keep-last={str(keep_last).lower()}}}")
    np.testing.assert_allclose(compiled, y @ wide["head"], rtol=2e-5, atol=2e-5 * np.abs(y).max())


def test_limits_cut_a_run_into_pieces(tmp_path):
    nodes, w = run_of_networks(6)
    path = save(tmp_path, nodes, w, opset=23)

    def pieces(options):
        text, remarks = run_passes(path, tmp_path, f"ffn-raise,ffn-parallelize{{{options}}}", "cut.mlir")
        return [line.count("#ffn.addend<") for line in text.read_text().splitlines() if "= ffn.sublayer" in line]

    assert pieces("keep-last=false") == [6]
    assert pieces("") == [5, 1]
    assert pieces("max-length=3") == [3, 2, 1]
    assert pieces("max-length=4 keep-last=false") == [3, 3]
    # Widths are M, M + 1, ...
    assert pieces(f"max-width={2 * M + 1} keep-last=false") == [2, 1, 1, 1, 1]
    assert pieces(f"max-width={M}") == [1] * 6


def test_distances_are_those_of_the_model_without_a_part(tmp_path):
    import json

    nodes, w = run_of_networks(3, scale=0.3)
    path = save(tmp_path, nodes, w, opset=23)
    samples = np.random.default_rng(7).standard_normal((6, D)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=samples)
    matrix = tmp_path / "matrix.json"
    run_passes(path, tmp_path, f"ffn-raise,ffn-parallelize{{calib={tmp_path / 'calib.npz'} samples=6 matrix={matrix}}}", "out.mlir")
    found = json.loads(matrix.read_text())
    wide = {name: value.astype(np.float64) for name, value in w.items()}

    def contributions(skipped):
        x, made = samples.astype(np.float64), []
        for i in range(3):
            f = network(wide, i, x)
            made.append(f)
            if i != skipped:
                x = x + f
        return made

    whole = contributions(None)
    assert len(found["names"]) == 3
    for i in range(3):
        changed = contributions(i)
        for j in range(3):
            if j <= i:
                assert found["distance"][i][j] is None
                continue
            a, b = whole[j], changed[j]
            distance = np.mean(1 - (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1))
            assert found["distance"][i][j] == pytest.approx(distance, abs=1e-5)
    # A limit between two distances decides what joins.
    first = found["distance"][0][1]
    text, remarks = run_passes(path, tmp_path, f"ffn-raise,ffn-parallelize{{calib={tmp_path / 'calib.npz'} samples=6 keep-last=false max-distance={first / 2}}}", "none.mlir")
    assert any(re.search("depends on it: distance .* is above max-distance", remark) for remark in remarks), remarks
    text, _ = run_passes(path, tmp_path, f"ffn-raise,ffn-parallelize{{calib={tmp_path / 'calib.npz'} samples=6 keep-last=false max-distance={first * 1.01} max-length=2}}", "some.mlir")
    assert "= ffn.sublayer [#ffn.addend<ffn " in text.read_text()


# --- ffn-merge-lora, ffn-premerge ------------------------------------------------------


@pytest.mark.parametrize("rank", [2, 3])
def test_an_adapter_becomes_part_of_its_weight(rank, tmp_path):
    """y = d relu(u x + 2 b a x): no network before the adapter is merged."""
    w = draw(61, u=(D, M), a=(D, rank), b=(rank, M), d=(M, D), s=())
    w["s"] = np.float32(2)
    nodes = [node("MatMul", "x u", "p"), node("MatMul", "x a", "q"), node("MatMul", "q b", "r"), node("Mul", "r s", "t"), node("Add", "p t", "z"), node("Relu", "z", "h"), node("MatMul", "h d", "y")]
    path = save(tmp_path, nodes, w)
    before, _ = run_passes(path, tmp_path, "ffn-raise", "before.mlir")
    after, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-merge-lora,ffn-raise", "after.mlir")
    assert f"adapter of rank {rank} merged into weight 'u'" in " ".join(remarks), remarks
    assert "ffn.feed_forward" not in before.read_text() and "ffn.feed_forward" in after.read_text()
    x, wide = feed(61), {name: np.abs(value.astype(np.float64)) for name, value in w.items()}
    rows = np.abs(x["x"].astype(np.float64))
    magnitude = (rows @ wide["u"] + 2 * rows @ wide["a"] @ wide["b"]) @ wide["d"]
    assert_within(interpret(before, x)[0], interpret(after, x)[0], gamma(2 * (D + M + rank + 8), U64) * magnitude)


def test_factors_become_their_product(tmp_path):
    w = draw(62, a=(D, 3 * D), c=(3 * D,), b=(3 * D, D), e=(D,))
    nodes = [node("MatMul", "x a", "p"), node("Add", "p c", "q"), node("MatMul", "q b", "r"), node("Add", "r e", "y")]
    path = save(tmp_path, nodes, w)
    before, _ = run_passes(path, tmp_path, "ffn-raise", "before.mlir")
    after, remarks = run_passes(path, tmp_path, "ffn-raise,ffn-premerge", "after.mlir")
    assert f"merged with the linear before it into one of {D}x{D}" in remarks, remarks
    assert after.read_text().count("= ffn.linear ") == 1
    x, wide = feed(62), {name: np.abs(value.astype(np.float64)) for name, value in w.items()}
    magnitude = (np.abs(x["x"].astype(np.float64)) @ wide["a"] + wide["c"]) @ wide["b"] + wide["e"]
    assert_within(interpret(before, x)[0], interpret(after, x)[0], gamma(2 * (4 * D + 8), U64) * magnitude)


# --- ffn-reparam-idle ------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["where", "where-not", "split", "split-idle-first"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_idle_channels_become_a_linear(norm, mask, tmp_path):
    m, active = 4 * D, D
    w = draw(71, u=(D, m), b=(m,), d=(m, D), e=(D,), s0=(D,), h0=(D,), m0=(D,), s1=(m,), h1=(m,), m1=(m,))
    for key, size in (("v0", D), ("v1", m)):
        w[key] = np.random.default_rng(size).uniform(0.5, 2, size).astype(np.float32)
    channels = np.zeros(m, bool)
    channels[:active] = True
    first = node("BatchNormalization", "x s0 h0 m0 v0", "n") if norm == "batch" else node("LayerNormalization", "x s0 h0", "n", axis=-1)
    nodes = [first, node("MatMul", "n u", "p"), node("Add", "p b", "z")]
    if mask.startswith("where"):
        np.random.default_rng(5).shuffle(channels)
        w["k"] = channels if mask == "where" else ~channels
        nodes += [node("Relu", "z", "a"), node("Where", "k a z" if mask == "where" else "k z a", "g")]
    else:
        nodes += [node("Split", "z sizes", "z0 z1", axis=-1)]
        part = "z1" if mask == "split-idle-first" else "z0"
        nodes += [node("Relu", part, "a"), node("Concat", "z0 a" if part == "z1" else "a z1", "g", axis=-1)]
        sizes = [m - active, active] if part == "z1" else [active, m - active]
    hidden = "g"
    if norm == "batch":
        nodes.append(node("BatchNormalization", "g s1 h1 m1 v1", "o"))
        hidden = "o"
    nodes += [node("MatMul", f"{hidden} d", "q"), node("Add", "q e", "y")]
    if not mask.startswith("where"):
        nodes.insert(0, node("Constant", "", "sizes", value_ints=sizes))
        nodes[0].input[:] = []
    used = {name for entry in nodes for name in entry.input}
    path = save(tmp_path, nodes, {name: value for name, value in w.items() if name in used})
    prepare = "ffn-raise,canonicalize"
    before, _ = run_passes(path, tmp_path, prepare, "before.mlir")
    after, remarks = run_passes(path, tmp_path, prepare + ",ffn-reparam-idle", "after.mlir")
    assert f"folded {m - active} idle channels of {m} into a linear of {D}x{D}" in remarks, (remarks, before.read_text()[:3000])
    text = after.read_text()
    assert f"tensor<{active}x{D}xf32>" in text and "BatchNormalization" not in text
    x = feed(71)
    a, b = interpret(before, x)[0], interpret(after, x)[0]
    # Scales and shifts of batch norms are rounded to f32.
    rows = np.abs(x["x"].astype(np.float64))
    if norm == "layer":
        centred = x["x"] - x["x"].mean(-1, keepdims=True, dtype=np.float64)
        rows = np.abs(centred) / np.sqrt(x["x"].var(-1, keepdims=True, dtype=np.float64) + EPS)
    wide = {name: np.abs(value.astype(np.float64)) for name, value in w.items()}
    magnitude = rows * wide["s0"] * 2 + wide["h0"] + 2 * wide["m0"]
    magnitude = magnitude @ wide["u"] + wide["b"]
    if norm == "batch":
        magnitude = magnitude * wide["s1"] * 2 + wide["h1"] + 2 * wide["m1"] * wide["s1"]
    magnitude = magnitude @ wide["d"] + wide["e"]
    unit = U32 if norm == "batch" else U64
    assert_within(a, b, gamma(4 * (D + m + 16) if norm == "layer" else 8, unit) * magnitude)
