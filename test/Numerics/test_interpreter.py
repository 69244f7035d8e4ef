"""The interpreter against ONNX Runtime on whole models.

e(y) = max|y_ort - y| / max|y| per output. The list of deviations is kept in
both directions: a graph that is not on it must stay below the bound, and one
that is on it must still be above.
"""
import json
import os

import numpy as np
import onnx
import pytest

from interpreter import InterpreterError, build_dir, error_of, interpret, ort_session, shared_dir

SHARED = shared_dir()
pytestmark = [
    pytest.mark.skipif(build_dir() is None, reason="ffn-interpret is not built (set FFN_BUILD_DIR)"),
    pytest.mark.skipif(SHARED is None, reason="no shared models (set FFN_SHARED)"),
]
MODELS = SHARED / "models" if SHARED else None
BOUND = 1e-3

# Graph -> why ONNX Runtime's stored outputs are not within the bound.
DEVIATIONS = {
    "ort__dmmha_inside_mha_self_attn": "ONNX Runtime takes past length 0 for 'not given' and reads beyond the buffer",
    "ort__skip_layer_norm_no_beta_with_cast": "ONNX Runtime adds in float16 before it normalises",
}

# Graph -> code with which it is refused, for models that ONNX Runtime loads
# but cannot run on any input of our drawing either.
REFUSED = {
    "ort__tiny_gpt2_beamsearch": "E101",
    "ort__tiny_gpt2_beamsearch_with_init_decoder_fp16": "E101",
    "ort__tiny_gpt2_greedysearch_with_init_decoder": "E101",
}


def referenced():
    if not MODELS:
        return []
    return sorted(name[:-4] for name in os.listdir(MODELS / "graphs/ref"))


@pytest.mark.parametrize("name", referenced())
def test_graph_gives_the_stored_outputs(name):
    stored = np.load(MODELS / f"graphs/ref/{name}.npz")
    feeds = {key[3:]: stored[key] for key in stored.files if key.startswith("in:")}
    path = MODELS / f"graphs/{name}.onnx"
    outputs = [value.name for value in onnx.load(path).graph.output]
    results = interpret(path, feeds)
    error = max(error_of(ours, stored["out:" + output]) for output, ours in zip(outputs, results, strict=True))
    if name in DEVIATIONS:
        assert error > BOUND, f"now within the bound ({error:.2g}); take it off the list"
    else:
        assert error < BOUND


def unreferenced():
    if not MODELS:
        return []
    manifest = json.loads((MODELS / "graphs/manifest.json").read_text())
    known = set(referenced())
    return sorted(m["file"][:-5] for m in manifest if m["ort_load"] == "ok" and m["file"][:-5] not in known)


NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


@pytest.mark.parametrize("name", unreferenced())
def test_graph_without_stored_outputs(name):
    """Same outputs as ONNX Runtime, or an error where it has one."""
    path = MODELS / f"graphs/{name}.onnx"
    rng = np.random.default_rng(0)
    try:
        session = ort_session(path)
    except Exception as error:
        pytest.skip(f"this ONNX Runtime does not load it: {str(error)[:100]}")
    feeds = {}
    for value in session.get_inputs():
        shape = [dim if isinstance(dim, int) and dim > 0 else 2 for dim in value.shape]
        dtype = NUMPY[value.type]
        draw = rng.normal(size=shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        feeds[value.name] = draw.astype(dtype)
    try:
        theirs = session.run(None, feeds)
    except Exception:
        theirs = None
    try:
        ours = interpret(path, feeds)
    except InterpreterError as error:
        assert theirs is None, f"ONNX Runtime runs it: {error}"
        assert error.code in ("E101", "E102", "E103"), str(error)
        if name in REFUSED:
            assert error.code == REFUSED[name]
        return
    assert name not in REFUSED, "now evaluated; take it off the list"
    if theirs is not None:
        assert max(map(error_of, ours, theirs)) < BOUND


def tokens(vocabulary, batch, length):
    return np.random.default_rng(length).integers(0, vocabulary, (batch, length)).astype(np.int64)


TRAINED = [
    ("stories260K.onnx", 512, [(1, 1), (2, 33), (0, 5), (5, 7)]),
    ("stories260K_fp16w.onnx", 512, [(2, 33)]),
    ("stories260K_torch_op14.onnx", 512, [(1, 1), (2, 9)]),
    ("babyllama105.onnx", 105, [(1, 33), (2, 7)]),
    ("babyllama105_ext.onnx", 105, [(2, 7)]),
]


@pytest.mark.parametrize("file,vocabulary,batch,length", [(f, v, *shape) for f, v, shapes in TRAINED for shape in shapes])
def test_language_model(file, vocabulary, batch, length):
    feeds = {"input_ids": tokens(vocabulary, batch, length)}
    if "torch" in file:
        feeds["attention_mask"] = np.ones((batch, length), np.int64)
    (ours,) = interpret(MODELS / file, feeds)
    (theirs,) = ort_session(MODELS / file).run(None, feeds)
    assert error_of(ours, theirs) < 1e-5


@pytest.mark.parametrize("file", ["kwt1.onnx", "kwt1_ln17.onnx", "kwt1_torch_op14.onnx", "kwt1_frontend.onnx"])
def test_keyword_transformer(file):
    samples = np.load(MODELS / "kwt1/kwt1_samples.npz")
    name = "audio" if "frontend" in file else "mfcc"
    feeds = {name: samples[name]}
    (ours,) = interpret(MODELS / "kwt1" / file, feeds)
    (theirs,) = ort_session(MODELS / "kwt1" / file).run(None, feeds)
    assert error_of(ours, theirs) < 1e-5


def test_greedy_tokens_of_the_authors():
    """The prompt's logits and the first tokens that the checkpoint's own
    forward pass gives."""
    stored = np.load(MODELS / "llama2c/stories260K_ref.npz")
    ids = [int(i) for i in stored["greedy_ids"]]
    (logits,) = interpret(MODELS / "stories260K.onnx", {"input_ids": np.array([ids[:60]], np.int64)})
    predicted = logits[0].argmax(-1)
    prompt = len(stored["prompt_ids"].ravel())
    assert prompt < 30
    assert list(predicted[prompt - 1 : 59]) == ids[prompt:60]
