"""Products of computed matrices in compiled models, element by element against float64."""
import itertools

import numpy as np
import pytest
from artefact import Model, compile_model
from onnx import helper
from test_compile import F, save

MICROSOFT = [helper.make_opsetid("com.microsoft", 1)]
UNIT = 2.0**-24


def check(model, a, b, left, right, alpha=1.0):
    """`left` and `right`: how the matrices lie in the inputs."""
    x, w = left(a.astype(np.float64)), right(b.astype(np.float64))
    (y,) = model.run({"a": a, "b": b})
    depth = x.shape[-1]
    wanted = alpha * np.matmul(x, w)
    bound = 2 * (depth + 2) * UNIT * abs(alpha) * np.matmul(np.abs(x), np.abs(w)) + 1e-40
    assert y.shape == wanted.shape and (np.abs(y - wanted) <= bound).all(), (a.shape, b.shape)


def swapped(x):
    return np.swapaxes(x, -1, -2)


@pytest.mark.parametrize("cpu", ["avx2", "native"])
@pytest.mark.parametrize("trans_a,trans_b", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("fused", [False, True])
def test_sizes(trans_a, trans_b, fused, cpu, tmp_path):
    """Sizes that end inside and at the ends of tiles, panels and blocks, and none at all."""
    if fused:
        nodes = [helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transA=trans_a, transB=trans_b, alpha=0.5)]
    else:
        nodes, names = [], ["a", "b"]
        for i, trans in enumerate((trans_a, trans_b)):
            if trans:
                nodes.append(helper.make_node("Transpose", [names[i]], [names[i] + "t"], perm=[0, 2, 1]))
                names[i] += "t"
        nodes.append(helper.make_node("MatMul", names, ["y"]))
    save(tmp_path / "g.onnx", nodes, [("a", F, ["x", "p", "q"]), ("b", F, ["x", "r", "s"])], [("y", F, ["x", "m", "n"])], imports=MICROSOFT)
    done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so", f"--cpu={cpu}")
    assert done.returncode == 0, done.stderr
    model, generator = Model(tmp_path / "g.so", threads=2), np.random.default_rng(trans_a + 2 * trans_b)
    for x, m, n, k in itertools.product((0, 1, 3), (0, 1, 8, 97), (0, 1, 16, 49, 101), (0, 1, 13, 129)):
        a = generator.standard_normal((x, k, m) if trans_a else (x, m, k), dtype=np.float32)
        b = generator.standard_normal((x, n, k) if trans_b else (x, k, n), dtype=np.float32)
        check(model, a, b, swapped if trans_a else np.asarray, swapped if trans_b else np.asarray, 0.5 if fused else 1.0)


@pytest.mark.parametrize("left,right", [((3, 1), (1, 4)), ((2, 3), ()), ((), (2, 3)), ((3,), (2, 1)), ((1, 1), (2, 2))])
def test_broadcast_batches(left, right, tmp_path):
    """Dimensions of one that the file knows, and batches on one side that only the run knows."""
    for known in (True, False) if not left or not right else (True,):
        sizes = [list(dims) if known else [f"{side}{i}" for i in range(len(dims))] for side, dims in (("l", left), ("r", right))]
        rank = max(len(left), len(right)) + 2
        save(tmp_path / "g.onnx", [helper.make_node("MatMul", ["a", "b"], ["y"])], [("a", F, sizes[0] + ["m", "k"]), ("b", F, sizes[1] + ["k", "n"])],
             [("y", F, [f"y{i}" for i in range(rank)])])
        done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so")
        assert done.returncode == 0, done.stderr
        model, generator = Model(tmp_path / "g.so"), np.random.default_rng(1)
        for m, n, k in ((1, 1, 1), (7, 17, 5), (9, 50, 130)):
            a = generator.standard_normal((*left, m, k), dtype=np.float32)
            b = generator.standard_normal((*right, k, n), dtype=np.float32)
            check(model, a, b, np.asarray, np.asarray)


@pytest.mark.parametrize("left,right", [(["k"], ["k", "n"]), (["m", "k"], ["k"]), (["k"], ["k"]), (["x", "m", "k"], ["k"])])
def test_vectors(left, right, tmp_path):
    save(tmp_path / "g.onnx", [helper.make_node("MatMul", ["a", "b"], ["y"])], [("a", F, left), ("b", F, right)],
         [("y", F, [d for d in left[:-1]] + [d for d in right[1:]])])
    done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so")
    assert done.returncode == 0, done.stderr
    model, generator = Model(tmp_path / "g.so"), np.random.default_rng(1)
    for x, m, n, k in ((1, 1, 1, 1), (2, 9, 50, 131), (3, 8, 16, 0)):
        shape = lambda dims: [{"x": x, "m": m, "n": n, "k": k}[d] for d in dims]
        check(model, generator.standard_normal(shape(left), dtype=np.float32), generator.standard_normal(shape(right), dtype=np.float32),
              np.asarray, np.asarray)


def test_kernel_and_loops_give_the_same_bits(tmp_path):
    """Attention of one head without any constant: two products with a softmax between them."""
    nodes = [helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), helper.make_node("MatMul", ["q", "kt"], ["s"]),
             helper.make_node("Softmax", ["s"], ["p"], axis=-1), helper.make_node("MatMul", ["p", "v"], ["y"])]
    save(tmp_path / "g.onnx", nodes, [("q", F, ["x", "m", "d"]), ("k", F, ["x", "n", "d"]), ("v", F, ["x", "n", "e"])], [("y", F, ["x", "m", "e"])])
    generator, results = np.random.default_rng(1), []
    feeds = {name: generator.standard_normal((2, 98, 64), dtype=np.float32) for name in "qkv"}
    for arguments in ([], ["--no-kernels"], ["--cpu=avx2"]):
        # Raised attention has another order of operations; here the products are meant.
        done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so", "--pass-pipeline=builtin.module(canonicalize)", *arguments)
        assert done.returncode == 0, done.stderr
        for threads in (1, 2):
            results.append(Model(tmp_path / "g.so", threads=threads).run(feeds)[0].tobytes())
    assert len(set(results[:4])) == 1
    exact = {name: array.astype(np.float64) for name, array in feeds.items()}
    scores = np.exp(exact["q"] @ swapped(exact["k"]))
    wanted = scores / scores.sum(-1, keepdims=True) @ exact["v"]
    for result in results:
        assert np.abs(np.frombuffer(result, np.float32).reshape(wanted.shape) - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("attribute", ["transBatchA", "transBatchB"])
def test_transposed_batches_are_refused(attribute, tmp_path):
    sizes = ([3, 2, 4], [2, 4, 2]) if attribute.endswith("A") else ([2, 3, 4], [4, 2, 2])
    save(tmp_path / "g.onnx", [helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", **{attribute: 1})],
         [("a", F, sizes[0]), ("b", F, sizes[1])], [("y", F, ["x", "m", "n"])], imports=MICROSOFT)
    done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so")
    assert done.returncode == 1 and "[FFN-C101]" in done.stderr and "transposed batch" in done.stderr and not (tmp_path / "g.so").exists()
