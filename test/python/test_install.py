"""The installed tree and the wheel, each in an environment of its own."""
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from conftest import BUILD, ROOT

USE = """
import sys, numpy, ffn_mlir
module = ffn_mlir.parse_module('''
func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> (tensor<2xf32> {onnx.name = "y"}) {
  %y = onnx.node "Relu" v14 (%x) : (tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}''')
model = ffn_mlir.load(ffn_mlir.compile(module, sys.argv[1]))
assert model.run(numpy.array([-1, 2], "float32"))["y"].tolist() == [0, 2]
print(ffn_mlir.__file__)
"""
C_USE = """
#include <ffn-mlir-c/Runtime.h>
int main(int argc, char **argv) {
  ffn_model model;
  if (ffn_load(argv[1], &model)) return 1;
  ffn_unload(&model);
  return 0;
}
"""


def environment(folder, *packages):
    """Interpreter of a fresh environment that sees NumPy of ours and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    import numpy

    for name in ("numpy", "numpy.libs"):
        source = pathlib.Path(numpy.__file__).parents[1] / name
        if source.exists():
            (site / name).symlink_to(source)
    for package in packages:
        shutil.unpack_archive(package, site, "zip")
    return folder / "bin" / "python"


def use(python, folder, **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
    result = subprocess.run(
        [python, "-c", USE, folder / "relu.so"], env={**clean, **variables}, cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return pathlib.Path(result.stdout.strip())


def test_installed_tree(tmp_path):
    prefix = tmp_path / "installed"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix, "--component", "ffn"], check=True, stdout=subprocess.DEVNULL)
    python = environment(tmp_path / "env")
    found = use(python, tmp_path, PYTHONPATH=str(prefix / "python"))
    assert prefix in found.parents
    # Nothing of the build tree is needed: tools, library and archives are there.
    tool = prefix / "bin" / "ffnc"
    linked = subprocess.run(["ldd", tool], capture_output=True, text=True, check=True).stdout
    assert f"libffn_mlir.so => {prefix}/" in linked and "not found" not in linked
    for name in ("ffn-opt", "ffn-translate", "ffn-lsp-server"):
        subprocess.run([prefix / "bin" / name, "--help"], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "m.mlir").write_text(USE.split("'''")[1])
    subprocess.run([tool, "compile", tmp_path / "m.mlir", "-o", tmp_path / "m.so"], check=True)
    (tmp_path / "use.c").write_text(C_USE)
    subprocess.run(["clang-22", "-Wall", "-Werror", f"-I{prefix / 'include'}", tmp_path / "use.c", "-o", tmp_path / "use", "-ldl"], check=True)
    subprocess.run([tmp_path / "use", tmp_path / "m.so"], check=True)

def test_wheel(tmp_path):
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed")
    ours = pathlib.Path(sysconfig.get_path("purelib")) / "ffn_mlir_build.pth"
    before = ours.read_text() if ours.exists() else None
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    # The wheel must not become what this interpreter imports.
    assert before == (ours.read_text() if ours.exists() else None)
    (wheel,) = tmp_path.glob("ffn_mlir-*.whl")
    python = environment(tmp_path / "env", wheel)
    found = use(python, tmp_path)
    assert tmp_path in found.parents
    package = found.parent
    assert (package / "_include" / "ffn-mlir-c" / "Runtime.h").exists() and (package / "py.typed").exists()
    tool = package / "_bin" / "ffnc"
    tool.chmod(0o755)  # unpacking by hand drops the bit that pip keeps
    assert "bench" in subprocess.run([tool, "--help"], capture_output=True, text=True, check=True).stdout
