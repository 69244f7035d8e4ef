"""The protocol of benchmarks/: rows are measured on a small model, and void when they must be."""
import json
import subprocess
import sys
import types

import numpy as np
import pytest
from artefact import ROOT, ort_session

sys.path.insert(0, str(ROOT / "benchmarks"))
import cpu  # noqa: E402
import models  # noqa: E402
import protocol  # noqa: E402
from protocol import Void  # noqa: E402

EXACT = np.random.default_rng(0).standard_normal((1, 5, 11))


def reference(**changed):
    return {"exact": EXACT, "onnxruntime_error": 1e-7, "logits": True, **changed}


def off_by(part):
    """An output whose e(y) is `part`."""
    output = EXACT.copy()
    output[0, 0, 0] += part * np.abs(EXACT).max()
    return output


def test_rows_of_small_models(tmp_path):
    """Ours and ONNX Runtime from the graph to the report; a second run measures nothing again."""
    command = [sys.executable, ROOT / "benchmarks" / "cpu.py", "run", "--tiny", "--only", "tiny-llama",
               "--folder", tmp_path / "models", "--out", tmp_path / "rows", "--peers", sys.executable]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "rows").iterdir()
    found = json.loads(path.read_text())
    assert "measured" in found, found
    measured = found["measured"]
    assert measured["turns"] >= protocol.TIMED_TURNS
    ours, theirs = measured["sides"]
    assert ours["info"]["engine"] == "ffn-mlir" and theirs["info"]["graph_optimization"] == "ORT_ENABLE_ALL"
    limit = 4 * max(measured["reference"]["onnxruntime_error"], 2.0**-22)
    assert 0 < ours["quality"]["error"] <= limit and theirs["quality"]["error"] < 1e-3
    assert ours["median_seconds"] > 0 and measured["ratio"] > 0
    if not measured["disturbed"]:
        before = path.stat().st_mtime_ns
        assert subprocess.run(list(map(str, command))).returncode == 0
        assert path.stat().st_mtime_ns == before


def test_interpreter_and_graphs_agree(tmp_path):
    """Forms of a graph are the same function, up to their rounding."""
    for name, cell in (("tiny-llama", models.Cell("prefill", 1, 6)), ("tiny-bert", models.Cell("prefill", 2, 5))):
        spec = models.SPECS[name]
        place = cpu.Workplace(types.SimpleNamespace(folder=tmp_path, peers=sys.executable))
        exact = place.interpreted(spec, cell)
        inputs = models.feeds(spec, cell) | (models.empty_past(spec, cell.batch) if spec.is_language_model else {})
        for form, limit in (("f32", 1e-5), ("int8-dynamic", 0.05), ("int8-nbits", 0.05), ("int4-nbits", 0.3), ("int8-dq", 0.05), ("int4-dq", 0.3)):
            output = ort_session(models.onnx_path(spec, tmp_path, form)).run(None, inputs)[0]
            error = protocol.error_of(output, exact)
            assert error < limit and (form == "f32") == (error < 1e-5), (name, form, error)


@pytest.mark.parametrize("what", ["ours", "theirs", "oracle", "shape", "nan", "int8", "none"])
def test_outputs_that_differ_make_a_row_void(what):
    protocol.check_output("x", "f32", off_by(9e-7), reference(), ours=True)
    protocol.check_output("x", "f32", off_by(9e-4), reference(), ours=False)
    found = protocol.check_output("x", "int8", off_by(0.05), reference(), ours=True)
    assert found["kl"] > 0 and found["cosine"] < 1
    bad = {
        "ours": lambda: protocol.check_output("x", "f32", off_by(1.1e-6), reference(), ours=True),
        "theirs": lambda: protocol.check_output("x", "f32", off_by(1.1e-3), reference(), ours=False),
        "oracle": lambda: protocol.check_output("x", "f32", EXACT, reference(onnxruntime_error=2e-3), ours=False),
        "shape": lambda: protocol.check_output("x", "f32", EXACT[:, :4], reference(), ours=False),
        "nan": lambda: protocol.check_output("x", "f32", np.where(EXACT > 1, np.nan, EXACT), reference(), ours=False),
        "int8": lambda: protocol.check_output("x", "int8", EXACT + np.random.default_rng(1).standard_normal(EXACT.shape), reference(), ours=True),
        "none": lambda: protocol.check_output("x", "int8", None, reference(), ours=True),
    }
    with pytest.raises(Void):
        bad[what]()


def side(engine="onnxruntime", precision="f32", **info):
    good = {"affinity": [0, 1], "threads": 2, "precision": precision, "graph_optimization": "ORT_ENABLE_ALL", "precision_hint": "f32",
            "parameter_dtype": "torch.float32"}
    return types.SimpleNamespace(engine=engine, cpus=[0, 1], config={"threads": 2, "precision": precision}, info={**good, **info})


@pytest.mark.parametrize("wrong", [
    side(threads=1), side(affinity=[0]), side(graph_optimization="ORT_DISABLE_ALL"), side("openvino", precision_hint="bf16"),
    side("openvino", "bf16"), side("torch", "bf16"), types.SimpleNamespace(**{**vars(side()), "config": {"threads": 2, "precision": "bf16"}}),
])
def test_settings_that_differ_make_a_row_void(wrong):
    for engine in ("onnxruntime", "openvino", "torch"):
        protocol.check_settings(side(engine))
    with pytest.raises(Void):
        protocol.check_settings(wrong)


def test_too_few_turns_and_empty_weights_make_a_row_void():
    protocol.check_turns(15, 0.1)
    protocol.check_turns(3, 20.0)
    with pytest.raises(Void):
        protocol.check_turns(14, 19.9)
    protocol.check_weights([("w", np.random.default_rng(0).standard_normal((8, 8)))])
    for array in (np.zeros((8, 8)), np.ones((8, 8))):
        with pytest.raises(Void):
            protocol.check_weights([("w", array)])


class Busy:
    """A side that goes on computing while it should be stopped."""

    engine, cpus = "busy", [0]
    stop = staticmethod(lambda: None)
    used = 0.0

    def ask(self, what, count):
        return [1e-4] * count

    def cpu_seconds(self):
        Busy.used += 1.0
        return Busy.used


def test_a_side_that_is_not_stopped_makes_a_row_void():
    with pytest.raises(Void, match="used a CPU"):
        protocol.take_turns([Busy(), Busy()], float("inf"))


def test_a_stopped_side_uses_no_cpu_and_the_deadline_is_kept(tmp_path):
    """Real processes: the reader of memory against itself, two times as much of it."""
    sides = [protocol.Side("read", {"precision": "f32", "threads": 1, "bytes": size, "folder": str(tmp_path)}, [0], sys.executable)
             for size in (1 << 22, 1 << 23)]
    try:
        found = protocol.measure(sides, models.Cell("decode", 1, 1), None, float("inf"))
        assert found["turns"] == protocol.TIMED_TURNS and found["ratio"] > 0
        with pytest.raises(Void, match="turns"):
            protocol.measure(sides, models.Cell("decode", 1, 1), None, 0)
        with pytest.raises(protocol.Unavailable, match="read: TypeError"):
            sides[0].ask("cell")
    finally:
        for each in sides:
            each.close()


def test_every_row_is_in_the_report(tmp_path):
    """Measured or not, and why; the picture has what is measured."""
    import report
    rows = cpu.all_rows()
    assert len({row.id for row in rows}) == len(rows)
    out = tmp_path / "rows"
    cpu.write_row(out, rows[0], {"void": "outputs differ"})
    cpu.write_row(out, rows[1], {"unavailable": "cannot be installed"})
    report.write(rows, out, tmp_path / "results", cpu.row_path)
    text = (tmp_path / "results" / "cpu.md").read_text()
    assert text.count("not run yet") == len(rows) - 2
    assert "void: outputs differ" in text and "not measured: cannot be installed" in text
    assert len(json.loads((tmp_path / "results" / "cpu.json").read_text())["rows"]) == len(rows)
