"""ffnc compare --data: its figures are those of NumPy and ONNX Runtime, its limits and --bisect name the place."""
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from artefact import BUILD, BUNDLED, ROOT, SHARED
from onnx import TensorProto, helper, numpy_helper

FFNC = BUILD / "bin" / "ffnc"
MODEL = BUNDLED / "pycode-lm.onnx"
STORIES = SHARED / "stories260K.onnx"
DATA = SHARED.parent / "data"
TEXT = BUNDLED / "train.py"
sys.path.append(str(ROOT / "test" / "python"))


def ffnc(*arguments, code=0):
    done = subprocess.run([str(FFNC), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def compare(*arguments, code=0):
    return json.loads(ffnc("compare", *arguments, "--threads", 1, "--json", code=code).stdout)


def log_softmax(x):
    x = np.asarray(x, np.float64)
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def interval(samples):
    """Mean of sums over samples by rows, and the half-width: the linearised variance of a ratio of sums."""
    sums, rows = (np.array(part, np.float64) for part in zip(*samples, strict=True))
    mean, n = sums.sum() / rows.sum(), len(sums)
    return mean, 1.959963984540054 * math.sqrt(n / (n - 1) * ((sums - mean * rows) ** 2).sum()) / rows.sum()


def figures(pairs):
    """The figures of (logits of A, logits of B, targets) for each sample."""
    kl, same, losses, right = [], [], [[], []], [[], []]
    for a, b, targets in pairs:
        p, q = log_softmax(a), log_softmax(b)
        kl.append((np.exp(p) * (p - q)).sum(-1))
        same.append(a.argmax(-1) == b.argmax(-1))
        for side, logits, rows in ((0, a, p), (1, b, q)):
            losses[side].append(-np.take_along_axis(rows, targets[:, None], -1)[:, 0])
            right[side].append(logits.argmax(-1) == targets)
    rows = np.concatenate(kl)
    by_sample = lambda lists: [(part.sum(), len(part)) for part in lists]
    found = {"kl": interval(by_sample(kl)), "top1": interval(by_sample(same)), "kl_max": rows.max(),
             "kl_999": np.quantile(rows, 0.999, method="inverted_cdf")}
    for side in (0, 1):
        found["ab"[side]] = {"nll": interval(by_sample(losses[side])), "accuracy": interval(by_sample(right[side]))}
    found["difference"] = interval([(b.sum() - a.sum(), len(a)) for a, b in zip(*losses, strict=True)])
    return found


def tensor_figures(pairs, floor=0.01, bound=0.01):
    a, b = (np.concatenate([np.ravel(pair[side]) for pair in pairs]).astype(np.float64) for side in (0, 1))
    scale = np.concatenate([np.full(x.size, np.sqrt(np.mean(np.float64(x) ** 2))) for x, *_ in pairs])
    relative = np.abs(a - b) / np.maximum(np.abs(a), floor * scale)
    return {"relative_l2": np.linalg.norm(a - b) / np.linalg.norm(a), "cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b),
            "max_abs": np.abs(a - b).max(), "max_rel": relative.max(), "beyond": (relative > bound).mean()}


def check_mean(found, name, wanted, tolerance):
    mean, width = wanted
    assert found[name] == pytest.approx(mean, **tolerance), name
    low, high = found[name + "_95"]
    assert (high - low) / 2 == pytest.approx(width, **tolerance), name


def passing(folder, name, classes):
    """logits = the input `name`, to the bit."""
    value = lambda key: helper.make_tensor_value_info(key, TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph([helper.make_node("Mul", [name, "one"], ["logits"])], "g", [value(name)], [value("logits")],
                              [numpy_helper.from_array(np.float32(1), "one")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, folder / f"{name}.onnx")
    library = folder / f"{name}.so"
    ffnc("compile", folder / f"{name}.onnx", "-o", library)
    return library


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return passing(folder, "p", 17), passing(folder, "q", 17)


def test_figures_of_the_same_logits_are_those_of_numpy(two, tmp_path):
    """Row by row the same float32 logits on both sides: everything to 1e-9."""
    generator = np.random.default_rng(5)
    p = (generator.standard_normal((203, 17)) * 4).astype(np.float32)
    q = (p + generator.standard_normal(p.shape) * 0.3).astype(np.float32)
    p[3], q[3] = 1e4 * np.arange(17), 1e4 * np.arange(17)[::-1]
    label = generator.integers(0, 17, 203)
    np.savez(tmp_path / "rows.npz", p=p, q=q, label=label)
    found = compare(*two, "--data", tmp_path / "rows.npz", "--batch", 20)
    batches = [(p[i:i + 20], q[i:i + 20], label[i:i + 20]) for i in range(0, 203, 20)]
    wanted, exact = figures(batches), {"rel": 1e-9}
    logits = found["logits"]
    assert found["samples"] == 11 and logits["rows"] == 203 and logits["undefined_rows"] == 0
    for name in ("kl", "top1"):
        check_mean(logits, name, wanted[name], exact)
    for side in "ab":
        check_mean(logits[side], "accuracy", wanted[side]["accuracy"], exact)
    assert logits["kl_max"] == pytest.approx(wanted["kl_max"], **exact) and wanted["kl_max"] > 1e4
    assert logits["kl_999"] == pytest.approx(wanted["kl_999"], **exact)
    assert logits["perplexity_ratio"] == pytest.approx(math.exp(wanted["difference"][0]), **exact)
    (output,) = found["outputs"]
    for name, value in tensor_figures(batches).items():
        assert output[name] == pytest.approx(value, **exact), name
    loose = compare(*two, "--data", tmp_path / "rows.npz", "--floor", 0.5, "--bound", 0.25, "--batch", 20)["outputs"][0]
    for name, value in tensor_figures(batches, 0.5, 0.25).items():
        assert loose[name] == pytest.approx(value, **exact), name


def test_nan_and_infinity_are_reported_and_fail_every_limit(two, tmp_path):
    p = np.zeros((4, 17), np.float32)
    q = p.copy()
    p[0, 0] = q[0, 0] = -np.inf  # a class that both rule out
    np.savez(tmp_path / "equal.npz", p=p, q=q)
    found = compare(*two, "--data", tmp_path / "equal.npz", "--max-kl", 0, "--max-rel-l2", 0)
    assert found["equal"] and found["outputs"][0]["equal_non_finite"] == 1 and "a" not in found["logits"]
    q[1, 2] = np.nan
    np.savez(tmp_path / "nan.npz", p=p, q=q)
    found = compare(*two, "--data", tmp_path / "nan.npz", "--max-kl", 1e9, "--max-rel-l2", 1e9, code=4)
    assert found["logits"]["kl"] is None and found["logits"]["undefined_rows"] == 1
    assert found["outputs"][0]["unequal_non_finite"] == 1 and found["outputs"][0]["relative_l2"] is None
    assert [(entry["metric"], entry["where"]) for entry in found["violations"]] == [("kl", "logits"), ("rel-l2", "logits")]
    assert "NaN or infinite: 2, 1 of them not in both" in ffnc("compare", *two, "--data", tmp_path / "nan.npz").stdout


@pytest.mark.parametrize("kind", ["pycode", "stories"])
def test_figures_are_those_of_onnxruntime(kind, tmp_path):
    """Two models, whole path: windows, native code, sums; within 1e-4 of the same formulas on logits of ONNX Runtime."""
    pruned = tmp_path / "pruned.onnx"
    if kind == "pycode":
        model, name, length = MODEL, "model.layers.4.mlp", 100
        text = TEXT.read_bytes()[:700]
        (tmp_path / "text.txt").write_bytes(text)
        ids = np.frombuffer(text, np.uint8).astype(np.int64)
        windows = [ids[i:i + length + 1] for i in range(0, len(ids) - 1, length)]
        arguments = ["--data", tmp_path / "text.txt", "--whole-file", "--window", length]
    else:
        model = STORIES
        if not model.exists():
            pytest.skip(f"{model} is not there")
        listed = json.loads(ffnc("inspect", model, "--json").stdout)["sublayers"]
        name = [entry["name"] for entry in listed][-1]
        windows = [np.array(ids, np.int64) for ids in json.loads((DATA / "stories_own_dev.tok512.json").read_text())[:4]]
        (tmp_path / "tokens.json").write_text(json.dumps([ids.tolist() for ids in windows]))
        arguments = ["--data", tmp_path / "tokens.json", "--window", 512]
    ffnc("compile", model, "-o", pruned, "--gate=off", f"--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{{only={name}}})")
    sessions = [ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (model, pruned)]
    pairs = [tuple(session.run(None, {"input_ids": ids[None, :-1]})[0][0] for session in sessions) + (ids[1:],) for ids in windows]
    found = compare(model, pruned, *arguments, "--layers")
    wanted, close = figures(pairs), {"rel": 1e-4}
    logits = found["logits"]
    assert logits["rows"] == logits["scored_rows"] == sum(len(ids) - 1 for ids in windows)
    for key in ("kl", "top1"):
        check_mean(logits, key, wanted[key], close)
    assert logits["kl_max"] == pytest.approx(wanted["kl_max"], **close)
    assert logits["kl_999"] == pytest.approx(wanted["kl_999"], **close)
    for side in "ab":
        check_mean(logits[side], "nll_per_token", wanted[side]["nll"], close)
        nll, width = wanted[side]["nll"]
        assert logits[side]["perplexity"] == pytest.approx(math.exp(nll), **close)
        assert logits[side]["perplexity_95"] == pytest.approx([math.exp(nll - width), math.exp(nll + width)], **close)
        if kind == "pycode":
            assert logits[side]["bits_per_byte"] == pytest.approx(nll * logits["rows"] / math.log(2) / len(text), **close)
    difference, width = wanted["difference"]
    assert logits["perplexity_ratio"] == pytest.approx(math.exp(difference), **close)
    assert logits["perplexity_ratio_95"] == pytest.approx([math.exp(difference - width), math.exp(difference + width)], **close)
    output = tensor_figures(pairs)
    for key in ("relative_l2", "cosine", "max_abs"):
        assert found["outputs"][0][key] == pytest.approx(output[key], **close), key
    # Layers: equal to the bit before the one that is gone, different behind it.
    states = {entry["sublayer"]: entry for entry in found["layers"]}
    position = list(states).index(name)
    assert states[name]["status"] == "removed"
    for i, entry in enumerate(states.values()):
        if i != position:
            assert entry["status"] == "compared" and (entry["relative_l2"] == 0) == (i < position)


def test_limits_name_metric_and_place(tmp_path):
    (tmp_path / "text.txt").write_bytes(TEXT.read_bytes()[:300])
    pruned = tmp_path / "pruned.onnx"
    ffnc("compile", MODEL, "-o", pruned, "--gate=off",
         "--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{only=model.layers.2.mlp})")
    models = [tmp_path / "a.so", tmp_path / "b.so"]
    for model, library in zip((MODEL, pruned), models, strict=True):
        ffnc("compile", model, "-o", library, "--pass-pipeline=builtin.module(ffn-raise,ffn-expose-hidden)")
    data = ["--data", tmp_path / "text.txt", "--whole-file", "--window", 64]
    found = compare(*models, *data, "--layers", "--max-kl", 1e-9, "--min-top1", 0.1, "--max-layer-rel-l2", 1e-6, code=4)
    broken = [(entry["metric"], entry["where"]) for entry in found["violations"]]
    assert broken[0] == ("kl", "logits") and broken[1] == ("layer-rel-l2", "model.layers.3.self_attn") and len(broken) == 11
    done = ffnc("compare", *models, *data, "--max-kl", 1e-9, code=4)
    assert "kl of 'logits' is" in done.stderr and "[FFN-R410]" in done.stderr and "perplexity of B" in done.stdout
    assert compare(models[0], models[0], *data, "--max-kl", 0, "--max-abs", 0, "--min-top1", 1)["equal"]
    # The whole of it, the same model with and without a KV cache.
    assert compare(models[0], BUNDLED / "pycode-lm-kv.onnx", *data)["logits"]["kl"] < 1e-8


@pytest.mark.parametrize(
    "arguments,code,text",
    [
        (["MODEL", "MODEL", "--layers"], 2, "--data"),
        (["MODEL", "MODEL", "--max-kl", "1"], 2, "--data"),
        (["MODEL", "MODEL", "--data", "TEXT", "--dim", "batch=1"], 2, "--dim"),
        (["MODEL", "MODEL", "--data", "TEXT", "--window", "0"], 2, "--window"),
        (["MODEL", "MODEL", "--data", "TEXT", "--max-kl", "nan"], 2, "kl"),
        (["MODEL", "MODEL", "--data", "TEXT", "--bisect", "0.1", "--layers"], 2, "--bisect"),
        (["P", "Q", "--data", "TEXT", "--bisect", "0.1"], 1, "FFN-R400"),
        (["P", "Q", "--data", "ROWS", "--layers"], 1, "FFN-R400"),
        (["P", "Q", "--data", "TEXT"], 1, "FFN-D205"),
        (["P", "Q", "--data", "/nothing"], 1, "FFN-D203"),
        (["P", "Q", "--data", "ROWS", "--max-layer-rel-l2", "1"], 1, "FFN-R400"),
        (["P", "Q", "--data", "ROWS", "--max-ppl-ratio", "1"], 1, "FFN-R400"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_misuse_is_told(arguments, code, text, two, tmp_path):
    np.savez(tmp_path / "rows.npz", p=np.zeros((2, 17), np.float32), q=np.zeros((2, 17), np.float32))
    words = {"MODEL": MODEL, "TEXT": TEXT, "P": two[0], "Q": two[1], "ROWS": tmp_path / "rows.npz"}
    done = ffnc("compare", *[words.get(word, word) for word in arguments], "--json", code=code)
    assert text in done.stderr and done.stdout == ""


@pytest.mark.parametrize("layer,matrix", [(0, "self_attn"), (7, "mlp")])
def test_bisect_finds_a_changed_weight(layer, matrix, tmp_path):
    """One weight of one sublayer of the file is changed."""
    shutil.copy(BUNDLED / "pycode-lm.weights", tmp_path)
    model = onnx.load(MODEL, load_external_data=False)
    name = f"model.layers.{layer}.{matrix}"
    tensor = next(entry for entry in model.graph.initializer if entry.name.startswith(name + ".") and len(entry.dims) == 2)
    place = {entry.key: entry.value for entry in tensor.external_data}
    weights = np.memmap(tmp_path / "pycode-lm.weights", helper.tensor_dtype_to_np_dtype(tensor.data_type), "r+",
                        int(place["offset"]), (math.prod(tensor.dims),))
    weights[: math.prod(tensor.dims) // 2] *= 1.5
    weights.flush()
    onnx.save(model, tmp_path / "changed.onnx")
    found = compare(MODEL, tmp_path / "changed.onnx", "--data", TEXT, "--window", 32, "--samples", 1, "--bisect", 1e-4, code=4)
    assert found["first"] == name and found["alone_relative_l2"] > 1e-4
    assert found["runs"] <= math.ceil(math.log2(found["sublayers"])) + 2 == 6
