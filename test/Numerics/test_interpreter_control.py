"""Subgraphs, local functions, sequences and limits of the interpreter."""
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from interpreter import InterpreterError, build_dir, error_of, interpret, ort_session

pytestmark = pytest.mark.skipif(build_dir() is None, reason="ffn-interpret is not built (set FFN_BUILD_DIR)")

HEAD = '<ir_version: 9, opset_import: ["" : 18, "loc" : 1]>\n'
X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
I64 = np.int64


def run(text, feeds, tmp_path, oracle="ort"):
    model = onnx.parser.parse_model(HEAD + text)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    ours = interpret(path, feeds)
    if oracle == "ort":
        theirs = ort_session(path).run(None, feeds)
    else:
        theirs = ReferenceEvaluator(model).run(None, feeds)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs):
        assert error_of(a, b) < 1e-6, (a, b)
    return ours


def test_if_takes_the_branch_and_captures(tmp_path):
    text = """g (bool c, float[2,3] x) => (float[n,m] y, float[2,3] z) {
      k = Mul (x, x)
      y, z = If (c) <then_branch = t () => (float[2,3] a, float[2,3] b) { a = Add (k, x)
                                                                          b = Neg (k) },
                     else_branch = e () => (float[1,3] d, float[2,3] f) { i = Constant <value_ints = [0]> ()
                                                                          d = Gather (k, i)
                                                                          f = If (c) <then_branch = u () => (float[2,3] p) { p = Identity (x) },
                                                                                      else_branch = v () => (float[2,3] q) { q = Sub (k, x) }> }>
    }"""
    for value in (True, False):
        run(text, {"c": np.array(value), "x": X}, tmp_path)


LOOP = """g (int64 trips, bool go, float[2,3] x) => (float[2,3] y, float[n,2,3] all, int64[n] seen) {
  y, all, seen = Loop (trips, go, x) <body = b (int64 i, bool c, float[2,3] v) => (bool again, float[2,3] w, float[2,3] each, int64 j) {
    one = Constant <value_float = 1.0> ()
    limit = Constant <value_float = 20.0> ()
    w = Add (v, one)
    each = Mul (w, x)
    s = ReduceMax <keepdims = 0> (each)
    again = Less (s, limit)
    j = Identity (i)
  }>
}"""


@pytest.mark.parametrize("trips,go", [(3, True), (0, True), (5, False), (100, True), (1, True)])
def test_loop(trips, go, tmp_path):
    outputs = run(LOOP, {"trips": np.array(trips, I64), "go": np.array(go), "x": X}, tmp_path)
    assert outputs[2].shape[0] <= trips


def test_endless_loop_ends_with_a_code(tmp_path):
    text = """g (float[1] x) => (float[1] y) {
      t = Constant <value = bool {1}> ()
      y = Loop ("", t, x) <body = b (int64 i, bool c, float[1] v) => (bool again, float[1] w) {
        again = Identity (c)
        w = Identity (v)
      }>
    }"""
    path = tmp_path / "endless.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + text.replace('"", t', ", t")), path)
    with pytest.raises(InterpreterError) as caught:
        interpret(path, {"x": np.zeros(1, np.float32)})
    assert caught.value.code == "E104"


@pytest.mark.parametrize("attrs", ["", ", scan_input_directions = [1]", ", scan_output_directions = [1], scan_input_axes = [1]",
                                   ", scan_input_axes = [-1], scan_output_axes = [1]"])
def test_scan(attrs, tmp_path):
    width = 2 if "scan_input_axes" in attrs else 3
    text = f"""g (float[{width}] s0, float[2,3] x) => (float[{width}] s, float[n,m] all) {{
      s, all = Scan <num_scan_inputs = 1{attrs}, body = b (float[{width}] s, float[{width}] v) => (float[{width}] t, float[{width}] o) {{
        t = Add (s, v)
        o = Mul (t, v)
      }}> (s0, x)
    }}"""
    run(text, {"s0": np.ones(width, np.float32), "x": X}, tmp_path)


FUNCTIONS = """
<domain: "loc", opset_import: ["" : 18, "loc" : 1]>
leaky <alpha: float = 0.5, axis: int = 1> (x) => (y, n) {
  l = LeakyRelu <alpha: float = @alpha> (x)
  y = Softmax <axis: int = @axis> (l)
  n = Size (x)
}
<domain: "loc", opset_import: ["" : 18, "loc" : 1]>
outer <alpha> (x, k) => (y) {
  a, n = loc.leaky <alpha: float = @alpha> (x)
  b, m = loc.leaky <axis = 0> (x)
  c = Cast <to = 1> (n)
  s = ReduceSum <keepdims = 0> (x)
  zero = Constant <value_float = 0.0> ()
  p = Greater (s, zero)
  d = If (p) <then_branch = t () => (u) { u = LeakyRelu <alpha: float = @alpha> (x) },
              else_branch = e () => (v) { v = Neg (x) }>
  ab = Add (a, b)
  abd = Add (ab, d)
  y = Div (abd, c)
}"""


@pytest.mark.parametrize("x", [X, -X])
def test_functions_bind_attributes_in_nested_calls_and_subgraphs(x, tmp_path):
    text = "g (float[2,3] x) => (float[2,3] y) {\n  y = loc.outer <alpha = 0.25> (x)\n}" + FUNCTIONS
    run(text, {"x": x}, tmp_path)


def test_functions_may_be_called_again_and_deep(tmp_path):
    chain = "".join(
        f'<domain: "loc", opset_import: ["" : 18, "loc" : 1]>\nf{i} (x) => (y) {{\n  a = loc.f{i + 1} (x)\n  y = Add (a, x)\n}}\n' for i in range(60)
    )
    chain += '<domain: "loc", opset_import: ["" : 18]>\nf60 (x) => (y) { y = Neg (x) }\n'
    text = "g (float[2,3] x) => (float[2,3] y) {\n  a = loc.f0 (x)\n  y = loc.f0 (a)\n}\n" + chain
    model = onnx.parser.parse_model(HEAD + text)
    path = tmp_path / "deep.onnx"
    onnx.save(model, path)
    (y,) = interpret(path, {"x": X})
    assert np.array_equal(y, X * 59.0**2)


def test_sequences(tmp_path):
    text = """g (float[2,3] x) => (float[n,m] y, int64 l, float[p,q] z, float[3] first) {
      minus = Constant <value_int = -1> ()
      one = Constant <value_int = 1> ()
      e = SequenceEmpty ()
      s1 = SequenceInsert (e, x)
      k = Mul (x, x)
      s2 = SequenceInsert (s1, k, minus)
      s3 = SequenceConstruct (x, k, x)
      s4 = SequenceErase (s3, one)
      y = ConcatFromSequence <axis = 1> (s2)
      l = SequenceLength (s4)
      t = SplitToSequence <axis = 1> (x, one)
      z = SequenceAt (t, minus)
      r = SplitToSequence <axis = 0, keepdims = 0> (x)
      zero = Constant <value_int = 0> ()
      first = SequenceAt (r, zero)
    }"""
    outputs = run(text, {"x": X}, tmp_path)
    assert np.array_equal(outputs[0], np.concatenate([X * X, X], 1))


def test_sequence_map(tmp_path):
    text = """g (float[2,3] x) => (float[n,m] y) {
      s = SplitToSequence <axis = 0> (x)
      t = SequenceMap <body = b (float[1,3] v) => (float[1,3] w) { w = Add (v, v) }> (s)
      y = ConcatFromSequence <axis = 0> (t)
    }"""
    run(text, {"x": X}, tmp_path)


def test_inputs_are_checked(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + "g (float[2,n] x) => (float[2,n] y) { y = Neg (x) }"), path)
    for feeds, code in [
        ({}, "E105"),
        ({"x": X, "y": X}, "E105"),
        ({"x": X[:1]}, "E105"),
        ({"x": X[0]}, "E105"),
        ({"x": np.zeros((2, 3), I64)}, "D101"),
    ]:
        with pytest.raises(InterpreterError) as caught:
            interpret(path, feeds)
        assert caught.value.code == code, str(caught.value)


def test_element_limit(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + "g (float[2,n] x) => (float[2,n] y) { y = Neg (x) }"), path)
    assert interpret(path, {"x": X}, extra=["--max-elements=6"])[0].shape == (2, 3)
    with pytest.raises(InterpreterError) as caught:
        interpret(path, {"x": X}, extra=["--max-elements=5"])
    assert caught.value.code == "E104"
