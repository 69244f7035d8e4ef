"""Modules of our own, exported with both exporters of the pinned torch: what is
raised out of them, and that they come back as they were."""
import pytest

import raising

torch = pytest.importorskip("torch", reason="PyTorch is not installed (setup.sh --with-exporters)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (setup.sh --with-exporters)")
import modules  # noqa: E402

pytestmark = [
    pytest.mark.skipif(raising.build_dir() is None, reason="ffn-opt is not built (set FFN_BUILD_DIR)"),
    pytest.mark.filterwarnings("ignore"),
]

# What modules.py says of each layer, in the words of ffn-list-ffns.
POST = "bias=up+down norm=layer residual=post"
PRE = "bias=up+down norm=layer residual=pre"
RMS = "bias=none norm=rms residual=pre"
NETWORKS = {
    "bert": [f"plain gelu_erf d=32 m=96 {POST}"] * 2,
    "gpt2": [f"plain gelu_tanh d=32 m=96 {PRE}"] * 2,
    "t5": [f"plain relu d=32 m=96 {RMS}", f"gated gelu_tanh d=32 m=96 {RMS}"],
    "vit": [f"plain gelu_erf d=32 m=96 {PRE}"] * 2,
    "llama": [f"gated silu d=32 m=96 {RMS}"] * 2,
}
CASES = [(family, exporter) for family in modules.FAMILIES for exporter in modules.EXPORTERS]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder, model and inputs of a case; each is exported once."""
    made = {}

    def get(family, exporter):
        if (family, exporter) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{exporter}")
            made[family, exporter] = folder, folder / "model.onnx", modules.export(family, exporter, folder / "model.onnx")
        return made[family, exporter]

    return get


@pytest.mark.parametrize("family,exporter", CASES)
def test_sublayers_are_those_of_the_module(exported, family, exporter):
    folder, model, _ = exported(family, exporter)
    found = raising.list_networks(model, folder)
    kinds = [line.split(" ")[0] for line in found]
    assert kinds == ["attention", "ffn"] * modules.LAYERS
    assert [line.split(": ", 1)[1] for line in found if line.startswith("ffn")] == NETWORKS[family]
    names = [line.split("'")[1] for line in found]
    assert len(set(names)) == len(names) and all(names)
    text = (folder / "raised.mlir").read_text()
    assert text.count("= ffn.attention ") == modules.LAYERS
    assert text.count("= ffn.feed_forward ") == modules.LAYERS


@pytest.mark.parametrize("family,exporter", CASES)
def test_outputs_come_back(exported, family, exporter):
    folder, model, feeds = exported(family, exporter)
    back = raising.back_to_onnx(model, folder)
    assert raising.largest_error(raising.run_ort(model, feeds), raising.run_ort(back, feeds)) < 1e-5


@pytest.mark.parametrize("family,exporter", CASES)
def test_every_pass_keeps_its_bound(exported, family, exporter):
    folder, model, _ = exported(family, exporter)
    passes = "ffn-raise{remarks=false},ffn-fold-norm{shared},ffn-dedup-weights,ffn-merge-parallel,canonicalize,ffn-materialize-weights,ffn-decompose"
    text = raising.run_passes(model, folder, passes, "checked.mlir", ["--ffn-check-passes"])[0].read_text()
    assert "ffn.norm" not in text and "ffn.scale_cols" not in text
