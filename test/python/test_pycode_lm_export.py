"""The ONNX graphs of examples/pycode-lm against its PyTorch network.

A small network with random weights; the trained weights are not needed.
"""
import pathlib
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the exporters group is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "pycode-lm"
sys.path.insert(0, str(EXAMPLE))
import export  # noqa: E402
import model  # noqa: E402

CONFIG = model.Config(dim=32, layers=2, heads=4, kv_heads=2, hidden=48, vocab=64)
TOLERANCE = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(7)
    net = model.PycodeLM(CONFIG)
    with torch.no_grad():
        for p in net.parameters():
            # Large enough that attention is far from uniform and a wrong mask
            # or position shows; rounded, as the file holds float16.
            p.copy_((p + 0.3 * torch.randn_like(p)).half().float())
    folder = tmp_path_factory.mktemp("pycode-lm")
    paths = export.export(CONFIG, net.state_dict(), str(folder), "tiny")
    plain, cached = (ort.InferenceSession(p, providers=["CPUExecutionProvider"])
                     for p in paths[1:])
    return net, plain, cached, paths


def tokens(batch, length, seed=0):
    return np.random.default_rng(seed).integers(0, CONFIG.vocab, (batch, length))


def torch_logits(net, ids):
    with torch.no_grad():
        return net(torch.from_numpy(ids)).numpy()


def run_cached(session, ids, past):
    feed = {"input_ids": ids}
    names = [i.name for i in session.get_inputs()[1:]]
    if past is None:
        past = [np.zeros((ids.shape[0], CONFIG.kv_heads, 0, CONFIG.head_dim), np.float32)
                for _ in names]
    feed.update(zip(names, past))
    logits, *present = session.run(None, feed)
    return logits, present


@pytest.mark.parametrize("batch,length", [(1, 1), (1, 7), (2, 33), (5, 130), (0, 4)])
def test_plain_equals_torch(exported, batch, length):
    net, plain, _, _ = exported
    ids = tokens(batch, length)
    got = plain.run(None, {"input_ids": ids})[0]
    assert got.shape == (batch, length, CONFIG.vocab)
    if batch:
        np.testing.assert_allclose(got, torch_logits(net, ids), **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("chunks", [[1] * 9, [9], [4, 5], [3, 1, 1, 4]])
def test_cached_equals_plain(exported, batch, chunks):
    _, plain, cached, _ = exported
    ids = tokens(batch, sum(chunks), seed=3)
    want = plain.run(None, {"input_ids": ids})[0]
    at, past, got = 0, None, []
    for n in chunks:
        logits, past = run_cached(cached, ids[:, at:at + n], past)
        at += n
        got.append(logits)
        assert all(p.shape == (batch, CONFIG.kv_heads, at, CONFIG.head_dim) for p in past)
    np.testing.assert_allclose(np.concatenate(got, 1), want, **TOLERANCE)


def test_later_tokens_do_not_reach_back(exported):
    _, plain, _, _ = exported
    ids = tokens(1, 12)
    changed = ids.copy()
    changed[0, 8] = (changed[0, 8] + 1) % CONFIG.vocab
    a, b = (plain.run(None, {"input_ids": x})[0] for x in (ids, changed))
    np.testing.assert_array_equal(a[:, :8], b[:, :8])
    assert np.abs(a[:, 8:] - b[:, 8:]).max() > 1e-2


def test_training_attention_is_causal_attention():
    torch.manual_seed(1)
    q, k, v = (torch.randn(2, 4, 300, 8) for _ in range(3))
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(model.causal_attention(q, k, v), want, rtol=1e-4, atol=1e-5)


def test_weights_are_shared_aligned_halves(exported):
    _, _, _, paths = exported
    size = pathlib.Path(paths[0]).stat().st_size
    spans = []
    for path in paths[1:]:
        proto = onnx.load(path, load_external_data=False)
        stored = {t.name: {e.key: e.value for e in t.external_data}
                  for t in proto.graph.initializer if t.name.startswith("model.")
                  and t.name.endswith(".weight")}
        types = {t.data_type for t in proto.graph.initializer if t.name in stored}
        assert types == {onnx.TensorProto.FLOAT16}
        assert all(e["location"] == "tiny.weights" for e in stored.values())
        assert all(int(e["offset"]) % 64 == 0 for e in stored.values())
        assert max(int(e["offset"]) + int(e["length"]) for e in stored.values()) == size
        spans.append({n: (e["offset"], e["length"]) for n, e in stored.items()})
    assert spans[0] == spans[1]
    assert len(spans[0]) == 9 * CONFIG.layers + 2


def test_export_is_deterministic(exported, tmp_path):
    net, _, _, paths = exported
    again = export.export(CONFIG, net.state_dict(), str(tmp_path), "tiny")
    for a, b in zip(paths, again):
        assert pathlib.Path(a).read_bytes() == pathlib.Path(b).read_bytes()


def test_weight_outside_float16_is_refused(exported, tmp_path):
    net, _, _, _ = exported
    state = dict(net.state_dict())
    state["model.norm.weight"] = state["model.norm.weight"] * 1e6
    with pytest.raises(SystemExit, match="model.norm.weight does not fit float16"):
        export.export(CONFIG, state, str(tmp_path), "tiny")
