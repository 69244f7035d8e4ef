"""Weights stay in their file: importing 6 GiB of them costs no memory."""
import os
import pathlib
import subprocess
import sys

import pytest
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
# Runs a command and prints its peak in KiB. A process of its own, since a child's
# peak includes its parent's memory at the fork, and this one may hold much.
MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
PART = 3 << 29  # four parts of 1.5 GiB
LIMIT = 100 << 20


@pytest.fixture
def model(tmp_path):
    with open(tmp_path / "w.bin", "wb") as data:
        data.truncate(4 * PART)
    if os.stat(tmp_path / "w.bin").st_blocks * 512 > LIMIT:
        pytest.skip("this file system has no sparse files")
    weights, nodes, last = [], [], "x"
    for i in range(4):
        weight = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[16384, PART // 4 // 16384])
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", i * PART), ("length", PART)):
            weight.external_data.add(key=key, value=str(value))
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", ["x", weight.name], [f"y{i}"], name=f"product{i}"))
    columns = PART // 4 // 16384
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 16384])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["rows", columns]) for i in range(4)],
        weights,
    )
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("passes", ["", "ffn-raise"])
def test_import_reads_no_weight(model, tmp_path, passes):
    out = tmp_path / "m.mlir"
    command = [BUILD / "bin" / "ffn-opt", model, f"--pass-pipeline=builtin.module({passes})", "-o", out]
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < LIMIT
    assert out.stat().st_size < 1 << 20 and out.read_text().count("ffn.weight ") >= 4
