"""The latency gate of ffnc compile, with a rewrite that only costs time."""
import json
import subprocess

import pytest
from artefact import BUILD, BUNDLED

MODEL = BUNDLED / "pycode-lm-kv.onnx"
SLOW = "--pass-pipeline=builtin.module(ffn-raise,test-ffn-slow{times=8})"
FAST = "--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{only=model.layers.1.mlp,model.layers.2.mlp,model.layers.3.mlp})"
# What is tested is the decision, not the code of the models.
SIZE = ["--gate-length", "32", "--gate-threads", "1", "--opt-level=0"]


def compile_model(output, *arguments, code=0):
    done = subprocess.run([str(BUILD / "bin" / "ffnc-test"), "compile", str(MODEL), "-o", str(output), *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("gate") / "original.so"
    compile_model(path, *SIZE)
    return path.read_bytes()


def test_slower_is_not_applied(original, tmp_path):
    """The original is written, to the byte, and both figures are told in the remark, the warning and the JSON."""
    done = compile_model(tmp_path / "m.so", SLOW, *SIZE, "--json", "--remarks")
    assert (tmp_path / "m.so").read_bytes() == original and not (tmp_path / "m.so.weights").exists()
    gate = json.loads(done.stdout)["gate"]
    assert gate["measured"] and gate["slower"] and not gate["applied"] and (gate["batch"], gate["length"]) == (1, 32)
    assert [entry["workload"] for entry in gate["workloads"]] == ["prefill", "decode"]
    for entry in gate["workloads"]:
        assert entry["ratio"] == pytest.approx(entry["rewritten"]["median_seconds"] / entry["original"]["median_seconds"], rel=0.5)
        assert entry["ratio_95"][0] <= entry["ratio"] <= entry["ratio_95"][1] and entry["pairs"] >= 22
    assert any(entry["slower"] and entry["ratio"] > 1.5 for entry in gate["workloads"])
    warning, = (line for line in done.stderr.splitlines() if line.startswith("warning: the rewritten model is slower"))
    remark, = (line for line in done.stderr.splitlines() if "remark: the rewritten model is slower" in line)
    figures = remark.split("slower: ")[1]
    assert figures in warning and "original" in figures and "turns, spread" in figures and "[FFN-O201]" in warning and "--force" in warning


def test_slower_is_refused_under_require(tmp_path):
    (tmp_path / "m.so").write_text("as it was")
    done = compile_model(tmp_path / "m.so", SLOW, *SIZE, "--require", "--json", code=6)
    assert done.stdout == "" and "error: the rewritten model is slower" in done.stderr and "[FFN-O201]" in done.stderr
    assert (tmp_path / "m.so").read_text() == "as it was" and len(list(tmp_path.iterdir())) == 1


def test_force_applies_it_all_the_same(original, tmp_path):
    result = json.loads(compile_model(tmp_path / "m.so", SLOW, *SIZE, "--force", "--json").stdout)
    assert result["gate"]["slower"] and result["gate"]["applied"] and (tmp_path / "m.so").read_bytes() != original


def test_an_export_is_gated_too(tmp_path):
    written = []
    for folder, arguments in (("slow", [SLOW]), ("plain", [])):
        (tmp_path / folder).mkdir()
        result = json.loads(compile_model(tmp_path / folder / "m.onnx", *arguments, *SIZE, "--json").stdout)
        written.append((tmp_path / folder / "m.onnx").read_bytes())
    assert written[0] == written[1] and "gate" not in result


def test_faster_is_applied(original, tmp_path):
    result = json.loads(compile_model(tmp_path / "m.so", FAST, *SIZE, "--require", "--json").stdout)
    gate = result["gate"]
    assert gate["measured"] and gate["applied"] and not gate["slower"] and gate["workloads"][0]["ratio"] < 1
    assert result["bytes"] < len(original)
    # The output is the file that was measured, with the bytes that a compile without the gate writes.
    assert gate["output_is_measured"]
    compile_model(tmp_path / "again.so", FAST, *SIZE, "--gate=off")
    assert (tmp_path / "m.so").read_bytes() == (tmp_path / "again.so").read_bytes()
    assert (tmp_path / "m.so").stat().st_mode == (tmp_path / "again.so").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.so", "m.so"]


def test_weights_beside_the_output(tmp_path):
    """They are named after it, so that one is compiled anew."""
    for name, options in (("m", ["--json"]), ("again", ["--gate=off"])):
        (tmp_path / name).mkdir()
        done = compile_model(tmp_path / name / "m.so", FAST, *SIZE, "--max-embedded-weights=1000", *options)
        gate = json.loads(done.stdout)["gate"] if name == "m" else gate
    assert gate["measured"] and not gate["output_is_measured"]
    for file in ("m.so", "m.so.weights"):
        assert (tmp_path / "m" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_where_the_output_cannot_be(tmp_path):
    """Told once, though the measuring before it is silent."""
    (tmp_path / "folder.so").mkdir()
    done = compile_model(tmp_path / "folder.so", FAST, *SIZE, code=1)
    assert done.stderr.count("[FFN-O101]") == 1 and list(tmp_path.iterdir()) == [tmp_path / "folder.so"]


def test_what_is_measured(tmp_path):
    """Exact rewrites, types of weights and nothing at all are not, unless that is asked for."""
    gate = lambda *arguments: json.loads(compile_model(tmp_path / "m.so", *arguments, *SIZE, "--json").stdout).get("gate")
    assert gate() is None
    assert gate("--pass-pipeline=builtin.module(ffn-raise,ffn-fold-norm{widen=true})") is None
    assert gate("--precision=int8") is None
    assert gate(SLOW, "--gate=off") is None
    assert gate("--precision=int8", "--gate=on", "--force")["measured"]


@pytest.mark.parametrize("arguments", [["--gate=perhaps"], ["--require", "--force"], ["--require", "--gate=off"], ["--gate-batch", "0"], ["--gate-length", "0"]])
def test_wrong_use(arguments, tmp_path):
    done = compile_model(tmp_path / "m.so", *arguments, code=2)
    assert done.stdout == "" and "--" in done.stderr and not list(tmp_path.iterdir())
