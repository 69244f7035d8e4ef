"""ffn-prune-sublayers with a method: what the search says is what ONNX Runtime measures."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import numpy as np
import onnxruntime as ort
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
MODEL = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
TEXT = ROOT / "examples" / "pycode-lm" / "train.py"
NAMES = [f"model.layers.{i}.{kind}" for i in range(8) for kind in ("self_attn", "mlp")]


def search(options, output=os.devnull, model=MODEL):
    return subprocess.run(
        [BUILD / "bin" / "ffn-opt", model, f"--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{{{options}}})", "-o", output],
        capture_output=True, text=True, timeout=300)


def order(done):
    """(name, score) in the order of removal."""
    found = re.findall(r": '(\S+)' is number (\d+) of \d+ to go(?:, score (\S+))?", done.stderr)
    return [(name, float(score or "nan")) for name, number, score in sorted(found, key=lambda f: int(f[1]))]


def export(tmp_path, removed):
    path = tmp_path / ("-".join(removed) + ".onnx" if removed else "original.onnx")
    passes = f"ffn-raise,ffn-prune-sublayers{{only={','.join(removed)}}},ffn-decompose" if removed else "ffn-raise,ffn-decompose"
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", MODEL, "--emit=onnx", "--gate=off", "-o", path, f"--pass-pipeline=builtin.module({passes})"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def logits(path, windows):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [session.run(None, {"input_ids": w[None]})[0][0].astype(np.float64) for w in windows]


def jensen_shannon(reference, candidate):
    total = 0
    for p, q in zip(reference, candidate, strict=True):
        p, q = (np.exp(x - x.max(-1, keepdims=True)) for x in (p, q))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        m = (p + q) / 2
        total += np.mean(np.sum(p * np.log(p / m) + q * np.log(q / m), -1) / 2)
    return total / len(reference)


def test_first_choice_is_the_least_of_all(tmp_path):
    """Without protection, one sublayer: the minimum over all sixteen, measured with ONNX Runtime on the same windows."""
    text = TEXT.read_bytes()[:128 * 3]
    (tmp_path / "calib.txt").write_bytes(text)
    done = search(f"method=finercut count=1 protect=0 samples=3 length=128 calib={tmp_path / 'calib.txt'}")
    assert done.returncode == 0, done.stderr
    windows = np.frombuffer(text, np.uint8).astype(np.int64).reshape(3, 128)
    reference = logits(export(tmp_path, []), windows)
    scores = {name: jensen_shannon(reference, logits(export(tmp_path, [name]), windows)) for name in NAMES}
    (name, score), = order(done)
    assert name == min(scores, key=scores.get)
    assert score == pytest.approx(scores[name], rel=1e-4)
    assert done.stderr.count("stays: others matter less") == 15


def test_greedy_order_and_protection(tmp_path):
    """floor(16 * 0.4 / 2) + 1 = 4 blocks are protected; every step scores against the original model."""
    calib = f"samples=2 length=96 calib={TEXT}"
    done = search(f"method=finercut ratio=0.25 {calib}", tmp_path / "m.mlir")
    assert done.returncode == 0, done.stderr
    steps = order(done)
    assert len(steps) == 4 and all(int(name.split(".")[2]) >= 4 for name, _ in steps)
    assert done.stderr.count("early blocks are protected") == 8
    again = search(f"method=finercut ratio=0.25 {calib}")
    assert order(again) == steps
    # What is left is what remains of the model.
    text = (tmp_path / "m.mlir").read_text()
    assert text.count("ffn.sublayer [") == 12 and not any(f'"{name}"' in text for name, _ in steps)
    # The budget beyond the unprotected half, and beyond floor(6.4) + 1 removals, opens the rest.
    most = search(f"method=finercut count=12 {calib}")
    assert order(most)[:4] == steps and len(order(most)) == 12


def test_cache_of_a_removed_attention_goes(tmp_path):
    done = search(f"method=finercut count=1 kinds=attention protect=0 samples=1 length=32 calib={TEXT}",
                  tmp_path / "m.mlir", MODEL.with_name("pycode-lm-kv.onnx"))
    assert done.returncode == 0, done.stderr
    (name, score), = order(done)
    assert name.endswith("self_attn") and 0 < score < 1
    assert len(re.findall(r"removed argument \d+ '[^']*\b%s\b[^']*'" % name.split(".")[2], done.stderr)) == 2


def test_kinds(tmp_path):
    done = search(f"method=finercut count=2 protect=0 kinds=ffn samples=2 length=64 calib={TEXT}")
    assert done.returncode == 0, done.stderr
    assert all(name.endswith("mlp") for name, _ in order(done))
    assert done.stderr.count("its kind is not among those asked for") == 8


def test_random_and_evolution(tmp_path):
    calib = f"samples=2 length=48 calib={TEXT}"
    distance = lambda done: float(re.search(r"from the original \(\S+\) (\S+),", done.stderr)[1])
    one, two = (search(f"method=random count=4 seed={seed} metric=kl {calib}") for seed in (1, 2))
    draws = [[name for name, _ in order(done)] for done in (one, two)]
    assert all(len(set(names)) == 4 for names in draws) and draws[0] != draws[1]
    better = search(f"method=evopress count=4 seed=1 metric=kl evaluations=60 {calib}")
    assert len(order(better)) == 4 and distance(better) < distance(one)
    influence = [score for _, score in order(search(f"method=block-influence count=5 {calib}"))]
    assert influence == sorted(influence) and influence[0] > 0


def profile(path, model, *options):
    done = subprocess.run([BUILD / "bin" / "ffnc", "profile", model, "--calib", TEXT, "-o", path, *map(str, options)], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("budget", ["count=5", "ratio=0.25 kinds=ffn", "parameters=0.2", "flops=0.3"])
def test_influence_from_a_profile(budget, influences):
    """The same choice and scores as measuring anew, in no time; whatever else the profile has does not matter."""
    path, measure = influences
    begin = time.monotonic()
    done = search(f"method=block-influence {budget} profile={path}")
    assert done.returncode == 0, done.stderr
    steps = order(done)
    assert time.monotonic() - begin < 20 and f"by the influence that '{path}' has" in done.stderr
    # An order over all sublayers names what each budget takes.
    for (name, score), (wanted, influence) in zip(steps, [entry for entry in measure if "kinds" not in budget or "mlp" in entry[0]]):
        assert name == wanted and score == pytest.approx(influence, rel=1e-5)
    assert len(steps) == {"count=5": 5, "ratio=0.25 kinds=ffn": 2}.get(budget, len(steps)) >= 2


@pytest.fixture(scope="module")
def influences(tmp_path_factory):
    """A profile, and what the pass measures itself on the same samples for all sublayers."""
    path = tmp_path_factory.mktemp("influence") / "p.safetensors"
    profile(path, MODEL, "--for=ffn-prune-sublayers{method=block-influence count=5}", "--samples=2", "--length=48")
    measured = order(search(f"method=block-influence count=16 samples=2 length=48 calib={TEXT}"))
    assert len(measured) == 16
    return path, measured


def test_a_profile_that_does_not_serve(influences, tmp_path):
    path, _ = influences
    moments = profile(tmp_path / "moments", MODEL, "--probes=moments", "--samples=1", "--length=8", "--opt-level=0")
    behind = profile(tmp_path / "behind", MODEL, "--probes=influence", "--samples=1", "--length=8", "--opt-level=0", "--prefix=rewritten",
                     "--pass-pipeline=builtin.module(ffn-quantize{type=int8})")
    (tmp_path / "text").write_text("no profile")
    for options, code in [(f"count=1 profile={tmp_path / 'none'}", "FFN-I105"), (f"count=1 profile={tmp_path / 'text'}", "FFN-D103"),
                          (f"count=1 profile={moments}", "FFN-D105"), (f"count=1 profile={behind}", "FFN-P111"),
                          (f"count=17 profile={path}", "FFN-P112"), (f"latency=0.1 profile={path}", "FFN-P111"),
                          (f"count=1 calib={TEXT} profile={path}", "FFN-P111"), (f"count=4 whole-blocks profile={path}", "FFN-P111")]:
        done = search(f"method=block-influence {options}")
        assert done.returncode == 1 and f"[{code}]" in done.stderr and not done.stdout, (options, done.stderr)
    assert "[FFN-P111]" in search(f"method=finercut count=1 profile={path}").stderr
    # The same graph over other weights.
    shutil.copy(MODEL, tmp_path)
    weights = bytearray(MODEL.with_suffix(".weights").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / "pycode-lm.weights").write_bytes(weights)
    assert "[FFN-D106]" in search(f"method=block-influence count=1 profile={path}", model=tmp_path / MODEL.name).stderr


def test_neutral(tmp_path):
    a, b = tmp_path / "a.mlir", tmp_path / "b.mlir"
    assert search(f"method=finercut count=0 calib={TEXT}", a).returncode == 0
    assert search("", b).returncode == 0
    assert a.read_bytes() == b.read_bytes()


def test_in_one_command(tmp_path):
    """ffnc searches, removes and compiles; the options it was given outlive the links of the search."""
    passes = f"builtin.module(ffn-raise,ffn-prune-sublayers{{method=finercut count=1 protect=0 kinds=ffn samples=1 length=32 calib={TEXT}}})"
    done = subprocess.run([BUILD / "bin" / "ffnc", "compile", MODEL, "-o", tmp_path / "m.so", "--json", "--remarks", "--opt-level=1", f"--pass-pipeline={passes}"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["output"] == str(tmp_path / "m.so") and found["bytes"] == (tmp_path / "m.so").stat().st_size
    gone = [remark for remark in found["remarks"] if "is number 1 of 1 to go" in remark]
    assert len(gone) == 1 and f"remark: {gone[0]}" in done.stderr
    assert sum("stays" in remark for remark in found["remarks"]) == 15
    assert not (tmp_path / "m.so.weights").exists() and [path.name for path in tmp_path.iterdir()] == ["m.so"]


@pytest.mark.parametrize("options, code", [
    ("method=best count=1 calib=x", "FFN-P111"),
    ("method=finercut count=1 metric=cosine calib=x", "FFN-P111"),
    ("method=finercut count=1", "FFN-P111"),
    ("method=finercut ratio=1.5 calib=x", "FFN-P111"),
    ("method=finercut count=1 kinds=mlp calib=x", "FFN-P111"),
    ("method=finercut only=model.layers.0.mlp calib=x", "FFN-P111"),
    (f"method=finercut count=17 calib={TEXT}", "FFN-P112"),
    ("method=finercut count=1 calib=/nonexistent.txt", "FFN-D203"),
    (f"method=finercut count=1 samples=0 calib={TEXT}", "FFN-D209"),
    (f"method=finercut count=1 cpu=z80 calib={TEXT}", "FFN-C303"),
])
def test_errors(options, code):
    done = search(options)
    assert done.returncode == 1 and f"[{code}]" in done.stderr and not done.stdout


def test_unreachable_budget(tmp_path):
    done = subprocess.run(
        [BUILD / "bin" / "ffnc", "compile", MODEL, "-o", tmp_path / "m.so",
         "--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{method=random count=17 samples=1 length=8 "
         f"calib={TEXT}}})"], capture_output=True, text=True)
    assert done.returncode == 3 and "[FFN-P112]" in done.stderr and not done.stdout and not list(tmp_path.iterdir())


def test_model_without_sublayers(tmp_path):
    done = subprocess.run(
        [BUILD / "bin" / "ffn-opt", MODEL, f"--pass-pipeline=builtin.module(ffn-prune-sublayers{{method=finercut count=1 calib={TEXT}}})"],
        capture_output=True, text=True)
    assert done.returncode == 1 and "[FFN-P110]" in done.stderr
