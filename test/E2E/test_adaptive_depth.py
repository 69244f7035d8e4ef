"""Networks and layers that are left out at run time, on the bundled model with its cache."""
import json
import subprocess

import numpy as np
import pytest
from artefact import BUILD, BUNDLED, Model, compile_model, error_of, ort_session

MODEL = BUNDLED / "pycode-lm-kv.onnx"
PIPELINES = {
    "skip": "ffn-insert-skip{threshold=THRESHOLD warmup=2 OPTIONS}",
    "skip-run": "ffn-insert-skip{threshold=THRESHOLD warmup=2 run=2 OPTIONS}",
    "exit": "ffn-insert-early-exit{threshold=THRESHOLD warmup=2 OPTIONS}",
}
# Where about half of the rows of a text leave something out.
THRESHOLDS = {"skip": "0.995", "skip-run": "0.995", "exit": "0.5"}


def text(batch, length):
    source = (BUILD.parents[1] / "examples" / "pycode-lm" / "train.py").read_bytes()
    if len(source) < batch * length:
        raise AssertionError("the text is too short")
    return np.stack([np.frombuffer(source[i * length :][:length], np.uint8) for i in range(batch)]).astype(np.int64)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder, known = tmp_path_factory.mktemp("adaptive"), {}

    def make(name=None, threshold=None, options="", emit="so"):
        key = (name, threshold, options, emit)
        if key not in known:
            path = folder / f"{len(known)}.{emit}"
            passes = "ffn-raise" + ("," + PIPELINES[name].replace("THRESHOLD", threshold).replace("OPTIONS", options) if name else "")
            done = compile_model(MODEL, path, f"--emit={emit}", f"--pass-pipeline=builtin.module({passes})")
            assert done.returncode == 0, done.stderr
            known[key] = path
        return known[key]

    return make


def feeds(model, ids, past=None):
    """Inputs; the past is empty or what an earlier call gave."""
    empty = lambda info: np.zeros((ids.shape[0], info.shape[1], 0, info.shape[3]), np.float32)
    result = {"input_ids": np.ascontiguousarray(ids)}
    for info in model.inputs:
        name = info.name.decode()
        if name != "input_ids":
            result[name] = past[name.replace("past_key_values", "present")] if past else empty(info)
    return result


def run(model, ids, past=None):
    return {info.name.decode(): value for info, value in zip(model.outputs, model.run(feeds(model, ids, past)))}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("options", ["prefill=decide", "prefill=run"])
def test_a_threshold_of_one_gives_the_bits_of_the_original(build, name, options):
    plain, adaptive = Model(build(), 1), Model(build(name, "1", options), 2)
    past = [None, None]
    assert run(adaptive, np.zeros((0, 3), np.int64))["logits"].shape == (0, 3, 256)
    for ids in (text(2, 9), text(2, 1), text(2, 1)):
        results = [run(model, ids, old) for model, old in zip((plain, adaptive), past)]
        assert list(results[0]) == list(results[1])
        assert all(np.array_equal(results[0][key], results[1][key]) for key in results[0])
        past = results


@pytest.mark.parametrize("name", PIPELINES)
def test_a_text_read_at_once_is_one_written_token_by_token(build, name):
    """Each row decides as it would alone, and caches of rows that left nothing out and of rows that did are one."""
    path = build(name, THRESHOLDS[name], "prefill=decide count=true")
    model, ids = Model(path, 1), text(1, 33)
    whole, past, steps = run(model, ids), None, []
    for at in range(ids.shape[1]):
        past = run(model, ids[:, at : at + 1], past)
        steps.append(past)
    counts = np.concatenate([step["left_out"] for step in steps], 1)
    assert np.array_equal(counts, whole["left_out"])
    assert (counts[:, :2] == 0).all() and 0 < np.count_nonzero(counts) < counts.size
    assert error_of(np.concatenate([step["logits"] for step in steps], 1), whole["logits"]) < 2e-5
    for key, value in whole.items():
        if key.startswith("present"):
            assert error_of(past[key], value) < 2e-5
    # A prompt runs in full, and what follows it decides.
    chat = Model(build(name, THRESHOLDS[name], "count=true"), 1)
    prompt = run(chat, ids[:, :20])
    assert not prompt["left_out"].any()
    assert np.array_equal(prompt["logits"], run(Model(build(), 1), ids[:, :20])["logits"])
    later = []
    for at in range(20, 33):
        prompt = run(chat, ids[:, at : at + 1], prompt)
        later.append(int(prompt["left_out"][0, 0]))
    assert any(later)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("batch,length", [(1, 1), (1, 17), (3, 8)])
def test_onnx_runtime_decides_the_same(build, name, batch, length):
    model = Model(build(name, THRESHOLDS[name], "prefill=decide count=true"), 1)
    exported = ort_session(build(name, THRESHOLDS[name], "prefill=decide count=true", "onnx"))
    ids = text(batch, length)
    ours = run(model, ids)
    theirs = dict(zip([info.name for info in exported.get_outputs()], exported.run(None, feeds(model, ids))))
    assert np.array_equal(ours["left_out"], theirs["left_out"])
    assert max(error_of(ours[key], theirs[key]) for key in ours) < 4e-6


def test_the_interpreter_agrees(build, tmp_path):
    """Every pass of the pipeline is checked in float64; with a threshold of 1 nothing may differ."""
    for name in ("skip", "exit"):
        pipeline = PIPELINES[name].replace("THRESHOLD", "1").replace("OPTIONS", "prefill=decide")
        done = subprocess.run([str(BUILD / "bin" / "ffn-opt"), str(MODEL), "--ffn-check-passes", f"--pass-pipeline=builtin.module(ffn-raise,{pipeline})",
                               "-o", str(tmp_path / "out.mlir")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def launches_of_gated_layers(path):
    """Launches of the first kernel of all networks, a decoding step."""
    done = subprocess.run([str(BUILD / "bin" / "ffnc"), "bench", str(path), "--profile", "--json", "--prompt-tokens=8", "--decode-tokens=4", "--repeat=1", "--warmup=0", "--threads=1"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return sum(kernel["launches"] for kernel in json.loads(done.stdout)["decode_profile"] if "gated_true" in kernel["kernel"])


def test_what_is_left_out_is_not_launched(build):
    """Of eight networks the first and the last run, and what a token found in between; at any cosine above 0 that is none."""
    assert launches_of_gated_layers(build()) == 8
    assert launches_of_gated_layers(build("skip", "1")) == 8
    assert launches_of_gated_layers(build("skip", "0.0001", "first=0")) <= 3


def test_calibration_refuses_where_nothing_is_idle(tmp_path):
    """A text of its own; no network may be left out at a divergence of nothing."""
    calib = tmp_path / "calib.txt"
    calib.write_bytes(bytes(text(1, 900)[0].astype(np.uint8)))
    for divergence, inserted in (("0", False), ("100", True)):
        output = tmp_path / "out.mlir"
        done = subprocess.run([str(BUILD / "bin" / "ffn-opt"), str(BUNDLED / "pycode-lm.onnx"), "-o", str(output),
                               f"--pass-pipeline=builtin.module(ffn-raise{{remarks=false}},ffn-insert-skip{{calib={calib} samples=2 length=64 share=0.5 max-divergence={divergence}}})"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("ffn.skip " in output.read_text()) == inserted
        assert ("no threshold leaves out" in done.stderr) != inserted
        assert "% of networks left out at" in done.stderr
