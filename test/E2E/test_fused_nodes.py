"""Nodes that ONNX Runtime's optimizer makes of several, compiled and written back as their parts, against ONNX Runtime."""
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, Model, compile_model, error_of, ort_session
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")
WIDTH, HEADS = 12, 3
# Between two ways to round sums of a few dozen products.
TOLERANCE = 1e-5


def build(path, op, inputs, outputs, constants, attrs, opset=17):
    """A model of one node; None is an input that is left out. Constants are initializers."""
    names = {name for name, _, _ in inputs if name}
    graph = helper.make_graph(
        [helper.make_node(op, [name or "" for name, _, _ in inputs], [name for name, _, _ in outputs], name="fused",
                          domain="com.microsoft", **attrs)], "fused",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs if name and name not in constants],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs if name],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in names])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def check(path, cases, reference=None):
    """Library and written model give what ONNX Runtime (or the function) gives for every set of inputs."""
    if reference is None:
        session = ort_session(path)
        reference = lambda feeds: session.run(None, feeds)
    library = path.with_suffix(".so")
    done = compile_model(path, library)
    assert done.returncode == 0, done.stderr
    written = path.with_name("written.onnx")
    done = compile_model(path, written, "--emit=onnx", "--pass-pipeline=builtin.module(ffn-raise)")
    assert done.returncode == 0, done.stderr
    # Nothing of the fused node is left in what is written.
    assert {node.domain for node in onnx.load(written).graph.node if node.op_type != "FastGelu"} <= {""}
    parts, model = ort_session(written), Model(library)
    for feeds in cases:
        expected = reference(feeds)
        for mine in (model.run(feeds), parts.run(None, feeds)):
            assert len(mine) == len(expected)
            for ours, theirs in zip(mine, expected):
                assert error_of(ours, theirs) <= TOLERANCE


def noise(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) / 2).astype(np.float32)


ATTENTION = {"w": noise(WIDTH, 3 * WIDTH, seed=1), "b": noise(3 * WIDTH, seed=2)}
SIZES = [(1, 1), (2, 5), (3, 7)]


def mask_of(kind, batch, length, total):
    """Every entry sees at least its first key."""
    draw = np.random.default_rng(batch * 100 + total)
    lengths = draw.integers(1, total + 1, batch).astype(np.int32)
    if kind == "lengths":
        return lengths
    keys = (np.arange(total) < lengths[:, None]).astype(np.int32)
    return keys if kind == "keys" else np.repeat(keys[:, None], length, 1)


MASKS = {"lengths": ["batch"], "keys": ["batch", "total"], "pairs": ["batch", "length", "total"]}


@pytest.mark.parametrize("opset", [11, 12, 17])
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention(mask, causal, opset, tmp_path):
    inputs = [("x", TensorProto.FLOAT, ["batch", "length", WIDTH]), ("w", TensorProto.FLOAT, None), ("b", TensorProto.FLOAT, None)]
    if mask:
        shape = [{"total": "length"}.get(dim, dim) for dim in MASKS[mask]]
        inputs.append(("mask", TensorProto.INT32, shape))
    path = build(tmp_path / "m.onnx", "Attention", inputs, [("y", TensorProto.FLOAT, ["batch", "length", WIDTH])], ATTENTION,
                 {"num_heads": HEADS, "unidirectional": causal}, opset)
    cases = []
    for batch, length in SIZES:
        if mask == "keys" and length == 1:
            continue  # ONNX Runtime takes one column as no mask.
        cases.append({"x": noise(batch, length, WIDTH)})
        if mask:
            cases[-1]["mask"] = mask_of(mask, batch, length, length)
    check(path, cases)


@pytest.mark.parametrize("attrs", [{"qkv_hidden_sizes": [6, 6, 24]}, {"scale": 0.3}, {"mask_filter_value": -1.0}], ids=lambda a: next(iter(a)))
def test_attributes_of_attention(attrs, tmp_path):
    inputs = [("x", TensorProto.FLOAT, ["batch", 5, WIDTH]), ("w", TensorProto.FLOAT, None), ("b", TensorProto.FLOAT, None),
              ("mask", TensorProto.INT32, ["batch", 5])]
    width = attrs.get("qkv_hidden_sizes", [WIDTH] * 3)[2]
    path = build(tmp_path / "m.onnx", "Attention", inputs, [("y", TensorProto.FLOAT, ["batch", 5, width])], ATTENTION,
                 {"num_heads": HEADS, **attrs})
    check(path, [{"x": noise(2, 5, WIDTH), "mask": mask_of("keys", 2, 5, 5)}])


def test_attention_with_cache(tmp_path):
    inputs = [("x", TensorProto.FLOAT, ["batch", "length", WIDTH]), ("w", TensorProto.FLOAT, None), ("b", TensorProto.FLOAT, None),
              (None, 0, None), ("past", TensorProto.FLOAT, [2, "batch", HEADS, "past", WIDTH // HEADS])]
    outputs = [("y", TensorProto.FLOAT, ["batch", "length", WIDTH]),
               ("present", TensorProto.FLOAT, [2, "batch", HEADS, "total", WIDTH // HEADS])]
    path = build(tmp_path / "m.onnx", "Attention", inputs, outputs, ATTENTION, {"num_heads": HEADS, "unidirectional": 1})
    cases = []
    for batch, length, past in [(1, 1, 0), (2, 1, 5), (2, 3, 4)]:
        cases.append({"x": noise(batch, length, WIDTH), "past": noise(2, batch, HEADS, past, WIDTH // HEADS, seed=3)})
    check(path, cases)


def attend_packed(feeds):
    """Attention over heads that stand beside each other, which ONNX Runtime has no kernel of for a CPU."""
    q = feeds["q"].astype(np.float64)
    q, k, v = np.moveaxis(q, 3, 0) if "k" not in feeds else (q.reshape(*q.shape[:2], HEADS, -1), *np.moveaxis(feeds["k"], 3, 0))
    scores = np.einsum("bsnd,btnd->bnst", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    rows = np.einsum("bnst,btnd->bsnd", weights / weights.sum(-1, keepdims=True), v)
    return [rows.reshape(*rows.shape[:2], -1).astype(np.float32)]


@pytest.mark.parametrize("form", ["rows", "heads", "packed keys", "packed", "cache", "bias of scores"])
def test_multi_head_attention(form, tmp_path):
    size = WIDTH // HEADS
    query = ["batch", "length", HEADS, 3, size] if form == "packed" else ["batch", "length", WIDTH]
    keys = {"heads": ["batch", HEADS, "keys", size], "packed keys": ["batch", "keys", HEADS, 2, size]}.get(form, ["batch", "keys", WIDTH])
    constants = {"b": noise(3 * WIDTH, seed=5)}
    inputs = [("q", TensorProto.FLOAT, query)]
    if form != "packed":
        inputs.append(("k", TensorProto.FLOAT, keys))
        inputs.append((None, 0, None) if form == "packed keys" else ("v", TensorProto.FLOAT, keys))
    outputs = [("y", TensorProto.FLOAT, ["batch", "length", WIDTH])]
    if form in ("rows", "cache", "bias of scores"):
        inputs.append(("b", TensorProto.FLOAT, None))
    if form == "bias of scores":
        inputs += [(None, 0, None), ("scores", TensorProto.FLOAT, ["batch", HEADS, "length", "keys"])]
    if form == "cache":
        past = ["batch", HEADS, "past", size]
        inputs += [(None, 0, None), (None, 0, None), ("pk", TensorProto.FLOAT, past), ("pv", TensorProto.FLOAT, past)]
        outputs += [(name, TensorProto.FLOAT, ["batch", HEADS, "total", size]) for name in ("nk", "nv")]
    path = build(tmp_path / "m.onnx", "MultiHeadAttention", inputs, outputs, constants, {"num_heads": HEADS})
    cases = []
    for batch, length, count in [(1, 1, 1), (2, 5, 5), (2, 3, 7)]:
        if form in ("packed", "cache"):
            count = length
        sizes = {"batch": batch, "length": length, "keys": count, "past": 4, "total": count + 4}
        cases.append({name: noise(*[sizes.get(dim, dim) for dim in shape], seed=7 + i)
                      for i, (name, _, shape) in enumerate(inputs) if name and name not in constants})
    check(path, cases, attend_packed if "packed" in form else None)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("form", ["words", "segments", "mask", "positions"])
def test_embedding(form, opset, tmp_path):
    ids = ["batch", "length"]
    constants = {"words": noise(11, WIDTH, seed=1), "positions": noise(9, WIDTH, seed=2), "segments": noise(2, WIDTH, seed=3),
                 "scale": noise(WIDTH, seed=4), "bias": noise(WIDTH, seed=5)}
    table = lambda name: (name, TensorProto.FLOAT, None)
    none = (None, 0, None)
    inputs = [("ids", TensorProto.INT32, ids), ("kinds", TensorProto.INT32, ids) if form == "segments" else none, table("words"),
              table("positions"), table("segments") if form == "segments" else none, table("scale"), table("bias")]
    outputs = [("y", TensorProto.FLOAT, [*ids, WIDTH]), ("lengths", TensorProto.INT32, ["batch"])]
    if form == "positions":
        inputs += [none, ("at", TensorProto.INT32, ids)]
    if form == "mask":
        inputs.append(("mask", TensorProto.INT32, ids))
    else:
        outputs = outputs[:1] + [("", 0, None)]
    path = build(tmp_path / "m.onnx", "EmbedLayerNormalization", inputs, outputs, constants, {"epsilon": 1e-5}, opset)
    limits = {"ids": 11, "kinds": 2, "at": 9, "mask": 2}
    cases = []
    for batch, length in [(1, 1), (2, 9), (3, 5)]:
        draw = np.random.default_rng(length)
        cases.append({name: draw.integers(0, limits[name], (batch, length)).astype(np.int32)
                      for name, _, _ in inputs if name and name not in constants})
    check(path, cases)


@pytest.mark.parametrize("bias", [False, True])
def test_gemm_fast_gelu(bias, tmp_path):
    constants = {"w": noise(WIDTH, 20, seed=1), "b": noise(20, seed=2)}
    inputs = [("x", TensorProto.FLOAT, ["batch", "length", WIDTH]), ("w", TensorProto.FLOAT, None)]
    if bias:
        inputs.append(("b", TensorProto.FLOAT, None))
    path = build(tmp_path / "m.onnx", "GemmFastGelu", inputs, [("y", TensorProto.FLOAT, ["batch", "length", 20])], constants, {})
    library = tmp_path / "m.so"
    done = compile_model(path, library)
    assert done.returncode == 0, done.stderr
    x = noise(2, 5, WIDTH)
    # ONNX Runtime has no kernel of it for a CPU.
    h = x.astype(np.float64) @ constants["w"] + (constants["b"] if bias else 0)
    expected = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    assert error_of(Model(library).run({"x": x})[0], expected.astype(np.float32)) <= TOLERANCE


@pytest.mark.parametrize("attrs", [{"do_rotary": 1}, {"past_present_share_buffer": 1}], ids=lambda a: next(iter(a)))
def test_forms_without_parts_are_refused(attrs, tmp_path):
    inputs = [("x", TensorProto.FLOAT, [1, 5, WIDTH]), ("w", TensorProto.FLOAT, None), ("b", TensorProto.FLOAT, None)]
    path = build(tmp_path / "m.onnx", "Attention", inputs, [("y", TensorProto.FLOAT, [1, 5, WIDTH])], ATTENTION,
                 {"num_heads": HEADS, **attrs})
    library = tmp_path / "m.so"
    done = compile_model(path, library)
    assert done.returncode == 1 and "node 'fused' (com.microsoft::Attention)" in done.stderr and "[FFN-C101]" in done.stderr
    assert not library.exists()


def test_attention_is_raised(tmp_path):
    """The parts are what raising knows: a linear over the rows, and attention."""
    inputs = [("x", TensorProto.FLOAT, ["batch", "length", WIDTH]), ("w", TensorProto.FLOAT, None), ("b", TensorProto.FLOAT, None)]
    path = build(tmp_path / "m.onnx", "Attention", inputs, [("y", TensorProto.FLOAT, ["batch", "length", WIDTH])], ATTENTION,
                 {"num_heads": HEADS, "unidirectional": 1})
    done = subprocess.run([BUILD / "bin" / "ffn-opt", path, "--ffn-raise"], capture_output=True, text=True)
    assert done.returncode == 0 and "ffn.linear" in done.stdout and "causal" in done.stdout.split("ffn.attention")[1]
