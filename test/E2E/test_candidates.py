"""Every pass answers about each of its candidates exactly once, as remark and in JSON."""
import json
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
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


def networks(text):
    return text.count("ffn.feed_forward ")


CASES = {
    "ffn-fold-norm": norms,
    "ffn-fold-norm{shared=true widen=true}": norms,
    "ffn-dedup-weights": weights,
    "ffn-quantize{type=int8}": None,
    "ffn-quantize{type=int8 only=mlp}": None,
    "ffn-merge-parallel{linears=true}": None,
    "ffn-prune-sublayers{method=2ssp ratio=0.3 calib=TEXT samples=1 length=8}": lambda text: addends(text) + networks(text),
    "ffn-parallelize": networks,
    "ffn-parallelize{keep-last=false max-length=2}": networks,
    # Networks follow one another where attentions are gone.
    "ffn-prune-sublayers{only=model.layers.3.self_attn,model.layers.4.self_attn},ffn-parallelize{keep-last=false}": networks,
    "ffn-remove-dead-neurons": networks,
    "ffn-slice-nested{share=0.5}": networks,
}
APPROXIMATE = ("ffn-quantize", "ffn-prune-sublayers", "ffn-parallelize")


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


def fits(passes, model):
    """Cases that read a text as bytes, or name layers, are about the bundled model alone."""
    return "pycode" in model.name or not ("calib" in passes or "only=model" in passes)


@pytest.mark.parametrize("passes, model", [
    pytest.param(passes, model, id=f"{passes}-{model.stem}") for passes in CASES for model in MODELS if fits(passes, model)])
def test_each_candidate_has_one_answer(model, passes, tmp_path):
    if not model.exists():
        pytest.skip(f"{model} is not there")
    result, stderr = run(model, passes.replace("TEXT", str(TEXT)), tmp_path / "m.onnx")
    name = re.findall(r"ffn-[a-z-]+", passes)[-1]
    mine = [entry for entry in result["candidates"] if entry["pass"] == name]
    assert sorted(entry["index"] for entry in mine) == list(range(len(mine)))
    count = CASES[passes]
    if count:
        assert len(mine) == count(raised(model))
    rewritten = [entry for entry in mine if entry["rewritten"]]
    kept = [entry for entry in mine if not entry["rewritten"]]
    assert len(rewritten) + len(kept) == len(mine) and mine
    classes = {entry["class"] for entry in mine}
    assert classes == {"approximate" if name in APPROXIMATE else "exact"}
    # What JSON says is what the remarks say; who is kept has a reason of his own line.
    for text in {entry["text"] for entry in mine}:
        assert text in stderr and text in result["remarks"]
    for entry in kept:
        assert re.search(r": \S|not \w+", entry["text"]), entry
    # A second pipeline over the result is a run of its own: no answer is left from the first.
    near = [entry for entry in result["candidates"] if entry["pass"] == "ffn-raise"]
    assert all(not entry["rewritten"] and "near miss" in entry["text"] for entry in near)
    assert len({(entry["candidate"], entry["text"]) for entry in near}) == len(near)


def write_small(path, nodes, shapes):
    """x [n, 6] to y through `nodes`, with drawn weights of these shapes and constants that are given."""
    generator = np.random.default_rng(0)
    weights = [numpy_helper.from_array(np.float32(generator.standard_normal(value)) if isinstance(value, tuple) else value, name)
               for name, value in shapes.items()]
    info = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node(op, inputs, [output]) for op, inputs, output in nodes], "small",
                              [info("x", TensorProto.FLOAT, ["n", 6])], [info("y", TensorProto.FLOAT, ["n", None])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


# A candidate that is rewritten and one that stays, of passes that look for forms that the trained models lack.
SMALL = {
    "ffn-premerge": ([("MatMul", ["x", "a"], "h"), ("MatMul", ["h", "b"], "z"), ("Abs", ["z"], "r"),
                      ("MatMul", ["r", "c"], "w"), ("MatMul", ["w", "d"], "y")],
                     {"a": (6, 40), "b": (40, 6), "c": (6, 2), "d": (2, 6)}),
    "ffn-merge-lora": ([("MatMul", ["x", "w"], "u"), ("MatMul", ["x", "a"], "v"), ("MatMul", ["v", "b"], "d"), ("Add", ["u", "d"], "s"),
                        ("Relu", ["s"], "r"),
                        ("MatMul", ["r", "w2"], "u2"), ("MatMul", ["r", "a2"], "v2"), ("MatMul", ["v2", "b2"], "d2"),
                        ("Add", ["u2", "d2"], "s2"), ("Add", ["s2", "u2"], "y")],
                       {"w": (6, 5), "a": (6, 2), "b": (2, 5), "w2": (5, 7), "a2": (5, 2), "b2": (2, 7)}),
    "ffn-reparam-idle": ([("MatMul", ["x", "a"], "z"), ("Relu", ["z"], "r"), ("Where", ["few", "r", "z"], "h"), ("MatMul", ["h", "b"], "o"),
                          ("MatMul", ["o", "c"], "z2"), ("Relu", ["z2"], "r2"), ("Where", ["all", "r2", "z2"], "h2"),
                          ("MatMul", ["h2", "d"], "y")],
                         {"a": (6, 40), "b": (40, 6), "c": (6, 40), "d": (40, 6), "few": np.arange(40) < 3, "all": np.arange(40) >= 0}),
}


@pytest.mark.parametrize("name", SMALL)
def test_one_of_two_is_rewritten(name, tmp_path):
    result, stderr = run(write_small(tmp_path / "m.onnx", *SMALL[name]), name, tmp_path / "r.onnx")
    mine = [entry for entry in result["candidates"] if entry["pass"] == name]
    assert [(entry["index"], entry["rewritten"], entry["class"]) for entry in mine] == [(0, True, "exact"), (1, False, "exact")]
    for entry in mine:
        assert stderr.count(f"remark: {entry['text']}\n") == 1 and result["remarks"].count(entry["text"]) == 1


def test_named_sublayers_are_the_candidates(tmp_path):
    result, _ = run(MODELS[0], "ffn-prune-sublayers{only=model.layers.1.mlp,model.layers.3.self_attn}", tmp_path / "m.onnx")
    mine = [entry for entry in result["candidates"] if entry["pass"] == "ffn-prune-sublayers"]
    assert [(entry["candidate"], entry["rewritten"]) for entry in mine] == [("model.layers.1.mlp", True), ("model.layers.3.self_attn", True)]
