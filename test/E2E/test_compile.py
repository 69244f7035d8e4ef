"""Models compiled to native libraries give what ONNX Runtime gives."""
import hashlib
import subprocess

import numpy as np
import onnx
import pytest
from artefact import BUILD, BUNDLED, SHARED, Model, RunError, compile_model, error_of, ort_session
from onnx import TensorProto, helper

TRAINED = [BUNDLED / "pycode-lm.onnx", BUNDLED / "pycode-lm-kv.onnx"] + [
    SHARED / name
    for name in ("stories260K.onnx", "stories260K_fp16w.onnx", "stories260K_torch_op14.onnx", "babyllama105.onnx",
                 "babyllama105_ext.onnx", "kwt1/kwt1.onnx", "kwt1/kwt1_ln17.onnx", "kwt1/kwt1_torch_op14.onnx",
                 "kwt1/kwt1_frontend.onnx")
]
# batch, length, past
SIZES = [(1, 1, 0), (1, 7, 0), (2, 33, 0), (5, 7, 4), (2, 1, 33), (5, 33, 1), (0, 7, 2)]
# Both sides round: four times the error of ONNX Runtime against float64, which is below 2^-20 for these models.
BOUND = 4 * 2.0**-20


def feeds_for(session, batch, length, past, seed):
    generator = np.random.default_rng(seed)
    feeds = {}
    for info in session.get_inputs():
        shape = []
        for dim in info.shape:
            if isinstance(dim, int):
                shape.append(dim)
            elif "+" in dim or "total" in dim:
                shape.append(past + length)
            elif "past" in dim:
                shape.append(past)
            elif "batch" in dim or dim == "B":
                shape.append(batch)
            else:
                shape.append(length)
        if "int" in info.type:
            feeds[info.name] = generator.integers(1, 100, shape).astype("int64" if "64" in info.type else "int32")
        else:
            feeds[info.name] = generator.standard_normal(shape).astype(np.float16 if "float16" in info.type else np.float32)
    return feeds


@pytest.mark.parametrize("model", TRAINED, ids=lambda path: path.stem)
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "loops"])
def test_trained_model(model, kernels, tmp_path):
    if not model.exists():
        pytest.skip(f"{model} is not there")
    library = tmp_path / "model.so"
    done = compile_model(model, library, *([] if kernels else ["--no-kernels"]))
    assert done.returncode == 0 and not done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.so"]
    session, ours = ort_session(model), Model(library)
    dynamic = any(isinstance(dim, str) for info in session.get_inputs() for dim in info.shape)
    for batch, length, past in SIZES if dynamic else SIZES[:1]:
        feeds = feeds_for(session, batch, length, past, seed=batch + length + past)
        before = {name: array.copy() for name, array in feeds.items()}
        results = ours.run(feeds)
        for name, array in feeds.items():
            assert np.array_equal(array, before[name]), f"input {name} was written"
        for i, (mine, theirs) in enumerate(zip(results, session.run(None, feeds), strict=True)):
            assert error_of(mine, theirs) <= BOUND, (batch, length, past, i)


def save(path, nodes, inputs, outputs, initializers=(), opset=21, imports=()):
    value = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)
    graph = helper.make_graph(nodes, "g", [value(*v) for v in inputs], [value(*v) for v in outputs], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *imports], ir_version=10)
    onnx.save(model, path)
    return path


def constant(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def small_graph(path):
    weight = np.random.default_rng(3).standard_normal((16, 8)).astype(np.float32)
    return save(path, [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
                [("x", TensorProto.FLOAT, ["n", 16])], [("y", TensorProto.FLOAT, ["n", 8])], [constant("w", weight)])


F, I = TensorProto.FLOAT, TensorProto.INT64
GRAPHS = {
    "slice": ([helper.make_node("Slice", ["x", "b", "e", "a", "s"], ["y"])], [("x", F, ["n", 9])], [("y", F, ["n", "k"])],
              {"b": [-1], "e": [-8], "a": [1], "s": [-2]}),
    "concat": ([helper.make_node("Concat", ["x", "x"], ["h"], axis=1), helper.make_node("Neg", ["h"], ["y"])],
               [("x", F, ["n", 4])], [("y", F, ["n", 8])], {}),
    "reduce": ([helper.make_node("ReduceMean", ["x", "a"], ["m"], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])],
               [("x", F, ["n", 5, "k"])], [("y", F, ["n", 5, "k"])], {"a": [1, 2]}),
    "transpose": ([helper.make_node("Transpose", ["x"], ["y"], perm=[2, 0, 1])], [("x", F, ["n", 3, "k"])],
                  [("y", F, ["k", "n", 3])], {}),
    "softmax": ([helper.make_node("Softmax", ["x"], ["y"], axis=1)], [("x", F, ["n", 4, "k"])], [("y", F, ["n", 4, "k"])], {}),
    "integers": ([helper.make_node("Mul", ["x", "x"], ["h"]), helper.make_node("Div", ["h", "three"], ["y"])],
                 [("x", I, ["n"])], [("y", I, ["n"])], {"three": 3}),
    "where": ([helper.make_node("Greater", ["x", "zero"], ["c"]), helper.make_node("Where", ["c", "x", "zero"], ["y"])],
              [("x", F, ["n", "k"])], [("y", F, ["n", "k"])], {"zero": np.float32(0)}),
    "reshape": ([helper.make_node("Reshape", ["x", "to"], ["y"])], [("x", F, ["n", 6])], [("y", F, ["n", 2, 3])], {"to": [-1, 2, 3]}),
    "cast": ([helper.make_node("Cast", ["x"], ["h"], to=I), helper.make_node("Cast", ["h"], ["y"], to=F)],
             [("x", F, ["n"])], [("y", F, ["n"])], {}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_small_graph(name, tmp_path):
    nodes, inputs, outputs, constants = GRAPHS[name]
    initializers = [constant(key, np.asarray(value, np.int64) if not isinstance(value, np.generic) else value)
                    for key, value in constants.items()]
    model = save(tmp_path / "g.onnx", nodes, inputs, outputs, initializers)
    done = compile_model(model, tmp_path / "g.so")
    assert done.returncode == 0, done.stderr
    ours, session = Model(tmp_path / "g.so"), ort_session(model)
    for n, k in ((1, 1), (2, 7), (5, 3), (0, 4)):
        generator = np.random.default_rng(n)
        feeds = {}
        for key, kind, shape in inputs:
            sizes = [{"n": n, "k": k}.get(dim, dim) for dim in shape]
            values = generator.standard_normal(sizes) * 50
            feeds[key] = values.astype(np.int64 if kind == I else np.float32)
        for mine, theirs in zip(ours.run(feeds), session.run(None, feeds), strict=True):
            assert error_of(mine, theirs) <= 2.0**-20


def test_two_compiles_are_byte_equal(tmp_path):
    model = small_graph(tmp_path / "g.onnx")
    digests = set()
    for name in ("a.so", "b.so"):
        assert compile_model(model, tmp_path / name).returncode == 0
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_library_stands_alone(tmp_path):
    """One exported symbol of ours, nothing of LLVM or the interpreter, no libstdc++."""
    model = small_graph(tmp_path / "g.onnx")
    # No compiler, no linker on the path.
    done = subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(model), "-o", str(tmp_path / "g.so")],
                          capture_output=True, text=True, env={"PATH": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    names = subprocess.run(["nm", "-D", "--defined-only", str(tmp_path / "g.so")], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1].split("@")[0] for line in names.splitlines()} <= {"ffn_get_api", "ffn_rt_pool_v1"}
    needed = subprocess.run(["readelf", "-d", str(tmp_path / "g.so")], capture_output=True, text=True, check=True).stdout
    assert "stdc++" not in needed and "LLVM" not in needed and "libgcc" not in needed


def test_recompiled_library_is_the_new_one(tmp_path):
    for op in ("Exp", "Neg"):
        save(tmp_path / "g.onnx", [helper.make_node(op, ["x"], ["y"])], [("x", F, ["n"])], [("y", F, ["n"])])
        assert compile_model(tmp_path / "g.onnx", tmp_path / "g.so").returncode == 0
        x = np.array([1, 2], np.float32)
        wanted = np.exp(x) if op == "Exp" else -x
        assert error_of(Model(tmp_path / "g.so").run({"x": x})[0], wanted) <= 2.0**-20


def test_unsupported_operator_is_one_error(tmp_path):
    model = save(tmp_path / "g.onnx", [helper.make_node("Det", ["x"], ["y"], name="d0")],
                 [("x", F, [2, 3, 3])], [("y", F, [2])])
    done = compile_model(model, tmp_path / "g.so")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.count("error:") == 1 and "[FFN-C101]" in done.stderr
    for part in ("d0", "Det", "version", "tensor<2x3x3xf32>", "note:"):
        assert part in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


@pytest.mark.parametrize("kind, name", [(TensorProto.STRING, "string"), (TensorProto.FLOAT8E4M3FN, "f8E4M3FN"), (TensorProto.FLOAT8E5M2, "f8E5M2")])
def test_type_without_native_form_is_no_matter_of_shapes(kind, name, tmp_path):
    """The node that makes the type is named, whatever passes it on to the output."""
    for nodes in ([helper.make_node("Cast", ["x"], ["y"], name="c0", to=kind)],
                  [helper.make_node("Cast", ["x"], ["h"], name="c0", to=kind), helper.make_node("Reshape", ["h", "to"], ["y"])],
                  [helper.make_node("Cast", ["x"], ["h"], name="c0", to=kind), helper.make_node("Cast", ["h"], ["y"], name="c1", to=F)]):
        output = F if len(nodes) == 2 and nodes[1].op_type == "Cast" else kind
        model = save(tmp_path / "g.onnx", nodes, [("x", F, ["n"])], [("y", output, ["n"])], [constant("to", np.int64([-1]))], opset=19)
        done = compile_model(model, tmp_path / "g.so")
        assert done.returncode == 1 and done.stderr.count("error:") == 1 and "[FFN-C101]" in done.stderr, done.stderr
        for part in ("'c0'", "operator Cast version", "tensor<?xf32>", "note:", "native form"):
            assert part in done.stderr
        assert len(nodes) > 1 or name in done.stderr


def test_attention_needs_no_declared_output(tmp_path):
    """Of rank 4 it is compiled; of rank 3 the node is named, and what stands in the way is no shape."""
    for rank, attrs in ((4, {}), (3, {"q_num_heads": 4, "kv_num_heads": 2})):
        shapes = {"q": ["b", 4, "s", 8], "k": ["b", 2, "t", 8], "v": ["b", 2, "t", 6]} if rank == 4 else {"q": ["b", "s", 32], "k": ["b", "t", 16], "v": ["b", "t", 12]}
        graph = helper.make_graph([helper.make_node("Attention", ["q", "k", "v"], ["y"], name="a0", **attrs)], "g",
                                  [helper.make_tensor_value_info(key, F, shape) for key, shape in shapes.items()], [helper.make_tensor_value_info("y", F, None)])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "g.onnx")
        done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so")
        if rank == 4:
            assert done.returncode == 0, done.stderr
            generator = np.random.default_rng(3)
            sizes = {"b": 2, "s": 3, "t": 5}
            feeds = {key: generator.standard_normal([sizes.get(dim, dim) for dim in shape]).astype(np.float32) for key, shape in shapes.items()}
            y = Model(tmp_path / "g.so").run(feeds)[0]
            q, k, v = (feeds[key].astype(np.float64) for key in "qkv")
            scores = np.exp(q @ k.repeat(2, axis=1).swapaxes(2, 3) / np.sqrt(8))
            assert error_of(y, (scores / scores.sum(-1, keepdims=True) @ v.repeat(2, axis=1)).astype(np.float32)) <= 2.0**-20
        else:
            assert done.returncode == 1 and done.stderr.count("error:") == 1, done.stderr
            for part in ("'a0'", "operator Attention version 23", "tensor<?x?x32xf32>", "[FFN-C101]", "note:"):
                assert part in done.stderr


def test_operator_whose_result_nobody_knows(tmp_path):
    """An operator of no known meaning and no declared result is the cause, not the shape."""
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"], name="d0")], "g", [helper.make_tensor_value_info("x", F, ["n", 3, 3])],
                              [helper.make_tensor_value_info("y", F, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    done = compile_model(tmp_path / "g.onnx", tmp_path / "g.so")
    assert done.returncode == 1 and "'d0'" in done.stderr and "[FFN-C101]" in done.stderr


def test_indices_of_a_run_are_checked(tmp_path):
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    save(tmp_path / "g.onnx", [helper.make_node("Gather", ["t", "i"], ["y"])], [("i", I, ["n"])], [("y", F, ["n", 3])],
         [constant("t", table)])
    assert compile_model(tmp_path / "g.onnx", tmp_path / "g.so").returncode == 0
    model = Model(tmp_path / "g.so")
    assert np.array_equal(model.run({"i": np.array([3, -4])})[0], table[[3, 0]])
    for bad in (4, -5, 1 << 40):
        with pytest.raises(RunError) as error:
            model.run({"i": np.array([0, bad])})
        assert error.value.status == 13 and "FFN-R408" in error.value.text
        assert error.value.text.startswith("graph 'g', node 0 'y' (Gather): "), error.value.text
    assert np.array_equal(model.run({"i": np.array([1])})[0], table[[1]])


@pytest.mark.parametrize("kind", ["obj", "llvm", "linalg"])
def test_other_outputs(kind, tmp_path):
    model = small_graph(tmp_path / "g.onnx")
    done = compile_model(model, tmp_path / "out", f"--emit={kind}")
    assert done.returncode == 0 and not done.stdout, done.stderr
    content = (tmp_path / "out").read_bytes()
    assert {"obj": b"\x7fELF", "llvm": b"define", "linalg": b"func.func @ffn_model_entry"}[kind] in content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.onnx", "out"]


def test_usage_errors(tmp_path):
    model = small_graph(tmp_path / "g.onnx")
    assert compile_model(model, tmp_path / "o", "--emit=wasm").returncode == 2
    done = compile_model(model, tmp_path / "o", "--cpu=i386")
    assert done.returncode == 2 and "--cpu=i386: expected native, avx2, avx2_vnni, avx512 or avx512_vnni" in done.stderr
    done = compile_model(model, tmp_path / "none" / "o")
    assert done.returncode == 1 and "[FFN-C301]" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


def test_program(tmp_path):
    """--emit=exe: .npy files in, .npy files out, by a program without start files."""
    model = small_graph(tmp_path / "g.onnx")
    program = tmp_path / "g"
    done = compile_model(model, program, "--emit=exe")
    assert done.returncode == 0, done.stderr
    info = subprocess.run([program, "--info"], capture_output=True, text=True)
    assert info.stdout == "input 0 x f32 (n, 16)\noutput 0 y f32 (n, 8)\n" and info.returncode == 0
    x = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = [program, "--threads=2", f"--output-dir={tmp_path}"]
    done = subprocess.run([*arguments, tmp_path / "x.npy"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stderr
    assert error_of(np.load(tmp_path / "output0.npy"), ort_session(model).run(None, {"x": x})[0]) <= 2.0**-20
    assert subprocess.run(arguments, capture_output=True).returncode == 2
    for threads in ("0", "257", "-1", "two", "", "2x", "4294967297", " 2"):
        done = subprocess.run([program, f"--threads={threads}", tmp_path / "x.npy"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and "expected 1 to 256" in done.stderr, (threads, done)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    np.save(tmp_path / "type.npy", x.astype(np.float64))
    np.save(tmp_path / "size.npy", x[:, 1:].copy())
    for name, code in (("cut", "R601"), ("type", "R601"), ("size", "R403"), ("none", "R601")):
        done = subprocess.run([*arguments, tmp_path / f"{name}.npy"], capture_output=True, text=True)
        assert done.returncode == 1 and f"[FFN-{code}]" in done.stderr, (name, done)


EQUATIONS = {"bij,bjk->bik": [("b", 3, 5), ("b", 5, 4)], "...ij,jk": [("n", 2, 3), (3, 4)], "ij->ji": [("n", 4)],
             "ij->": [("n", 4)], "i,j->ij": [("n",), (3,)], "ij,jk,kl->il": [("n", 3), (3, 4), (4, 2)],
             "...i,...i->...": [("n", 4, 3), (1, 4, 3)]}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation, tmp_path):
    shapes = EQUATIONS[equation]
    names = [f"x{i}" for i in range(len(shapes))]
    sizes = [[2 if dim in ("n", "b") else dim for dim in shape] for shape in shapes]
    arrays = [np.random.default_rng(i).standard_normal(size).astype(np.float32) for i, size in enumerate(sizes)]
    wanted = np.einsum(equation, *arrays)
    model = save(tmp_path / "g.onnx", [helper.make_node("Einsum", names, ["y"], equation=equation)],
                 [(name, F, list(shape)) for name, shape in zip(names, shapes)],
                 [("y", F, [f"d{i}" for i in range(wanted.ndim)])])
    done = compile_model(model, tmp_path / "g.so")
    assert done.returncode == 0, done.stderr
    feeds = dict(zip(names, arrays))
    assert error_of(Model(tmp_path / "g.so").run(feeds)[0], ort_session(model).run(None, feeds)[0]) <= 2.0**-20


@pytest.mark.parametrize("name", ["stories260K", "babyllama105"])
def test_greedy_decoding(name, tmp_path):
    """Each of the 250 tokens is the one that the logits of those before it ask for."""
    if not (SHARED / f"{name}.onnx").exists():
        pytest.skip("the shared models are not there")
    assert compile_model(SHARED / f"{name}.onnx", tmp_path / "m.so").returncode == 0
    reference = np.load(SHARED / "llama2c" / f"{name}_ref.npz")
    model, tokens = Model(tmp_path / "m.so"), reference["greedy_ids"]
    logits = model.run({"input_ids": tokens[None, :-1]})[0][0]
    assert len(tokens) == 250 and np.array_equal(logits.argmax(-1), tokens[1:])
    logits = model.run({"input_ids": reference["prompt_ids"][None]})[0][0]
    assert error_of(logits, reference["prompt_logits"]) <= 1e-5


@pytest.mark.parametrize("name", ["kwt1", "kwt1_ln17", "kwt1_torch_op14"])
def test_keyword_accuracy(name, tmp_path):
    if not (SHARED / "kwt1" / f"{name}.onnx").exists():
        pytest.skip("the shared models are not there")
    assert compile_model(SHARED / "kwt1" / f"{name}.onnx", tmp_path / "m.so").returncode == 0
    data = np.load(SHARED / "kwt1" / "kwt1_eval_dev.npz")
    logits = Model(tmp_path / "m.so").run({"mfcc": data["mfcc"].astype(np.float32)})[0]
    assert int((logits.argmax(-1) == data["label"]).sum()) == 281
    assert error_of(logits, data["ref_logits"]) <= 1e-4


def test_weights_beside_the_library(tmp_path):
    model = small_graph(tmp_path / "g.onnx")
    done = compile_model(model, tmp_path / "g.so", "--max-embedded-weights=100")
    assert done.returncode == 0, done.stderr
    weights, x = tmp_path / "g.so.weights", np.ones((2, 16), np.float32)
    wanted = ort_session(model).run(None, {"x": x})[0]
    assert error_of(Model(tmp_path / "g.so").run({"x": x})[0], wanted) <= 2.0**-20
    content = weights.read_bytes()
    for i, damaged in enumerate((content[:7] + bytes([content[7] ^ 1]) + content[8:], content[:-1], content + b"0", None)):
        # A copy: a library that is loaded is not opened again.
        copy = tmp_path / str(i) / "g.so"
        copy.parent.mkdir()
        copy.write_bytes((tmp_path / "g.so").read_bytes())
        if damaged is not None:
            (copy.parent / weights.name).write_bytes(damaged)
        with pytest.raises(RunError) as error:
            Model(copy).run({"x": x})
        assert error.value.status == 11 and "[FFN-R201]" in error.value.text
    # Embedded again: nothing stale stays beside the library.
    assert compile_model(model, tmp_path / "g.so").returncode == 0
    assert not weights.exists()
