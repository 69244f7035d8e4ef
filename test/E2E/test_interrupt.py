"""SIGHUP, SIGINT and SIGTERM leave no temporary file of any tool behind, and nothing half written."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from artefact import BUILD
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
TEXT = ROOT / "README.md"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(arguments, folder):
    """In a group of its own, with signals as a terminal gives them: a background job of a shell ignores SIGINT."""
    default = lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS]
    return subprocess.Popen([str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=default, start_new_session=True,
                            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(BUILD / "python")}, cwd=folder)


def interrupt_at(arguments, folder, pattern, number, group=False):
    """Sends the signal once a file of this pattern is there; what is left in the folder is the result."""
    folder.mkdir()
    running = start(arguments, folder)
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    try:
        assert running.poll() is None and list(folder.glob(pattern)), (pattern, running.poll())
        (os.killpg if group else os.kill)(running.pid, number)
        out, err = running.communicate(timeout=120)
    finally:
        running.kill()
    return running.returncode, out, err, sorted(folder.rglob("*"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """300 MB, so that writing takes a while."""
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    weights = [numpy_helper.from_array(np.ones((1 << 23,), np.float32) * k, f"w{k}") for k in range(9)]
    nodes = [helper.make_node("Add", [f"h{k}", f"w{k}"], [f"h{k + 1}"]) for k in range(9)]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1 << 23])
    graph = helper.make_graph(nodes, "g", [value("h0")], [value("h9")], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("tool", ["ffnc", "ffn-translate"])
def test_export(tool, number, large, tmp_path):
    folder = tmp_path / "run"
    options = {"ffnc": ["compile", large, "--emit=onnx"], "ffn-translate": ["--onnx-to-onnx", large]}[tool]
    code, out, err, left = interrupt_at([BUILD / "bin" / tool, *options, "-o", folder / "out.onnx"], folder, "*.tmp", number)
    assert (code, out, left) == (128 + number, b"", []), err


def prune(method):
    options = f"method={method} count=1 calib={TEXT} samples=1 length=16"
    if method == "2ssp":
        options = f"method=2ssp ratio=0.25 calib={TEXT} samples=1 length=16"
    return f"builtin.module(ffn-raise{{remarks=false}},ffn-prune-sublayers{{{options}}})"


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("method, pattern", [("finercut", "ffn-stages-*/stage0.so.tmp-*"), ("2ssp", "ffn-neurons-*/probe.so.tmp-*")])
def test_search(method, pattern, number, tmp_path):
    folder = tmp_path / "run"
    arguments = [BUILD / "bin" / "ffnc", "compile", BUNDLED, "-o", folder / "m.so", f"--pass-pipeline={prune(method)}"]
    code, out, err, left = interrupt_at(arguments, folder, pattern, number)
    assert (code, out, left) == (128 + number, b"", []), err


def test_search_of_ffn_opt(tmp_path):
    folder = tmp_path / "run"
    code, out, err, left = interrupt_at([BUILD / "bin" / "ffn-opt", BUNDLED, f"--pass-pipeline={prune('finercut')}"], folder, "ffn-stages-*/*", signal.SIGINT)
    assert (code, out, left) == (130, b"", []), err


def test_gate(tmp_path):
    folder = tmp_path / "run"
    pipeline = "builtin.module(ffn-raise,ffn-prune-sublayers{only=model.layers.3.mlp})"
    arguments = [BUILD / "bin" / "ffnc", "compile", BUNDLED, "-o", folder / "m.so", f"--pass-pipeline={pipeline}", "--gate=on"]
    code, out, err, left = interrupt_at(arguments, folder, "ffn-gate-*/rewritten.so.tmp-*", signal.SIGTERM)
    assert (code, out, left) == (143, b"", []), err


@pytest.mark.parametrize("group", [True, False], ids=["terminal", "process"])
def test_compiler_of_another_verb(group, tmp_path):
    """Ctrl-C reaches the compiler that 'bench' has started, too; 'kill' does not."""
    folder = tmp_path / "run"
    code, out, err, left = interrupt_at([BUILD / "bin" / "ffnc", "bench", BUNDLED], folder, "ffnc-*/*/weights.o", signal.SIGINT, group)
    assert (code, out, left) == (130, b"", []), err


PYTHON = """
import sys
import ffn_mlir
try:
    module = ffn_mlir.load_onnx(sys.argv[1])
    ffn_mlir.PassManager.parse(sys.argv[2]).run(module)
    ffn_mlir.compile(module, "m.so")
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.parametrize("pipeline, pattern", [(prune("block-influence"), "ffn-stages-*/stage0.so.tmp-*"),
                                               ("builtin.module(ffn-raise)", "m.so.tmp-*/weights.o")], ids=["search", "compile"])
def test_keyboard_interrupt_in_python(pipeline, pattern, tmp_path):
    """Python raises at its next step; by then the temporary files are gone. What was finished meanwhile is whole."""
    folder = tmp_path / "run"
    code, out, err, left = interrupt_at([sys.executable, "-c", PYTHON, BUNDLED, pipeline], folder, pattern, signal.SIGINT)
    assert code == 77 and {p.name for p in left} <= {"m.so"}, (code, err, left)


def test_what_is_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    done = subprocess.Popen([BUILD / "bin" / "ffnc", "compile", BUNDLED, "-o", tmp_path / "m.so"], stderr=subprocess.PIPE,
                            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in SIGNALS])
    while not list(tmp_path.glob("m.so.tmp-*/weights.o")) and done.poll() is None:
        time.sleep(0.001)
    for number in SIGNALS:
        done.send_signal(number)
    assert done.wait(120) == 0 and [p.name for p in tmp_path.iterdir()] == ["m.so"]
