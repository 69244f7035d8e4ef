"""What ffn-raise finds in the shared and bundled models, against a committed
list that fails in both directions.

To write the list anew after a change that was meant: python test_raise_lists.py
"""
import json
import pathlib
import re
import tempfile

import pytest

import raising

EXPECTED = pathlib.Path(__file__).with_name("raise_lists.json")
pytestmark = pytest.mark.skipif(raising.build_dir() is None, reason="ffn-opt is not built (set FFN_BUILD_DIR)")


def find_models():
    """Models by the name that the list has for them."""
    models = {path.stem: path for path in sorted(raising.BUNDLED.glob("*.onnx"))}
    for pattern in ("*.onnx", "kwt1/*.onnx", "graphs/*.onnx"):
        for path in sorted(raising.SHARED.glob(pattern)):
            models[str(path.relative_to(raising.SHARED))] = path
    return models


def look_into(model, folder):
    """The list, or the code with which the importer refuses the model."""
    done = raising.tool("ffn-opt", model, "-o", pathlib.Path(folder, "imported.mlir"), check=False)
    if done.returncode != 0:
        return ["refused: " + re.search(r"error: .*\[(FFN-\w+)\]", done.stderr).group(1)]
    return raising.list_networks(model, folder)


MODELS = find_models()
LISTS = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}


@pytest.mark.parametrize("name", sorted(LISTS))
def test_list(name, tmp_path):
    if name not in MODELS:
        pytest.skip(f"{name} is not there (set FFN_SHARED)")
    assert look_into(MODELS[name], tmp_path) == LISTS[name]


def test_no_model_is_without_a_list(tmp_path):
    for name, path in MODELS.items():
        if name not in LISTS:
            folder = tmp_path / name.replace("/", "-")
            folder.mkdir()
            assert look_into(path, folder) == [], name


# Raised models: what a person reads and edits.
READ = [name for name in LISTS if not name.startswith("graphs/")]


@pytest.mark.parametrize("name", READ)
def test_text_of_a_raised_model_parses_to_itself(name, tmp_path):
    if name not in MODELS:
        pytest.skip(f"{name} is not there (set FFN_SHARED)")
    first, _ = raising.run_passes(MODELS[name], tmp_path, "ffn-raise{remarks=false}", "first.mlir")
    raising.tool("ffn-opt", first, "-o", tmp_path / "second.mlir")
    assert first.read_bytes() == (tmp_path / "second.mlir").read_bytes()
    assert 1000 < first.stat().st_size < 1 << 20


def main():
    lists = {}
    for name, path in sorted(MODELS.items()):
        with tempfile.TemporaryDirectory() as folder:
            found = look_into(path, folder)
        if found:
            lists[name] = found
    EXPECTED.write_text(json.dumps(lists, indent=1) + "\n")


if __name__ == "__main__":
    main()
