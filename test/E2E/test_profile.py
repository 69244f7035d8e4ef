"""ffnc profile: statistics are those of ONNX Runtime's intermediate values, and survive everything."""
import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared"))
MODEL = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"
TEXT = ROOT / "examples" / "pycode-lm" / "train.py"
# The bound of whole models against ONNX Runtime (docs/status.md), relative to the largest value of a tensor.
EPSILON = 3.8e-6


def ffnc(*arguments, code=0, **options):
    done = subprocess.run([BUILD / "bin" / "ffnc", "profile", *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          **options)
    assert done.returncode == code, done.stderr
    return done


def read(path):
    """Header and tensors, by a reader of our own."""
    data = pathlib.Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:8 + length])
    header = json.loads(entries.pop("__metadata__")["ffn.profile"])
    kinds = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "U8": np.uint8}
    body = data[8 + length:]
    assert (8 + length) % 64 == 0
    return header, {name: np.frombuffer(body[slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
                    for name, e in entries.items()}


def products(model):
    """(input, weight, output) of every product with a constant matrix, in graph order, and the weight as [in, out]."""
    constants = {t.name: numpy_helper.to_array(t, str(pathlib.Path(model).parent)) for t in onnx.load(str(model)).graph.initializer}
    found = []
    for node in onnx.load(str(model), load_external_data=False).graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type in ("Cast", "Transpose", "Identity") and node.input[0] in constants:
            value = constants[node.input[0]]
            constants[node.output[0]] = value.T if node.op_type == "Transpose" else value.astype(np.float32)
        elif node.op_type == "MatMul" and node.input[1] in constants and min(constants[node.input[1]].shape) > 16:
            found.append((node.input[0], constants[node.input[1]].astype(np.float64), node.output[0]))
    return found


def intermediates(model, names, samples):
    """Rows of each named value over all samples, as float64, one list of arrays for each name."""
    graph = onnx.load(str(model))
    known = {output.name for output in graph.graph.output}
    for name in names:
        if name not in known:
            graph.graph.output.append(helper.make_empty_tensor_value_info(name))
            known.add(name)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {name: [] for name in names}
    for ids in samples:
        for name, value in zip(names, session.run(list(names), {"input_ids": ids[None]}), strict=True):
            values[name].append(value.reshape(-1, value.shape[-1]).astype(np.float64))
    return values


def silu(x):
    return x / (1 + np.exp(-x))


CASES = {
    # Windows of 37 tokens, the last prime length below 40.
    "pycode-lm": (MODEL, 8, TEXT, ["--samples", "3", "--length", "37"]),
    "stories260K": (SHARED / "models" / "stories260K.onnx", 5, SHARED / "data" / "stories_own_dev.tok512.json",
                    ["--samples", "2", "--length", "61", "--opt-level=0"]),
}


@pytest.fixture(scope="module", params=CASES)
def measured(request, tmp_path_factory):
    """A profile with every probe, and ONNX Runtime's values at the same places."""
    model, layers, data, options = CASES[request.param]
    if not model.exists():
        pytest.skip(f"{model} is not there")
    path = tmp_path_factory.mktemp("profile") / "p.safetensors"
    ffnc(model, "--calib", data, "-o", path, *options, "--threads", "2",
         "--probes=moments,hidden,influence,gram,histogram,topk{k=5},cmoe-topk{k=5},cofire{group=8},cross,cross-hidden,raw,logits")
    header, tensors = read(path)
    length = int(options[3])
    if data.suffix == ".json":
        documents = json.loads(data.read_text())
    else:
        documents = [list(data.read_bytes().strip(b"\n"))]
    windows = [d[i:i + length] for d in documents for i in range(0, len(d), length) if len(d) - i >= length]
    import hashlib
    by_hash = {hashlib.sha256(np.array(w, np.int64).tobytes()).hexdigest(): w for w in windows}
    samples = [np.array(by_hash[h], np.int64) for h in header["calibration"]["hashes"]]
    assert len(samples) == int(options[1]) and header["tokens"] == len(samples) * length
    found = products(model)
    assert len(found) == 7 * layers + 1
    names = list(dict.fromkeys([f[0] for f in found] + [f[2] for f in found]))
    names = {layer["kind"]: layer["names"][0] for layer in header["layers"]} and names
    return header, tensors, found, intermediates(model, names, samples), layers


def places(measured):
    """(site, rows of each sample, weights) of every input of a linear."""
    header, tensors, found, values, layers = measured
    attention = [layer["names"][0] for layer in header["layers"] if layer["kind"] == "attention"]
    networks = [layer["names"][0] for layer in header["layers"] if layer["kind"] == "ffn"]
    assert len(attention) == len(networks) == layers
    for i in range(layers):
        q, _, _, o, gate, up, down = found[7 * i:7 * i + 7]
        # gate and up have one input; which of them comes first is the exporter's choice.
        yield f"{attention[i]}/linear0.input", values[q[0]], None
        yield f"{attention[i]}/linear3.input", values[o[0]], None
        yield f"{networks[i]}/ffn.input", values[gate[0]], (gate, up)
        yield f"{networks[i]}/ffn.hidden", values[down[0]], down
    yield "@main/linear0.input", values[found[-1][0]], None


def test_moments_and_products_of_channels(measured):
    _, tensors, *_ = measured
    seen = 0
    for site, samples, _ in places(measured):
        x = np.concatenate(samples)
        n, error = len(x), EPSILON * np.abs(x).max()
        size = np.abs(x).max()
        assert tensors[f"{site}/count"] == [n]
        for name, wanted, bound in (("sum", x.sum(0), n * error), ("abs_sum", np.abs(x).sum(0), n * error),
                                    ("sum_sq", (x * x).sum(0), n * error * (2 * size + error)),
                                    ("gram", x.T @ x, n * error * (2 * size + error))):
            assert np.abs(tensors[f"{site}/{name}"] - wanted).max() <= bound, (site, name)
        counts = tensors[f"{site}/histogram"]
        assert counts.sum() == x.size
        # The median of |x| lies in the bin that holds it, up to the error of x.
        edges = (np.arange(16385, dtype=np.uint32) << 17).view(np.float32)[:16384]
        middle = edges[np.searchsorted(np.cumsum(counts), x.size / 2)]
        assert abs(middle - np.median(np.abs(x))) <= np.median(np.abs(x)) / 32 + 2 * error
        seen += 1
    assert seen == 4 * measured[4] + 1


def test_hidden_vectors(measured):
    _, tensors, *_ = measured
    for site, samples, _ in places(measured):
        if not site.endswith("hidden"):
            continue
        h = np.concatenate(samples)
        size = np.abs(h).max()
        error = EPSILON * size
        assert np.abs(tensors[f"{site}/mean"] - h.mean(0)).max() <= error
        assert np.abs(tensors[f"{site}/second_moment"] - (h * h).mean(0)).max() <= 3 * size * error
        assert np.abs(tensors[f"{site}/variance"] - h.var(0)).max() <= 6 * size * error
        norms = np.mean([np.linalg.norm(s, axis=0) for s in samples], 0)
        assert np.abs(tensors[f"{site}/sample_norm"] - norms).max() <= error * np.sqrt(len(samples[0]))
        doubtful = (np.abs(h) <= error).sum(0)
        assert (np.abs(tensors[f"{site}/fired"] - (h > 0).sum(0)) <= doubtful).all()
        # Five marks a token, none of them at a value that is clearly smaller than one without.
        bits = np.unpackbits(tensors[f"{site}/topk"], axis=1, bitorder="little")[:, :len(h)].T.astype(bool)
        assert (bits.sum(1) == 5).all() and tensors[f"{site}/topk"].shape == (h.shape[1], -(-len(h) // 8))
        least = np.where(bits, np.abs(h), np.inf).min(1)
        assert (least >= np.where(bits, 0, np.abs(h)).max(1) - 2 * error).all()
        together = np.zeros((h.shape[1],) * 2)
        for s in samples:
            for begin in range(0, len(s), 8):
                together += np.minimum(1, s[begin:begin + 8].T @ s[begin:begin + 8])
        assert np.abs(tensors[f"{site}/cofire"] - together).max() <= len(h) * error * 3 * size


def test_normalised_marks_and_cross_products(measured):
    _, tensors, found, values, layers = measured
    rows = {site: samples for site, samples, _ in places(measured)}
    for site, samples, weights in places(measured):
        if not site.endswith("ffn.input"):
            continue
        layer = site.removesuffix("/ffn.input")
        x, h = np.concatenate(samples), np.concatenate(rows[f"{layer}/ffn.hidden"])
        out = np.concatenate(values[next(f[2] for f in found if f[0] is not None and values[f[0]] is rows[f"{layer}/ffn.hidden"])])
        unit = lambda m, axis: m / np.linalg.norm(m, axis=axis, keepdims=True)
        first, second = (unit(x, 1) @ unit(w[1], 0) for w in weights)
        # The gate is the one whose activation gives the hidden vector.
        plain = [x @ w[1] for w in weights]
        swapped = np.abs(silu(plain[0]) * plain[1] - h).max() > np.abs(silu(plain[1]) * plain[0] - h).max()
        marks = np.abs(silu(second) * first if swapped else silu(first) * second)
        bits = np.unpackbits(tensors[f"{layer}/ffn.hidden/cmoe_topk"], axis=1, bitorder="little")[:, :len(x)].T.astype(bool)
        assert (bits.sum(1) == 5).all()
        least, most = np.where(bits, marks, np.inf).min(1), np.where(bits, 0, marks).max(1)
        assert (least >= most - 64 * EPSILON * marks.max()).all()
        for name, y in ((f"{layer}/ffn.hidden/cross", h), (f"{layer}/ffn.output/cross", out)):
            bound = len(x) * 3 * EPSILON * np.abs(x).max() * np.abs(y).max()
            assert np.abs(tensors[name] - x.T @ y).max() <= bound


def test_sublayers_and_logits(measured):
    header, tensors, found, values, _ = measured
    names = [layer["names"][0] for layer in header["layers"] if layer["kind"] != "none"]
    raw = [tensors[f"{name}/raw"].astype(np.float64) for name in names]
    for name, before, after in zip(names, raw, raw[1:]):
        ratio = np.mean(np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1))
        cosine = np.mean((before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1))
        assert tensors[f"{name}/norm_ratio"][0] == pytest.approx(ratio, rel=1e-12)
        assert tensors[f"{name}/cosine"][0] == pytest.approx(cosine, rel=1e-12)
        assert tensors[f"{name}/measured"][0] == len(before)
    logits = np.concatenate(values[found[-1][2]])
    assert np.abs(tensors["@main/logits/logits"] - logits).max() <= EPSILON * np.abs(logits).max()


def test_what_a_pass_asks_for(tiny, tmp_path):
    path = tmp_path / "p.safetensors"
    common = [tiny, "--calib", TEXT, "-o", path, "--samples", "2", "--length", "16"]
    ffnc(*common, "--for=ffn-carve-moe{topk=3 experts=16}", "--for=ffn-low-rank{method=asvd}")
    header, tensors = read(path)
    assert header["request"] == {"probes": ["moments", "cmoe-topk"], "k": 3}
    assert {name.rsplit("/", 1)[1] for name in tensors} == {"count", "sum", "sum_sq", "abs_sum", "cmoe_topk"}
    done = ffnc("--show", path)
    assert "(ffn)" in done.stdout and "cmoe_topk[24, 4]" in done.stdout
    shown = json.loads(ffnc("--show", path, "--json").stdout)
    assert {t["name"] for t in shown["tensors"]} == set(tensors) and shown["model_sha256"] == header["model_sha256"]
    # The cheap default.
    ffnc(*common)
    assert {name.rsplit("/", 1)[1] for name in read(path)[1]} == {
        "count", "sum", "sum_sq", "abs_sum", "mean", "variance", "second_moment", "fired", "sample_norm", "norm_ratio", "cosine",
        "measured"}


@pytest.mark.parametrize("arguments, code, text", [
    (["--for=ffn-carve-mow"], 1, "FFN-P140"),
    (["--for=ffn-fold-norm"], 1, "FFN-P141"),
    (["--for=ffn-low-rank{method=best}"], 1, "FFN-P142"),
    (["--probes=gramm"], 1, "FFN-P143"),
    (["--samples=1", "--holdout=100000"], 1, "FFN-D209"),
    (["--samples=0"], 2, "at least 1"),
    (["--max-memory=much"], 2, "expected a size"),
    (["--max-memory=1MiB"], 5, "FFN-M101"),
    (["--prefix=rewritten"], 2, "go together"),
    (["--prefix=other"], 2, "expected original or rewritten"),
    (["--cpu=z80"], 2, "expected native"),
    (["--opt-level=4"], 2, "expected 0 to 3"),
    (["--eval", str(TEXT)], 1, "FFN-D211"),
])
def test_errors(tiny, tmp_path, arguments, code, text):
    done = ffnc(tiny, "--calib", TEXT, "-o", tmp_path / "p.safetensors", *arguments, code=code)
    assert text in done.stderr and not done.stdout and not any(tmp_path.glob("p.safetensors"))


def test_show_refuses_what_is_no_profile(tmp_path):
    path = tmp_path / "x.safetensors"
    for content, code in ((b"", "FFN-D103"), (b"\2\0\0\0\0\0\0\0{}", "FFN-D104"), (b"\xff" * 16, "FFN-D103")):
        path.write_bytes(content)
        assert code in ffnc("--show", path, code=1).stderr
    assert "FFN-I105" in ffnc("--show", tmp_path / "none", code=1).stderr


# ---------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------


def profile_of(tiny, tmp_path, data, *options):
    path = tmp_path / "p.safetensors"
    ffnc(tiny, "--calib", data, "-o", path, "--probes=influence", "--length", "16", "--opt-level=0", *options)
    return read(path)[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A language model of bytes with one sublayer and random weights: what is tested with it are samples."""
    generator = np.random.default_rng(2)
    weights = [numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
               for name, shape in (("table", (256, 8)), ("up", (8, 24)), ("down", (24, 8)), ("head", (8, 256)))]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"]), helper.make_node("MatMul", ["x", "up"], ["u"]),
             helper.make_node("Relu", ["u"], ["a"]), helper.make_node("MatMul", ["a", "down"], ["d"]),
             helper.make_node("Add", ["x", "d"], ["y"]), helper.make_node("MatMul", ["y", "head"], ["logits"])]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "tiny", [info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
                              [info("logits", TensorProto.FLOAT, ["batch", "sequence", 256])], weights)
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_every_form_of_tokens_gives_the_same_samples(tiny, tmp_path):
    ids = np.frombuffer(TEXT.read_bytes()[:160], np.uint8)
    assert b"\n\n" != ids[-2:].tobytes() and not ids[:1].tobytes().isspace()
    (tmp_path / "a.txt").write_bytes(ids.tobytes())
    (tmp_path / "a.json").write_text(json.dumps([ids.tolist()]))
    ids.astype("<u2").tofile(tmp_path / "a.u16")
    ids.astype("<u2").tofile(tmp_path / "a.bin")
    ids.astype("<u4").tofile(tmp_path / "a.u32")
    np.save(tmp_path / "a.npy", ids.astype(np.int32))
    np.save(tmp_path / "rows.npy", ids.reshape(10, 16))
    hashes = [profile_of(tiny, tmp_path, tmp_path / name, "--samples", "4")["calibration"]["hashes"]
              for name in ("a.txt", "a.json", "a.u16", "a.bin", "a.u32", "a.npy", "rows.npy")]
    assert len(set(map(tuple, hashes))) == 1 and len(set(hashes[0])) == 4
    folder = tmp_path / "folder"
    folder.mkdir()
    for part in (0, 1):
        (folder / f"{part}.txt").write_bytes(ids[80 * part:80 * part + 80].tobytes())
    header = profile_of(tiny, tmp_path, folder, "--samples", "100")
    assert header["available"] == 10 and [s["name"] for s in header["calibration"]["sources"]] == ["0.txt", "1.txt"]
    # Held out: none of the drawn ones, and recorded.
    kept = profile_of(tiny, tmp_path, tmp_path / "a.txt", "--samples", "100", "--holdout", "3")
    assert kept["hold_out"] == 3 and kept["samples"] == 7


def test_rows_of_arrays(tiny, tmp_path):
    ids = np.frombuffer(TEXT.read_bytes()[:160], np.uint8).astype(np.int64).reshape(10, 16)
    np.savez(tmp_path / "a.npz", input_ids=ids)
    body = ids.tobytes()
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [10, 16], "data_offsets": [0, len(body)]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)
    one, two = (profile_of(tiny, tmp_path, tmp_path / name, "--samples", "3")["calibration"]["hashes"] for name in ("a.npz", "a.safetensors"))
    assert one == two and len(set(one)) == 3
    (tmp_path / "mixed").mkdir()
    np.savez(tmp_path / "mixed" / "a.npz", input_ids=ids)
    (tmp_path / "mixed" / "b.txt").write_text("text")
    np.savez(tmp_path / "other.npz", ids=ids)
    for name, code in (("mixed", "FFN-D210"), ("other.npz", "FFN-D208")):
        assert code in ffnc(tiny, "--calib", tmp_path / name, "-o", tmp_path / "x", code=1).stderr
    # The same row anywhere in the data that will be measured on is refused.
    np.savez(tmp_path / "eval.npz", input_ids=ids[::-1])
    done = ffnc(tiny, "--calib", tmp_path / "a.npz", "--eval", tmp_path / "eval.npz", "-o", tmp_path / "x", code=1)
    assert "FFN-D211" in done.stderr


@pytest.mark.parametrize("name, content, code", [
    ("a.json", b"[[1, 2], 3]", "FFN-D202"),
    ("a.json", b"[" * 200000, "FFN-D202"),
    ("a.json", b"[[1, -2]]", "FFN-D202"),
    ("a.u16", b"abc", "FFN-D202"),
    ("a.u32", b"abc", "FFN-D202"),
    ("a.u16", b"\xff\xff" * 40, "FFN-D206"),
    ("a.npy", b"\x93NUMPY", "FFN-D101"),
    ("a.npz", b"PK", "FFN-D102"),
    ("a.safetensors", b"x", "FFN-D103"),
    ("a.txt", b"", "FFN-D204"),
])
def test_hostile_data(tiny, tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    assert f"[{code}]" in ffnc(tiny, "--calib", tmp_path / name, "-o", tmp_path / "p", code=1).stderr


def test_evaluation_may_follow_the_calibration(tiny, tmp_path):
    """Parts of one file that do not meet are no overlap; a sample in the middle of a document is."""
    text = TEXT.read_bytes()
    (tmp_path / "calib.txt").write_bytes(text[:640])
    (tmp_path / "fresh.txt").write_bytes(text[640:1500])
    (tmp_path / "shifted.txt").write_bytes(text[600:640] + text[3:200])
    options = ["--samples", "5", "--length", "64", "--probes=influence", "--opt-level=0"]
    common = [tiny, "--calib", tmp_path / "calib.txt", *options, "-o", tmp_path / "p"]
    ffnc(*common, "--eval", tmp_path / "fresh.txt")
    ffnc(*common, "--samples=10", "--eval", tmp_path / "shifted.txt", code=1)


# ---------------------------------------------------------------------------
# Any threads, memory, interruption: the same bytes
# ---------------------------------------------------------------------------


def write_blocks(path, blocks, width, hidden, seed=0):
    """x + W2 relu(W1 norm(x)) a few times; random weights, good for bytes and sizes and nothing else."""
    generator = np.random.default_rng(seed)
    nodes, weights = [], []

    def weight(name, *shape):
        weights.append(numpy_helper.from_array((generator.standard_normal(shape) * 0.1).astype(np.float32), name))
        return name

    x = "x"
    for i in range(blocks):
        nodes += [helper.make_node("MatMul", [x, weight(f"{i}.up", width, hidden)], [f"u{i}"]),
                  helper.make_node("Relu", [f"u{i}"], [f"a{i}"]),
                  helper.make_node("MatMul", [f"a{i}", weight(f"{i}.down", hidden, width)], [f"d{i}"]),
                  helper.make_node("Add", [x, f"d{i}"], [f"x{i}"])]
        x = f"x{i}"
    nodes.append(helper.make_node("MatMul", [x, weight("head", width, 7)], ["y"]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "blocks", [info("x", TensorProto.FLOAT, ["batch", "tokens", width])],
                              [info("y", TensorProto.FLOAT, ["batch", "tokens", 7])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write_rows(path, rows, tokens, width):
    np.savez(path, x=np.random.default_rng(1).standard_normal((rows, tokens, width)).astype(np.float32))
    return path


ALL = "--probes=moments,hidden,influence,gram,histogram,topk{k=3},cmoe-topk{k=3},cofire,cross,cross-hidden,raw,logits"


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    return [write_blocks(folder / "m.onnx", 2, 17, 70), "--calib", write_rows(folder / "x.npz", 3, 11, 17), ALL, "-o"]


@pytest.fixture(scope="module")
def expected(blocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "p"
    ffnc(*blocks, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model that is compiled in a moment and passes every write point, for tests that do so over and over."""
    folder = tmp_path_factory.mktemp("small")
    return [write_blocks(folder / "m.onnx", 1, 5, 7), "--calib", write_rows(folder / "x.npz", 3, 3, 5),
            "--probes=moments,hidden,gram,topk{k=3},raw,logits", "--opt-level=0", "--threads=1", "--commit-seconds=0", "-o"]


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "p"
    ffnc(*small, path)
    return path.read_bytes()


def test_threads_do_not_change_a_byte(blocks, expected, tmp_path):
    for threads in (1, 2, 3):
        ffnc(*blocks, tmp_path / "p", "--threads", threads)
        assert (tmp_path / "p").read_bytes() == expected
    # Nor do they for a sample that is worth several threads.
    model, data = write_blocks(tmp_path / "wide.onnx", 1, 130, 517), write_rows(tmp_path / "x.npz", 2, 257, 130)
    for threads in (1, 3):
        ffnc(model, "--calib", data, ALL, "--threads", threads, "-o", tmp_path / f"p{threads}")
    assert (tmp_path / "p1").read_bytes() == (tmp_path / "p3").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "p1", "p3", "wide.onnx", "x.npz"]


def fault_points(small, tmp_path):
    done = ffnc(*small, tmp_path / "p", env={**os.environ, "FFN_TEST_FAULT": "list"})
    names = [line.removeprefix("fault point ") for line in done.stderr.splitlines() if line.startswith("fault point")]
    return {name: names.count(name) for name in names}


def test_ten_kills_at_every_write_point(small, undisturbed, tmp_path):
    """SIGKILL at each step of each write; the same command afterwards gives the bytes of a run that nobody disturbed."""
    points = fault_points(small, tmp_path)
    assert {"shard.open", "shard.write", "shard.sync", "shard.rename", "shard.renamed", "journal.write", "journal.sync", "value.write",
            "value.sync", "spool.write", "output.open", "output.write", "output.sync", "output.rename", "output.renamed"} == set(points)
    path = tmp_path / "p"
    for point, count in points.items():
        path.unlink(missing_ok=True)
        kills = 0
        # Every run but the first begins where the last one was killed, so the second call is always one further.
        while kills < 10:
            number = min(1 + kills % 3, count)
            done = subprocess.run([BUILD / "bin" / "ffnc", "profile", *map(str, small), path], capture_output=True, text=True,
                                  env={**os.environ, "FFN_TEST_FAULT": f"{point}:{number}"})
            if done.returncode == -signal.SIGKILL:
                kills += 1
                assert not path.exists() or path.read_bytes() == undisturbed or point == "output.renamed"
                continue
            # The run came to its end before the point was passed so often.
            assert done.returncode == 0 and path.read_bytes() == undisturbed, done.stderr
            path.unlink()
        done = ffnc(*small, path)
        assert path.read_bytes() == undisturbed, point
        assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_kill_inside_a_group_redoes_that_group(blocks, expected, tmp_path):
    """What is not on disk yet is done again; groups of any size, also mixed in one file, give the same bytes."""
    path = tmp_path / "p"
    kill = lambda point, *more: subprocess.run([BUILD / "bin" / "ffnc", "profile", *map(str, blocks), path, *more], capture_output=True,
                                               env={**os.environ, "FFN_TEST_FAULT": point}).returncode
    resumed = lambda *more: json.loads(ffnc(*blocks, path, "--json", *more).stdout)["resumed_stages"]
    # One group, which ends with the output: nothing is on disk before that.
    assert kill("output.open:1", "--commit-seconds=1000") == -signal.SIGKILL
    assert {p.name for p in pathlib.Path(f"{path}.parts").iterdir()} == {"journal"} | {
        p.name for p in pathlib.Path(f"{path}.parts").glob("*.spool*")}
    assert resumed("--commit-seconds=1000") == 0 and path.read_bytes() == expected
    # The first stage in a group of its own, then the rest.
    path.unlink()
    assert kill("journal.sync:3", "--commit-seconds=0") == -signal.SIGKILL
    assert kill("output.rename:1", "--commit-seconds=1000") == -signal.SIGKILL
    done = resumed("--commit-seconds=1000")
    assert 1 <= done <= 2 and path.read_bytes() == expected
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_values_beyond_the_memory_for_them(tmp_path):
    """With a limit, values of stages that do not fit in its share go through files; the bytes are the same."""
    data = write_rows(tmp_path / "x.npz", 16, 1024, 256)
    common = [write_blocks(tmp_path / "m.onnx", 2, 256, 64), "--calib", data, "--probes=moments,influence", "--opt-level=0", "--length=1024",
              "--json", "-o"]
    ffnc(*common, tmp_path / "free")
    points = ffnc(*common, tmp_path / "p", "--max-memory=400MiB", env={**os.environ, "FFN_TEST_FAULT": "list"}).stderr
    assert points.count("value.write") >= 10 and "value.sync" not in points
    assert (tmp_path / "p").read_bytes() == (tmp_path / "free").read_bytes()


def test_full_disk(small, undisturbed, tmp_path):
    """ENOSPC at any write: an error with a code, the old output untouched, and what was finished is used again."""
    path = tmp_path / "p"
    for point in fault_points(small, tmp_path):
        path.write_bytes(b"old")
        done = ffnc(*small, path, code=1, env={**os.environ, "FFN_TEST_FAULT": f"{point}:1:28"})
        assert "[FFN-O101]" in done.stderr and "No space left" in done.stderr, point
        assert path.read_bytes() == (undisturbed if point == "output.renamed" else b"old")
        assert not list(tmp_path.glob("**/*.tmp"))
        ffnc(*small, path)
        assert path.read_bytes() == undisturbed


def test_another_run_is_not_mixed_in(blocks, tmp_path):
    path = tmp_path / "p"
    killed = {**os.environ, "FFN_TEST_FAULT": "journal.sync:3"}
    assert subprocess.run([BUILD / "bin" / "ffnc", "profile", *map(str, blocks), path, "--commit-seconds=0"], env=killed,
                          capture_output=True).returncode < 0
    done = ffnc(*blocks, path, "--seed=5", code=1)
    assert "[FFN-J101]" in done.stderr and "different: seed" in done.stderr.replace("calibration, ", "")
    model = write_blocks(tmp_path / "other.onnx", 2, 17, 70, seed=9)
    done = ffnc(model, *blocks[1:], path, code=1)
    assert "different: model;" in done.stderr
    shard = next(pathlib.Path(f"{path}.parts").glob("stage*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "[FFN-J103]" in ffnc(*blocks, path, code=1).stderr
    ffnc(*blocks, path, "--seed=5", "--restart")
    assert read(path)[0]["seed"] == 5 and not pathlib.Path(f"{path}.parts").exists()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt(blocks, expected, tmp_path, number, code):
    path = tmp_path / "p"
    # A background job of a shell hands an ignored SIGINT down.
    process = subprocess.Popen([BUILD / "bin" / "ffnc", "profile", *map(str, blocks), path, "--progress=json", "--commit-seconds=0"], stderr=subprocess.PIPE,
                               text=True, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    first = json.loads(process.stderr.readline())
    process.send_signal(number)
    begin = time.monotonic()
    rest = process.stderr.read()
    assert process.wait(timeout=20) == code and "the same command goes on" in rest
    assert time.monotonic() - begin < 10 and not path.exists()
    assert first["done"] >= 1 and first["total"] == 3 and first["seconds_left"] > 0 and first["peak_memory"] > 0
    done = ffnc(*blocks, path, "--json")
    assert json.loads(done.stdout)["resumed_stages"] >= first["done"] and path.read_bytes() == expected


def test_memory_limit(tmp_path):
    """Three limits are kept, below what a run without one takes; the bytes are the same, and an impossible one is refused."""
    data = write_rows(tmp_path / "x.npz", 2, 24, 40)
    model = write_blocks(tmp_path / "m.onnx", 1, 40, 4099)
    common = [model, "--calib", data, "--probes=hidden-gram,hidden", "--threads=1", "--json"]
    run = lambda *more, code=0: ffnc(*common, *more, code=code)
    free = json.loads(run("-o", tmp_path / "free").stdout)["peak_memory"]
    gram = 4099 * 4099 * 8
    least = free - gram
    peaks = {}
    for number, share in enumerate((0.4, 0.6, 0.8)):
        limit = int(least + share * gram)
        path = tmp_path / f"p{number}"
        done = subprocess.Popen([BUILD / "bin" / "ffnc", "profile", *map(str, common), "-o", path, f"--max-memory={limit}"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        text, messages = done.communicate(timeout=600)
        assert done.returncode == 0, messages
        peaks[limit] = json.loads(text)["peak_memory"]
        assert path.read_bytes() == (tmp_path / "free").read_bytes()
    print("limit: peak", peaks, "free", free)
    assert all(peak <= limit < free for limit, peak in peaks.items())
    done = run("-o", tmp_path / "q", f"--max-memory={int(0.8 * least)}", code=5)
    assert "[FFN-M101]" in done.stderr and "needs" in done.stderr and not (tmp_path / "q").exists()


# ---------------------------------------------------------------------------
# Rewritten prefix
# ---------------------------------------------------------------------------


def test_prefix_of_rewritten_layers(tmp_path):
    """Statistics behind quantized layers are those of the model that is quantized up to there."""
    model = write_blocks(tmp_path / "m.onnx", 2, 16, 48)
    data = write_rows(tmp_path / "x.npz", 2, 9, 16)
    common = [model, "--calib", data, "--probes=moments,raw", "--opt-level=0"]
    ffnc(*common, "-o", tmp_path / "original")
    ffnc(*common, "-o", tmp_path / "rewritten", "--prefix=rewritten", "--pass-pipeline=builtin.module(ffn-quantize{type=int4 group=16})")
    (_, before), (header, after) = read(tmp_path / "original"), read(tmp_path / "rewritten")
    assert header["prefix"] == "rewritten" and "int4" in header["rewrite"]
    first, second = [layer["names"][0] for layer in header["layers"] if layer["kind"] == "ffn"]
    for name in before:
        same = np.array_equal(before[name], after[name])
        assert same == name.startswith(f"{first}/") or name.endswith("/count"), name
    # A pipeline that does nothing changes nothing.
    ffnc(*common, "-o", tmp_path / "idle", "--prefix=rewritten", "--pass-pipeline=builtin.module(cse)")
    _, idle = read(tmp_path / "idle")
    assert all(np.array_equal(before[name], idle[name]) for name in before)
    # The model that is quantized in its first layer, as a whole.
    quantized = tmp_path / "q.onnx"
    passes = "builtin.module(ffn-raise,ffn-quantize{type=int4 group=16 only=0.up,0.down},ffn-decompose,ffn-materialize-weights)"
    subprocess.run([BUILD / "bin" / "ffnc", "compile", model, "--emit=onnx", "-o", quantized, f"--pass-pipeline={passes}"], check=True,
                   capture_output=True)
    session = ort.InferenceSession(str(quantized), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].name == "x"
    ffnc(quantized, *common[1:], "-o", tmp_path / "whole")
    _, whole = read(tmp_path / "whole")
    name = f"{second}/raw"
    assert np.abs(after[name] - whole[name.replace(second, [n for n in whole if n.endswith("/raw")][1].split("/")[0])]).max() <= \
        EPSILON * np.abs(after[name]).max()
