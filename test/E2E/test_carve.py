"""ffn-carve-moe: CMoE's steps from the marks of a profile, and that nothing is lost."""
import json
import re
import subprocess

import numpy as np
import pytest
from artefact import BUILD

D, SAMPLES, LENGTH = 16, 6, 24


def draw(seed, *shape):
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def write_model(path, m, gated=True, biased=False, layers=2):
    """Residual networks behind norms, raised; returns the weights of the first one."""
    lines, body, first = [], [], None
    for layer in range(layers):
        weights = {"up": draw(10 * layer, m, D)}
        if gated:
            weights["gate"] = draw(10 * layer + 1, m, D)
        weights["down"] = draw(10 * layer + 2, D, m)
        if biased:
            weights["up_bias"] = draw(10 * layer + 3, m)
            if gated:
                weights["gate_bias"] = draw(10 * layer + 4, m)
            weights["down_bias"] = draw(10 * layer + 5, D)
        first = first or weights
        types = [f"tensor<{'x'.join(map(str, value.shape))}xf32>" for value in weights.values()]
        lines += [f'    %{name}{layer} = ffn.weight dense<"0x{value.tobytes().hex()}"> : {kind}' for (name, value), kind in zip(weights.items(), types)]
        words = " ".join(f"{name} %{name}{layer}" for name in weights)
        source = "%x" if layer == 0 else f"%h{layer - 1}"
        t = f"tensor<?x?x{D}xf32>"
        body += [f'    %h{layer} = ffn.sublayer [#ffn.addend<ffn "layers.{layer}.mlp">] ({source}) : ({t}) -> {t} {{', f"    ^bb0(%r: {t}):",
                 f"      %n = ffn.norm rms %r eps 1.0e-6 : {t}",
                 f"      %f = ffn.feed_forward {'silu' if gated else 'relu'} %n {words} : ({', '.join([t, *types])}) -> {t}",
                 f"      ffn.yield %f : {t}", "    }"]
    path.write_text("\n".join([
        "module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {",
        f'  func.func @main(%x: {t} {{onnx.name = "x", ffn.dims = ["b", "s", {D}]}}) -> ({t} {{onnx.name = "y"}}) {{',
        *lines, *body, f"    return %h{layers - 1} : {t}", "  }", "}", ""]))
    return first


def profile(model, path, *arguments, topk=3):
    np.save(path.parent / "x.npy", draw(99, SAMPLES, LENGTH, D) * 4)
    done = subprocess.run([BUILD / "bin" / "ffnc", "profile", model, "--calib", path.parent / "x.npy", f"--samples={SAMPLES}", "--opt-level=0",
                           f"--for=ffn-carve-moe{{topk={topk}}}", "-o", path, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:8 + length])
    entries.pop("__metadata__")
    marks = {}
    for name, entry in entries.items():
        if name.endswith("/cmoe_topk"):
            raw = np.frombuffer(data[8 + length:][slice(*entry["data_offsets"])], np.uint8).reshape(entry["shape"])
            marks[name.split("/")[0]] = np.unpackbits(raw, axis=1, bitorder="little")[:, :SAMPLES * LENGTH]
    return marks


def carve(model, options, output, code=0):
    """The text after the pass, and what was said."""
    done = subprocess.run([BUILD / "bin" / "ffn-opt", model, f"--pass-pipeline=builtin.module(ffn-carve-moe{{{options}}})",
                           "--mlir-print-op-on-diagnostic=false", "-o", output], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return output.read_text() if code == 0 else "", done.stderr


def interpret(model, x, folder):
    np.save(folder / "in.npy", x)
    done = subprocess.run([BUILD / "bin" / "ffn-interpret", model, "--input", f"x={folder / 'in.npy'}", "--output-dir", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "0.npy")


def parts_of(text, shared, experts):
    """Shared neurons and those of each expert of the first network, and the neurons that route."""
    orders = [np.array(json.loads(found)) for found in re.findall(r"ffn\.weight dense<(\[[0-9, ]+\])> : tensor<\d+xi32>", text)]
    order = next(o for o in orders if len(o) > experts)
    routers = next(o for o in orders if len(o) == experts)
    width = (len(order) - shared) // experts
    return order[:shared], order[shared:].reshape(experts, width), routers


@pytest.mark.parametrize("gated,biased", [(True, False), (True, True), (False, True)])
def test_steps_of_cmoe(gated, biased, tmp_path):
    weights = write_model(tmp_path / "m.mlir", 24, gated, biased)
    marks = profile(tmp_path / "m.mlir", tmp_path / "p")["layers.0.mlp"].astype(int)
    # The marks are those of unit rows.
    x = draw(99, SAMPLES, LENGTH, D).reshape(-1, D).astype(np.float64)
    unit = lambda rows: rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    h = unit(x) @ unit(weights["up"].astype(np.float64)).T + weights.get("up_bias", 0)
    if gated:
        g = unit(x) @ unit(weights["gate"].astype(np.float64)).T + weights.get("gate_bias", 0)
        h = g / (1 + np.exp(-g)) * h
    else:
        h = np.maximum(h, 0)
    ranked = -np.sort(-np.abs(h), axis=1)
    clear = (ranked[:, 2] - ranked[:, 3]) > 1e-5
    strongest = np.argsort(-np.abs(h), axis=1, kind="stable")[:, :3]
    assert clear.mean() > 0.9 and (marks.sum(0) == 3).all()
    assert all(set(strongest[t]) == set(np.flatnonzero(marks[:, t])) for t in np.flatnonzero(clear))

    text, said = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S2A1E6", tmp_path / "c.mlir")
    assert said.count("network carved into 4 experts of 4 neurons, of which a token uses 1, and 8 shared neurons: 12 of 24 run") == 2
    assert text.count("ffn.moe") == 2 and text.count("#ffn.addend<moe") == 2 and "ffn.feed_forward" not in text
    shared, experts, routers = parts_of(text, 8, 4)
    assert sorted([*shared, *experts.ravel()]) == list(range(24))
    rates = marks.sum(1)
    assert set(shared) == set(sorted(range(24), key=lambda j: (-rates[j], j))[:8])
    # One balanced assignment to the marks of the most frequent routed neurons.
    routed = sorted(set(range(24)) - set(shared), key=lambda j: (-rates[j], j))
    cost = lambda groups: sum(np.abs(marks[j] - marks[c]).sum() for c, group in zip(routed[:4], groups) for j in group)
    generator, best = np.random.default_rng(0), cost(experts)
    for _ in range(200):
        assert best <= cost(generator.permutation(routed).reshape(4, 4))
    # No exchange of two neurons helps, which of a least cost is true.
    for a in range(4):
        for b in range(a):
            for i in range(4):
                for j in range(4):
                    other = experts.copy()
                    other[a, i], other[b, j] = other[b, j], other[a, i]
                    assert best <= cost(other)
    for group, router in zip(experts, routers):
        mean = marks[group].mean(0)
        distance = [np.abs(marks[j] - mean).sum() for j in group]
        assert router in group and np.abs(marks[router] - mean).sum() <= min(distance) + 1e-9

    # The same from the same profile; with all experts on, the dense network.
    again, _ = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S2A1E6", tmp_path / "d.mlir")
    assert again == text
    (tmp_path / "all.mlir").write_text(text.replace("top_k 1", "top_k 4"))
    x = draw(5, 2, 9, D)
    dense, everything = (interpret(tmp_path / name, x, tmp_path) for name in ("m.mlir", "all.mlir"))
    # Sums in another order, in float64: 64 roundings of terms whose magnitudes add up to less than 1000.
    assert np.abs(dense - everything).max() <= 64 * 2.0**-53 * 1000
    assert np.abs(dense - interpret(tmp_path / "c.mlir", x, tmp_path)).max() > 1e-3


def test_neutral_setting_changes_nothing(tmp_path):
    write_model(tmp_path / "m.mlir", 24)
    profile(tmp_path / "m.mlir", tmp_path / "p")
    text, said = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S2A4E6", tmp_path / "c.mlir")
    plain = subprocess.run([BUILD / "bin" / "ffn-opt", tmp_path / "m.mlir"], capture_output=True, text=True, check=True).stdout
    assert text == plain and said.count("with all experts on there is nothing to leave out") == 2


def test_widths_that_do_not_divide(tmp_path):
    write_model(tmp_path / "m.mlir", 22, biased=True)
    profile(tmp_path / "m.mlir", tmp_path / "p")
    text, said = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S1A2E5", tmp_path / "c.mlir")
    assert "ffn.moe" not in text and said.count("22 neurons are no multiple of 5 experts; 'pad' adds neurons of zeros") == 2
    text, said = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S1A2E5 pad=true", tmp_path / "c.mlir")
    assert said.count("3 neurons of zeros fill up") == 2
    (tmp_path / "all.mlir").write_text(text.replace("top_k 2", "top_k 4"))
    x = draw(5, 2, 9, D)
    assert np.abs(interpret(tmp_path / "m.mlir", x, tmp_path) - interpret(tmp_path / "all.mlir", x, tmp_path)).max() <= 64 * 2.0**-53 * 1000


def test_random_partition(tmp_path):
    write_model(tmp_path / "m.mlir", 24)
    profile(tmp_path / "m.mlir", tmp_path / "p")
    seen = set()
    for seed in (0, 1, 0):
        text, _ = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'p'} config=S2A1E6 partition=random seed={seed}", tmp_path / "c.mlir")
        shared, experts, routers = parts_of(text, 8, 4)
        assert sorted([*shared, *experts.ravel()]) == list(range(24)) and all(r in e for r, e in zip(routers, experts))
        seen.add(text)
    assert len(seen) == 2


def test_sequential_marks(tmp_path):
    """A layer is measured behind carved ones: the first one's marks stay, the second one's change."""
    write_model(tmp_path / "m.mlir", 24)
    original = profile(tmp_path / "m.mlir", tmp_path / "p")
    behind = profile(tmp_path / "m.mlir", tmp_path / "q", "--prefix=rewritten", "--pass-pipeline=builtin.module(ffn-carve-moe{profile=%p config=S2A1E6})")
    assert (original["layers.0.mlp"] == behind["layers.0.mlp"]).all() and (original["layers.1.mlp"] != behind["layers.1.mlp"]).any()


def test_profile_of_something_else(tmp_path):
    write_model(tmp_path / "m.mlir", 24)
    profile(tmp_path / "m.mlir", tmp_path / "p")
    write_model(tmp_path / "wider.mlir", 30)
    text, said = carve(tmp_path / "wider.mlir", f"profile={tmp_path / 'p'} config=S2A1E6", tmp_path / "c.mlir")
    assert said.count("the profile is of a network of 24 neurons, not 30") == 2
    subprocess.run([BUILD / "bin" / "ffnc", "profile", tmp_path / "m.mlir", "--calib", tmp_path / "x.npy", f"--samples={SAMPLES}", "--opt-level=0",
                    "--probes=moments", "-o", tmp_path / "moments"], check=True, capture_output=True)
    _, said = carve(tmp_path / "m.mlir", f"profile={tmp_path / 'moments'} config=S2A1E6", tmp_path / "c.mlir", code=1)
    assert "[FFN-D105]" in said and "cmoe_topk" in said
