"""ffn_mlir.Evaluator: what it says of a small model is what a model without the sublayers says."""
import itertools
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import ffn_mlir

VOCABULARY, WIDTH, HIDDEN, BLOCKS = 11, 8, 13, 3


def weight(name, array):
    array = np.asarray(array, np.float32)
    return f'%{name} = ffn.weight dense<"0x{array.tobytes().hex()}"> : {kind(array.shape)}'


def kind(shape):
    return "tensor<" + "x".join("?" if d is None else str(d) for d in shape) + "xf32>"


def model_text(post_norm, zero=(), idle=(), arrays=None):
    """Blocks of two sublayers; a mean over positions stands for attention.

    The sublayers in `zero` add nothing, the neurons in `idle` are zero. What
    the weights are goes into `arrays`.
    """
    random = np.random.default_rng(5)
    hidden = kind((None, None, WIDTH))
    lines, weights = [], []

    def make(name, *shape, scale=1.0):
        array = random.standard_normal(shape) * scale
        if name.startswith("up"):
            array[list(idle)] = 0
        if arrays is not None:
            arrays[name] = array.astype(np.float32).astype(np.float64)
        weights.append(weight(name, array))
        return f"%{name}", kind(shape)

    table, table_type = make("table", VOCABULARY, WIDTH)
    lines.append(f"%h0 = ffn.embedding %ids, {table} : tensor<?x?xi64>, {table_type} -> {hidden}")
    at = "%h0"
    for i in range(2 * BLOCKS):
        attention = i % 2 == 0
        name = f"{i // 2}.{'attn' if attention else 'mlp'}"
        scale = 0 if name in zero else 0.3 + 0.1 * ((5 * i) % 7)
        up, up_type = make(f"up{i}", HIDDEN, WIDTH)
        down, down_type = make(f"down{i}", WIDTH, HIDDEN, scale=scale)
        norm = "%x" if post_norm else "%n"
        body = [] if post_norm else [f"%n = ffn.norm rms %x eps 1.0e-5 : {hidden}"]
        if attention:
            body += [
                f'%m = onnx.node "ReduceMean" v13 ({norm}) {{axes = array<i64: 1>, keepdims = 1 : si64}} : ({hidden}) -> {kind((None, 1, WIDTH))}',
                f'%c = onnx.node "Add" v14 ({norm}, %m) : ({hidden}, {kind((None, 1, WIDTH))}) -> {hidden}',
            ]
        body.append(f"%f = ffn.feed_forward silu {'%c' if attention else norm} up {up} down {down} : ({hidden}, {up_type}, {down_type}) -> {hidden}")
        lines.append(f'%s{i} = ffn.sublayer [#ffn.addend<{"attention" if attention else "ffn"} "{name}">] ({at}) : ({hidden}) -> {hidden} {{')
        lines += [f"^bb0(%x: {hidden}):", *body, f"ffn.yield %f : {hidden}", "}"]
        at = f"%s{i}"
        if post_norm:
            lines.append(f"%p{i} = ffn.norm layer {at} eps 1.0e-5 : {hidden}")
            at = f"%p{i}"
    head, head_type = make("head", VOCABULARY, WIDTH)
    lines.append(f"%y = ffn.linear {at}, {head} : {hidden}, {head_type} -> {kind((None, None, VOCABULARY))}")
    return (
        'module {\nfunc.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", ffn.dims = ["batch", "sequence"]}) -> '
        f'({kind((None, None, VOCABULARY))} {{onnx.name = "logits"}}) {{\n'
        + "\n".join(weights + lines)
        + f"\nreturn %y : {kind((None, None, VOCABULARY))}\n}}\n}}\n"
    )


NAMES = [f"{i}.{part}" for i in range(BLOCKS) for part in ("attn", "mlp")]
SAMPLES = [{"input_ids": np.random.default_rng(i).integers(0, VOCABULARY, (1, length))} for i, length in enumerate((5, 7, 16, 17))]


def evaluator(post_norm=False, zero=(), **options):
    return ffn_mlir.Evaluator(ffn_mlir.parse_module(model_text(post_norm, zero)), SAMPLES, **options)


@pytest.fixture(scope="module")
def pre_norm():
    return evaluator(threads=1)


LEVELS = {"avx512_vnni": "avx512_vnni", "avx512": "avx512f", "avx2_vnni": "avx_vnni", "avx2": "avx2"}


def levels():
    flags = open("/proc/cpuinfo").read().split()
    return [level for level, flag in LEVELS.items() if flag in flags]


def check_left_out_is_removed(folder, post_norm, cpu):
    """The level of the compiled models."""
    module = ffn_mlir.parse_module(model_text(post_norm))
    found = ffn_mlir.Evaluator(module, SAMPLES, cpu=cpu, threads=1)
    for without in ([], ["0.attn"], ["1.attn", "1.mlp", "2.mlp"]):
        passes = f"builtin.module(ffn-prune-sublayers{{only={','.join(without)}}})" if without else None
        removed = ffn_mlir.load(ffn_mlir.compile(module, pathlib.Path(folder) / "removed.so", pipeline=passes, cpu=cpu))
        for i, sample in enumerate(SAMPLES):
            want = removed.run(sample)["logits"].tobytes()
            assert found.run(i, without).tobytes() == want
            assert found.run(i, without, restart=False).tobytes() == want
    return removed.info.level


@pytest.mark.parametrize("cpu", levels())
@pytest.mark.parametrize("post_norm", [False, True])
def test_left_out_is_removed_bit_by_bit(tmp_path, post_norm, cpu):
    assert check_left_out_is_removed(tmp_path, post_norm, cpu) == cpu


@pytest.mark.parametrize("cpu", levels())
def test_left_out_is_removed_where_features_are_hidden(tmp_path, cpu):
    """FFN_CPU_FEATURES shows a process the features of one level: it compiles for that level and runs nothing else."""
    features = ffn_mlir.load(ffn_mlir.compile(ffn_mlir.parse_module(model_text(False)), tmp_path / "m.so", cpu=cpu)).info.features
    code = "import sys, test_evaluator; print(test_evaluator.check_left_out_is_removed(sys.argv[1], True, 'native'))"
    environment = os.environ | {"FFN_CPU_FEATURES": ",".join(features),
                                "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.split() == [cpu], done.stderr


def test_figures_do_not_depend_on_threads_or_company(pre_norm):
    sets = [names for size in (0, 1, 2, 3) for names in itertools.combinations(NAMES, size)]
    together = pre_norm.measure(sets)
    assert together == evaluator(threads=5).measure(sets[::-1])[::-1]
    for i in (0, 3, 20, len(sets) - 1):
        assert pre_norm.measure([sets[i]]) == [together[i]]
    assert together[0] == 0 and min(together[1:]) > 0


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def test_metrics_are_those_of_numpy(pre_norm):
    without = ["1.mlp", "2.attn"]
    logits = [(pre_norm.run(i)[0].astype(np.float64), pre_norm.run(i, without)[0].astype(np.float64)) for i in range(len(SAMPLES))]
    p, q = (np.concatenate(side) for side in zip(*logits))
    a, b = softmax(p), softmax(q)
    m = (a + b) / 2
    cosine = (p * q).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(q, axis=-1)
    targets = [sample["input_ids"][0, 1:] for sample in SAMPLES]
    chosen = np.concatenate([softmax(y)[:-1][np.arange(len(t)), t] for (_, y), t in zip(logits, targets)])
    greatest = np.concatenate([y[:-1].argmax(-1) != t for (_, y), t in zip(logits, targets)])
    want = {
        "js": np.mean((a * np.log(a / m) + b * np.log(b / m)).sum(-1) / 2),
        "js-reverse": np.mean((m * np.log(m / a) + m * np.log(m / b)) / 2),
        "kl": np.mean((a * np.log(a / b)).sum(-1)),
        "angular": np.mean(np.arccos(np.clip(cosine, -1, 1))),
        "norm": np.mean([np.linalg.norm(x - y) for x, y in logits]),
        "nll": -np.log(chosen).mean(),
        "error": greatest.mean(),
    }
    assert {name: pre_norm.measure([without], name)[0] for name in want} == pytest.approx(want, rel=1e-9)


def test_targets_of_the_caller():
    found = evaluator(targets=[[-1, 3], [], [2], [-1, -1]])
    rows = [softmax(found.run(0)[0].astype(np.float64))[1, 3], softmax(found.run(2)[0].astype(np.float64))[0, 2]]
    assert found.measure([[]], "nll") == pytest.approx([-np.log(rows).mean()], rel=1e-9)


def greedy(found, count, protect=0.0, metric="js", names=NAMES):
    """FinerCut as its description reads."""
    guarded = math.floor(len(names) * protect / 2) + 1 if protect else 0
    removed, scores = [], []
    while len(removed) < count:
        closed = guarded if len(removed) < math.floor(len(names) * protect) + 1 else 0
        open_ = [n for n in names if n not in removed and int(n[0]) >= closed]
        if not open_:
            guarded = 0
            continue
        figures = found.measure([[*removed, name] for name in open_], metric)
        scores.append(min(figures))
        removed.append(open_[figures.index(scores[-1])])
    return tuple(removed), tuple(scores)


@pytest.mark.parametrize("metric", ["js", "js-reverse", "angular", "norm"])
def test_first_choice_is_the_least_of_all(pre_norm, metric):
    figures = dict(zip(NAMES, pre_norm.measure([[name] for name in NAMES], metric)))
    result = pre_norm.search("finercut", count=1, protect=0, metric=metric)
    assert result.order == (min(figures, key=figures.get),) and result.scores == (min(figures.values()),)
    assert result.distance == result.scores[0]


@pytest.mark.parametrize("protect", [0.0, 0.4, 0.7, 1.0])
def test_greedy_order_protection_and_readmission(pre_norm, protect):
    result = pre_norm.search("finercut", count=5, protect=protect)
    assert (result.order, result.scores) == greedy(pre_norm, 5, protect)
    guarded = math.floor(len(NAMES) * protect / 2) + 1 if protect else 0
    assert all(int(name[0]) >= guarded for name in result.order[: 2 * max(BLOCKS - guarded, 0)])


def test_a_sublayer_that_adds_nothing_goes_first():
    found = evaluator(zero=("2.mlp", "1.attn"))
    for metric in ("js", "js-reverse", "angular", "norm", "kl"):
        result = found.search("finercut", count=3, protect=0, metric=metric)
        assert result.order[:2] == ("1.attn", "2.mlp") and result.scores[:2] == (0, 0) and result.scores[2] > 0


def first_nll(found, without):
    """Of the first sample alone: what the second stage of 2SSP looks at."""
    ids = SAMPLES[0]["input_ids"][0]
    p = softmax(found.run(0, without)[0].astype(np.float64))
    return -np.log(p[np.arange(len(ids) - 1), ids[1:]]).mean()


def test_kinds_blocks_and_second_stage(pre_norm):
    attention = [name for name in NAMES if "attn" in name]
    result = pre_norm.search("finercut", count=3, protect=0, kinds=["attention"])
    assert result.order == greedy(pre_norm, 3, names=attention)[0]
    stage = pre_norm.search("2ssp", count=2)
    figures = {names: first_nll(pre_norm, names) for names in itertools.permutations(attention, 2)}
    figures |= {(name,): first_nll(pre_norm, [name]) for name in attention}
    assert stage.scores == pytest.approx([figures[stage.order[:1]], figures[stage.order]], rel=1e-9)
    assert figures[stage.order[:1]] == min(figures[name,] for name in attention)
    assert figures[stage.order] == min(figures[names] for names in figures if len(names) == 2 and names[0] == stage.order[0])
    single = pre_norm.search("block-influence", count=6)
    assert sorted(single.order) == NAMES and list(single.scores) == sorted(single.scores)
    whole = pre_norm.search("block-influence", count=5, whole_blocks=True)
    assert len(whole.order) == 4 and [n[0] for n in whole.order[::2]] == [n[0] for n in whole.order[1::2]]
    assert whole.scores[0] == whole.scores[1] <= whole.scores[2] == whole.scores[3]


def test_random_and_evolution(pre_norm):
    draws = [pre_norm.search("random", count=4, seed=seed) for seed in range(6)]
    assert len({draw.order for draw in draws}) > 3 and all(len(set(draw.order)) == 4 for draw in draws)
    assert pre_norm.search("random", count=5, seed=2).order[:4] == draws[2].order
    best = min(pre_norm.measure(itertools.combinations(NAMES, 3), "kl"))
    found = pre_norm.search("evopress", count=3, seed=1)
    assert found.distance == pytest.approx(best, rel=1e-9) and len(set(found.order)) == 3
    assert pre_norm.measure([found.order], "kl") == [found.distance]
    few = pre_norm.search("evopress", count=3, seed=1, evaluations=20)
    assert few.evaluations <= (20 + 64 / 4 + 14) * len(SAMPLES) and few.distance >= found.distance


@pytest.mark.parametrize("options, code", [
    ({"method": "best", "count": 1}, "FFN-P111"),
    ({"count": 1, "metric": "cosine"}, "FFN-P111"),
    ({"count": 1, "kinds": ["mlp"]}, "FFN-P111"),
    ({"count": 7}, "FFN-P112"),
    ({"count": 4, "kinds": ["ffn"]}, "FFN-P112"),
])
def test_errors_of_a_search(pre_norm, options, code):
    with pytest.raises(ffn_mlir.Error) as caught:
        pre_norm.search(**options)
    assert caught.value.code == code


def test_errors(pre_norm):
    def fails(code, action):
        with pytest.raises(ffn_mlir.Error) as caught:
            action()
        assert caught.value.code == code

    fails("FFN-P102", lambda: pre_norm.measure([["3.mlp"]]))
    fails("FFN-P111", lambda: pre_norm.run(4))
    module = ffn_mlir.parse_module(model_text(False))
    fails("FFN-P111", lambda: ffn_mlir.Evaluator(module, []))
    fails("FFN-R400", lambda: ffn_mlir.Evaluator(module, [{"ids": np.zeros((1, 2), np.int64)}]))
    fails("FFN-P111", lambda: ffn_mlir.Evaluator(module, SAMPLES, targets=[[0]]))
    empty = 'module {\nfunc.func @main(%x: tensor<?x4xf32> {onnx.name = "x", ffn.dims = ["n", 4]}) -> tensor<?x4xf32> {\nreturn %x : tensor<?x4xf32>\n}\n}'
    fails("FFN-P110", lambda: ffn_mlir.Evaluator(ffn_mlir.parse_module(empty), [{"x": np.zeros((1, 4), np.float32)}]))


# ---- the pass ----------------------------------------------------------------


WINDOWS = 8  # of five tokens, in the samples


def prune(options, tmp_path, text=None):
    """The module after the pass, calibrated on all windows, and its remarks."""
    calibration = tmp_path / "tokens.json"
    calibration.write_text(json.dumps([sample["input_ids"][0].tolist() for sample in SAMPLES]))
    module = ffn_mlir.parse_module(text or model_text(False))
    passes = f"builtin.module(ffn-prune-sublayers{{{options} calib={calibration} length=5 samples={WINDOWS}}})"
    return module, [d.text for d in ffn_mlir.PassManager.parse(passes).run(module)]


def removed(remarks):
    found = [re.search(r": '(\S+)' is number (\d+) of (\d+) to go", remark) for remark in remarks]
    return [m[1] for m in sorted((m for m in found if m), key=lambda m: int(m[2]))]


def stays(remarks):
    return dict(re.findall(r": '(\S+)' stays: (.*)", "\n".join(remarks)))


PARAMETERS = 2 * WIDTH * HIDDEN  # of a sublayer
TOTAL = 2 * BLOCKS * PARAMETERS + 2 * VOCABULARY * WIDTH


@pytest.mark.parametrize("budget, count", [
    (f"parameters={1.5 * PARAMETERS / TOTAL}", 2), ("flops=0.5", 4), ("ratio=0.25", 2),
])
def test_budgets(tmp_path, budget, count):
    """Half a sublayer more than one makes two; of six candidates a quarter, 1.5, makes two."""
    module, remarks = prune(f"method=finercut protect=0 {budget}", tmp_path)
    gone = removed(remarks)
    assert len(gone) == count and str(module).count("ffn.sublayer [") == 2 * BLOCKS - count
    reasons = stays(remarks)
    assert sorted([*gone, *reasons]) == NAMES and set(reasons.values()) == {"others matter less"}
    assert sum("stays" in remark for remark in remarks) == 2 * BLOCKS - count


def test_measured_latency_is_saved(tmp_path):
    _, remarks = prune("method=random latency=0.2", tmp_path)
    saved, budget = map(float, re.search(r"saves (\S+) of a budget of (\S+)", remarks[-1] if "saves" in remarks[-1] else "\n".join(remarks)).groups())
    assert 0 < len(removed(remarks)) < 2 * BLOCKS and saved >= budget > 0


def test_every_reason_is_given_once(tmp_path):
    _, remarks = prune("method=finercut count=1 kinds=ffn", tmp_path)
    reasons = stays(remarks)
    assert len(removed(remarks)) == 1 and len(reasons) == 2 * BLOCKS - 1
    assert sum(reason == "its kind is not among those asked for" for reason in reasons.values()) == BLOCKS
    assert sum(reason.startswith("early blocks are protected") for reason in reasons.values()) == 1
    _, remarks = prune("method=finercut", tmp_path)
    assert stays(remarks) == dict.fromkeys(NAMES, "the budget is nothing") and len(remarks) == 2 * BLOCKS
    # A further result that another operation reads holds its sublayer.
    text = model_text(False)
    hidden = kind((None, None, WIDTH))
    text = text.replace(f'"0.mlp">] (%s0) : ({hidden}) -> {hidden} {{', f'"0.mlp">] (%s0) : ({hidden}) -> ({hidden}, {hidden}) {{', 1)
    body = text.index("ffn.yield %f", text.index('"0.mlp"'))
    text = text[:body] + text[body:].replace(f"ffn.yield %f : {hidden}", f"ffn.yield %f, %f : {hidden}, {hidden}", 1)
    text = text.replace("%s1 = ", "%s1:2 = ", 1).replace("(%s1) :", "(%s1#0) :", 1)
    end = text.index("%y = ")
    text = text[:end] + f'%extra = onnx.node "Add" v14 (%s5, %s1#1) : ({hidden}, {hidden}) -> {hidden}\n' + text[end:].replace("%y = ffn.linear %s5", "%y = ffn.linear %extra")
    _, remarks = prune("method=finercut count=5 protect=0", tmp_path, text)
    assert "0.mlp" not in removed(remarks) and "FFN-P103" in stays(remarks)["0.mlp"] or "read by other operations" in stays(remarks)["0.mlp"]


def hidden_norms(arrays):
    """Of each network's neurons the mean over samples of the norm over tokens, in float64."""
    scores = np.zeros((BLOCKS, HIDDEN))
    windows = [row[at : at + 5] for row in (sample["input_ids"][0] for sample in SAMPLES) for at in range(0, len(row) - 4, 5)]
    assert len(windows) == WINDOWS
    for window in windows:
        x = arrays["table"][window]
        for i in range(2 * BLOCKS):
            n = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
            z = (n if i % 2 else n + n.mean(0, keepdims=True)) @ arrays[f"up{i}"].T
            h = z / (1 + np.exp(-z))
            if i % 2:
                scores[i // 2] += np.linalg.norm(h, axis=0) / WINDOWS
            x = x + h @ arrays[f"down{i}"].T
    return scores


@pytest.mark.parametrize("ratio, attentions, kept", [(0.06, 0, 11), (0.3, 1, 10), (0.5, 2, 9)])
def test_two_stages(tmp_path, ratio, attentions, kept):
    """round(3 s^(2/3)) attentions, as they are as large as networks; round(13 (1 - 2 s + attentions / 3)) neurons stay."""
    arrays = {}
    text = model_text(False, idle=(3, 8), arrays=arrays)
    module, remarks = prune(f"method=2ssp ratio={ratio}", tmp_path, text)
    assert len(removed(remarks)) == attentions and all("attn" in name for name in removed(remarks))
    assert sum(remark == f"2ssp: {HIDDEN - kept} of {HIDDEN} neurons removed" for remark in remarks) == BLOCKS
    # The same by the reference: the neurons with the least norms are made zero.
    for block, norms in enumerate(hidden_norms(arrays)):
        for neuron in np.argsort(norms)[: HIDDEN - kept]:
            arrays[f"up{2 * block + 1}"][neuron] = 0
    zeroed = text
    for block in range(BLOCKS):
        name = f"up{2 * block + 1}"
        zeroed = re.sub(rf"%{name} = .*", weight(name, arrays[name]), zeroed)
    reference = ffn_mlir.parse_module(zeroed)
    if attentions:
        ffn_mlir.PassManager.parse(f"builtin.module(ffn-prune-sublayers{{only={','.join(removed(remarks))}}})").run(reference)
    sample = SAMPLES[2]
    got, want = (ffn_mlir.interpret(m, sample)["logits"] for m in (module, reference))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options, code", [
    ("method=finercut count=1 ratio=0.5", "FFN-P111"),
    ("method=finercut flops=1.5", "FFN-P111"),
    ("method=finercut count=1 whole-blocks", "FFN-P111"),
    ("method=finercut count=1 with-norm", "FFN-P111"),
    ("method=finercut parameters=0.99", "FFN-P112"),
    ("method=2ssp ratio=0.5 count=1", "FFN-P111"),
    ("method=2ssp ratio=1", "FFN-P111"),
])
def test_errors_of_the_pass(tmp_path, options, code):
    with pytest.raises(ffn_mlir.Error) as caught:
        prune(options, tmp_path)
    assert caught.value.code == code
