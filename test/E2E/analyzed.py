"""Small models with planted properties, for the tests of ffnc analyze. NumPy and onnx alone."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

V, D, M, HEADS = 48, 24, 40, 2


class Graph:
    """Nodes and weights of a model that reads token ids [batch, sequence], or rows [batch, sequence, d]."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def constant(self, name, array):
        array = np.asarray(array)
        self.weights.append(numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name))
        return name

    def add(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def embed(self, table):
        return self.add("Gather", [self.constant("embed.weight", table), "input_ids"], "embedded")

    def network(self, x, name, up, bias, down, gamma=None):
        """x + relu(norm(x) U + b) W with U [d, m] and W [m, d]; no norm without gamma."""
        h = x
        if gamma is not None:
            h = self.add("LayerNormalization", [x, self.constant(f"{name}.norm.weight", gamma),
                                                self.constant(f"{name}.norm.bias", np.zeros(len(gamma)))], f"/{name}/norm", axis=-1)
        h = self.add("MatMul", [h, self.constant(f"{name}.up.weight", up)], f"/{name}/up")
        h = self.add("Add", [h, self.constant(f"{name}.up.bias", bias)], f"/{name}/bias")
        h = self.add("Relu", [h], f"/{name}/hidden")
        h = self.add("MatMul", [h, self.constant(f"{name}.down.weight", down)], f"/{name}/down")
        return self.add("Add", [x, h], f"/{name}/sum")

    def attention(self, x, name, matrices, gamma):
        d = len(gamma)
        n = self.add("LayerNormalization", [x, self.constant(f"{name}.norm.weight", gamma),
                                            self.constant(f"{name}.norm.bias", np.zeros(d))], f"/{name}/norm", axis=-1)
        heads = self.constant(f"{name}.heads", np.array([0, 0, HEADS, d // HEADS]))
        parts = []
        for part, matrix in zip("qkv", matrices):
            t = self.add("MatMul", [n, self.constant(f"{name}.{part}.weight", matrix)], f"/{name}/{part}")
            t = self.add("Reshape", [t, heads], f"/{name}/{part}_heads")
            parts.append(self.add("Transpose", [t], f"/{name}/{part}_t", perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]))
        q, k, v = parts
        s = self.add("MatMul", [q, k], f"/{name}/scores")
        s = self.add("Mul", [s, self.constant(f"{name}.scale", np.float32((d // HEADS) ** -0.5))], f"/{name}/scaled")
        s = self.add("Softmax", [s], f"/{name}/softmax", axis=-1)
        s = self.add("MatMul", [s, v], f"/{name}/mixed")
        s = self.add("Transpose", [s], f"/{name}/mixed_t", perm=[0, 2, 1, 3])
        s = self.add("Reshape", [s, self.constant(f"{name}.width", np.array([0, 0, d]))], f"/{name}/joined")
        s = self.add("MatMul", [s, self.constant(f"{name}.o.weight", matrices[3])], f"/{name}/o")
        return self.add("Add", [x, s], f"/{name}/sum")

    def head(self, x, matrix, gamma=None):
        if gamma is not None:
            x = self.add("LayerNormalization", [x, self.constant("norm.weight", gamma), self.constant("norm.bias", np.zeros(len(gamma)))],
                         "/norm", axis=-1)
        self.nodes.append(helper.make_node("MatMul", [x, self.constant("head.weight", matrix)], ["logits"], name="/head"))
        return "logits"

    def save(self, path, output, width, rows=None):
        """`rows`: the width of the input where it is rows, not ids."""
        shape = ["batch", "sequence"]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape + [rows])] if rows else \
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape + [width])]
        model = helper.make_model(helper.make_graph(self.nodes, "planted", inputs, outputs, self.weights),
                                  opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path


def random_lm(path, change=lambda name, array: array, layers=2):
    """A language model of random weights, attention and network in turn. `change` may rewrite what a weight holds."""
    random = np.random.default_rng(7)
    graph = Graph()

    def draw(name, *shape):
        return change(name, random.standard_normal(shape) / np.sqrt(shape[0]))

    x = graph.embed(change("embed", random.standard_normal((V, D))))
    for i in range(layers):
        gamma = 1 + 0.2 * random.standard_normal(D)
        x = graph.attention(x, f"layers.{i}.attn", [draw(f"layers.{i}.attn.{p}", D, D) for p in "qkvo"], gamma)
        gamma = 1 + 0.2 * random.standard_normal(D)
        x = graph.network(x, f"layers.{i}.mlp", draw(f"layers.{i}.mlp.up", D, M), 0.1 * random.standard_normal(M),
                          draw(f"layers.{i}.mlp.down", M, D), gamma)
    graph.head(x, draw("head", D, V), 1 + 0.2 * random.standard_normal(D))
    return graph.save(path, "logits", V)


def weights_of(path):
    return {t.name: numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(str(path)).graph.initializer}


def values_of(path, names, samples, feed="input_ids"):
    """Rows of each named value over all samples, computed by ONNX Runtime."""
    import onnxruntime as ort

    model = onnx.load(str(path))
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(list(names), {feed: sample}) for sample in samples]
    return {name: np.concatenate([run[i].reshape(-1, run[i].shape[-1]) for run in found]).astype(np.float64)
            for i, name in enumerate(names)}
