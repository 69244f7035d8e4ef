"""ffnc analyze: golden results, and known answers on models in which something was planted.

FFN_UPDATE_GOLDENS=1 writes the golden files anew.
"""
import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from analyzed import HEADS, D, Graph, M, V, random_lm, values_of, weights_of
from artefact import BUILD, BUNDLED, ROOT

FFNC = BUILD / "bin" / "ffnc"
GOLDEN = ROOT / "test" / "E2E" / "analyze"
VERBS = ["cost", "dependency", "diff", "isotropy", "neurons", "rank", "sensitivity", "sparsity", "spectral", "vocab-projection"]
NEED_DATA = {"dependency", "isotropy", "neurons", "sensitivity", "sparsity", "spectral"}


def ffnc(*arguments, code=0):
    done = subprocess.run([str(FFNC), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def analyze(*arguments):
    return json.loads(ffnc("analyze", *arguments, "--json").stdout)


def write_tokens(path, documents):
    path.write_text(json.dumps([list(map(int, ids)) for ids in documents]))
    return path


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """A model of random weights, one whose network 1 has moved, and six documents of 32 tokens."""
    folder = tmp_path_factory.mktemp("lm")
    ids = np.random.default_rng(3).integers(0, V, (6, 32))
    moved = random_lm(folder / "moved.onnx", lambda name, array: array * 1.25 if name == "layers.1.mlp.up" else array)
    return random_lm(folder / "lm.onnx"), moved, write_tokens(folder / "tokens.json", ids), ids


def assert_alike(found, golden, where=""):
    """Numbers within what instruction sets may change; everything else equal."""
    if isinstance(golden, dict):
        assert sorted(found) == sorted(golden), where
        for key in golden:
            assert_alike(found[key], golden[key], f"{where}.{key}")
    elif isinstance(golden, list):
        assert len(found) == len(golden), where
        for i, (a, b) in enumerate(zip(found, golden, strict=True)):
            assert_alike(a, b, f"{where}[{i}]")
    elif isinstance(golden, float) or isinstance(found, float):
        assert found == pytest.approx(golden, rel=2e-4, abs=2e-6), where
    else:
        assert found == golden, where


@pytest.mark.parametrize("verb", VERBS)
def test_golden(verb, lm, tmp_path):
    """The JSON of a fixed model; the text and a picture that XML readers take and that brings nothing from outside."""
    model, moved, tokens, _ = lm
    data = ["--calib", tokens, "--samples", 6, "--length", 32] if verb in NEED_DATA | {"diff", "rank"} else []
    models = [model, moved] if verb == "diff" else [model]
    found = analyze(verb, *models, *data, "--svg", tmp_path / "picture.svg", "--top", 3)
    golden = GOLDEN / f"{verb}.json"
    if os.environ.get("FFN_UPDATE_GOLDENS"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert_alike(found, json.loads(golden.read_text()))
    picture = (tmp_path / "picture.svg").read_text()
    root = ElementTree.fromstring(picture)
    kinds = {element.tag.split("}")[1] for element in root.iter()}
    assert kinds <= {"svg", "rect", "text", "line", "polyline", "title"} and "text" in kinds
    assert "href" not in picture and picture.count("http") == 1
    # Names of sublayers are in the picture, and what is drawn lies inside of it.
    assert any("layers.1" in (element.text or "") for element in root.iter())
    width, height = float(root.get("width")), float(root.get("height"))
    for element in root.iter():
        if element.tag.endswith("rect"):
            assert float(element.get("x", 0)) + float(element.get("width")) <= width + 0.1
            assert float(element.get("y", 0)) + float(element.get("height")) <= height + 0.1
            assert float(element.get("width")) >= 0 and float(element.get("height")) > 0


def test_text_is_a_table_and_bundled_model_works():
    """Without --json: the title, paragraphs, a row for each sublayer in columns of one width."""
    lines = ffnc("analyze", "cost", BUNDLED / "pycode-lm.onnx", "--length", 1).stdout.splitlines()
    assert lines[0] == "Cost at 1 x 1 tokens" and all(len(line) <= 80 for line in lines[:lines.index("")])
    rows = [line for line in lines if "model.layers." in line or line.strip().startswith("total")]
    assert len(rows) == 17 and len({len(row) for row in rows}) == 1


# Known answers


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (2, 128)])
def test_cost_is_what_one_counts(lm, batch, length):
    found = analyze("cost", lm[0], "--batch", batch, "--length", length)
    names = [row["name"] for row in found["sublayers"]]
    assert names == ["layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp"]
    attention, network = found["sublayers"][:2]
    norm = 2 * D
    # Constants of reshapes and scales are parameters too, as in the file.
    weights = weights_of(lm[0])
    attention_parameters = sum(array.size for name, array in weights.items() if name.startswith("layers.0.attn"))
    assert 4 * D * D + norm <= attention["parameters"] <= attention_parameters
    assert network["parameters"] == 2 * D * M + M + norm and network["weight_bytes"] == 4 * network["parameters"]
    # A norm counts five operations a channel.
    assert network["flops_per_token"] == 2 * 2 * D * M + 5 * D
    # Four projections, and scores and mixture over `length` keys of every head.
    assert attention["flops_per_token"] == 4 * 2 * D * D + 2 * HEADS * (2 * D // HEADS) * length + 5 * D
    # Norm and network read and write d, the network writes and reads m.
    moved = 4 * (2 * D + 2 * D + 2 * M)
    assert network["bytes_per_token"] == pytest.approx(moved + network["weight_bytes"] / (batch * length), rel=1e-12)
    assert network["flops_per_byte"] == pytest.approx(network["flops_per_token"] / network["bytes_per_token"], rel=1e-12)
    assert found["total"]["flops_per_token"] == sum(row["flops_per_token"] for row in found["sublayers"]) + found["outside"]["flops_per_token"]


def describe_spectrum(sigma):
    sigma = np.sort(sigma)[::-1]
    p, energy = sigma / sigma.sum(), sigma ** 2
    share = np.cumsum(energy) / energy.sum()
    return {"largest": sigma[0], "stable_rank": energy.sum() / energy[0], "effective_rank": np.exp(-np.sum(p[p > 0] * np.log(p[p > 0]))),
            "participation": energy.sum() ** 2 / np.sum(energy ** 2),
            "rank_90": int(np.argmax(share >= 0.9)) + 1, "rank_99": int(np.argmax(share >= 0.99)) + 1}


def test_planted_rank_and_spectra_of_numpy(tmp_path):
    """Up of network 0 has rank 5, down of network 1 rank 1; all figures are those of NumPy's SVD, weighted ones too."""
    random = np.random.default_rng(11)

    def plant(name, array):
        if name == "layers.0.mlp.up":
            return random.standard_normal((D, 5)) @ random.standard_normal((5, M))
        if name == "layers.1.mlp.down":
            return np.outer(random.standard_normal(M), random.standard_normal(D))
        return array

    model = random_lm(tmp_path / "planted.onnx", plant)
    ids = random.integers(0, V, (4, 16))
    found = analyze("rank", model, "--calib", write_tokens(tmp_path / "t.json", ids), "--samples", 4, "--length", 16)
    rows = {(row["sublayer"], row["role"]): row for row in found["matrices"]}
    assert len(rows) == 2 * (4 + 2)
    assert rows["layers.0.mlp", "up"]["rank"] == 5 and rows["layers.1.mlp", "down"]["rank"] == 1
    assert rows["layers.1.mlp", "down"]["effective_rank"] == pytest.approx(1, abs=1e-4)
    assert all(row["rank"] == min(row["rows"], row["columns"]) for key, row in rows.items()
               if key not in {("layers.0.mlp", "up"), ("layers.1.mlp", "down")})
    weights = weights_of(model)
    inputs = values_of(model, ["/layers.0.mlp/norm", "/layers.0.mlp/hidden", "/layers.1.attn/norm"], [row[None] for row in ids])
    cases = [("layers.0.mlp", "up", "layers.0.mlp.up.weight", "/layers.0.mlp/norm"),
             ("layers.0.mlp", "down", "layers.0.mlp.down.weight", "/layers.0.mlp/hidden"),
             ("layers.1.attn", "linear0", "layers.1.attn.q.weight", "/layers.1.attn/norm")]
    for sublayer, role, weight, site in cases:
        row = rows[sublayer, role]
        assert row["weight"] == weight and row["break_even"] == row["rows"] * row["columns"] // (row["rows"] + row["columns"])
        for key, value in describe_spectrum(np.linalg.svd(weights[weight], compute_uv=False)).items():
            assert row[key] == pytest.approx(value, rel=1e-5), (sublayer, role, key)
        # The singular values of the outputs X W over all tokens.
        expected = describe_spectrum(np.linalg.svd(inputs[site] @ weights[weight], compute_uv=False))
        for key in ("largest", "stable_rank", "effective_rank", "participation"):
            assert row["input_weighted"][key] == pytest.approx(expected[key], rel=1e-3), (sublayer, role, key)
        assert abs(row["input_weighted"]["rank_99"] - expected["rank_99"]) <= 1


def test_spectral_is_the_covariance_of_the_hidden_vector(tmp_path):
    """Figures of NumPy; network 1 has copies of two neurons only: both ranks are at most two."""
    def plant(name, array):
        if name == "layers.1.mlp.up":
            return np.tile(array[:, :2], (1, M // 2))
        return array

    model = random_lm(tmp_path / "planted.onnx", plant)
    graph = weights_of(model)
    ids = np.random.default_rng(4).integers(0, V, (8, 16))
    found = analyze("spectral", model, "--calib", write_tokens(tmp_path / "t.json", ids), "--samples", 8, "--length", 16)
    hidden = values_of(model, ["/layers.0.mlp/hidden", "/layers.1.mlp/hidden"], [row[None] for row in ids])
    assert graph["layers.1.mlp.up.weight"].shape == (D, M)
    for row, values in zip(found["networks"], hidden.values(), strict=True):
        spectrum = np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1]
        spectrum = np.maximum(spectrum, 1e-12 * spectrum[0])
        p = spectrum / spectrum.sum()
        hard, soft = 1 / np.sum(p ** 2), np.exp(-np.sum(p * np.log(p)))
        assert row["m"] == M and row["hard_rank"] == pytest.approx(hard, rel=1e-4) and row["soft_rank"] == pytest.approx(soft, rel=1e-4)
        assert row["sui"] == pytest.approx(2 / (M / hard + M / soft), rel=1e-4)
        assert row["top_1"] == pytest.approx(p[0], rel=1e-4) and row["top_10_percent"] == pytest.approx(p[:M // 10].sum(), rel=1e-4)
        assert 1 <= row["hard_rank"] <= row["soft_rank"] <= M
    assert found["networks"][0]["soft_rank"] > 5


def test_spectral_of_planted_copies(tmp_path):
    """Twenty copies each of two neurons, biases too: two directions, not more."""
    random = np.random.default_rng(5)
    graph = Graph()
    x = graph.embed(random.standard_normal((V, D)))
    up, bias = random.standard_normal((D, 2)), random.standard_normal(2)
    x = graph.network(x, "net", np.tile(up, (1, 20)), np.tile(bias, 20), random.standard_normal((40, D)))
    graph.head(x, random.standard_normal((D, V)))
    model = graph.save(tmp_path / "copies.onnx", "logits", V)
    ids = random.integers(0, V, (4, 32))
    row, = analyze("spectral", model, "--calib", write_tokens(tmp_path / "t.json", ids), "--samples", 4, "--length", 32)["networks"]
    assert 1 < row["hard_rank"] <= row["soft_rank"] <= 2.0001


def information(fires):
    """Mutual information of firing [windows, positions] and position in nats, less its bias."""
    rate, at = fires.mean(), fires.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(at * np.log(at / rate)) + np.nan_to_num((1 - at) * np.log((1 - at) / (1 - rate)))
    return max(0, terms.mean() - (fires.shape[1] - 1) / (2 * fires.size))


def test_planted_neurons(tmp_path):
    """One neuron of each kind: a token, a bigram, a trigram, a half of the window, never, always, and a mixture."""
    length, half = 32, 24
    identity = np.eye(V)
    graph = Graph()
    now = graph.embed(identity)
    # The tokens one and two places before, as further channels.
    zeros = [graph.constant(f"zeros{k}", np.zeros((1, k, V))) for k in (1, 2)]
    one, axis = graph.constant("one", np.array([1])), []
    for k in (1, 2):
        starts, ends = graph.constant(f"starts{k}", np.array([0])), graph.constant(f"ends{k}", np.array([-k]))
        cut = graph.add("Slice", [now, starts, ends, one], f"cut{k}")
        axis.append(graph.add("Concat", [zeros[k - 1], cut], f"before{k}", axis=1))
    x = graph.add("Concat", [now, *axis], "features", axis=2)
    width = 3 * V
    up, bias = np.zeros((width, 8)), np.full(8, -0.5)
    up[5, 0] = 1                                  # token 5
    up[[7, V + 9], 1], bias[1] = 1, -1.5          # 9 7, where 7 also follows others
    up[[7, V + 9, 2 * V + 11], 2], bias[2] = 1, -2.5  # 11 9 7, where 9 7 also follows others
    up[:half, 3] = 1                              # the first half of every window
    bias[4] = -1                                  # never
    bias[5] = 1                                   # always
    up[[3, 4, 6, 8, 10, 13, 15, half + 1, half + 3, half + 5, half + 7, half + 9], 6] = 1  # twelve tokens everywhere
    up[[5, 16], 7] = 1                            # two tokens
    x = graph.network(x, "net", up, bias, np.zeros((8, width)))
    graph.head(x, np.zeros((width, V)))
    model = graph.save(tmp_path / "planted.onnx", "logits", V)
    random = np.random.default_rng(6)
    documents = []
    for _ in range(40):
        ids = np.concatenate([random.integers(0, half, length // 2), random.integers(half, V, length // 2)])
        # The same bigram behind 11 and behind others, and its second token behind others.
        ids[:4], ids[5:8], ids[9:12] = (7, 11, 9, 7), (12, 9, 7), (14, 9, 7)
        ids[12:16] = (16, 7, 7, 5)
        documents.append(ids)
    ids = np.array(documents)
    found = analyze("neurons", model, "--calib", write_tokens(tmp_path / "t.json", documents), "--samples", 40, "--length", length)
    row, = found["networks"]
    assert found["has_ngrams"] and row["m"] == 8 and row["fires_above"] == 0
    kinds = {entry["neuron"]: (entry["kind"], entry["ngrams"], entry["firings"]) for entry in row["detectors"]}
    assert kinds[0] == ("token", ["#5"], int(np.sum(ids == 5)))
    assert kinds[1][:2] == ("bigram", ["#9 #7"]) and kinds[2][:2] == ("trigram", ["#11 #9 #7"])
    assert kinds[7][0] == "token" and sorted(kinds[7][1]) == ["#16", "#5"]
    assert set(kinds) == {0, 1, 2, 7}
    assert (row["token"], row["bigram"], row["trigram"]) == (2, 1, 1)
    assert (row["dead"], row["dead_neurons"], row["always"], row["always_neurons"]) == (1, [4], 1, [5])
    positions = {entry["neuron"]: entry["information"] for entry in row["positional_neurons"]}
    # Whether a neuron fires says where in the window, and the other way round; 32 ranges of one position each.
    before = [np.pad(ids, ((0, 0), (k, 0)), constant_values=-1)[:, :length] for k in (1, 2)]
    fires = {0: ids == 5, 1: (ids == 7) & (before[0] == 9), 2: (ids == 7) & (before[0] == 9) & (before[1] == 11), 3: ids < half,
             6: np.isin(ids, np.flatnonzero(up[:V, 6])), 7: np.isin(ids, [5, 16])}
    expected = {neuron: information(mask) for neuron, mask in fires.items()}
    assert expected[3] == pytest.approx(np.log(2) - 31 / (2 * ids.size), abs=1e-9)
    assert positions == pytest.approx({neuron: value for neuron, value in expected.items() if value >= 0.05}, abs=1e-9)
    assert row["positional"] == len(positions)
    assert row["firing_rate"] * 8 * ids.size == pytest.approx(sum(kinds[n][2] for n in (0, 1, 2, 7)) + ids.size + ids.size // 2
                                                              + np.isin(ids, np.flatnonzero(up[:V, 6])).sum())
    assert sum(row["frequencies"]) == 8
    # Where tokens are anywhere, none of them is positional.
    anywhere = write_tokens(tmp_path / "anywhere.json", random.integers(0, V, (40, length)))
    row, = analyze("neurons", model, "--calib", anywhere, "--samples", 40, "--length", length)["networks"]
    assert row["positional"] == 0 and row["positional_neurons"] == []


def test_planted_dependency(tmp_path):
    """B is a copy of A that reads and writes the same channels; C reads what A and B write; D2 reads neither."""
    n = 8
    eye, zero = np.eye(n), np.zeros((n, n))
    graph = Graph()
    random = np.random.default_rng(8)
    x = graph.embed(np.concatenate([1 + random.random((V, n)), np.zeros((V, 2 * n))], 1))

    def block(rows, columns):
        up = np.concatenate([eye if i == rows else zero for i in range(3)], 0)
        return up, np.zeros(n), np.concatenate([eye if i == columns else zero for i in range(3)], 1)

    for name, reads, writes in (("a", 0, 1), ("b", 0, 1), ("c", 1, 2), ("d", 0, 2)):
        x = graph.network(x, name, *block(reads, writes))
    graph.head(x, random.standard_normal((3 * n, V)))
    model = graph.save(tmp_path / "planted.onnx", "logits", V)
    ids = random.integers(0, V, (3, 16))
    found = analyze("dependency", model, "--calib", write_tokens(tmp_path / "t.json", ids), "--samples", 3, "--length", 16)
    assert found["names"] == ["a", "b", "c", "d"]
    matrix = np.array([[np.nan if value is None else value for value in row] for row in found["matrix"]])
    assert np.all(np.isnan(matrix[np.tril_indices(4)]))
    # The copy does not notice, nor does what reads other channels; c halves and keeps its direction.
    assert np.all(np.abs(matrix[np.triu_indices(4, 1)]) < 1e-6)
    # Without the copy c has nothing to read when a is gone: a right angle.
    graph = Graph()
    x = graph.embed(np.concatenate([1 + random.random((V, n)), np.zeros((V, 2 * n))], 1))
    for name, reads, writes in (("a", 0, 1), ("c", 1, 2)):
        x = graph.network(x, name, *block(reads, writes))
    graph.head(x, random.standard_normal((3 * n, V)))
    model = graph.save(tmp_path / "needed.onnx", "logits", V)
    found = analyze("dependency", model, "--calib", tmp_path / "t.json", "--samples", 3, "--length", 16, "--parts", "all")
    assert found["matrix"][0][1] == pytest.approx(1, abs=1e-6)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_sensitivity_of_a_network_that_does_nothing(tmp_path):
    """Network 1 adds zero: leaving it out changes nothing, to the bit. Network 0: what NumPy says of ONNX Runtime's logits."""
    model = random_lm(tmp_path / "lm.onnx", lambda name, array: 0 * array if name == "layers.1.mlp.down" else array)
    without = random_lm(tmp_path / "without.onnx", lambda name, array: 0 * array if name in ("layers.1.mlp.down", "layers.0.mlp.down") else array)
    ids = np.random.default_rng(9).integers(0, V, (3, 16))
    found = analyze("sensitivity", model, "--calib", write_tokens(tmp_path / "t.json", ids), "--samples", 3, "--length", 16)
    rows = {row["name"]: row for row in found["parts"]}
    assert list(rows) == ["layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp", "block 0", "block 1"]
    assert rows["layers.1.mlp"]["kl"] == 0 and rows["layers.1.mlp"]["nll_increase"] == 0
    assert rows["block 1"]["kl"] == rows["layers.1.attn"]["kl"] > 0
    samples = [row[None] for row in ids]
    whole, part = (values_of(path, ["logits"], samples)["logits"] for path in (model, without))
    p, q = log_softmax(whole), log_softmax(part)
    assert rows["layers.0.mlp"]["kl"] == pytest.approx(np.mean(np.sum(np.exp(p) * (p - q), -1)), rel=1e-4)
    cosine = np.sum(whole * part, -1) / np.linalg.norm(whole, axis=-1) / np.linalg.norm(part, axis=-1)
    assert rows["layers.0.mlp"]["angle"] == pytest.approx(np.mean(np.arccos(cosine)), rel=1e-4)
    scored = [s * 16 + i for s in range(3) for i in range(15)]
    targets = ids[:, 1:].reshape(-1)
    assert rows["layers.0.mlp"]["nll_increase"] == pytest.approx(np.mean(p[scored, targets] - q[scored, targets]), rel=1e-3)


@pytest.mark.parametrize(("rows", "cosine"), [(np.ones((8, 8)), 1.0), (np.eye(8), 0.0), (np.array([[1.0] + [0] * 7, [-1.0] + [0] * 7]), -1.0)],
                         ids=["one-direction", "orthogonal", "opposite"])
def test_known_isotropy(tmp_path, rows, cosine):
    """Rows of known directions; the network adds half of what is positive."""
    graph = Graph()
    graph.weights, graph.nodes = [], []
    x = graph.network("x", "net", np.concatenate([np.eye(8), -np.eye(8)], 1), np.zeros(16), np.concatenate([np.eye(8), -np.eye(8)], 0) / 2)
    graph.add("Identity", [x], "y")
    model = graph.save(tmp_path / "rows.onnx", "y", 8, rows=8)
    np.savez(tmp_path / "rows.npz", x=np.stack([rows, 3 * rows]).astype(np.float32))
    row, = analyze("isotropy", model, "--calib", tmp_path / "rows.npz", "--samples", 2)["sublayers"]
    assert row["cosine_before"] == pytest.approx(cosine, abs=1e-6) and row["cosine_after"] == pytest.approx(cosine, abs=1e-6)
    assert row["norm_ratio"] == pytest.approx(0.5, abs=1e-6) and row["cosine_to_input"] == pytest.approx(1, abs=1e-6)
    neurons = analyze("neurons", model, "--calib", tmp_path / "rows.npz", "--samples", 2)
    assert not neurons["has_ngrams"] and neurons["networks"][0]["token"] == 0


def test_sparsity_is_that_of_the_hidden_vector(lm):
    model, _, tokens, ids = lm
    found = analyze("sparsity", model, "--calib", tokens, "--samples", 6, "--length", 32)
    hidden = values_of(model, ["/layers.0.mlp/hidden", "/layers.1.mlp/hidden"], [row[None] for row in ids])
    for row, values in zip(found["networks"], hidden.values(), strict=True):
        assert row["activation"] == "relu" and row["zero"] == pytest.approx(np.mean(values == 0), abs=2 / values.size)
        assert row["rms"] == pytest.approx(np.sqrt(np.mean(values ** 2)), rel=0.01)
        energy = np.sort(values.reshape(-1) ** 2)
        for entry in row["thresholds"]:
            expected = energy[:int(entry["share"] * energy.size)].sum() / energy.sum()
            assert entry["energy"] == pytest.approx(expected, abs=0.01), entry
        channels = np.sort(np.mean(values ** 2, 0))[::-1]
        assert row["top_10_percent_of_neurons"] == pytest.approx(channels[:M // 10].sum() / channels.sum(), rel=1e-4)


def test_vocabulary_projection_is_that_of_numpy(lm):
    """Planted words in network 1, and all scores those of E diag(gamma) w."""
    model = lm[0]
    weights = weights_of(model)
    found = analyze("vocab-projection", model, "--top", M)
    assert found["vocabulary"] == V
    for i, row in enumerate(found["networks"]):
        down = weights[f"layers.{i}.mlp.down.weight"]
        scores = (down * weights["norm.weight"]) @ weights["head.weight"]
        norms = np.linalg.norm(down, axis=1)
        assert [entry["neuron"] for entry in row["neurons"]] == list(np.argsort(-norms, kind="stable"))
        for entry in row["neurons"]:
            r = scores[entry["neuron"]]
            assert [token["id"] for token in entry["promoted"]] == list(np.argsort(-r, kind="stable")[:M])
            assert [token["score"] for token in entry["suppressed"]] == pytest.approx(np.sort(r)[:M], abs=1e-9)
            assert entry["peak"] == pytest.approx((r.max() - r.mean()) / r.std(), rel=1e-9)
            assert entry["promoted"][0]["text"] == f"#{entry['promoted'][0]['id']}"


def test_diff_finds_what_moved(lm):
    model, moved, tokens, ids = lm
    found = analyze("diff", model, moved, "--calib", tokens, "--samples", 6, "--length", 32)
    rows = {row["name"]: row for row in found["sublayers"]}
    assert list(rows) == ["layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp", "(outside)"]
    for name, row in rows.items():
        if name != "layers.1.mlp":
            assert (row["relative_l2"], row["changed"], row["cosine"], row["max_abs"]) == (0, 0, 1, 0)
    by_weight = {row["weight"]: row for row in found["weights"]}
    assert by_weight["layers.1.mlp.up.weight"]["relative_l2"] == pytest.approx(0.25, rel=1e-6)
    assert by_weight["layers.1.mlp.up.weight"]["changed"] == 1 and by_weight["layers.1.mlp.down.weight"]["changed"] == 0
    assert {row["kind"]: row["relative_l2"] > 0 for row in found["kinds"]} == {"attention": False, "ffn": True, "outside": False}
    name = "/layers.1.mlp/sum"
    before, after = (values_of(path, [name], [row[None] for row in ids])[name] for path in (model, moved))
    assert rows["layers.1.mlp"]["hidden_relative_l2"] == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-4)
    assert rows["layers.1.attn"]["hidden_relative_l2"] == 0


def test_profile_gives_what_data_give(lm, tmp_path):
    """--profile in place of --calib: the same figures; one that lacks the statistic is refused, and that of another model."""
    model, moved, tokens, _ = lm
    profile = tmp_path / "p.safetensors"
    data = ["--calib", tokens, "--samples", 6, "--length", 32]
    ffnc("profile", model, *data, "-o", profile, "--probes=hidden,hidden-gram")
    assert analyze("spectral", model, "--profile", profile)["networks"] == analyze("spectral", model, *data)["networks"]
    assert "FFN-D105" in ffnc("analyze", "sparsity", model, "--profile", profile, code=1).stderr
    assert "FFN-D106" in ffnc("analyze", "spectral", moved, "--profile", profile, code=1).stderr


# What is wrong


def test_wrong_use(lm, tmp_path):
    model, moved, tokens, _ = lm
    for arguments, text in [
            (["costs", model], "is no analysis: expected cost, dependency"), (["neurons", model], "FFN-A102"),
            (["diff", model], "name a second one"), (["cost", model, moved], "takes one model"),
            (["neurons", model, "--profile", tokens], "reads no profile"),
            (["rank", model, "--profile", tokens, "--calib", tokens], "exclude one another"),
            (["cost", model, "--batch", 0], "at least 1"), (["dependency", model, "--calib", tokens, "--parts", "x"], "expected ffn, attention"),
            (["neurons", model, "--calib", tokens, "--threshold", "-1"], "at least 0")]:
        done = ffnc("analyze", *arguments, code=2)
        assert text in done.stderr and not done.stdout, (arguments, done.stderr)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    ffnc("analyze", "cost", tmp_path / "broken.onnx", code=1)
    done = ffnc("analyze", "cost", model, "--svg", tmp_path / "none" / "x.svg", code=1)
    assert "FFN-O101" in done.stderr and not done.stdout


def test_models_that_do_not_fit(lm, tmp_path):
    graph = Graph()
    graph.add("Relu", ["x"], "y")
    plain = graph.save(tmp_path / "plain.onnx", "y", 4, rows=4)
    assert "FFN-A101" in ffnc("analyze", "cost", plain, code=1).stderr
    graph = Graph()
    x = graph.network("x", "net", np.eye(8), np.zeros(8), np.eye(8))
    graph.add("Identity", [x], "y")
    rows = graph.save(tmp_path / "rows.onnx", "y", 8, rows=8)
    assert "FFN-A103" in ffnc("analyze", "vocab-projection", rows, code=1).stderr
    assert "FFN-A104" in ffnc("analyze", "diff", lm[0], rows, code=1).stderr
    found = analyze("diff", lm[0], random_lm(tmp_path / "shallow.onnx", layers=1))
    assert found["only_in_a"] == ["layers.1.attn", "layers.1.mlp"] and found["only_in_b"] == []
    bad = random_lm(tmp_path / "bad.onnx", lambda name, array: array * np.where(np.arange(array.size).reshape(array.shape) == 3, np.nan, 1)
                    if name == "layers.1.mlp.up" else array)
    for verb in (["rank", bad], ["diff", lm[0], bad]):
        assert "FFN-A106" in ffnc("analyze", *verb, code=1).stderr


# The report


class Page(HTMLParser):
    """Tags, attributes and text of an HTML file, and whether its tags are closed in order."""

    VOID = {"meta", "br", "rect", "line"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in self.VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def check_page(path):
    """An offline page: no script, nothing fetched, below 3 MB. Its parser."""
    text = path.read_text()
    assert len(text.encode()) < 3_000_000
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on") and name not in {"src", "srcset", "xlink:href"}, (tag, name)
        assert name != "href" or value.startswith("#"), value
        assert name == "xmlns" or "://" not in (value or ""), (tag, name, value)
    assert "@import" not in text and "url(" not in text
    return page


def test_report_of_a_run(lm, tmp_path):
    """All analyses, decisions, quality and latency of a pruned model in one page; what is no result is named and left out."""
    model, moved, tokens, _ = lm
    run = tmp_path / "run"
    shutil.copytree(GOLDEN, run)
    pipeline = "--pass-pipeline=builtin.module(ffn-raise,ffn-prune-sublayers{method=finercut count=1 samples=6 length=32 calib=%s})" % tokens
    (run / "compile.json").write_text(ffnc("compile", model, "-o", tmp_path / "pruned.so", "--force", "--json", pipeline).stdout)
    ffnc("compile", model, "-o", tmp_path / "whole.so")
    (run / "compare.json").write_text(ffnc("compare", tmp_path / "whole.so", tmp_path / "pruned.so", "--data", tokens, "--window", 31, "--json").stdout)
    (run / "bench.json").write_text(ffnc("bench", tmp_path / "whole.so", tmp_path / "pruned.so", "--prompt-tokens", 16, "--decode-tokens", 2,
                                         "--repeat", 2, "--json").stdout)
    (run / "other.json").write_text('{"outputs": 3}')
    done = ffnc("report", run, "-o", tmp_path / "r.html", "--title", "A <b>&\"run\"")
    assert "other.json" in done.stderr and done.stderr.count("FFN-A107") == 1
    page = check_page(tmp_path / "r.html")
    text = " ".join(page.text)
    assert page.tags.count("section") == len(VERBS) + 3 and page.tags.count("svg") >= len(VERBS)
    assert "b" not in page.tags and 'A <b>&"run"' in text
    titles = [title for title in page.text if title.startswith(("Decisions", "Quality", "Latency", "Cost"))]
    assert [title.split()[0].strip(":") for title in titles][:4] == ["Decisions", "Quality", "Latency", "Cost"]
    decisions = json.loads((run / "compile.json").read_text())["candidates"]
    assert len(decisions) == 4 and f"{sum(entry['rewritten'] for entry in decisions)} of 4 candidates were rewritten." in text
    figures = json.loads((run / "compare.json").read_text())["logits"]
    assert f"{figures['kl']:.4g}" in text and f"{figures['a']['perplexity']:.4g}" in text
    ratio = json.loads((run / "bench.json").read_text())["ratio"]["prefill"]
    assert f"{ratio:.4g}" in text


def test_results_that_someone_spoiled(tmp_path):
    """Any JSON is shown as far as it makes sense: names are escaped, numbers of another type are gaps."""
    run = tmp_path / "run"
    run.mkdir()

    def spoil(value, turn):
        if isinstance(value, dict):
            return {key: value[key] if key == "analysis" else spoil(value[key], turn) for key in value}
        if isinstance(value, list):
            return [spoil(entry, turn) for entry in value][:3]
        if turn == "names":
            return "<script>alert(1)</script>&\u0001" if isinstance(value, str) else value
        return [None, "x", -1e300, [], {}][len(str(value)) % 5]

    for verb in VERBS:
        golden = json.loads((GOLDEN / f"{verb}.json").read_text())
        for turn in ("names", "types"):
            (run / f"{verb}-{turn}.json").write_text(json.dumps(spoil(golden, turn)))
        (run / f"{verb}-empty.json").write_text(json.dumps({"analysis": verb}))
    ffnc("report", run, "-o", tmp_path / "r.html")
    page = check_page(tmp_path / "r.html")
    assert page.tags.count("section") == 3 * len(VERBS)


def test_long_tables_are_cut_and_large_reports_refused(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    row = {"rewritten": False, "pass": "ffn-x", "class": "exact", "text": "why " * 1000}
    compiled = {"output": "x", "emit": "so", "bytes": 1, "seconds": 1, "remarks": []}
    (run / "c.json").write_text(json.dumps({**compiled, "candidates": [{**row, "candidate": f"c{i}"} for i in range(3000)]}))
    ffnc("report", run, "-o", tmp_path / "r.html")
    text = " ".join(check_page(tmp_path / "r.html").text)
    assert "2750 further rows" in text and "c249" in text and "c250" not in text
    for i in range(20):
        shutil.copy(run / "c.json", run / f"c{i}.json")
    done = ffnc("report", run, "-o", tmp_path / "large.html", code=1)
    assert "FFN-A107" in done.stderr and not (tmp_path / "large.html").exists()


def test_folders_without_results(tmp_path):
    assert "FFN-A107" in ffnc("report", tmp_path / "none", "-o", tmp_path / "r.html", code=1).stderr
    assert "holds no .json" in ffnc("report", tmp_path, "-o", tmp_path / "r.html", code=1).stderr
    (tmp_path / "x.json").write_text('{"analysis": ' + 2_000_000 * "[")
    assert "nests too deep" in ffnc("report", tmp_path, "-o", tmp_path / "r.html", code=1).stderr
    (tmp_path / "x.json").write_text("{")
    done = ffnc("report", tmp_path, "-o", tmp_path / "r.html", code=1)
    assert "x.json" in done.stderr and "is no JSON" in done.stderr and not (tmp_path / "r.html").exists()


def test_every_analysis_has_a_golden_file():
    said = ffnc("analyze", "none", "none", code=2).stderr.splitlines()[0]
    assert said.split("expected ")[1].split(", ") == VERBS
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == VERBS
