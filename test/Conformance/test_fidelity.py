"""A graph that nobody touched comes back as it was: nodes, names, attributes, initializers, and onnx.checker's word."""
import pathlib
import subprocess
import sys
import warnings

import builds
import graphs
import onnx
import onnx_equal
import pytest
import roundtrip

TRANSLATE = builds.tool("ffn-translate")


def trained_models():
    folders = [builds.ROOT / "examples"]
    if shared := builds.shared_models():
        folders += [shared, shared / "kwt1"]
    found = [path for folder in folders for path in (sorted(folder.rglob("*.onnx")) if folder.name == "examples" else sorted(folder.glob("*.onnx")))]
    assert len(found) >= 2, "the bundled models are not there"
    return found


def backend_models():
    """Models that come with the onnx package: exports of PyTorch, and small ones."""
    folder = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
    return sorted(folder.rglob("*.onnx"))


def translate(action, source, target):
    done = subprocess.run([TRANSLATE, action, source, "-o", target], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


def check_same(path, back):
    assert onnx_equal.differences(onnx_equal.load(back), onnx_equal.load(path)) == []
    assert onnx_equal.lost_value_infos(onnx_equal.load(back), onnx_equal.load(path)) == []
    for full_check in (False, True):
        if roundtrip.accepted(path, full_check):
            onnx.checker.check_model(str(back), full_check=full_check)


@pytest.mark.parametrize("path", trained_models(), ids=lambda path: path.stem)
def test_trained_model(path, tmp_path):
    check_same(path, translate("--onnx-to-onnx", path, tmp_path / "back.onnx"))


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_rare_graph(name, tmp_path):
    """By way of the text, which must say all that the file says."""
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs.GRAPHS[name]().SerializeToString())
    text = translate("--import-onnx", path, tmp_path / "m.mlir")
    check_same(path, translate("--export-onnx", text, tmp_path / "back.onnx"))


def test_subgraph_returns_outer_value(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs.branch_that_returns_an_outer_value().SerializeToString())
    assert "outer scope value" in roundtrip.refusal(path)
    back = translate("--onnx-to-onnx", path, tmp_path / "back.onnx")
    assert roundtrip.refusal(back) == ""


def test_unreachable_branch_warns(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs.GRAPHS["branches_that_cannot_run"]().SerializeToString())
    done = subprocess.run([TRANSLATE, "--import-onnx", path], capture_output=True, text=True)
    assert done.returncode == 0 and "[FFN-I504W]" in done.stderr
    # The same node where it always runs is an error.
    model = onnx.load(path)
    branches = {attribute.name: attribute.g for attribute in model.graph.node[0].attribute}
    model.graph.node.insert(0, branches["then_branch"].node[0])
    for i in range(4):
        model.graph.node[0].output[i] = f"split{i}"
    path.write_bytes(model.SerializeToString())
    done = subprocess.run([TRANSLATE, "--import-onnx", path], capture_output=True, text=True)
    assert done.returncode == 1 and "[FFN-I504]" in done.stderr


def test_comparison_sees_changes():
    """Each change of a model that must not get lost is one that the comparison names."""
    build = graphs.GRAPHS["branches_that_capture"]

    def edited(edit):
        model = build()
        edit(model)
        return onnx_equal.differences(model, build())

    assert edited(lambda model: None) == []
    assert edited(lambda model: model.graph.node.reverse()) == []
    edits = [
        lambda model: model.graph.node.pop(),
        lambda model: setattr(model.graph.node[1], "name", "other"),
        lambda model: model.graph.node[0].output.__setitem__(0, "renamed"),
        lambda model: setattr(model.graph.initializer[0], "raw_data", bytes(16)),
        lambda model: setattr(model.graph.node[1].attribute[0].g.node[0], "op_type", "Sub"),
        lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", "m"),
        lambda model: setattr(model.opset_import[0], "version", 20),
        lambda model: model.opset_import.add(domain="com.microsoft", version=1),
        lambda model: setattr(model, "producer_name", "other"),
    ]
    assert all(edited(edit) for edit in edits)


def test_backend_models(tmp_path):
    """All models of the onnx package, and those of its operator tests, in one process."""
    package = builds.tool("ffn-translate").parents[1] / "python"
    sys.path.insert(0, str(package))
    import ffn_mlir

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = [(case.name, case.model.SerializeToString()) for case in collect_testcases(None)]
    cases += [(f"{path.parent.name}/{path.name}", path.read_bytes()) for path in backend_models()]
    assert len(cases) > 1500
    path, back = tmp_path / "m.onnx", tmp_path / "back.onnx"
    bad = {}
    for name, data in cases:
        path.write_bytes(data)
        try:
            ffn_mlir.load_onnx(path).export_onnx(back)
            check_same(path, back)
        except (ffn_mlir.Error, AssertionError, onnx.checker.ValidationError) as error:
            bad[name] = str(error)[:300]
    assert bad == {}
