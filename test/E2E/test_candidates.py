"""Every pass answers about each of its candidates exactly once, as remark and in JSON."""
import json
import re
import subprocess

import pytest
from artefact import BUILD, BUNDLED, SHARED

MODELS = [BUNDLED / "pycode-lm.onnx", SHARED / "stories260K.onnx", SHARED / "kwt1" / "kwt1_ln17.onnx"]
TEXT = BUNDLED / "train.py"


def operands(text, op):
    """The text behind each `op` up to its type."""
    return [line.split(op, 1)[1].split(" : ")[0] for line in text.splitlines() if op + " " in line]


def norms(text):
    """Norms with scale or shift: more than one operand."""
    return sum(len(re.findall(r"%\w+", part)) > 1 for part in operands(text, "ffn.norm"))


def weights(text):
    return len(re.findall(r"= ffn\.weight ", text))


def matrices(text):
    """Weights of products, each counted once."""
    found = set()
    for op, kept in (("ffn.linear", slice(1, 2)), ("ffn.feed_forward", slice(1, 4))):
        for part in operands(text, op):
            values = re.findall(r"%[\w#]+", part)
            found.update(values[kept])
    return len(found)


def addends(text):
    return len(re.findall(r"#ffn\.addend<", text))


def shared_inputs(text):
    """Linears that read a value with another linear of their block."""
    reads = [re.findall(r"%[\w#]+", part)[0] for part in operands(text, "ffn.linear")]
    return sum(reads.count(value) > 1 for value in reads)


CASES = {
    "ffn-fold-norm": ("", norms),
    "ffn-fold-norm{shared=true widen=true}": ("", norms),
    "ffn-dedup-weights": ("", weights),
    "ffn-quantize{type=int8}": ("", None),
    "ffn-quantize{type=int8 only=mlp}": ("", None),
    "ffn-merge-parallel{linears=true}": ("", None),
    "ffn-prune-sublayers{method=random count=2 calib=TEXT samples=1 length=8}": ("", addends),
}


def run(model, passes, output):
    pipeline = f"builtin.module(ffn-raise,{passes})" if passes else "builtin.module(ffn-raise)"
    done = subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(model), "-o", str(output), f"--pass-pipeline={pipeline}",
                           "--gate=off", "--json", "--remarks"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def raised(model):
    done = subprocess.run([str(BUILD / "bin" / "ffn-opt"), str(model), "--ffn-raise=remarks=false", "--mlir-print-local-scope"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("passes", CASES)
def test_each_candidate_has_one_answer(model, passes, tmp_path):
    if not model.exists():
        pytest.skip(f"{model} is not there")
    if "calib" in passes and "pycode" not in model.name:
        pytest.skip("reads a text as bytes")
    result, stderr = run(model, passes.replace("TEXT", str(TEXT)), tmp_path / "m.onnx")
    name = passes.split("{")[0]
    mine = [entry for entry in result["candidates"] if entry["pass"] == name]
    assert sorted(entry["index"] for entry in mine) == list(range(len(mine)))
    count = CASES[passes][1]
    if count:
        assert len(mine) == count(raised(model))
    rewritten = [entry for entry in mine if entry["rewritten"]]
    kept = [entry for entry in mine if not entry["rewritten"]]
    assert len(rewritten) + len(kept) == len(mine) and mine
    classes = {entry["class"] for entry in mine}
    assert classes == {"approximate" if name in ("ffn-quantize", "ffn-prune-sublayers") else "exact"}
    # What JSON says is what the remarks say; who is kept has a reason of his own line.
    for text in {entry["text"] for entry in mine}:
        assert text in stderr and text in result["remarks"]
    for entry in kept:
        assert re.search(r": \S|not \w+", entry["text"]), entry
    # A second pipeline over the result is a run of its own: no answer is left from the first.
    near = [entry for entry in result["candidates"] if entry["pass"] == "ffn-raise"]
    assert all(not entry["rewritten"] and "near miss" in entry["text"] for entry in near)
    assert len({(entry["candidate"], entry["text"]) for entry in near}) == len(near)


def test_named_sublayers_are_the_candidates(tmp_path):
    result, _ = run(MODELS[0], "ffn-prune-sublayers{only=model.layers.1.mlp,model.layers.3.self_attn}", tmp_path / "m.onnx")
    mine = [entry for entry in result["candidates"] if entry["pass"] == "ffn-prune-sublayers"]
    assert [(entry["candidate"], entry["rewritten"]) for entry in mine] == [("model.layers.1.mlp", True), ("model.layers.3.self_attn", True)]
