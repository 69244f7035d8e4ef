"""Files that are not what their names say, or not all of it: a code and no crash."""
import os
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, compile_model
from onnx import TensorProto, helper

FFNC = BUILD / "bin" / "ffnc"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0f3c\nsize 12345\n"


def call(*arguments):
    return subprocess.run([FFNC, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def refused(done, code):
    assert done.returncode == 1 and done.stdout == "" and f"[FFN-{code}]" in done.stderr, (done.returncode, done.stderr)


def product():
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "node")], "g", [value("x", TensorProto.FLOAT, [1, 4])],
                              [value("y", TensorProto.FLOAT, [1, 4])], [onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("text, hint", [(POINTER, "Git LFS"), ("<html><body>404</body></html>\n", "is text"), ('{"error": "not found"}', "is text")])
def test_a_failed_download_is_no_model(text, hint, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_text(text)
    for verb in (["inspect", model], ["compile", model, "-o", tmp_path / "m.so"]):
        done = call(*verb)
        refused(done, "I001")
        assert hint in done.stderr
    assert not (tmp_path / "m.so").exists()


@pytest.mark.parametrize("kept", [200, 1000, 0.5, 0.999])
def test_a_library_that_is_cut_off(kept, tmp_path):
    library = tmp_path / "m.so"
    onnx.save(product(), tmp_path / "m.onnx")
    assert compile_model(tmp_path / "m.onnx", library).returncode == 0
    size = library.stat().st_size
    # The table of sections is at the end, and loading does without it.
    os.truncate(library, int(size * kept) if kept < 1 else kept)
    done = call("inspect", library)
    if kept != 0.999:
        refused(done, "R101")
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "Concat"])
@pytest.mark.parametrize("names", [["", "x"], ["x", ""], ["x", "", "x"]])
def test_a_repeated_input_that_is_left_out(op, names, tmp_path):
    value = helper.make_tensor_value_info
    attrs = {"axis": 0} if op == "Concat" else {}
    graph = helper.make_graph([helper.make_node(op, names, ["y"], "node", **attrs)], "g",
                              [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    refused(call("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so"), "I503")


def test_links_of_a_package_cache(tmp_path):
    model = product()
    store, folder = tmp_path / "store", tmp_path / "model"
    store.mkdir(), folder.mkdir()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    os.rename(folder / "w.bin", store / "blob")
    os.symlink(store / "blob", folder / "w.bin")
    refused(call("inspect", folder / "m.onnx"), "I102")
    assert call("inspect", folder / "m.onnx", "--allow-symlinks", f"--external-data-root={store}").returncode == 0
    os.unlink(folder / "w.bin")
    os.link(store / "blob", folder / "w.bin")
    refused(call("compile", folder / "m.onnx", "-o", tmp_path / "m.so"), "I103")
    assert call("compile", folder / "m.onnx", "-o", tmp_path / "m.so", "--allow-hardlinks").returncode == 0
    # The verbs that compile on the way pass the flags on.
    refused(call("run", folder / "m.onnx", "--random"), "I103")
    assert call("run", folder / "m.onnx", "--random", "--allow-hardlinks").returncode == 0
